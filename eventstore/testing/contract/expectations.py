"""The truth table of concurrency: what an append with an expectation and a key comes to."""

from __future__ import annotations

import pytest

from ...errors import Conflict, IdempotencyMismatch, InvalidEvent
from ...events import NewEvent
from ...points import Expected, Position, Version
from ...store import EventStore
from .harness import Harness, notes, numbers, whole

WRITTEN = "written"
CONFLICT = "conflict"
FIRST = "first answer"
MISMATCH = "mismatch"
INVALID = "invalid"

FRESH = "fresh key"
SAME = "same key, same content"
OTHER = "same key, other content"

TRUTH = [
    # The stream is "new" (it has no events) or "existing" (it is at version 3) when the key is
    # used for the first time; "exact right" is its version then, too low and too high lie one
    # beside it. There is no version below 0.
    #
    # expected          stream       fresh key   same key,      same key,
    #                                            same content   other content
    ("ANY",             "new",       WRITTEN,    FIRST,         MISMATCH),
    ("ANY",             "existing",  WRITTEN,    FIRST,         MISMATCH),
    ("NO_STREAM",       "new",       WRITTEN,    FIRST,         MISMATCH),
    ("NO_STREAM",       "existing",  CONFLICT,   FIRST,         MISMATCH),
    ("STREAM_EXISTS",   "new",       CONFLICT,   FIRST,         MISMATCH),
    ("STREAM_EXISTS",   "existing",  WRITTEN,    FIRST,         MISMATCH),
    ("exact right",     "new",       WRITTEN,    FIRST,         MISMATCH),
    ("exact right",     "existing",  WRITTEN,    FIRST,         MISMATCH),
    ("exact too low",   "new",       INVALID,    INVALID,       INVALID),
    ("exact too low",   "existing",  CONFLICT,   FIRST,         MISMATCH),
    ("exact too high",  "new",       CONFLICT,   FIRST,         MISMATCH),
    ("exact too high",  "existing",  CONFLICT,   FIRST,         MISMATCH),
]  # fmt: skip

CELLS = [
    pytest.param(expected, stream, key, outcome, id=f"{expected}-{stream}-{key}-{outcome}")
    for expected, stream, *outcomes in TRUTH
    for key, outcome in zip((FRESH, SAME, OTHER), outcomes, strict=True)
]

CONTENT = [NewEvent("note.added", {"n": 101}), NewEvent("note.added", {"n": 102}, tags=["t"])]
OTHER_CONTENT = [NewEvent("note.added", {"n": 101}), NewEvent("note.added", {"n": 103})]


def _expectation(word: str, version: int) -> Expected | int:
    exact = {"exact right": 0, "exact too low": -1, "exact too high": 1}
    return version + exact[word] if word in exact else Expected[word]


