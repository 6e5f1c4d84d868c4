"""A session of an agent in memory, with clock and ids of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from eventstore import EventStore, NewEvent
from eventstore.testing import SequentialIds, SteppingClock

STREAM = "session/offsite"

EVENTS = [
    NewEvent("session.started", {"title": "Offsite", "agent_name": "atlas"}),
    NewEvent(
        "message.added",
        {
            "message_id": "m1",
            "role": "user",
            "content": "Please book a room for twelve people on the 12th of March, near the water.",
        },
    ),
    NewEvent("task.added", {"task_id": "room", "title": "Book a room"}, tags=["team:red"]),
    NewEvent("model.called", {"response_id": "r1", "response_model": "opus", "cost": 0.03}),
    NewEvent("task.changed", {"task_id": "room", "status": "in_progress"}),
    NewEvent(
        "tool.requested",
        {"tool_call_id": "c1", "tool_name": "book", "tool_call_arguments": {"people": 12}},
    ),
    NewEvent("tool.completed", {"tool_call_id": "c1", "tool_call_result": {"room": "Garden"}}),
    NewEvent("model.called", {"response_id": "r2", "response_model": "opus", "cost": 0.04}),
    NewEvent("task.changed", {"task_id": "room", "status": "completed"}),
    NewEvent(
        "message.added", {"message_id": "m2", "role": "assistant", "content": "Bücher 完 \x1b[31m"}
    ),
]


@pytest.fixture
async def store() -> AsyncIterator[EventStore]:
    """A store that holds the session, an event a second."""
    async with await EventStore.open(
        "memory://", clock=SteppingClock(), ids=SequentialIds()
    ) as opened:
        for event in EVENTS:
            await opened.append(STREAM, [event], actor="ann")
        yield opened
