"""Keys and known ids: what is sent again is written once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from ...errors import Conflict, IdempotencyMismatch, InvalidEvent
from ...events import Append, NewEvent
from ...points import Expected
from ...query import AppendCondition, Query
from ...store import EventStore
from .harness import Harness, note, notes, whole

_AT = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)

CONTENT: dict[str, Any] = {
    "type": "t",
    "data": {"a": 1, "b": [1.5, None]},
    "tags": ["x", "y"],
    "occurred_at": _AT,
    "causation_id": "c-1",
    "derived_from": ["d-1"],
    "context": {"k": 1},
}
"""All that belongs to an event's content, as far as its caller says it."""

OTHERS: list[dict[str, Any]] = [
    {"type": "u"},
    {"data": {"a": 2, "b": [1.5, None]}},
    {"data": {"a": 1.0, "b": [1.5, None]}},
    {"data": {"a": True, "b": [1.5, None]}},
    {"tags": ["x"]},
    {"occurred_at": None},
    {"causation_id": "c-2"},
    {"derived_from": []},
    {"context": {"k": 2}},
    {"id": "given"},
]
"""What makes it other content, one at a time."""


def _event(**changes: Any) -> NewEvent:
    return NewEvent(**{**CONTENT, **changes})


class IdempotencyContract(Harness):
    """A retry is answered as the first time; what only looks like one is told apart."""

    async def test_a_key_is_used_again_then_the_first_answer_comes_and_nothing_is_written(
        self, store: EventStore
    ) -> None:
        """The same answer, also when the stream has long moved on."""
        first = await store.append("s", notes(2), idempotency_key="k")
        await store.append("s", notes(3, start=10))
        before = await whole(store)
        again = await store.append("s", notes(2), idempotency_key="k")
        assert (again.version, again.position, again.duplicate) == (2, 2, True)
        assert again.events == first.events
        assert first.duplicate is False
        assert await whole(store) == before

    async def test_a_key_is_used_again_then_expectation_and_condition_are_not_asked(
        self, store: EventStore
    ) -> None:
        """The key is judged first: a retry never conflicts with its own first success."""
        condition = AppendCondition(Query(types=("note.added",)))
        first = await store.append(
            "s", notes(1), expected=Expected.NO_STREAM, condition=condition, idempotency_key="k"
        )
        again = await store.append(
            "s", notes(1), expected=Expected.NO_STREAM, condition=condition, idempotency_key="k"
        )
        assert again.events == first.events
        assert again.duplicate is True
        with pytest.raises(Conflict):
            await store.append("s", notes(1), expected=Expected.NO_STREAM)

    async def test_the_content_is_the_same_in_other_words_then_it_is_the_same(
        self, store: EventStore
    ) -> None:
        """Content is what is stored: key order, the zone of a moment and list types are not."""
        first = await store.append("s", [_event()], idempotency_key="k")
        reworded = _event(
            data={"b": [1.5, None], "a": 1},
            tags=("x", "y", "x"),
            derived_from=("d-1",),
        )
        again = await store.append("s", (reworded,), idempotency_key="k")
        assert again.duplicate is True
        assert again.events == first.events

    @pytest.mark.parametrize("change", OTHERS, ids=lambda change: "-".join(change))
    async def test_one_thing_of_the_content_is_other_then_it_is_a_mismatch(
        self, store: EventStore, change: dict[str, Any]
    ) -> None:
        """Each thing that the caller says of an event belongs to its content."""
        first = await store.append("s", [_event()], idempotency_key="k")
        before = await whole(store)
        with pytest.raises(IdempotencyMismatch) as caught:
            await store.append("s", [_event(**change)], idempotency_key="k")
        assert not isinstance(caught.value.result, list)
        assert caught.value.result.events == first.events
        assert caught.value.written == "no"
        assert await whole(store) == before

    @pytest.mark.parametrize(
        "change",
        [{"actor": "bob"}, {"correlation_id": "r-2"}, {"context": {"z": 1}}],
        ids=lambda change: "-".join(change),
    )
    async def test_metadata_of_the_append_is_other_then_it_is_a_mismatch(
        self, store: EventStore, change: dict[str, Any]
    ) -> None:
        """Metadata given with the append, or bound, is content too."""
        given: dict[str, Any] = {"actor": "ann", "correlation_id": "r-1", "context": {}}
        await store.append("s", note(), idempotency_key="k", **given)
        bound = store.bind(**given)
        assert (await bound.append("s", note(), idempotency_key="k")).duplicate is True
        with pytest.raises(IdempotencyMismatch):
            await store.append("s", note(), idempotency_key="k", **{**given, **change})

    async def test_more_or_fewer_events_are_sent_then_it_is_a_mismatch(
        self, store: EventStore
    ) -> None:
        """Number and order of the events are content."""
        await store.append("s", notes(2), idempotency_key="k")
        for events in (notes(1), notes(3), notes(2)[::-1], []):
            with pytest.raises(IdempotencyMismatch):
                await store.append("s", events, idempotency_key="k")
        assert await store.head() == 2

    async def test_one_key_in_two_streams_then_both_are_written(self, store: EventStore) -> None:
        """A key belongs to its stream."""
        await store.append("a", notes(1), idempotency_key="k")
        result = await store.append("b", notes(1, start=2), idempotency_key="k")
        assert (result.duplicate, result.version) == (False, 1)
        stands = [await store.lookup("a", "k"), await store.lookup("b", "k")]
        assert [r.events[0].stream for r in stands if r] == ["a", "b"]

    async def test_a_key_is_looked_up_then_the_answer_is_the_first_one(
        self, store: EventStore
    ) -> None:
        """None before the append, its answer after it; looking writes nothing."""
        assert await store.lookup("s", "k") is None
        first = await store.append("s", notes(3), idempotency_key="k")
        await store.append("s", notes(1), idempotency_key="other")
        found = await store.lookup("s", "k")
        assert found is not None
        assert (found.version, found.position, found.events) == (3, 3, first.events)
        assert found.duplicate is True
        assert await store.lookup("t", "k") is None

    async def test_an_append_is_refused_then_its_key_is_free(self, store: EventStore) -> None:
        """Only what is written uses a key up."""
        with pytest.raises(Conflict):
            await store.append("s", notes(1), expected=5, idempotency_key="k")
        assert await store.lookup("s", "k") is None
        result = await store.append("s", notes(2), idempotency_key="k")
        assert result.duplicate is False

    async def test_many_send_the_same_at_once_then_it_is_written_once(
        self, store: EventStore
    ) -> None:
        """Also within one group commit a key is used once."""
        results = await asyncio.gather(
            *(store.append("s", notes(2), idempotency_key="k") for _ in range(25))
        )
        assert sorted(r.duplicate for r in results) == [False] + [True] * 24
        assert {r.events for r in results} == {results[0].events}
        assert await store.head() == 2

    async def test_a_long_answer_is_asked_for_again_then_it_is_whole(
        self, store: EventStore
    ) -> None:
        """An answer of more than a page of events comes back complete."""
        await store.append("s", notes(7))
        first = await store.append("s", notes(2_500), idempotency_key="k")
        again = await store.append("s", notes(2_500), idempotency_key="k")
        assert again.events == first.events
        assert (again.version, again.position) == (2_507, 2_507)

    async def test_a_known_id_is_sent_again_then_it_counts_as_written(
        self, store: EventStore
    ) -> None:
        """Ids make an append idempotent without a key, whatever is expected."""
        sent = [note("a", id="a"), note("b", id="b")]
        await store.append("s", notes(1))
        first = await store.append("s", sent, expected=1)
        await store.append("s", notes(1))
        before = await whole(store)
        again = await store.append("s", sent, expected=1)
        assert again.duplicate is True
        assert (again.version, again.position) == (3, 3)
        assert again.events == first.events
        assert await whole(store) == before

    @pytest.mark.parametrize(
        ("stream", "events"),
        [
            ("s", [note("other", id="a"), note("b", id="b")]),
            ("s", [note("a", id="a", tags=["t"]), note("b", id="b")]),
            ("s", [NewEvent("other", {"text": "a"}, id="a"), note("b", id="b")]),
            ("t", [note("a", id="a"), note("b", id="b")]),
            ("s", [note("b", id="b"), note("a", id="a")]),
        ],
        ids=["other_data", "other_tags", "other_type", "other_stream", "other_order"],
    )
    async def test_a_known_id_comes_with_other_content_then_it_is_refused(
        self, store: EventStore, stream: str, events: list[NewEvent]
    ) -> None:
        """An id belongs to one event for ever."""
        await store.append("s", [note("a", id="a"), note("b", id="b")])
        before = await whole(store)
        with pytest.raises(InvalidEvent, match="stands already"):
            await store.append(stream, events)
        assert await whole(store) == before

    @pytest.mark.parametrize(
        "events",
        [
            [note("a", id="a"), note("c", id="c")],
            [note("c", id="c"), note("a", id="a")],
            [note("a", id="a"), note("c")],
        ],
        ids=["a_new_one_behind", "a_new_one_in_front", "one_without_an_id"],
    )
    async def test_some_ids_are_known_and_some_are_not_then_it_is_refused(
        self, store: EventStore, events: list[NewEvent]
    ) -> None:
        """An append is written whole or not at all, so half of one cannot be known."""
        await store.append("s", [note("a", id="a"), note("b", id="b")])
        before = await whole(store)
        with pytest.raises(InvalidEvent, match="stands already"):
            await store.append("s", events)
        assert await whole(store) == before

    async def test_known_ids_come_with_a_fresh_key_then_they_count_as_written(
        self, store: EventStore
    ) -> None:
        """Ids alone are enough to know an append again."""
        await store.append("s", [note("a", id="a")])
        again = await store.append("s", [note("a", id="a")], idempotency_key="fresh")
        assert again.duplicate is True
        assert await store.head() == 1

    async def test_known_ids_come_with_a_fresh_key_then_the_key_is_used_from_then_on(
        self, store: EventStore
    ) -> None:
        """Whoever was told "it stands" under a key is not told later that it was something else."""
        sent = [note("a", id="a"), note("b", id="b")]
        await store.append("t", note("t", id="t"))
        first = await store.append("s", sent[0])
        await store.append("t", note("between"))
        await store.append("s", sent[1])
        before = await whole(store)
        for _ in range(2):
            again = await store.append("s", sent, idempotency_key="k")
            assert (again.duplicate, again.version, again.position) == (True, 2, 4)
            assert [event.id for event in again.events] == ["a", "b"]
        with pytest.raises(IdempotencyMismatch) as caught:
            await store.append("s", note("other"), idempotency_key="k")
        assert caught.value.result == again
        assert await store.lookup("s", "k") == again
        call = [Append("s", sent[0]), Append("t", note("t", id="t"))]
        for _ in range(2):
            results = await store.append_many(call, idempotency_key="k")
            assert [(r.duplicate, r.version) for r in results] == [(True, 1), (True, 1)]
            assert results[0].events == first.events
        with pytest.raises(IdempotencyMismatch):
            await store.append_many([Append("s", note("other"))], idempotency_key="k")
        assert await whole(store) == before
        assert (await store.verify()).damages == ()

    async def test_the_stream_is_named_as_an_id_then_a_retry_is_still_known(
        self, store: EventStore
    ) -> None:
        """What the store made up itself is no part of the content, wherever it also stands."""
        await store.append("event-000001", notes(1), idempotency_key="k")
        again = await store.append("event-000001", notes(1), idempotency_key="k")
        assert again.duplicate is True

    async def test_numbers_differ_only_in_kind_then_they_are_other_content(
        self, store: EventStore
    ) -> None:
        """Python holds 0.0 and -0.0 for equal; what is stored is not."""
        await store.append("s", NewEvent("t", {"x": 0.0}), idempotency_key="k")
        with pytest.raises(IdempotencyMismatch):
            await store.append("s", NewEvent("t", {"x": -0.0}), idempotency_key="k")
        (event,) = await store.read("s").list()
        assert event.payload == b'{"x":0.0}'
