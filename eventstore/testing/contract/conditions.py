"""Conditions: an append that is refused because of what stands elsewhere in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ...errors import ConditionFailed, Conflict, InvalidEvent
from ...events import AppendResult, NewEvent
from ...points import Expected
from ...query import AppendCondition, Query
from ...store import EventStore
from .harness import Harness, note, notes, positions, whole

QUERIES = [
    # what is asked for,                                             does the event match?
    (Query(types=("order.paid",)), True),
    (Query(types=("order.paid", "order.sent")), True),
    (Query(types=("order.sent",)), False),
    (Query(types=("order",)), False),
    (Query(tags=("order:7",)), True),
    (Query(tags=("order:7", "user:ann")), True),
    (Query(tags=("order:7", "user:bob")), False),
    (Query(tags=("order",)), False),
    (Query(types=("order.paid",), tags=("order:7",)), True),
    (Query(types=("order.sent",), tags=("order:7",)), False),
    (Query(), True),
    ([Query(types=("order.sent",)), Query(tags=("user:ann",))], True),
    ([Query(types=("order.sent",)), Query(tags=("user:bob",))], False),
]


def _paid() -> NewEvent:
    return NewEvent("order.paid", {"order": 7}, tags=["order:7", "user:ann"])


class ConditionContract(Harness):
    """`AppendCondition` over types and tags, in other streams, after a position."""

    @pytest.mark.parametrize(("query", "matches"), QUERIES)
    async def test_a_condition_asks_for_types_and_tags_then_it_fails_where_an_event_matches(
        self, store: EventStore, query: Query | list[Query], matches: bool
    ) -> None:
        """Types any-of, tags all-of, a list of queries or-ed; the stream does not matter."""
        await store.append("orders/7", _paid())
        before = await whole(store)
        condition = AppendCondition(query, after=0)
        if not matches:
            result = await store.append("mail/7", note(), condition=condition)
            assert result.position == 2
            return
        with pytest.raises(ConditionFailed) as caught:
            await store.append("mail/7", note(), condition=condition)
        assert caught.value.query == (tuple(query) if isinstance(query, list) else query)
        assert caught.value.after == 0
        assert list(caught.value.events) == before[1]
        assert (caught.value.stream, caught.value.index) == ("mail/7", 0)
        assert (caught.value.truncated, caught.value.written) == (False, "no")
        assert await whole(store) == before

    async def test_matching_events_stand_at_or_before_the_position_then_it_is_written(
        self, store: EventStore
    ) -> None:
        """`after` is a position, and the event that stands there is known."""
        paid = (await store.append("orders/7", [note(), _paid()])).position
        await store.append("s", note())
        query = Query(types=("order.paid",))
        with pytest.raises(ConditionFailed) as caught:
            await store.append("m", note(), condition=AppendCondition(query, after=paid - 1))
        assert positions(list(caught.value.events)) == [paid]
        result = await store.append("m", note(), condition=AppendCondition(query, after=paid))
        assert result.version == 1
        again = await store.append("m", note(), condition=AppendCondition(query, after=4))
        assert again.version == 2

    async def test_the_own_events_would_match_then_the_condition_does_not_see_them(
        self, store: EventStore
    ) -> None:
        """A condition is about what stood before: "only if nobody has paid yet"."""
        condition = AppendCondition(Query(types=("order.paid",), tags=("order:7",)))
        first = await store.append("orders/7", _paid(), condition=condition)
        assert first.version == 1
        with pytest.raises(ConditionFailed):
            await store.append("orders/7", _paid(), condition=condition)

    async def test_many_append_under_one_condition_then_one_of_them_wins(
        self, store: EventStore
    ) -> None:
        """Also within one group commit: a call sees the calls accepted before it."""
        condition = AppendCondition(Query(tags=("seat:12",)))

        async def book(name: str) -> AppendResult | ConditionFailed:
            event = NewEvent("seat.booked", {"by": name}, tags=["seat:12"])
            try:
                return await store.append(f"person/{name}", event, condition=condition)
            except ConditionFailed as failed:
                return failed

        answers = await asyncio.gather(*(book(f"p{i}") for i in range(20)))
        won = [answer for answer in answers if isinstance(answer, AppendResult)]
        lost = [answer for answer in answers if isinstance(answer, ConditionFailed)]
        assert (len(won), len(lost)) == (1, 19)
        assert {failed.events for failed in lost} == {won[0].events}
        assert await store.head() == 1

    @pytest.mark.parametrize(("matching", "truncated"), [(1_000, False), (1_001, True)])
    async def test_more_than_a_thousand_match_then_the_failure_is_truncated(
        self, store: EventStore, matching: int, truncated: bool
    ) -> None:
        """The first 1,000 that match, and not what lies between them."""
        events = [NewEvent("a" if n % 2 else "b", n) for n in range(matching * 2)]
        await store.append("s", events)
        with pytest.raises(ConditionFailed) as caught:
            await store.append("t", note(), condition=AppendCondition(Query(types=("a",))))
        assert [event.data for event in caught.value.events] == list(range(1, 2_000, 2))
        assert caught.value.truncated is truncated

    async def test_expectation_and_condition_are_both_given_then_both_are_asked(
        self, store: EventStore
    ) -> None:
        """The expectation first; a failed condition is a conflict as well."""
        await store.append("orders/7", _paid())
        condition = AppendCondition(Query(types=("order.paid",)))
        with pytest.raises(Conflict) as conflict:
            await store.append("s", note(), expected=1, condition=condition)
        assert type(conflict.value) is Conflict
        with pytest.raises(Conflict) as failed:
            await store.append("s", note(), expected=Expected.NO_STREAM, condition=condition)
        assert type(failed.value) is ConditionFailed
        assert failed.value.actual == 0

    async def test_no_events_are_given_then_the_condition_is_checked_all_the_same(
        self, store: EventStore
    ) -> None:
        """An append without events is a check."""
        await store.append("orders/7", _paid())
        with pytest.raises(ConditionFailed):
            await store.append("s", [], condition=AppendCondition(Query(types=("order.paid",))))
        result = await store.append("s", [], condition=AppendCondition(Query(types=("x",))))
        assert (result.version, result.position) == (0, 1)

    async def test_another_tenant_has_matching_events_then_they_do_not_count(
        self, store: EventStore
    ) -> None:
        """A condition looks at the log of its own tenant."""
        await store.tenant("acme").append("orders/7", _paid())
        condition = AppendCondition(Query(types=("order.paid",)))
        assert (await store.append("s", note(), condition=condition)).position == 1

    async def test_a_query_has_a_hundred_tags_and_types_then_it_works(
        self, store: EventStore
    ) -> None:
        """The widest query there may be, alone and fifty times."""
        names = [f"n{n:03d}" for n in range(100)]
        await store.append("s", [NewEvent("n050", {}, tags=names), NewEvent("n050", {})])
        await store.append("s", NewEvent("n051", {}, tags=names[1:]))
        query = Query(types=tuple(names), tags=tuple(names))
        for wanted in (query, [query] * 50):
            assert positions(await store.read_all(query=wanted).list()) == [1]
            with pytest.raises(ConditionFailed) as caught:
                await store.append("m", note(), condition=AppendCondition(wanted))
            assert positions(list(caught.value.events)) == [1]
        result = await store.append("m", note(), condition=AppendCondition(query, after=1))
        assert result.position == 4

    @pytest.mark.parametrize("size", [1, 1_500])
    async def test_the_matching_event_is_far_then_it_is_found(
        self, store: EventStore, size: int
    ) -> None:
        """A condition looks at the whole log behind its position, not at a page of it."""
        await store.append("s", notes(size))
        await store.append("orders/7", _paid())
        await store.append("s", notes(size))
        with pytest.raises(ConditionFailed) as caught:
            await store.append("m", note(), condition=AppendCondition(Query(tags=("user:ann",))))
        assert positions(list(caught.value.events)) == [size + 1]

    async def test_the_queries_of_a_condition_come_once_then_each_use_asks_for_all(
        self, store: EventStore
    ) -> None:
        """A generator gives its queries once, and a list may be changed after the condition."""
        await store.append("orders/7", _paid())
        wanted = [Query(types=("order.sent",)), Query(tags=("user:ann",))]
        for condition in (AppendCondition(q for q in wanted), AppendCondition(wanted)):  # type: ignore[arg-type]  # more than is said
            for _ in range(2):
                with pytest.raises(ConditionFailed) as caught:
                    await store.append("m", note(), condition=condition)
                assert caught.value.query == (
                    Query(types=("order.sent",)),
                    Query(tags=("user:ann",)),
                )
            wanted.pop()

    @pytest.mark.parametrize(
        "make",
        [
            lambda: AppendCondition(Query(), after=-1),
            lambda: AppendCondition(Query(), after=True),
            lambda: AppendCondition(Query(), after="1"),  # type: ignore[arg-type]  # wrong
            lambda: AppendCondition(None),  # type: ignore[arg-type]  # wrong
            lambda: AppendCondition([]),
            lambda: AppendCondition(["types"]),  # type: ignore[list-item]  # wrong
            lambda: AppendCondition(5),  # type: ignore[arg-type]  # wrong
            lambda: AppendCondition([Query()] * 51),
            lambda: Query(types="order.paid"),  # type: ignore[arg-type]  # wrong
            lambda: Query(tags=("",)),
            lambda: Query(tags=tuple(f"t{n}" for n in range(101))),
        ],
    )
    async def test_a_condition_is_malformed_then_it_is_refused_where_it_is_made(
        self, store: EventStore, make: Callable[[], object]
    ) -> None:
        """A condition that could not mean anything never reaches the log."""
        with pytest.raises(InvalidEvent):
            make()
        with pytest.raises(InvalidEvent, match="condition"):
            await store.append("s", note(), condition=Query())  # type: ignore[arg-type]  # wrong
        assert await store.head() == 0
