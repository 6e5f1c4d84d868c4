"""SIGKILL of the process that appends, at random moments and at named places in its commit."""

from __future__ import annotations

import asyncio
import contextlib
import time

from eventstore import EventStore, NewEvent

from .faults import Fault, Outcome, Run
from .gates import GATES, build_gates, closed_gate
from .history import Operation, Operations, content
from .points import POINTS
from .processes import Worker, new_store

KILLS = 100
"""On each of the two engines: 200 in all."""
CALLERS = 6
LINES_MAX = 60
"""What a process may say before it is killed at random: up to 30 appends."""


async def kill_writers(run: Run) -> Outcome:
    """One store that lives on through all kills; two thirds of them at a failpoint."""
    outcome, operations = Outcome(), Operations()
    url = await new_store(run)
    points = list(POINTS[run.ground.engine])
    gates = list(GATES) if run.ground.engine == "postgres" else []
    if gates:
        await build_gates(url)
    kills = run.times(KILLS)
    places = ["at random", *points, *gates]
    due = [places[turn % len(places)] for turn in range(kills)]
    run.chance.shuffle(due)
    for turn, name in enumerate(due):
        kill = f"turn{turn} {name}"
        if name in points:
            point = (name, run.chance.randrange(1, 12))
            await _kill_one(run, url, kill, point, None, operations, outcome)
        else:
            gate = name if name in gates else None
            await _kill_one(run, url, kill, None, gate, operations, outcome)
    async with EventStore.open(url) as store:
        log = await store.read_all().list()
        outcome.violations += operations.broken(log)
        damages = (await store.verify()).damages
        outcome.violations += [f"verify: {damage}" for damage in damages]
        await _send_again(store, operations, outcome)
        if await store.head() != len(log):
            outcome.violations.append("what was sent again under its key was written again")
        unknown = await _send_unknown_again(store, operations, outcome)
    outcome.note = (
        f"{kills} kills at {len(places)} places, {len(operations.acknowledged)} appends"
        f" acknowledged, {unknown} sent again that had no answer"
    )
    if not operations.acknowledged:
        outcome.violations.append("nothing was acknowledged: nothing was tried")
        outcome.broke = True
    run.ground.drop(url)
    return outcome


async def _kill_one(
    run: Run,
    url: str,
    name: str,
    point: tuple[str, int] | None,
    gate: str | None,
    operations: Operations,
    outcome: Outcome,
) -> None:
    async with Worker(run, url, point) as worker, contextlib.AsyncExitStack() as stack:
        head = await worker.ask("open_store")
        known = max((operation.position for operation in operations.acknowledged), default=0)
        outcome.held(head >= known, f"{name}: opened at {head}, {known} was acknowledged")
        await worker.tell("write", name=name, callers=CALLERS, seed=run.seed)
        lines = run.chance.randrange(1, LINES_MAX)
        while lines > (-LINES_MAX * 50 if point else 0):
            record = await worker.record()
            if record is None:
                break
            operations.take(record)
            lines -= 1
        else:
            outcome.held(point is None, f"{name}: the process never came to that place")
        if gate is not None:
            closed = await stack.enter_async_context(closed_gate(url, gate))
            await closed.someone()
        for record in await worker.kill():
            operations.take(record)


async def _send_again(store: EventStore, operations: Operations, outcome: Outcome) -> None:
    """Every key that was acknowledged is answered as it was the first time."""

    async def send(name: str) -> None:
        first = operations.by_name[name]
        events = [
            NewEvent("note.added", content(name, n), tags=["crash"]) for n in range(first.count)
        ]
        again = await store.append(first.stream, events, idempotency_key=first.key)
        if (again.duplicate, again.position) != (True, first.position):
            outcome.violations.append(f"{name}: its key was not honoured")

    keyed = [operation.name for operation in operations.acknowledged if operation.key is not None]
    await asyncio.gather(*(send(name) for name in keyed))


async def _send_unknown_again(store: EventStore, operations: Operations, outcome: Outcome) -> int:
    """A key without an answer: sent again it is answered, and what it wrote stands once."""
    lost = [
        one
        for one in operations.by_name.values()
        if one.key is not None and not one.acknowledged and one.refused is None
    ]

    async def send(one: Operation) -> None:
        events = [
            NewEvent("note.added", content(one.name, n), tags=["crash"]) for n in range(one.count)
        ]
        told = await store.append(one.stream, events, idempotency_key=one.key)
        one.ended_ns, one.version, one.position = time.monotonic_ns(), told.version, told.position

    await asyncio.gather(*map(send, lost))
    outcome.violations += operations.broken(await store.read_all().list())
    return len(lost)


FAULT = Fault(
    "kill",
    "a process killed while it appends: what it acknowledged stands whole, keys are honoured",
    kill_writers,
    dict.fromkeys(
        ("sqlite", "postgres"),
        ("acknowledges before it commits", "commits in pieces", "drops the key check"),
    ),
)
