"""Every coroutine of the store, cancelled wherever it waits, leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from eventstore import Append, EventStore, NewEvent
from eventstore.errors import EventStoreError
from eventstore.snapshots import Snapshot
from tests.waiting import until

from .conftest import open_things

AWAITS_MAX = 100
"""No coroutine here waits so often; one that did would never be cancelled at its last place."""


class _CancelledAt:
    """Runs a coroutine and has its task cancelled when it waits for the k-th time."""

    def __init__(self, work: Awaitable[Any], place: int) -> None:
        self._work = work
        self._place = place
        self.done = False

    def __await__(self) -> Generator[Any, Any, None]:
        task = asyncio.current_task()
        assert task is not None
        steps = self._work.__await__()
        resume, value = steps.send, None
        for step in range(1, AWAITS_MAX):
            try:
                waited_for = resume(value)
            except StopIteration:
                self.done = True
                return
            if step == self._place:
                # As anybody's cancel() does: in the next turn, when the task is known to wait.
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                resume, value = steps.send, (yield waited_for)
            except BaseException as exc:  # told to the coroutine, which may still clean up
                resume, value = steps.throw, exc
        raise AssertionError(f"more than {AWAITS_MAX} waits")


async def cancel_everywhere(work: Callable[[], Awaitable[Any]]) -> int:
    """Starts `work` anew and cancels it at its k-th wait, for k = 1, 2, ... until one run ends by
    itself. Returns how many were cancelled. A refusal by the store ends a run like a result."""
    for place in range(1, AWAITS_MAX):
        run = _CancelledAt(work(), place)
        task = asyncio.ensure_future(_finish(run))
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
            assert run.done
            return place - 1
    raise AssertionError(f"still waiting after {AWAITS_MAX} places")


async def _finish(run: _CancelledAt) -> None:
    try:
        await run
    except EventStoreError:
        run.done = True


_STATE = Snapshot(1, 1, b"state", b"hash")
_EVENT = NewEvent("t", {"n": 1}, id="given", tags=["x"])


async def _first(events: Any) -> Any:
    async for event in events:
        return event
    return None


async def _held(store: EventStore) -> None:
    lease = await store.checkpoints.acquire("held", "me")
    if lease is not None:
        await store.checkpoints.renew(lease)
        await store.checkpoints.save("held", 1, lease=lease)
        await store.checkpoints.release(lease)


OPERATIONS: dict[str, Callable[[EventStore], Awaitable[Any]]] = {
    "append": lambda s: s.append("new", NewEvent("t", 1), idempotency_key="k"),
    "append with a known id": lambda s: s.append("new", _EVENT),
    "a conflict": lambda s: s.append("s", NewEvent("t", 1), expected=1),
    "another content": lambda s: s.append("s", NewEvent("t", 2), idempotency_key="first"),
    "append_many": lambda s: s.append_many(
        [Append("m", [NewEvent("t", 1)]), Append("n", [NewEvent("t", 2)])], idempotency_key="k"
    ),
    "lookup": lambda s: s.lookup("s", "first"),
    "read": lambda s: s.read("s").list(),
    "read backwards": lambda s: s.read("s", backwards=True).list(),
    "read_all": lambda s: s.read_all().list(),
    "read_all by tag": lambda s: s.read_all(tags=["x"], types=["t"]).list(),
    "subscribe": lambda s: _first(s.subscribe(after=3)),
    "subscribe to a stream": lambda s: _first(s.subscribe(stream="s", after=1)),
    "head": lambda s: s.head(),
    "version": lambda s: s.version("s"),
    "event": lambda s: s.event("one"),
    "caused_by": lambda s: _first(s.caused_by("one")),
    "streams": lambda s: _first(s.streams()),
    "tenants": lambda s: s.tenants(),
    "verify": lambda s: s.verify(),
    "a lease": _held,
    "checkpoints.save": lambda s: s.checkpoints.save("r", 1),
    "checkpoints.load": lambda s: s.checkpoints.load("r"),
    "checkpoints.tenants_behind": lambda s: s.checkpoints.tenants_behind("r"),
    "snapshots.save": lambda s: s.snapshots.save("s", "r", "f", _STATE),
    "snapshots.find": lambda s: s.snapshots.find("s", "r", "f"),
    "snapshots.has_parent": lambda s: s.snapshots.has_parent("s"),
    "snapshots.list": lambda s: s.snapshots.list("s"),
    "snapshots.drop": lambda s: s.snapshots.drop("s"),
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_it_is_cancelled_at_every_wait_then_the_store_is_as_good_as_before(
    url: str, name: str
) -> None:
    """No waiter, no borrowed connection, no room in the queue is lost; the store goes on, and
    what was perhaps written is written once."""
    async with EventStore.open(url) as store:
        await store.append(
            "s",
            [NewEvent("t", n, id="one" if n == 0 else None, tags=["x"]) for n in range(4)],
            idempotency_key="first",
        )
        await store.append("s", NewEvent("t", 4, causation_id="one"))
        await store.head()
        before = open_things()
        assert await cancel_everywhere(lambda: OPERATIONS[name](store)) >= 1
        engine: Any = store._core.engine
        assert engine._waiters == set()
        assert engine._reader._free.qsize() == len(engine._reader._connections)
        result = await store.append("after", NewEvent("t", 1))
        assert (engine._writer._appends_waiting, engine._writer._bytes_waiting) == (0, 0)
        assert open_things() == before
        log = await store.read_all().list()
        assert result.position == len(log)
        for stream in ("new", "m", "n"):  # each under one key or id, however often it was sent
            assert await store.version(stream) <= 1
        assert (await store.verify()).damages == ()


async def test_opening_is_cancelled_at_every_wait_then_nothing_stays_open(url: str) -> None:
    """Neither connection nor thread nor lock outlives an opening that was given up, whether the
    file is new or not; and then it opens."""
    before = open_things()
    for _ in range(2):

        async def open_and_close() -> None:
            store = await EventStore.open(url)
            await store.close()

        assert await cancel_everywhere(open_and_close) >= 3
        await until(lambda: open_things() == before)
    async with EventStore.open(url, busy_timeout_seconds=1) as store:
        assert (await store.append("s", NewEvent("t", 1))).position == 1
    # A thread has done its last work before it is gone from the list.
    await until(lambda: open_things() == before)


async def test_closing_is_cancelled_at_every_wait_then_it_closes_all_the_same(
    tmp_path: Path,
) -> None:
    """Who gives up waiting for the end does not stop it, and what was accepted is written."""
    before = open_things()
    for place in range(1, 4):
        url = f"sqlite:///{tmp_path}/{place}.db"
        store = await EventStore.open(url)
        callers = [asyncio.ensure_future(store.append("s", NewEvent("t", n))) for n in range(5)]
        await asyncio.sleep(0)
        task = asyncio.ensure_future(_finish(_CancelledAt(store.close(), place)))
        await asyncio.wait([task])
        assert [(await caller).version for caller in callers] == [1, 2, 3, 4, 5]
        await store.close()
        assert open_things() == before


async def test_callers_are_cancelled_by_the_hundred_then_each_key_is_written_once(
    url: str,
) -> None:
    """Cancelled before, while and after their batch is written; then all are sent again."""
    async with EventStore.open(url, queue_appends_max=50) as store:

        async def call(n: int) -> int:
            return (await store.append("s", NewEvent("t", n), idempotency_key=f"k{n}")).version

        tasks = [asyncio.create_task(call(n)) for n in range(300)]
        for turn, task in enumerate(tasks):
            if turn % 7 == 0:
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        versions = await asyncio.gather(*(call(n) for n in range(300)))
        assert sorted(versions) == list(range(1, 301))
        assert sorted([e.data for e in await store.read("s").list()]) == list(range(300))
