"""How long a session of 100,000 events takes to open and to step through.

Time of this process's own work is measured, not time on the clock: what else the machine does
must not fail the test. The store is in memory, so that nothing of the work is another's.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from time import process_time

import pytest
from textual.pilot import Pilot

from cli.stepper.app import Stepper
from cli.stepper.session import Session
from eventstore import EventStore, NewEvent
from reducers.agent import agent

EVENTS = 100_000
OPEN_SECONDS_MAX = 1.0
STEP_SECONDS_MAX = 0.05
STEPS = 12


def _events(first: int, last: int) -> Iterator[NewEvent]:
    """Messages and tool calls by turns: the state grows with them."""
    for number in range(first, last):
        call = f"c{number - number % 4}"
        yield (
            NewEvent("message.added", {"message_id": f"m{number}", "role": "user", "content": "x"}),
            NewEvent("model.called", {"response_id": f"r{number}", "cost": 0.001}),
            NewEvent("tool.requested", {"tool_call_id": call, "tool_name": "send"}),
            NewEvent("tool.completed", {"tool_call_id": call, "tool_call_result": "ok"}),
        )[number % 4]


async def _steps(pilot: Pilot[None], key: str) -> float:
    """The median time of a key, until what it changed is drawn."""
    taken = []
    for _ in range(STEPS):
        begun = process_time()
        await pilot.press(key)
        await pilot.pause()
        taken.append(process_time() - begun)
    return median(taken)


@pytest.fixture
async def filled() -> EventStore:
    """The store with the long session."""
    store = await EventStore.open("memory://")
    for first in range(0, EVENTS, 10_000):
        await store.append("long", list(_events(first, first + 10_000)))
    return store


async def test_session_has_100000_events_then_it_opens_and_steps_quickly(
    filled: EventStore,
) -> None:
    """It opens in under a second and steps in under 50 ms, at its beginning and at its end."""
    async with filled as store:
        begun = process_time()
        app = Stepper(await Session.open(store, "long", agent))
        async with app.run_test(size=(200, 60)) as pilot:
            await pilot.pause()
            assert process_time() - begun < OPEN_SECONDS_MAX
            assert await _steps(pilot, "f") < STEP_SECONDS_MAX
            await pilot.press("end")
            await app.workers.wait_for_complete()
            assert app.session.version == EVENTS
            assert await _steps(pilot, "b") < STEP_SECONDS_MAX
            assert await _steps(pilot, "f") < STEP_SECONDS_MAX
            assert app.session.version == EVENTS
