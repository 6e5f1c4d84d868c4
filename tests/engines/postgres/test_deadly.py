"""A question that the server dies of is not asked for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventstore import EventStore, NewEvent, StorageFailed
from eventstore.engines.postgres.connections import LOSSES_MAX


async def test_a_question_ends_its_session_each_time_then_it_is_given_up_after_a_few(
    store: EventStore,
) -> None:
    """A lost connection is replaced; one that is lost over the same question again and again is
    the question's fault, and others may be ended with it."""
    await store.append("s", NewEvent("n", 1))
    asked = 0

    async def deadly(connection: Any) -> None:
        nonlocal asked
        asked += 1
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    connections = store._core.engine._reading  # type: ignore[attr-defined]
    async with asyncio.timeout(15):  # half of the patience that a lost server is waited for
        with pytest.raises(StorageFailed, match="damaged data"):
            await connections.run(deadly)
    assert asked == LOSSES_MAX
    assert len(await store.read_all().list()) == 1
