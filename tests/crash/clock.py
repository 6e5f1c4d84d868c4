"""Clocks that go back, stand still or run a year ahead: time orders nothing."""

from __future__ import annotations

import random

from eventstore import EventStore, NewEvent
from eventstore.testing import HistoryBroken
from eventstore.testing.history import check_dense

from .faults import Fault, Outcome, Run
from .processes import new_store, run_inside

APPENDS = 400
_YEAR_US = 365 * 86_400 * 1_000_000
_STEPS_US = (0, 0, 1, 1_000_000, -1, -1_000_000, -3_600_000_000, -_YEAR_US, _YEAR_US)


async def turn_clocks(run: Run) -> Outcome:
    """Two stores on one log, each with a clock that does as it likes."""
    url = await new_store(run)
    outcome = await run_inside(run, "clock:trial", url, appends=run.times(APPENDS))
    run.ground.drop(url)
    return outcome


async def trial(url: str, seed: int, appends: int) -> tuple[int, list[str]]:
    """Appends while the clocks jump; order is that of the appends, stamps never go back."""
    chance = random.Random(seed)
    now = {"one": 50 * _YEAR_US, "two": 50 * _YEAR_US}
    broken: list[str] = []
    async with (
        EventStore.open(url, clock=lambda: now["one"]) as one,
        EventStore.open(url, clock=lambda: now["two"]) as two,
    ):
        for turn in range(appends):
            name = chance.choice(("one", "two"))
            now[name] = max(0, now[name] + chance.choice(_STEPS_US))
            store = one if name == "one" else two
            result = await store.append(f"s/{turn % 3}", NewEvent("note.added", {"turn": turn}))
            if result.position != turn + 1:
                broken.append(f"append {turn} is at position {result.position}")
    async with EventStore.open(url) as store:
        log = await store.read_all().list()
        try:
            check_dense(log)
        except HistoryBroken as exc:
            broken.append(str(exc))
        if [event["turn"] for event in log] != list(range(appends)):
            broken.append("the log is not in the order of the appends")
        broken += [f"verify: {damage}" for damage in (await store.verify()).damages]
    return appends, broken


FAULT = Fault(
    "clock",
    "clocks that go back, stand still or run a year ahead: order and recorded times hold",
    turn_clocks,
    dict.fromkeys(("sqlite", "postgres"), ("stamps with the bare clock",)),
)
