"""Relays that are killed in the middle of their work, or stalled beyond their lease."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from eventstore import EventStore, Lease, NewEvent
from projections.asking import serving
from projections.relay import Relay, letters
from projections.status import status
from projections.view import View
from tests.waiting import PATIENCE_SECONDS, until

from .faults import Fault, Outcome, Run
from .feeding import KILL, PLACES, STOP, later, views
from .processes import Worker, new_store

KILLS = {"sqlite": 200, "postgres": 60}
STALLS = 20
EVENTS_A_TURN = 60
STREAMS = 7
HITS_MAX = 3
"""Three partitions are fed, of which only one comes by half-way: there it is the first time."""

Counts = dict[str, tuple[int, int]]


class Ground:
    """One log, the file of the view outside, and what the log says the views have to be."""

    def __init__(self, run: Run, url: str, folder: Path) -> None:
        self.run, self.url = run, url
        self.file, self.told = folder / "outside.db", folder / "told"
        self.turn = 0

    async def append(self, store: EventStore) -> None:
        """Events of a turn: a few streams, and now and then one that cannot be applied."""
        chance = self.run.chance
        for _ in range(EVENTS_A_TURN // 3):
            stream = f"s{chance.randrange(STREAMS)}"
            notes: list[dict[str, Any]] = [{"n": chance.randrange(100)} for _ in range(3)]
            if self.turn in (1, 2) and stream in ("s0", "s1"):
                notes[1]["bad"] = True
            await store.append(stream, [NewEvent("note.added", note) for note in notes])

    def arguments(self, place: str, hit: int, how: int) -> dict[str, Any]:
        """What the next process is told."""
        self.turn += 1
        return {
            "target": "tests.crash.feeding:feed",
            "turn": self.turn,
            "place": place,
            "hit": hit,
            "file": str(self.file),
            "told": str(self.told),
            "how": how,
        }

    async def finish(self, outcome: Outcome) -> None:
        """Feeds the rest without harm, and holds the views against the log."""
        async with EventStore.open(self.url, clock=later(self.turn + 1)) as store:
            made = views(self.file, lambda place: None)
            await Relay(store, made).run_once()
            wanted, parked, events = await folded(store)
            inside = made[0].bind(store)
            hold(outcome, "the view in the store", await counted(inside), wanted)
            hold(outcome, "the view outside", in_file(self.file), wanted)
            for view in made:
                place = (await serving(view.bind(store)))[0]
                waiting = [(each.key, each.position) for each in await letters.load(place)]
                hold(outcome, f"dead letters of {view.name}", waiting, sorted(parked))
                told = (await status(store, [view.bind(store)]))[0]
                hold(outcome, f"events that {view.name} counted", told.events, events)
                await view.close()
        outcome.note = f"{events} events, {len(parked)} parked"


async def folded(store: EventStore) -> tuple[Counts, list[tuple[str, int]], int]:
    """Rows, dead letters and the number of events, by code that knows nothing of views."""
    rows: Counts = defaultdict(lambda: (0, 0))
    parked: list[tuple[str, int]] = []
    held: set[str] = set()
    events = 0
    async for event in store.read_all():
        events += 1
        if event.data.get("bad"):
            held.add(event.stream)
        if event.stream in held:
            parked.append((event.stream, event.position))
        else:
            n, total = rows[event.stream]
            rows[event.stream] = n + 1, total + event.data["n"]
    return dict(rows), parked, events


async def counted(view: View) -> Counts:
    """The rows of a view that counts notes."""
    build, _ = await serving(view)
    return {
        str(row.key): (row.value["n"], row.value["sum"])
        async for page in view.sink.scan(build)
        for row in page
    }


def in_file(path: Path) -> Counts:
    """The rows of the view outside."""
    connection = sqlite3.connect(path)
    try:
        return {
            key: (n, total)
            for key, n, total in connection.execute(
                "SELECT key, n, sum FROM rows WHERE n IS NOT NULL"
            )
        }
    finally:
        connection.close()


def hold(outcome: Outcome, what: str, found: object, wanted: object) -> None:
    """Counts a trial, and a violation where it is not what it has to be."""
    outcome.held(found == wanted, f"{what}: {found}, not {wanted}")


async def kill_relays(run: Run) -> Outcome:
    """One log and its views live on through all kills, each at a place of its own."""
    outcome, url = Outcome(), await new_store(run)
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(run, url, Path(folder))
        for number in range(run.times(KILLS[run.ground.engine])):
            async with EventStore.open(url) as store:
                await ground.append(store)
            place, hit = PLACES[number % len(PLACES)], run.chance.randrange(1, HITS_MAX + 1)
            hit = 1 if place == "half-way" else hit
            async with Worker(run, url) as worker:
                await worker.tell("call", **ground.arguments(place, hit, KILL))
                try:
                    record = await worker.record()
                except TimeoutError:
                    record = ["it never came there", ground.told.read_text()]
            outcome.held(record is None, f"{place}, {hit}: the relay was not killed: {record}")
        async with Worker(run, url) as worker:  # one of the same kind does what is left
            await worker.ask("call", **ground.arguments("nowhere", 0, KILL))
        await ground.finish(outcome)
    run.ground.drop(url)
    return outcome


async def stall_relays(run: Run) -> Outcome:
    """A relay stalls beyond its lease, another one takes the lease, and the first one wakes."""
    outcome, url = Outcome(), await new_store(run)
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(run, url, Path(folder))
        for number in range(run.times(STALLS)):
            await _stall_one(run, ground, PLACES[number % (len(PLACES) - 1)], outcome)
        await ground.finish(outcome)
    run.ground.drop(url)
    return outcome


async def _stall_one(run: Run, ground: Ground, place: str, outcome: Outcome) -> None:
    ground.told.unlink(missing_ok=True)
    async with EventStore.open(ground.url, clock=later(ground.turn + 2)) as store:
        await ground.append(store)
        async with Worker(run, ground.url) as worker:
            await worker.tell("call", **ground.arguments(place, 1, STOP))
            await until(lambda: _is_stopped(worker.pid))
            lease = await _take_over(store)
            before = await _position(store)
            os.kill(worker.pid, signal.SIGCONT)
            said = await _told_since(ground.told)
            moved = await _position(store)
            outcome.held(
                moved == before,
                f"{place}: moved from {before} to {moved} without the lease: {said}",
            )
            await store.checkpoints.release(lease)
            await Relay(store, views(ground.file, lambda place: None)).run_once()
    ground.turn += 2


async def _take_over(store: EventStore) -> Lease:
    """Takes the lease, which has run out by this store's clock."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        lease = await store.checkpoints.acquire("view/outside", "taker", seconds=600)
    assert lease is not None
    return lease


async def _position(store: EventStore) -> int:
    found = await store.checkpoints.load("view/outside")
    return 0 if found is None else found.position


async def _told_since(path: Path) -> str:
    """What the woken one says, once it has been refused or (which is wrong) has moved."""

    def refused_or_moved() -> bool:
        said = path.read_text()
        return "goes on elsewhere" in said or "after checkpoint" in said

    await until(refused_or_moved)
    return path.read_text()


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


KILL_FAULT = Fault(
    "relay_kill",
    "a relay killed anywhere in its work: every view is the fold of the log, each event once",
    kill_relays,
    dict.fromkeys(
        ("sqlite", "postgres"),
        ("moves the checkpoint before the sink", "does not hold a parked key"),
    ),
    prove_scale=0.2,
)

STALL_FAULT = Fault(
    "relay_stall",
    "a relay that wakes after its lease was taken: it moves nothing, nothing is counted twice",
    stall_relays,
    dict.fromkeys(("sqlite", "postgres"), ("does not compare the fencing token",)),
    prove_scale=0.2,
)
