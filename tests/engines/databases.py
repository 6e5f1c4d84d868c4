"""Empty stores for tests, quickly: a database is emptied and used again, because making one takes
ten times as long as a test does.

The triggers that refuse changes would refuse the emptying, and are left out here; what they
refuse is tested on databases that have them.
"""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import asyncpg

from eventstore import EventStore
from eventstore.schema import TABLES
from tests.servers.postgres import PostgresServer

T = TypeVar("T")

_EMPTIED = [name for name in TABLES if name not in ("events_json", "store_info")]
_APPEND_ONLY = ("events", "event_tags", "event_causes", "idempotency_keys")


class Databases:
    """The databases of one server that tests of the contract share, one after the other."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._thread = ThreadPoolExecutor(1)
        self._runner = asyncio.Runner()
        self._template = ""
        self._free: list[str] = []
        self._connections: dict[str, Any] = {}

    def take(self) -> str:
        """The URL of a database with an empty store."""
        if self._free:
            return self._free.pop()
        return self._elsewhere(self._make())

    def give_back(self, url: str) -> None:
        """Empties a database that `take` gave."""
        self._elsewhere(self._empty(url))
        self._free.append(url)

    def _elsewhere(self, work: Coroutine[Any, Any, T]) -> T:
        # A loop of its own: the caller has one running, and another one in the next test.
        return self._thread.submit(self._runner.run, work).result()

    async def _make(self) -> str:
        if not self._template:
            url = self._server.new_url()
            async with EventStore.open(url):
                pass
            self._template = url.rsplit("/", 1)[1]
        url = self._server.new_url(self._template)
        connection = self._connections[url] = await asyncpg.connect(url)
        for table in _APPEND_ONLY:
            await connection.execute(f"DROP TRIGGER {table}_append_only ON eventstore.{table}")
        return url

    async def _empty(self, url: str) -> None:
        connection = self._connections[url]
        await connection.execute("; ".join(f"DELETE FROM eventstore.{table}" for table in _EMPTIED))


def _elsewhere_run(work: Coroutine[Any, Any, T]) -> T:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@functools.cache
def template(server: PostgresServer) -> str:
    """The name of a database with an empty store as it is made, which nobody is connected to."""

    async def make(url: str) -> None:
        async with EventStore.open(url):
            pass

    url = server.new_url()
    _elsewhere_run(make(url))
    return url.rsplit("/", 1)[1]


@functools.cache
def databases(server: PostgresServer) -> Databases:
    """The databases of a server."""
    return Databases(server)


async def tamper(url: str, statement: str) -> None:
    """Changes one row of a store behind its back, with what guards the tables out of the way."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as raw:
            guards = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            for (name,) in raw.execute(guards).fetchall():
                raw.execute(f"DROP TRIGGER {name}")
            assert raw.execute(statement).rowcount == 1
        raw.close()
        return
    connection = await asyncpg.connect(url)
    await connection.execute("SET search_path = eventstore")
    await connection.execute("ALTER TABLE events DISABLE TRIGGER USER")
    assert await connection.execute(statement) == "UPDATE 1"
    await connection.close()
