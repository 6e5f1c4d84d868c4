"""SIGKILL of a process that follows the log with a checkpoint: no event is without its effect."""

from __future__ import annotations

import tempfile
from pathlib import Path

from eventstore import EventStore, NewEvent

from .faults import Fault, Outcome, Run
from .processes import Worker, new_store

KILLS = 40
EVENTS_A_KILL = 12


async def kill_consumers(run: Run) -> Outcome:
    """A consumer is killed again and again in the middle of its work, and goes on from its
    checkpoint: each event has had its effect, and first effects come in order."""
    outcome, url = Outcome(), await new_store(run)
    kills = run.times(KILLS)
    with tempfile.TemporaryDirectory() as folder:
        effects = Path(folder) / "effects"
        async with EventStore.open(url) as store:
            notes = [NewEvent("note.added", {"n": n}) for n in range(kills * EVENTS_A_KILL)]
            head = (await store.append("s", notes)).position
            while left := head - await _checkpoint(store):
                await _kill_one(run, url, effects, left, outcome.trials % 2)
                outcome.trials += 1
        had = [int(line) for line in effects.read_text().split()]
    first = list(dict.fromkeys(had))
    if first != list(range(1, head + 1)):
        missing = sorted(set(range(1, head + 1)) - set(first))
        outcome.violations += [f"position {position} had no effect" for position in missing]
        if not missing:
            outcome.violations.append("effects came out of order")
    outcome.note = f"{head} events, {len(had) - len(first)} effects came twice"
    run.ground.drop(url)
    return outcome


async def _checkpoint(store: EventStore) -> int:
    found = await store.checkpoints.load("view")
    return 0 if found is None else found.position


async def _kill_one(run: Run, url: str, effects: Path, left: int, between: int) -> None:
    """Lets it work a while; kills it at a random moment, or lets it kill itself between effect
    and checkpoint."""
    count = min(left, run.chance.randrange(1, 2 * EVENTS_A_KILL))
    async with Worker(run, url) as worker:
        await worker.ask("open_store")
        dies_between = count if between else 0
        await worker.tell("consume", name="view", effects=str(effects), dies_between=dies_between)
        while (count > 0 or between) and await worker.record() is not None:
            count -= 1


FAULT = Fault(
    "consumer",
    "a consumer killed in the middle of its work: no event is without its effect",
    kill_consumers,
    dict.fromkeys(("sqlite", "postgres"), ("saves its checkpoint before the effect",)),
    prove_scale=0.3,
)
