"""Two tasks wait for the write lock and one is cancelled: the other one is not locked out."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

from eventstore import Busy, EventStore, NewEvent
from tests.waiting import until

from .faults import Fault, Outcome, Run
from .grounds import PostgresForeign, SqliteForeign, hold_write_lock
from .processes import new_store, run_inside

TRIALS = 30
LOCKED_OUT_SECONDS = 5.0
"""Who has not got the lock by then is locked out: it takes milliseconds."""


async def cancel_while_waiting(run: Run) -> Outcome:
    """Another program has the lock; two tasks of one process wait for it; one gives up."""
    url = await new_store(run)
    outcome = await run_inside(run, "begin_immediate:trial", url, trials=run.times(TRIALS))
    run.ground.drop(url)
    return outcome


async def trial(url: str, seed: int, trials: int) -> tuple[int, list[str]]:
    """The lock is the engine's own, taken by a connection of ours."""
    del seed
    broken: list[str] = []
    async with (
        EventStore.open(url) as store,
        EventStore.open(url, busy_timeout_seconds=LOCKED_OUT_SECONDS) as other,
    ):
        await store.append("begin", NewEvent("note.added", {}))
        for turn in range(trials):
            try:
                held = await asyncio.to_thread(hold_write_lock, url)
            except sqlite3.OperationalError:
                broken.append(f"turn {turn}: the store has kept the lock")
                break
            broken += await _cancel_one(store, other, turn, held)
    return trials, broken


def _both_wait(store: EventStore, held: SqliteForeign | PostgresForeign) -> bool:
    """Whether the store's writer has come to the lock. (SQLite does not tell who waits: there it
    is seen that the writer has taken what was handed over.)"""
    if isinstance(held, PostgresForeign):
        return held.someone_waits()
    return not store._core.engine._writer._incoming  # type: ignore[attr-defined]


async def _cancel_one(
    store: EventStore,
    other: EventStore,
    turn: int,
    held: SqliteForeign | PostgresForeign,
) -> list[str]:
    broken = []
    tasks = [
        asyncio.create_task(store.append(f"{turn}/{n}", NewEvent("note.added", {"n": n})))
        for n in (0, 1)
    ]
    await asyncio.sleep(0)  # both have handed their append over
    await until(lambda: _both_wait(store, held))
    cancelled, waiting = tasks if turn % 2 else reversed(tasks)
    cancelled.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await cancelled
    await asyncio.to_thread(held.release)
    try:
        async with asyncio.timeout(2 * LOCKED_OUT_SECONDS):
            result = await waiting
            standing = await store.event(result.events[0].id)
            if standing is None:
                broken.append(f"turn {turn}: told that it is written, and it is not")
            await other.append("after", NewEvent("note.added", {"turn": turn}))
            await store.append("after", NewEvent("note.added", {"turn": turn}))
    except (TimeoutError, Busy):
        broken.append(f"turn {turn}: locked out")
    return broken


FAULT = Fault(
    "begin_immediate",
    "two tasks wait for the write lock, one is cancelled: the other is not locked out",
    cancel_while_waiting,
    dict.fromkeys(("sqlite", "postgres"), ("drops the batch of a cancelled caller",)),
)
