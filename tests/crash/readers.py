"""Readers under racing writers: every position once, in order, whatever else goes on.

The trap for a store of this kind is the event that is committed late at a position that a reader
has passed already. So there are writers that pause, appends that are refused, transactions of
other programs that are rolled back, and one that stays open all the time.
"""

from __future__ import annotations

import asyncio
import contextlib

from eventstore import EventStore, NewEvent, RecordedEvent

from .faults import Fault, Outcome, Run
from .history import Operations
from .processes import Worker, new_store, workers

WRITERS, READERS = 8, 3
APPENDS = 60
LAST = "log.ended"


async def read_under_writers(run: Run) -> Outcome:
    """Eight processes write, three follow from the beginning; all see the same log. With each
    variant of the store's URL (PostgreSQL: with notifications and without)."""
    outcome = Outcome()
    for variant in run.ground.variants:
        url = await new_store(run)
        log = await _follow_all(run, f"{url}{variant}", outcome)
        outcome.trials += len(log) * READERS
        run.ground.drop(url)
    outcome.note = f"{outcome.trials // READERS} events of {WRITERS} writers"
    return outcome


async def _follow_all(run: Run, url: str, outcome: Outcome) -> list[RecordedEvent]:
    operations = Operations()
    async with (
        EventStore.open(url) as store,
        workers(run, url, READERS) as readers,
        workers(run, url, WRITERS) as writers,
    ):
        await store.append("begin", NewEvent("log.begun", {}))
        for reader in readers:
            await reader.tell("follow", last_type=LAST)
        await _write_all(run, url, writers, operations)
        await store.append("end", NewEvent(LAST, {}))
        seen = [await _seen_by(reader) for reader in readers]
        log = await store.read_all().list()
    outcome.violations += operations.broken(log, foreign=True, refusals=("Conflict",))
    places: list[list[object]] = [
        [event.position, event.stream, event.version, event.id] for event in log
    ]
    for number, given in enumerate(seen):
        outcome.violations += _differences(f"reader {number}", given, places)
    return log


async def _write_all(run: Run, url: str, writers: list[Worker], operations: Operations) -> None:
    """All writers to their end, with what others do in the same database meanwhile."""
    long = await asyncio.to_thread(run.ground.read_for_long, url)
    rolling = asyncio.create_task(_roll_back_again_and_again(run, url))
    try:
        await asyncio.gather(*(_write(run, n, one, operations) for n, one in enumerate(writers)))
    finally:
        rolling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await rolling
        await asyncio.to_thread(long.release)


async def _write(run: Run, number: int, worker: Worker, operations: Operations) -> None:
    await worker.tell(
        "write",
        name=f"w{number}",
        callers=2,
        appends=run.times(APPENDS),
        sizes=(1, 10),
        pause_seconds_max=0.02,
        refused_share=0.2,
        seed=run.seed,
    )
    while (record := await worker.record()) is not None and record[0] != "answer":
        operations.take(record)


async def _roll_back_again_and_again(run: Run, url: str) -> None:
    """Another program takes the write lock, changes something, and thinks better of it."""

    def once() -> None:
        run.ground.hold_write_lock(url).release()

    while True:
        await asyncio.shield(asyncio.to_thread(once))
        await asyncio.sleep(run.chance.random() * 0.05)


async def _seen_by(reader: Worker) -> list[list[object]]:
    try:
        given: list[list[object]] = await reader.answer()
        return given
    except TimeoutError:  # it waits for what it has passed: then it has seen less than all
        return []


def _differences(who: str, given: list[list[object]], places: list[list[object]]) -> list[str]:
    told = []
    positions = [place[0] for place in given]
    missed = {place[0] for place in places} - set(positions)
    if missed:
        told.append(f"{who}: never saw {len(missed)} positions, the first is {min(missed)}")  # type: ignore[type-var]
    if len(positions) != len(set(positions)):
        told.append(f"{who}: saw a position twice")
    if positions != sorted(positions):  # type: ignore[type-var]
        told.append(f"{who}: saw positions out of order")
    if not told and given != places:
        told.append(f"{who}: saw another event than the log holds")
    return told


FAULT = Fault(
    "readers",
    "readers under racing writers, rollbacks and a long transaction: every position once, in order",
    read_under_writers,
    {
        "sqlite": ("loses the first event of a page",),
        "postgres": ("loses the first event of a page", "skips the lock"),
    },
)
