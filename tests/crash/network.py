"""The network cut between client and server: nothing is lost or written twice, all go on."""

from __future__ import annotations

import asyncio

from eventstore import EventStore
from tests.waiting import until

from .faults import Fault, Outcome, Run
from .grounds import PostgresGround
from .history import Operations
from .processes import Worker, new_store
from .proxy import Proxy, proxy

CUT_SECONDS = 5.0
HANG_UPS = 40
AHEAD = 10
FORGETFUL = "forgets that it has sent a batch before"


async def cut_networks(run: Run) -> Outcome:
    """One cut of five seconds, then connections that are ended again and again at any moment."""
    assert isinstance(run.ground, PostgresGround)
    outcome, operations = Outcome(), Operations()
    url = await new_store(run)
    async with proxy(run.ground.server.port) as between:
        through = url.replace(f":{run.ground.server.port}/", f":{between.port}/")
        async with Worker(run, through) as worker:
            await worker.ask("open_store")
            await worker.tell("write", name="w", callers=8, seed=run.seed)
            listening = asyncio.create_task(_listen(worker, operations))
            await _goes_on(operations, outcome, "the beginning")
            await _cut(run, between, operations, outcome)
            for turn in range(run.times(HANG_UPS)):
                await asyncio.sleep(run.chance.random() * 0.02)
                between.hang_up()
                await _goes_on(operations, outcome, f"hanging up {turn}")
                outcome.trials += 1
            await worker.tell("stop")
            await listening
    async with EventStore.open(url) as store:
        outcome.violations += operations.broken(await store.read_all().list())
    unanswered = [one.name for one in operations.by_name.values() if one.ended_ns is None]
    outcome.violations += [f"{name}: its caller was told no outcome" for name in unanswered]
    outcome.note = f"{len(operations.acknowledged)} appends acknowledged"
    run.ground.drop(url)
    return outcome


async def _cut(run: Run, between: Proxy, operations: Operations, outcome: Outcome) -> None:
    seconds = CUT_SECONDS if run.scale >= 1 else 1.0
    between.cut()
    await asyncio.sleep(seconds)
    between.mend()
    await _goes_on(operations, outcome, f"{seconds:g} s without a network")
    outcome.trials += 1


async def _listen(worker: Worker, operations: Operations) -> None:
    while (record := await worker.record()) is not None and record[0] != "answer":
        operations.take(record)


async def _goes_on(operations: Operations, outcome: Outcome, after: str) -> None:
    wanted = len(operations.acknowledged) + AHEAD
    try:
        await until(lambda: len(operations.acknowledged) >= wanted)
    except TimeoutError:
        outcome.violations.append(f"after {after} the writer did not go on by itself")


FAULT = Fault(
    "network",
    "the network cut for 5 s, and connections ended at any moment: each append is written once",
    cut_networks,
    {"postgres": (FORGETFUL,)},
    prove_scale=0.5,
)
