"""Runs the faults one after the other and tells what came of each, in a line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.servers.postgres import PostgresServer

from . import (
    begin_immediate,
    cancel,
    clock,
    consumer,
    damage,
    disk_full,
    kill,
    lost_update,
    malformed,
    network,
    readers,
    server_kill,
    syncs,
    tenants,
)
from .faults import VIOLATIONS_TOLD_MAX, Fault, Outcome, Run
from .grounds import Ground, PostgresGround, SqliteGround

FAULTS: tuple[Fault, ...] = tuple(
    module.FAULT
    for module in (
        kill,
        server_kill,
        network,
        syncs,
        consumer,
        readers,
        lost_update,
        begin_immediate,
        cancel,
        clock,
        malformed,
        tenants,
        disk_full,
        damage,
    )
)


FAULT_SECONDS_MAX = 180.0
"""A fault takes well under a minute; one that hangs is red, and not endless."""


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


@contextlib.contextmanager
def ground(engine: str) -> Iterator[Ground]:
    """The ground of an engine, with a server where it needs one."""
    if engine == "postgres":
        with PostgresServer() as server:
            yield PostgresGround(server)
        return
    with tempfile.TemporaryDirectory(prefix="eventstore-crash-") as folder:
        yield SqliteGround(Path(folder))


async def execute(plan: Plan) -> int:
    """Runs the plan; 0 when every promise held (or, proving, when every defect was found)."""
    logging.getLogger("eventstore").setLevel(logging.ERROR)  # SQLite's age is not of interest here
    print(f"seed {plan.seed}", flush=True)
    failed = tried = 0
    for engine in plan.engines:
        with ground(engine) as where:
            for fault in plan.faults:
                for defect in _defects(fault, engine, plan.prove):
                    line = await run_fault(fault, where, plan, defect)
                    tried += 1
                    failed += line.red != plan.prove
                    tell(line, plan.prove)
    print(f"{tried} lines, {failed} failed, seed {plan.seed}", flush=True)
    return 1 if failed or not tried else 0


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
