"""Where a fault is tried: an engine, with what only that engine has."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path
from typing import Any, Protocol

from tests.servers.postgres import PostgresServer

_PATIENCE_SECONDS = 10.0
"""How long another program of ours waits for SQLite's lock."""


class Ground(Protocol):
    """An engine under test."""

    engine: str

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


class SqliteGround:
    """Files in a folder."""

    engine = "sqlite"

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
        return _SqliteForeign(self.path(url), "BEGIN IMMEDIATE")

    def read_for_long(self, url: str) -> Foreign:
        """See `Ground`."""
        return _SqliteForeign(self.path(url), "BEGIN", "SELECT count(*) FROM events")


class _SqliteForeign:
    def __init__(self, path: Path, *statements: str) -> None:
        self._connection = sqlite3.connect(
            path, isolation_level=None, timeout=_PATIENCE_SECONDS, check_same_thread=False
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

    def __init__(self, server: PostgresServer) -> None:
        self.server = server

    def new_url(self) -> str:
        """See `Ground`."""
        return self.server.new_url()

    def drop(self, url: str) -> None:
        """See `Ground`."""
        self.server.drop(url)

    def execute(self, url: str, statement: str) -> list[Any]:
        """Runs a statement in a store's database, as the owner of everything."""
        return self.server.execute(statement, url.rsplit("/", 1)[1])
