"""Many writers at one expected version: exactly one wins, the others are told."""

from __future__ import annotations

import asyncio
from collections import Counter

from eventstore import EventStore

from .faults import Fault, Outcome, Run
from .processes import new_store, workers

ROUNDS, ROUNDS_MIN = 1_000, 200
"""Fewer may be over before the last of the processes has come."""

WRITERS = 4


async def race_for_versions(run: Run) -> Outcome:
    """Processes race for each version of one stream, one after the other."""
    outcome, url = Outcome(), await new_store(run)
    rounds = max(run.times(ROUNDS), ROUNDS_MIN)
    async with workers(run, url, WRITERS) as racing:
        won = await asyncio.gather(
            *(
                worker.ask("win", name=str(n), stream="raced", rounds=rounds)
                for n, worker in enumerate(racing)
            )
        )
    winners = Counter(expected for one in won for expected in one)
    by = {expected: str(n) for n, one in enumerate(won) for expected in one}
    for expected in range(rounds):
        count = winners[expected]
        outcome.held(count == 1, f"{count} winners at expected version {expected}")
    async with EventStore.open(url) as store:
        log = await store.read("raced").list()
        if [event["expected"] for event in log] != list(range(rounds)):
            outcome.violations.append("the stream does not hold one event of each round in order")
        for event in log:
            if event["by"] != by.get(event["expected"]):
                outcome.violations.append(f"version {event.version} is not by who was told so")
    alone = sum(len(one) == 0 for one in won)
    outcome.note = f"wins by process: {', '.join(str(len(one)) for one in won)}"
    if alone == WRITERS - 1:
        outcome.violations.append("one process won every round: nobody raced")
    run.ground.drop(url)
    return outcome


FAULT = Fault(
    "lost_update",
    "several writers at one expected version: exactly one wins each round",
    race_for_versions,
    dict.fromkeys(("sqlite", "postgres"), ("skips the expected version",)),
)
