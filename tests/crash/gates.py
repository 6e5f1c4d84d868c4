"""Places within a transaction of PostgreSQL where it can be made to wait.

Triggers ask for an advisory lock that a session of ours may hold: before the rows of events are
inserted, after that, and at the commit. What waits there can be killed, its client or itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg

from tests.waiting import PATIENCE_SECONDS

_SPACE = 7301
"""The first number of our advisory locks, so that they are nobody else's."""

GATES = {"before insert": 1, "after insert": 2, "before commit": 3}

_TRIGGERS = """
CREATE OR REPLACE FUNCTION eventstore.crash_gate() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7301, TG_ARGV[0]::int);
    RETURN NULL;
END $body$;
CREATE TRIGGER crash_gate_1 BEFORE INSERT ON eventstore.events
    FOR EACH STATEMENT EXECUTE FUNCTION eventstore.crash_gate(1);
CREATE TRIGGER crash_gate_2 AFTER INSERT ON eventstore.events
    FOR EACH STATEMENT EXECUTE FUNCTION eventstore.crash_gate(2);
CREATE CONSTRAINT TRIGGER crash_gate_3 AFTER INSERT ON eventstore.events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION eventstore.crash_gate(3);
"""
_WAITERS = """
SELECT pid FROM pg_locks
 WHERE locktype = 'advisory' AND classid = $1 AND NOT granted
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_LOOK_SECONDS = 0.01


class Gate:
    """A gate that is closed: who comes to it waits."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def someone(self) -> int:
        """The server's process that has come to the gate, once there is one."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                found = await self._connection.fetch(_WAITERS, _SPACE)
                if found:
                    return int(found[0][0])
                await asyncio.sleep(_LOOK_SECONDS)


async def build_gates(url: str) -> None:
    """Puts the triggers into a store's database."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_TRIGGERS)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def closed_gate(url: str, name: str) -> AsyncIterator[Gate]:
    """Closes a gate for the length of the block."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"SELECT pg_advisory_lock({_SPACE}, {GATES[name]})")
        yield Gate(connection)
    finally:
        await connection.close()