class ExpectationContract(Harness):
    """Every cell of the table, and what a conflict carries."""

    @pytest.mark.parametrize(("expected", "stream", "key", "outcome"), CELLS)
    async def test_an_expectation_meets_a_stream_and_a_key_then_the_table_says_what_comes(
        self, store: EventStore, expected: str, stream: str, key: str, outcome: str
    ) -> None:
        """The key is judged before the expectation, and only what is written changes anything."""
        await store.append("neighbour", notes(2))
        version = 3 if stream == "existing" else 0
        if version:
            await store.append("s", notes(version))
        first = None
        if key != FRESH:
            first = await store.append("s", CONTENT, idempotency_key="key")
        before = await whole(store)
        actual = await store.version("s")

        expectation = _expectation(expected, version)
        content = OTHER_CONTENT if key == OTHER else CONTENT
        attempt = store.append("s", content, expected=expectation, idempotency_key="key")

        if outcome == WRITTEN:
            result = await attempt
            assert (result.version, result.position) == (actual + 2, before[0] + 2)
            assert result.duplicate is False
            assert numbers(list(result.events)) == [101, 102]
            assert await store.read_all().list() == [*before[1], *result.events]
            assert await store.lookup("s", "key") is not None
            return
        if outcome == FIRST:
            assert first is not None
            result = await attempt
            assert result.duplicate is True
            assert (result.version, result.position) == (first.version, first.position)
            assert result.events == first.events
        elif outcome == CONFLICT:
            with pytest.raises(Conflict) as conflict:
                await attempt
            _check_conflict(conflict.value, expectation, actual)
            missed = await store.read("s", after=_known(expectation)).list()
            assert list(conflict.value.events) == missed
            assert await store.lookup("s", "key") is None
        elif outcome == MISMATCH:
            with pytest.raises(IdempotencyMismatch) as mismatch:
                await attempt
            assert (mismatch.value.stream, mismatch.value.key) == ("s", "key")
            assert first is not None
            answer = mismatch.value.result
            assert not isinstance(answer, list)
            assert (answer.version, answer.position) == (first.version, first.position)
            assert answer.events == first.events
        else:
            with pytest.raises(InvalidEvent, match="expected"):
                await attempt
        assert await whole(store) == before

    async def test_the_table_has_a_cell_for_every_combination(self) -> None:
        """6 expectations x 2 streams x 3 keys."""
        assert len({tuple(row[:2]) for row in TRUTH}) == 12
        assert len(CELLS) == 36

    async def test_a_stream_moved_on_then_the_conflict_carries_what_was_missed(
        self, store: EventStore
    ) -> None:
        """The events between the expected and the actual version, oldest first, whole."""
        await store.append("s", notes(5))
        with pytest.raises(Conflict) as caught:
            await store.append("s", notes(1), expected=2)
        assert numbers(list(caught.value.events)) == [3, 4, 5]
        assert list(caught.value.events) == await store.read("s", after=2).list()
        assert (caught.value.stream, caught.value.index) == ("s", 0)
        assert caught.value.truncated is False
        assert caught.value.written == "no"

    @pytest.mark.parametrize(("missed", "truncated"), [(1_000, False), (1_001, True)])
    async def test_more_than_a_thousand_were_missed_then_the_conflict_is_truncated(
        self, store: EventStore, missed: int, truncated: bool
    ) -> None:
        """A conflict carries the first 1,000 missed events, and says when there are more."""
        await store.append("s", notes(2 + missed))
        with pytest.raises(Conflict) as caught:
            await store.append("s", notes(1), expected=2)
        assert numbers(list(caught.value.events)) == list(range(3, 1_003))
        assert caught.value.actual == 2 + missed
        assert caught.value.truncated is truncated

    @pytest.mark.parametrize("expected", [-1, True, False, 1.0, "1", None, "ANY"])
    async def test_an_expectation_is_no_version_then_it_is_refused(
        self, store: EventStore, expected: object
    ) -> None:
        """Only an `Expected` or a version from 0 on; nothing is written."""
        with pytest.raises(InvalidEvent, match="expected"):
            await store.append("s", notes(1), expected=expected)  # type: ignore[arg-type]  # wrong
        assert await store.head() == 0

    async def test_a_position_is_expected_then_it_is_refused_and_a_version_is_not(
        self, store: EventStore
    ) -> None:
        """Positions count in the whole log: one that is taken for a version is a mistake."""
        await store.append("other", notes(1))
        first = await store.append("s", notes(1))
        with pytest.raises(InvalidEvent, match=r"not Position\(2\), which counts in the whole log"):
            await store.append("s", notes(1), expected=Position(first.position))
        assert (await store.append("s", notes(1), expected=Version(first.version))).version == 2


def _known(expectation: Expected | int) -> int:
    """The version up to which the caller of this expectation knows the stream."""
    return expectation if isinstance(expectation, int) else 0


def _check_conflict(conflict: Conflict, expectation: Expected | int, actual: int) -> None:
    assert type(conflict) is Conflict
    assert (conflict.stream, conflict.expected) == ("s", expectation)
    assert (conflict.actual, conflict.index) == (actual, 0)
    assert conflict.truncated is False
    assert conflict.written == "no"
    assert f"found version {actual}" in str(conflict)
