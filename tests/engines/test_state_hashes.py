"""One history has one state hash, whichever engine keeps it, from events and from a snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventstore import EventStore, NewEvent
from eventstore.testing import SequentialIds, SteppingClock
from reducers import fold, state_hash, take_snapshot, verify_states
from reducers.agent import agent

GOLDEN = "4c5d8750246a397ae7ecf9f0c1c10c3f1da36cad6e95e68de0812075d6ffe0d6"
"""Of the history below. It hangs neither on the engine nor on the version of Python; who changes
what a state is, or how it is hashed, sees it here."""

HISTORY = [
    NewEvent("session.started", {"agent": "tester"}),
    NewEvent("message.added", {"role": "user", "content": "Grüße, 世界", "message_id": "m1"}),
    NewEvent("model.called", {"model": "m", "input_tokens": 3, "output_tokens": 4, "cost": 0.1}),
    NewEvent("model.called", {"model": "m", "response_id": "r", "cost": 0.2}),
    NewEvent("memory.remembered", {"memory_id": "k", "content": {"b": [1, 1.0, None], "a": True}}),
    NewEvent("task.added", {"task_id": "1", "title": "Book a room"}),
]


@pytest.mark.parametrize("engine", ["memory", "sqlite", "postgres"])
async def test_history_is_kept_then_its_state_hash_is_the_pinned_one(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Memory, SQLite and PostgreSQL give one hash, and so does the state from a snapshot."""
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/log.db"}.get(engine)
    url = url or request.getfixturevalue("postgres_url")
    async with EventStore.open(url, clock=SteppingClock(), ids=SequentialIds()) as store:
        await store.append("s", HISTORY)
        state = fold(await store.read("s").list(), agent)
        assert state_hash(state) == GOLDEN
        await take_snapshot(agent, store, "s")
        assert state_hash((await agent.load(store, "s")).state) == GOLDEN
        assert (await verify_states(agent, store, "s")).checked == (len(HISTORY),)
