"""Where a fault is tried: an engine, with what only that engine has."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import asyncpg

from tests.servers.postgres import PostgresServer

_PATIENCE_SECONDS = 10.0
"""How long another program of ours waits for SQLite's lock."""


class Ground(Protocol):
    """An engine under test."""

    engine: str
    variants: tuple[str, ...]
    """What may stand behind a URL: options under which the promise holds as well."""

    def new_url(self) -> str:
        """The URL of a store that does not exist yet."""

    def drop(self, url: str) -> None:
        """Removes a store that nobody needs any more."""

    def hold_write_lock(self, url: str) -> Foreign:
        """Takes the lock that a writer needs, as another program, and keeps it until `release`."""

    def read_for_long(self, url: str) -> Foreign:
        """Begins a transaction that reads, and keeps it open until `release`."""


class Foreign(Protocol):
    """What another program holds."""

    def release(self) -> None:
        """Lets it go."""


def hold_write_lock(url: str) -> SqliteForeign | PostgresForeign:
    """The lock that a writer of that store needs. What is changed meanwhile is rolled back."""
    if url.startswith("sqlite:"):
        return SqliteForeign(url, "BEGIN IMMEDIATE")
    return PostgresForeign(url, "BEGIN", "UPDATE eventstore.heads SET position = position + 100")


class SqliteGround:
    """Files in a folder."""

    engine = "sqlite"
    variants = ("",)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = itertools.count()

    def new_url(self) -> str:
        """See `Ground`."""
        return f"sqlite:///{self.folder}/{next(self._names)}.db"

    def path(self, url: str) -> Path:
        """The file of a URL."""
        return Path(url.removeprefix("sqlite:///"))

    def drop(self, url: str) -> None:
        """See `Ground`."""
        for path in self.folder.glob(f"{self.path(url).name}*"):
            path.unlink()

    def hold_write_lock(self, url: str) -> Foreign:
        """See `Ground`."""
        return hold_write_lock(url)

    def read_for_long(self, url: str) -> Foreign:
        """See `Ground`."""
        return SqliteForeign(url, "BEGIN", "SELECT count(*) FROM events")


class SqliteForeign:
    """A connection of another program, in a transaction."""

    def __init__(self, url: str, *statements: str) -> None:
        self._connection = sqlite3.connect(
            url.removeprefix("sqlite:///"),
            isolation_level=None,
            timeout=_PATIENCE_SECONDS,
            check_same_thread=False,
        )
        for statement in statements:
            self._connection.execute(statement).fetchall()

    def release(self) -> None:
        """See `Foreign`."""
        self._connection.execute("ROLLBACK")
        self._connection.close()


class PostgresGround:
    """Databases of one server."""

    engine = "postgres"
    variants = ("", "?notify=off")

    def __init__(self, server: PostgresServer) -> None:
        self.server = server

    def new_url(self) -> str:
        """See `Ground`."""
        return self.server.new_url()

    def drop(self, url: str) -> None:
        """See `Ground`."""
        self.server.drop(url.partition("?")[0])

    def hold_write_lock(self, url: str) -> Foreign:
        """See `Ground`."""
        return hold_write_lock(url)

    def read_for_long(self, url: str) -> Foreign:
        """See `Ground`. It has a number of its own, and lies in another database: what a store
        that asks for the oldest open transaction would wait for."""
        return PostgresForeign(
            self.server.url(), "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT txid_current()"
        )


class PostgresForeign:
    """A session of another program, in a transaction."""

    def __init__(self, url: str, *statements: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._runner = asyncio.Runner()
        self._connection = self._run(asyncpg.connect(url.partition("?")[0]))
        for statement in statements:
            self._run(self._connection.execute(statement))

    def release(self) -> None:
        """See `Foreign`."""
        self._run(self._connection.execute("ROLLBACK"))
        self._run(self._connection.close())
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()

    def someone_waits(self) -> bool:
        """Whether another session waits for a lock that somebody holds."""
        count = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(self._run(self._connection.fetchval(count)))

    def _run(self, work: Any) -> Any:
        async def awaited() -> Any:
            return await work

        return self._thread.submit(lambda: self._runner.run(awaited())).result()
