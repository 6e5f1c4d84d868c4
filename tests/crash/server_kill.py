"""SIGKILL of the PostgreSQL server under writers: nothing acknowledged is lost, all go on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

from eventstore import EventStore
from tests.waiting import until

from .faults import Fault, Outcome, Run
from .grounds import PostgresGround
from .history import Operations
from .processes import Worker, new_store, workers

KILLS = 20
WRITERS = 4
AHEAD = 8
"""Appends that each writer gets acknowledged between two kills."""

ASYNCHRONOUS = "answers before the server's log is on the disk"


async def kill_servers(run: Run) -> Outcome:
    """By turns all of the server's processes at once, and one that serves a client, after whose
    death the server throws away the others and recovers by itself."""
    assert isinstance(run.ground, PostgresGround)
    server, outcome, operations = run.ground.server, Outcome(), Operations()
    url = await new_store(run)
    if run.defect == ASYNCHRONOUS:
        name = url.rsplit("/", 1)[1]
        server.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        url += "?allow=synchronous_commit"
    async with workers(run, url, WRITERS) as writers:
        listening = [
            asyncio.create_task(_listen(one, f"w{n}", operations, run.seed))
            for n, one in enumerate(writers)
        ]
        for turn in range(run.times(KILLS)):
            await _all_go_on(operations, outcome, f"kill {turn}")
            if turn % 4 == 3:
                _kill_one_backend(run.ground, url)
            else:
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            outcome.trials += 1
        await _all_go_on(operations, outcome, "the last kill")
        for one in writers:
            await one.tell("stop")
        await asyncio.gather(*listening)
    async with EventStore.open(url) as store:
        outcome.violations += operations.broken(await store.read_all().list())
        outcome.violations += [f"verify: {one}" for one in (await store.verify()).damages]
    unanswered = [one.name for one in operations.by_name.values() if one.ended_ns is None]
    outcome.violations += [f"{name}: its caller was told no outcome" for name in unanswered]
    outcome.note = f"{len(operations.acknowledged)} appends acknowledged"
    run.ground.drop(url)
    return outcome


async def _listen(worker: Worker, name: str, operations: Operations, seed: int) -> None:
    await worker.tell("write", name=name, callers=4, seed=seed)
    while (record := await worker.record()) is not None and record[0] != "answer":
        operations.take(record)


async def _all_go_on(operations: Operations, outcome: Outcome, after: str) -> None:
    """Waits until each writer has had some more appends acknowledged."""

    def counts() -> list[int]:
        found = Counter(one.name.partition("/")[0] for one in operations.acknowledged)
        return [found[f"w{n}"] for n in range(WRITERS)]

    before = counts()
    try:
        await until(
            lambda: all(now >= was + AHEAD for now, was in zip(counts(), before, strict=True))
        )
    except TimeoutError:
        outcome.violations.append(f"after {after} a writer did not go on by itself")


def _kill_one_backend(ground: PostgresGround, url: str) -> None:
    name = url.rsplit("/", 1)[1].partition("?")[0]
    rows = ground.server.execute(f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}'")
    os.kill(int(rows[0][0]), signal.SIGKILL)


FAULT = Fault(
    "server_kill",
    "the server killed under 4 writing processes: nothing acknowledged is lost, all go on",
    kill_servers,
    {"postgres": (ASYNCHRONOUS,)},
    alone=True,
)
