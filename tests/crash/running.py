"""Runs the faults, two at a time, and tells what came of each, in a line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.servers.postgres import PostgresServer

from . import (
    begin_immediate,
    cancel,
    clock,
    consumer,
    damage,
    disk_full,
    interrupt,
    kill,
    lost_update,
    malformed,
    network,
    outages,
    readers,
    rebuilds,
    relays,
    resend,
    server_kill,
    sharing,
    syncs,
    tenants,
)
from .faults import VIOLATIONS_TOLD_MAX, Fault, Outcome, Run
from .grounds import Ground, PostgresGround, SqliteGround


def _faults(module: ModuleType) -> tuple[Fault, ...]:
    """The faults that a module holds."""
    return tuple(each for each in vars(module).values() if isinstance(each, Fault))


FAULTS: tuple[Fault, ...] = tuple(
    fault
    for module in (
        relays,
        outages,
        rebuilds,
        sharing,
        server_kill,
        kill,
        damage,
        malformed,
        cancel,
        interrupt,
        network,
        resend,
        readers,
        lost_update,
        syncs,
        consumer,
        begin_immediate,
        clock,
        tenants,
        disk_full,
    )
    for fault in _faults(module)
)
"""The dearest first, so that the lanes end together."""


FAULT_SECONDS_MAX = 360.0
"""A fault takes about a minute, a few on a machine that does much else; one that hangs is red, and
not endless."""

LANES = 2
"""Faults at a time. Most of one is waiting: for a disk, a lock, a server that recovers."""


@dataclass(frozen=True)
class Plan:
    """What a run of the suite does. `prove`: defects are seeded, and each must be found."""

    seed: int
    faults: list[Fault]
    engines: list[str]
    scale: float
    prove: bool


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    engine: str
    name: str
    said: str
    outcome: Outcome
    seconds: float
    red: bool
    """Whether violations were found."""


class Grounds:
    """A folder, and a server that is started when the first fault asks for one and serves all."""

    def __init__(self, folder: Path) -> None:
        self._sqlite = SqliteGround(folder)
        self._starting = asyncio.Lock()
        self._shared: PostgresServer | None = None

    @contextlib.asynccontextmanager
    async def ground(self, engine: str, alone: bool) -> AsyncIterator[Ground]:
        """Where to try a fault. `alone`: on a server of its own, which it may kill."""
        if engine == "sqlite":
            yield self._sqlite
        elif alone:
            server = await asyncio.to_thread(_started)
            try:
                yield PostgresGround(server)
            finally:
                await asyncio.to_thread(server.stop)
        else:
            async with self._starting:
                if self._shared is None:
                    self._shared = await asyncio.to_thread(_started)
            yield PostgresGround(self._shared)

    def stop(self) -> None:
        """Stops the server."""
        if self._shared is not None:
            self._shared.stop()


def _started() -> PostgresServer:
    server = PostgresServer()
    server.start()
    return server


@contextlib.contextmanager
def grounds() -> Iterator[Grounds]:
    """What a run needs; gone with the block."""
    with tempfile.TemporaryDirectory(prefix="eventstore-crash-") as folder:
        made = Grounds(Path(folder))
        try:
            yield made
        finally:
            made.stop()


async def execute(plan: Plan) -> int:
    """Runs the plan; 0 when every promise held (or, proving, when every defect was found)."""
    logging.getLogger("eventstore").setLevel(logging.ERROR)  # SQLite's age is not of interest here
    print(f"seed {plan.seed}", flush=True)
    begun = time.monotonic()
    lines: list[Line] = []
    due = iter(
        [
            (fault, engine, defect)
            for fault in plan.faults
            for engine in plan.engines
            for defect in _defects(fault, engine, plan.prove)
        ]
    )

    async def lane() -> None:
        for fault, engine, defect in due:
            async with made.ground(engine, fault.alone) as where:
                line = await run_fault(fault, where, plan, defect)
            lines.append(line)
            tell(line, plan.prove)

    with grounds() as made:
        async with asyncio.TaskGroup() as lanes:
            for _ in range(LANES):
                lanes.create_task(lane())
    failed = sum(line.red != plan.prove for line in lines)
    print(
        f"{len(lines)} lines, {failed} failed, {time.monotonic() - begun:.0f} s, seed {plan.seed}",
        flush=True,
    )
    return 1 if failed or not lines else 0


def _defects(fault: Fault, engine: str, prove: bool) -> tuple[str | None, ...]:
    if engine not in fault.defects:
        return ()
    return fault.defects[engine] if prove else (None,)


async def run_fault(fault: Fault, where: Ground, plan: Plan, defect: str | None) -> Line:
    """Runs one fault; what breaks it in another way than by its oracle is a violation as well."""
    seed = random.Random(f"{plan.seed}/{where.engine}/{fault.name}").randrange(2**32)
    scale = fault.prove_scale if plan.prove else plan.scale
    begun = time.monotonic()
    try:
        async with asyncio.timeout(FAULT_SECONDS_MAX):
            outcome = await fault.run(Run(where, seed, scale, defect))
    except Exception as exc:
        told = "".join(traceback.format_exception(exc)[-3:]).strip()
        outcome = Outcome(1, [f"the trial broke: {told}"], broke=True)
    seconds = time.monotonic() - begun
    red = bool(outcome.violations) and not (plan.prove and outcome.broke)
    return Line(where.engine, fault.name, defect or fault.promise, outcome, seconds, red)


def tell(line: Line, prove: bool) -> None:
    """Prints a line, and in words what was broken."""
    outcome = line.outcome
    verdict = ("found" if line.red else "NOT FOUND") if prove else ("RED" if line.red else "ok")
    note = f" ({outcome.note})" if outcome.note else ""
    print(
        f"{verdict:9} {line.engine:8} {line.name:15} {outcome.trials:6} trials "
        f"{len(outcome.violations):4} violations {line.seconds:6.1f} s  {line.said}{note}",
        flush=True,
    )
    if outcome.violations:
        for violation in outcome.violations[: 1 if prove else VIOLATIONS_TOLD_MAX]:
            print(f"          {violation}", flush=True)
