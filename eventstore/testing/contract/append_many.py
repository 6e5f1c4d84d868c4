"""Appends to several streams: all of it, or nothing."""

from __future__ import annotations

import asyncio

import pytest

from ...errors import ConditionFailed, Conflict, IdempotencyMismatch, InvalidEvent
from ...events import Append
from ...points import Expected
from ...query import AppendCondition, Query
from ...store import EventStore
from .harness import Harness, note, notes, numbers, whole


class AppendManyContract(Harness):
    """Atomic over streams, with one key, and errors that name the append at fault."""

    async def test_several_streams_are_written_then_each_has_its_answer_in_order(
        self, store: EventStore
    ) -> None:
        """One answer for each append, positions in the order of the call."""
        await store.append("b", notes(1))
        results = await store.append_many(
            [
                Append("b", notes(2, start=2), expected=1, actor="ann"),
                Append("a", notes(1), expected=Expected.NO_STREAM, correlation_id="r"),
                Append("c", notes(3), context={"k": 1}, causation_id="x"),
            ]
        )
        assert [(r.version, r.position, r.duplicate) for r in results] == [
            (3, 3, False),
            (1, 4, False),
            (3, 7, False),
        ]
        log = await store.read_all(after=1).list()
        assert log == [event for result in results for event in result.events]
        assert [event.stream for event in log] == ["b", "b", "a", "c", "c", "c"]
        assert (log[0].actor, log[2].actor) == ("ann", None)
        assert (log[2].correlation_id, log[3].context, log[3].causation_id) == (
            "r",
            {"k": 1},
            "x",
        )

    @pytest.mark.parametrize("at_fault", [0, 1, 2])
    async def test_one_append_conflicts_then_nothing_of_the_call_is_written(
        self, store: EventStore, at_fault: int
    ) -> None:
        """The conflict names the append, and carries what that stream's caller missed."""
        for stream in ("s0", "s1", "s2"):
            await store.append(stream, notes(2))
        before = await whole(store)
        appends = [
            Append(f"s{index}", notes(1), expected=1 if index == at_fault else 2)
            for index in range(3)
        ]
        with pytest.raises(Conflict) as caught:
            await store.append_many(appends, idempotency_key="k")
        assert (caught.value.index, caught.value.stream) == (at_fault, f"s{at_fault}")
        assert (caught.value.expected, caught.value.actual) == (1, 2)
        assert numbers(list(caught.value.events)) == [2]
        assert await whole(store) == before
        assert (await store.append_many([Append("s0", notes(1))], idempotency_key="k"))[
            0
        ].duplicate is False

    async def test_one_condition_fails_then_nothing_of_the_call_is_written(
        self, store: EventStore
    ) -> None:
        """The failed condition names its append."""
        await store.append("x", note(tags=["t"]))
        before = await whole(store)
        condition = AppendCondition(Query(tags=("t",)))
        with pytest.raises(ConditionFailed) as caught:
            await store.append_many(
                [Append("a", notes(1)), Append("b", notes(1), condition=condition)]
            )
        assert (caught.value.index, caught.value.stream) == (1, "b")
        assert list(caught.value.events) == before[1]
        assert await whole(store) == before

    async def test_checks_stand_among_appends_then_they_guard_them(self, store: EventStore) -> None:
        """An append without events checks its stream and writes nothing."""
        await store.append("guard", notes(2))
        results = await store.append_many(
            [Append("guard", [], expected=2), Append("a", notes(1)), Append("b", [], expected=0)]
        )
        assert [(r.version, len(r.events)) for r in results] == [(2, 0), (1, 1), (0, 0)]
        assert results[1].position == 3
        before = await whole(store)
        with pytest.raises(Conflict) as caught:
            await store.append_many([Append("a", notes(1)), Append("guard", [], expected=1)])
        assert caught.value.index == 1
        assert numbers(list(caught.value.events)) == [2]
        assert await whole(store) == before

    async def test_a_check_stands_behind_an_append_then_it_answers_the_head_before_the_call(
        self, store: EventStore
    ) -> None:
        """What was checked, wherever the check stands in the call; the key gives it again."""
        await store.append("guard", notes(2))
        appends = [Append("guard", []), Append("a", notes(3)), Append("b", [])]
        for duplicate in (False, True):
            results = await store.append_many(appends, idempotency_key="k")
            assert [(r.version, r.position, r.duplicate) for r in results] == [
                (2, 2, duplicate),
                (3, 5, duplicate),
                (0, 2, duplicate),
            ]

    async def test_only_checks_are_given_then_nothing_is_written_and_the_key_is_free(
        self, store: EventStore
    ) -> None:
        """A call of nothing but checks uses no key up."""
        await store.append("a", notes(2))
        for _ in range(2):
            results = await store.append_many(
                [Append("a", [], expected=2), Append("b", [], expected=0)], idempotency_key="k"
            )
            assert [(r.version, r.position, r.duplicate) for r in results] == [
                (2, 2, False),
                (0, 2, False),
            ]
        written = await store.append_many([Append("a", notes(1))], idempotency_key="k")
        assert written[0].duplicate is False

    async def test_the_key_of_a_call_is_used_again_then_the_first_answers_come(
        self, store: EventStore
    ) -> None:
        """The key belongs to the call; expectations are not asked again, checks neither."""
        await store.append("guard", notes(1))
        appends = [
            Append("a", notes(2), expected=0),
            Append("guard", [], expected=1),
            Append("b", notes(1)),
        ]
        first = await store.append_many(appends, idempotency_key="k")
        await store.append("a", notes(1))
        await store.append("guard", notes(1))
        before = await whole(store)
        again = await store.append_many(appends, idempotency_key="k")
        assert [r.events for r in again] == [r.events for r in first]
        assert [(r.version, r.duplicate) for r in again] == [(2, True), (1, True), (1, True)]
        assert await whole(store) == before

    @pytest.mark.parametrize(
        "appends",
        [
            [Append("a", notes(1)), Append("b", notes(2))],
            [Append("b", notes(1)), Append("a", notes(1))],
            [Append("a", notes(1))],
            [Append("a", notes(1)), Append("c", notes(1))],
            [Append("a", notes(1)), Append("b", notes(1)), Append("c", [])],
            [Append("a", notes(1)), Append("b", notes(1), actor="ann")],
        ],
        ids=["events", "order", "fewer", "stream", "one_more_check", "metadata"],
    )
    async def test_the_key_of_a_call_comes_with_other_content_then_it_is_a_mismatch(
        self, store: EventStore, appends: list[Append]
    ) -> None:
        """The mismatch holds the first call's answers, one for each of its appends."""
        first = await store.append_many(
            [Append("a", notes(1)), Append("b", notes(1))], idempotency_key="k"
        )
        before = await whole(store)
        with pytest.raises(IdempotencyMismatch) as caught:
            await store.append_many(appends, idempotency_key="k")
        assert (caught.value.stream, caught.value.key) == (None, "k")
        assert isinstance(caught.value.result, list)
        assert [r.events for r in caught.value.result] == [r.events for r in first]
        assert await whole(store) == before

    async def test_a_call_and_a_stream_use_one_key_then_they_do_not_meet(
        self, store: EventStore
    ) -> None:
        """The key of an append_many is not the key of one of its streams."""
        await store.append_many([Append("s", notes(1))], idempotency_key="k")
        assert await store.lookup("s", "k") is None
        result = await store.append("s", notes(1), idempotency_key="k")
        assert (result.duplicate, result.version) == (False, 2)
        again = await store.append_many([Append("s", notes(1))], idempotency_key="k")
        assert (again[0].duplicate, again[0].version) == (True, 1)

    async def test_known_ids_are_sent_again_then_the_call_counts_as_written(
        self, store: EventStore
    ) -> None:
        """All of the call's ids stand as they were sent: it was written."""
        appends = [
            Append("a", [note("a1", id="a1"), note("a2", id="a2")], expected=0),
            Append("guard", [], expected=0),
            Append("b", [note("b1", id="b1")], expected=0),
        ]
        first = await store.append_many(appends)
        again = await store.append_many(appends)
        assert [r.events for r in again] == [r.events for r in first]
        assert [r.duplicate for r in again] == [True, True, True]
        assert (again[1].version, again[1].position) == (0, 3)
        before = await whole(store)
        for changed in (
            [Append("a", [note("a1", id="a1")]), Append("b", [note("new", id="b2")])],
            [Append("b", [note("a1", id="a1")])],
            [Append("a", [note("a1", id="a1")]), Append("b", [note("other", id="b1")])],
        ):
            with pytest.raises(InvalidEvent, match="stands already"):
                await store.append_many(changed)
        assert await whole(store) == before

    async def test_one_id_is_given_twice_in_a_call_then_it_is_refused(
        self, store: EventStore
    ) -> None:
        """An id belongs to one event, also before anything stands."""
        with pytest.raises(InvalidEvent, match="twice"):
            await store.append_many([Append("a", note(id="x")), Append("b", note(id="x"))])
        with pytest.raises(InvalidEvent, match="twice"):
            await store.append("a", [note(id="x"), note(id="x")])
        assert await store.head() == 0

    @pytest.mark.parametrize(
        ("appends", "says"),
        [
            ([], "at least one"),
            ([Append("a", notes(1)), Append("a", notes(1))], "twice"),
            ([Append("a", []), Append("b", notes(1)), Append("a", notes(1))], "twice"),
            ([("a", [])], "an Append"),
            ([Append(f"s{n}", []) for n in range(1_001)], "at most 1000"),
            ([Append("a", notes(6_000)), Append("b", notes(4_001))], "at most 10000"),
            ([Append("a", notes(1)), Append("", notes(1))], "stream"),
            ([Append("a", notes(1)), Append("b", notes(1), expected=-1)], "expected"),
        ],
        ids=["none", "twice", "check_and_append", "tuple", "streams", "events", "name", "expected"],
    )
    async def test_a_call_is_malformed_then_it_is_refused_and_nothing_is_written(
        self, store: EventStore, appends: list[Append], says: str
    ) -> None:
        """A stream twice, too many of anything, or a bad part refuses the whole call."""
        with pytest.raises(InvalidEvent, match=says):
            await store.append_many(appends)
        assert await store.head() == 0

    async def test_calls_over_the_same_streams_run_at_once_then_none_is_torn(
        self, store: EventStore
    ) -> None:
        """Two calls over the same streams in any order never mix and never block each other."""

        async def transfer(name: str, streams: list[str]) -> None:
            await store.append_many([Append(stream, note(name)) for stream in streams])

        await asyncio.gather(
            *(
                transfer(f"t{index}", ["a", "b", "c"] if index % 2 else ["c", "b", "a"])
                for index in range(30)
            )
        )
        log = await store.read_all().list()
        triples = [log[index : index + 3] for index in range(0, len(log), 3)]
        assert len(triples) == 30
        assert all(len({e.data["text"] for e in triple}) == 1 for triple in triples)
        assert [await store.version(stream) for stream in "abc"] == [30, 30, 30]

    async def test_a_thousand_streams_are_written_at_once_then_all_stand(
        self, store: EventStore
    ) -> None:
        """The widest call there may be."""
        results = await store.append_many(
            [Append(f"s/{n:04d}", notes(1, start=n)) for n in range(1_000)]
        )
        assert [r.position for r in results] == list(range(1, 1_001))
        assert len([info async for info in store.streams(prefix="s/")]) == 1_000
