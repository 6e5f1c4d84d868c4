"""Callers that wait together are written together, and answer for themselves only."""

from __future__ import annotations

import asyncio

import pytest

from eventstore import (
    AppendCondition,
    AppendResult,
    Conflict,
    EventStore,
    InvalidEvent,
    NewEvent,
    Query,
)
from eventstore.testing import History, SequentialIds

from .inside import writer_of


@pytest.fixture
def transactions(store: EventStore) -> list[str]:
    """Every BEGIN, COMMIT and ROLLBACK of the store's writer from here on."""
    connection = writer_of(store)._connection
    seen: list[str] = []
    words = ("BEGIN", "COMMIT", "ROLLBACK")
    connection.set_trace_callback(lambda sql: seen.append(sql) if sql.startswith(words) else None)
    return seen


async def test_fifty_callers_come_in_one_turn_then_there_is_one_transaction(
    store: EventStore, transactions: list[str]
) -> None:
    """A sync is the dearest part of a commit: those who come together share one."""
    results = await asyncio.gather(
        *(store.append(f"s/{n % 7}", NewEvent("t", n)) for n in range(50))
    )
    assert transactions == ["BEGIN IMMEDIATE", "COMMIT"]
    assert [result.position for result in results] == list(range(1, 51))


async def test_some_of_a_turn_are_refused_then_the_others_do_not_notice(
    store: EventStore, transactions: list[str]
) -> None:
    """Judged in their order, each on its own, against what was accepted before it."""
    await store.append("old", NewEvent("t", 0, tags=["x"]))
    transactions.clear()
    answers = await asyncio.gather(
        store.append("a", NewEvent("t", 1), expected=0),
        store.append("a", NewEvent("t", 2), expected=0),  # the one before it was accepted
        store.append("a", NewEvent("t", 3, tags=["y"]), expected=1),
        store.append("b", NewEvent("t", 4), condition=AppendCondition(Query(tags=["x"]), after=0)),
        store.append("b", NewEvent("t", 5), condition=AppendCondition(Query(tags=["y"]), after=1)),
        store.append("b", NewEvent("t", 6), condition=AppendCondition(Query(tags=["z"]), after=0)),
        store.append("c", NewEvent("t", 7), idempotency_key="k"),
        store.append("c", NewEvent("t", 7), idempotency_key="k"),
        return_exceptions=True,
    )
    assert [type(answer).__name__ for answer in answers] == [
        "AppendResult",
        "Conflict",
        "AppendResult",
        "ConditionFailed",
        "ConditionFailed",
        "AppendResult",
        "AppendResult",
        "AppendResult",
    ]
    assert transactions == ["BEGIN IMMEDIATE", "COMMIT"]
    assert [e.data for e in await store.read_all(after=1).list()] == [1, 3, 6, 7]
    first, again = answers[-2:]
    assert isinstance(first, AppendResult)
    assert isinstance(again, AppendResult)
    assert (again.duplicate, again.events) == (True, first.events)


async def test_an_id_factory_repeats_itself_then_only_the_culprit_fails(url: str) -> None:
    """The database refuses the whole batch; written one by one, only the second use of the id
    fails, and nothing that the batch had remembered is believed afterwards."""
    given = iter(["1", "2", "3", "twice", "5", "6", "twice", "8", "9", "10", "11", "12"])
    async with EventStore.open(url, ids=lambda: next(given)) as store:
        acme = store.tenant("acme")  # a tenant, streams, a type and tags that are new to the file
        answers = await asyncio.gather(
            *(acme.append(f"s/{n % 3}", NewEvent(f"t{n}", n, tags=[f"tag{n}"])) for n in range(8)),
            return_exceptions=True,
        )
        failed = [n for n, answer in enumerate(answers) if isinstance(answer, BaseException)]
        assert failed == [6]
        assert isinstance(answers[6], InvalidEvent)
        assert answers[6].written == "no"
        log = await acme.read_all().list()
        assert [event.data for event in log] == [0, 1, 2, 3, 4, 5, 7]
        await acme.append("s/0", NewEvent("t6", "again", tags=["tag6"]))
        assert [e.data for e in await acme.read_all(tags=["tag6"]).list()] == ["again"]
        assert (await acme.verify()).damages == ()


async def test_an_id_stands_from_before_then_a_factory_that_repeats_it_is_told(url: str) -> None:
    """The same across batches and openings: an id belongs to one event for ever."""
    async with EventStore.open(url, ids=SequentialIds()) as store:
        await store.append("s", NewEvent("t", 1))
    async with EventStore.open(url, ids=SequentialIds()) as store:
        with pytest.raises(InvalidEvent, match="id factory"):
            await store.append("s", NewEvent("t", 2))
        assert (await store.append("s", NewEvent("t", 3))).version == 2


async def test_the_clock_fails_then_every_caller_is_told_and_the_writer_lives(url: str) -> None:
    """Whatever goes wrong in the writer's thread, nobody is left waiting."""
    broken = True

    def clock() -> int:
        if broken:
            raise ZeroDivisionError("no time")
        return 1

    async with EventStore.open(url, clock=clock) as store:
        answers = await asyncio.gather(
            *(store.append("s", NewEvent("t", n)) for n in range(5)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [ZeroDivisionError] * 5
        broken = False
        assert (await store.append("s", NewEvent("t", 1))).position == 1


async def test_calls_and_jobs_come_mixed_then_jobs_run_behind_the_appends(
    store: EventStore, transactions: list[str]
) -> None:
    """Checkpoints and leases have transactions of their own and see the appends before them."""
    await store.append("s", NewEvent("t", 0))
    transactions.clear()
    answers = await asyncio.gather(
        store.append("s", NewEvent("t", 1)),
        store.checkpoints.acquire("work", "me"),
        store.append("s", NewEvent("t", 2)),
        store.checkpoints.acquire("work", "you"),
    )
    assert [answers[0].position, answers[2].position] == [2, 3]
    assert answers[1] is not None
    assert answers[3] is None
    assert transactions == ["BEGIN IMMEDIATE", "COMMIT"] * 3


async def test_batches_fail_and_succeed_in_turns_then_the_log_is_sound(url: str) -> None:
    """Conflicts, repeated ids and good appends from many callers: what was answered stands."""
    history, turns = History(), iter(range(10_000))

    def ids() -> str:
        turn = next(turns)
        return f"id-{turn - turn % 10 if turn % 10 == 3 else turn}"

    async def call(store: EventStore, caller: int) -> int:
        done = 0
        for turn in range(20):
            try:
                history.acknowledged(
                    await store.append(
                        f"s/{turn % 5}",
                        [NewEvent("t", [caller, turn])],
                        expected=await store.version(f"s/{turn % 5}"),
                    )
                )
                done += 1
            except (Conflict, InvalidEvent):
                continue
        return done

    async with EventStore.open(url, ids=ids) as store:
        written = sum(await asyncio.gather(*(call(store, caller) for caller in range(16))))
        log = await store.read_all().list()
        history.check_log(log)
        assert len(log) == written > 0
        assert (await store.verify()).damages == ()
