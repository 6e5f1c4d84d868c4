"""What may wait for the writer is bounded, in number and in bytes; callers beyond wait outside."""

from __future__ import annotations

import asyncio

import pytest

from eventstore import EventStore, NewEvent, StoreClosed
from eventstore.snapshots import Snapshot
from tests.waiting import until

from .conftest import Connect
from .inside import writer_of


async def _start(store: EventStore, count: int, payload: object = "x") -> list[asyncio.Task[int]]:
    async def call(n: int) -> int:
        event = NewEvent("t", payload)
        return (await store.append("s", event, idempotency_key=f"k{n}")).version

    tasks = [asyncio.create_task(call(n)) for n in range(count)]
    await asyncio.sleep(0)  # all of them are in the queue, or before it
    return tasks


async def test_more_callers_come_than_may_wait_then_they_wait_outside(
    url: str, connect: Connect
) -> None:
    """While nothing can be written at most `queue_appends_max` appends wait; all are written in
    their order when it can, and the room is given back."""
    async with EventStore.open(url, queue_appends_max=3) as store:
        writer = writer_of(store)
        with connect() as raw:
            raw.execute("BEGIN IMMEDIATE")
            tasks = await _start(store, 20)
            assert (writer._appends_waiting, len(writer._room)) == (3, 17)
            raw.execute("ROLLBACK")
            assert await asyncio.gather(*tasks) == list(range(1, 21))
        assert (writer._appends_waiting, writer._bytes_waiting, len(writer._room)) == (0, 0, 0)


async def test_many_bytes_come_then_they_wait_outside(url: str, connect: Connect) -> None:
    """`queue_bytes_max` bounds the payloads that wait."""
    async with EventStore.open(url, queue_bytes_max=1_000) as store:
        writer = writer_of(store)
        with connect() as raw:
            raw.execute("BEGIN IMMEDIATE")
            tasks = await _start(store, 10, "x" * 298)  # 300 bytes as JSON
            assert (writer._appends_waiting, writer._bytes_waiting) == (3, 900)
            raw.execute("ROLLBACK")
            assert await asyncio.gather(*tasks) == list(range(1, 11))
        assert (writer._appends_waiting, writer._bytes_waiting) == (0, 0)


@pytest.mark.parametrize(
    "options", [{"queue_appends_max": 3}, {"queue_bytes_max": 1_000}], ids=["count", "bytes"]
)
async def test_many_snapshots_come_then_they_wait_outside(
    url: str, connect: Connect, options: dict[str, int]
) -> None:
    """Other work for the writer keeps to the bounds of the queue, in count and in bytes, and
    whoever is cancelled outside leaves no trace."""
    async with EventStore.open(url, **options) as store:  # type: ignore[arg-type]  # these two
        await store.append("s", [NewEvent("t", n) for n in range(12)])
        writer = writer_of(store)
        with connect() as raw:
            raw.execute("BEGIN IMMEDIATE")
            state = Snapshot(1, 1, b"x" * 300, b"h")
            tasks = [
                asyncio.create_task(store.snapshots.save("s", f"r{n}", "f", state))
                for n in range(10)
            ]
            await until(lambda: len(writer._room) == 7)
            assert writer._appends_waiting == 3
            assert writer._bytes_waiting == 900
            tasks[9].cancel()
            raw.execute("ROLLBACK")
            answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert answers[:9] == [True] * 9
        assert len(await store.snapshots.list("s")) == 9
        assert (writer._appends_waiting, writer._bytes_waiting, len(writer._room)) == (0, 0, 0)


async def test_one_append_is_larger_than_the_bound_then_it_goes_alone(url: str) -> None:
    """A bound must not make an append impossible that the limits allow."""
    async with EventStore.open(url, queue_bytes_max=1_000) as store:
        small, large, after = await asyncio.gather(
            store.append("s", NewEvent("t", "x")),
            store.append("s", NewEvent("t", "x" * 5_000)),
            store.append("s", NewEvent("t", "x")),
        )
        assert (small.version, large.version, after.version) == (1, 2, 3)


async def test_a_waiting_caller_is_cancelled_then_it_writes_nothing(
    url: str, connect: Connect
) -> None:
    """Those who wait outside have handed nothing over: cancelled, they leave no trace."""
    async with EventStore.open(url, queue_appends_max=2) as store:
        with connect() as raw:
            raw.execute("BEGIN IMMEDIATE")
            tasks = await _start(store, 9)
            for task in tasks[3::2]:
                task.cancel()
            await asyncio.gather(*tasks[3::2], return_exceptions=True)
            raw.execute("ROLLBACK")
            answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [answer for answer in answers if isinstance(answer, int)] == list(range(1, 7))
        for n in range(9):
            cancelled = n in (3, 5, 7)
            assert (await store.lookup("s", f"k{n}") is None) == cancelled
        assert (writer_of(store)._appends_waiting, len(writer_of(store)._room)) == (0, 0)


async def test_others_append_all_the_time_then_one_who_waits_has_its_turn(url: str) -> None:
    """Room goes to those who have waited longest: nobody is kept out by callers who come back
    as soon as they are answered."""
    async with EventStore.open(url, queue_appends_max=4) as store:
        busy = True

        async def come_back(n: int) -> int:
            turns = 0
            while busy:
                await store.append(f"busy/{n}", NewEvent("t", turns))
                turns += 1
            return turns

        others = [asyncio.create_task(come_back(n)) for n in range(4)]
        await asyncio.sleep(0)
        late = [asyncio.create_task(store.append("late", NewEvent("t", n))) for n in range(3)]
        positions = [(await task).position for task in late]
        busy = False
        await asyncio.gather(*others)
        assert positions == [5, 6, 7]  # behind the four who were there, before their next ones


async def test_the_store_closes_then_those_outside_are_refused_and_those_inside_written(
    url: str, connect: Connect
) -> None:
    """`close` drains what was accepted; what had no room yet is told that nothing was written."""
    store = await EventStore.open(url, queue_appends_max=3)
    with connect() as raw:
        raw.execute("BEGIN IMMEDIATE")
        tasks = await _start(store, 8)
        closing = asyncio.create_task(store.close())
        await until(lambda: all(task.done() for task in tasks[3:]))
        for task in tasks[3:]:
            with pytest.raises(StoreClosed):
                await task
        assert not any(task.done() for task in tasks[:3])
        raw.execute("ROLLBACK")
    await closing
    assert await asyncio.gather(*tasks[:3]) == [1, 2, 3]
    async with EventStore.open(url) as again:
        assert await again.head() == 3
