"""Where two sessions part."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import EventStore, NewEvent, Position, RecordedEvent, Version, event_type, upcast
from reducers import Change, Reducer, diff, divergence, first_divergence, fold, fork
from reducers.comparing import Compared
from reducers.divergence import Divergence


def recorded(stream: str, version: int, kind: str, data: Any, schema: int = 1) -> RecordedEvent:
    payload = msgspec.json.encode(data, order="sorted")
    return RecordedEvent(version, stream, version, f"{stream}-{version}", kind, schema, payload, 0)


def session(stream: str, words: list[str]) -> list[RecordedEvent]:
    return [recorded(stream, n, "said", {"text": text}) for n, text in enumerate(words, 1)]


sessions = st.lists(st.sampled_from("ab"), max_size=6)


@given(sessions, sessions)
def test_two_sessions_are_compared_then_the_first_pair_that_differs_is_told(
    one: list[str], other: list[str]
) -> None:
    """By place, whatever else is said about the events; None only when all are the same."""
    found = first_divergence(session("one", one), session("other", other))
    common = len([*itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other))])  # noqa: B905
    if one == other:
        assert found is None
        return
    assert found is not None
    assert found.common == common
    assert (found.a is None) == (len(one) == common)
    assert (found.b is None) == (len(other) == common)
    if found.a is not None and found.b is not None:
        assert (found.a.data["text"], found.b.data["text"]) == (one[common], other[common])
        assert found.changes == [Change("replace", "/text", one[common], other[common])]


def test_events_differ_in_type_then_they_are_not_the_same() -> None:
    """The same data may mean two things."""
    a, b = recorded("a", 1, "said", {"x": 1}), recorded("b", 1, "heard", {"x": 1})
    assert first_divergence([a], [b]) == Divergence(0, a, b, [])
    number = recorded("b", 1, "said", {"x": 1.0})
    assert first_divergence([a], [number]) == Divergence(
        0, a, number, [Change("replace", "/x", 1, 1.0)]
    )


def test_a_key_is_given_then_only_what_it_says_counts() -> None:
    """Ids that a program draws for each run can be left out."""
    one = [recorded("a", 1, "said", {"text": "x", "id": "1"})]
    other = [recorded("b", 1, "said", {"text": "x", "id": "2"})]
    assert first_divergence(one, other) is not None
    assert first_divergence(one, other, key=lambda event: event.data["text"]) is None


async def test_types_are_ignored_then_their_events_part_nothing(store: EventStore) -> None:
    """However many there are on either side: what is noted of a run is no step of it."""
    one = [recorded("a", 1, "began", {"at": 1}), recorded("a", 2, "said", {"text": "x"})]
    other = [*(recorded("b", n, "began", {"at": n}) for n in (2, 3)), one[1]]
    assert first_divergence(one, other, ignore=["began"]) is None
    found = first_divergence(one, other, ignore=["said"])
    assert found is not None
    assert (found.common, found.a, found.b) == (0, one[0], other[0])
    for name, at in (("a", 1), ("b", 2)):
        await store.append(name, [NewEvent("began", {"at": at}), NewEvent("said", {"text": "x"})])
    assert await divergence(store, "a", "b") is not None
    assert await divergence(store, "a", "b", ignore={"began"}) is None


def test_they_part_then_nothing_behind_is_taken() -> None:
    """Sessions are read no further than they are alike."""
    endless = iter(session("a", ["x"] * 9))
    found = first_divergence(endless, session("b", ["x", "y", "x"]))
    assert found is not None
    assert found.common == 1
    assert next(endless).version == 3


@pytest.mark.parametrize("registered", [False, True])
def test_schema_versions_differ_then_data_is_compared_as_of_today(registered: bool) -> None:
    """An event that says the same in the words of an older schema is the same."""
    if registered:

        @event_type("said", version=2)
        class Said(msgspec.Struct, frozen=True):
            text: str

    upcast("said", from_version=1)(lambda data: {"text": data["t"]})
    old, new = recorded("a", 1, "said", {"t": "x"}), recorded("b", 1, "said", {"text": "x"}, 2)
    assert first_divergence([old], [new]) is None
    other = recorded("b", 1, "said", {"text": "y"}, 2)
    found = first_divergence([old], [other])
    assert found == Divergence(0, old, other, [Change("replace", "/text", "x", "y")])


async def said(store: EventStore, stream: str, words: str) -> None:
    await store.append(stream, [NewEvent("said", {"text": word}) for word in words])


@pytest.mark.parametrize(
    ("one", "other"),
    [("", ""), ("ab", "ab"), ("ab", "abc"), ("abc", "ab"), ("abc", "axc"), ("", "a"), ("b", "a")],
)
async def test_two_streams_are_stored_then_they_part_where_their_events_do(
    store: EventStore, one: str, other: str
) -> None:
    """As of events in hand, also where one session is the beginning of the other."""
    for stream, words in (("one", one), ("other", other)):
        if words:
            await said(store, stream, words)
    found = await divergence(store, "one", "other")
    a_events, b_events = await store.read("one").list(), await store.read("other").list()
    assert found == first_divergence(a_events, b_events)


async def test_stream_was_forked_then_the_fork_parts_where_it_goes_another_way(
    store: EventStore,
) -> None:
    """That it is a fork is no event of the session; a key is asked as of events in hand."""
    await said(store, "s", "abc")
    await fork(store, "s", at=Version(2), into="tried")
    found = await divergence(store, "s", "tried")
    assert found is not None
    assert (found.common, found.a and found.a.version, found.b) == (2, 3, None)
    await said(store, "tried", "c")
    assert await divergence(store, "s", "tried") is None
    assert await divergence(store, "tried", "s", key=lambda event: event.stream) is not None
    await said(store, "tried", "d")
    found = await divergence(store, "tried", "s")
    assert found is not None
    assert (found.common, found.a and found.a.data["text"], found.b) == (3, "d", None)
    assert await divergence(store, "tried", "s", at=Version(4)) is None
    found = await divergence(store, "tried", "s", at=Version(0), other_at=Position(1))
    assert found is not None
    assert (found.common, found.a, found.b and found.b.version) == (0, None, 1)


async def test_moments_of_two_streams_are_compared_then_their_states_and_changes_are_told(
    store: EventStore,
) -> None:
    """Any moment of any stream against any moment of any other, or of the same one."""
    words: Reducer[tuple[str, ...]] = Reducer("words", ())
    words.on("said")(lambda state, event: (*state, event["text"]))
    await said(store, "s", "ab")
    await fork(store, "s", into="f")
    await said(store, "s", "c")
    await said(store, "f", "x")
    s_events, f_events = await store.read("s").list(), await store.read("f").list()

    def expected(before: list[RecordedEvent], after: list[RecordedEvent]) -> list[Change]:
        return diff(fold(before, words), fold(after, words))

    heads = await words.diff(store, "s", "f")
    assert heads == Compared(
        await words.load(store, "s"),
        await words.load(store, "f"),
        [Change("replace", "/2", "c", "x")],
    )
    early = await words.diff(store, "s", "f", at=Version(1), other_at=Position(2))
    assert early.changes == expected(s_events[:1], f_events[:2]) != []
    assert (early.before.version, early.after.version) == (1, 2)
    alone = await words.diff(store, "f", at=Version(1))
    assert alone.changes == expected(f_events[:1], f_events)
    assert (alone.after.version, alone.after.position) == (4, 5)
    nothing = await words.diff(store, "s", "unheard-of", other_at=Version(3))
    assert (nothing.after.version, nothing.changes) == (0, expected(s_events, []))
