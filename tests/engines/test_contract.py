"""One contract, every engine: a new engine is one more class here."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.testing import EngineContract
from tests.engines.databases import Databases, databases
from tests.servers.postgres import PostgresServer

_names = itertools.count()
_SERVER = "EVENTSTORE_TEST_SERVER"
"""Where a test of the contract that starts a process of its own finds the server."""


class TestMemory(EngineContract):
    """The engine for tests."""

    keeps = False
    shares = False

    def new_url(self, folder: Path) -> str:
        """Memory has no name to share."""
        return "memory://"


class TestSqlite(EngineContract):
    """The embedded engine, on a file."""

    def new_url(self, folder: Path) -> str:
        """A file of its own in the test's folder."""
        return f"sqlite:///{folder}/{next(_names)}.db"


class TestPostgres(EngineContract):
    """The engine for many machines, on the PostgreSQL that the test dependencies bring."""

    _databases: Databases | None = None  # in a process that a test of the contract starts

    @pytest.fixture(autouse=True)
    def _server(self, postgres: PostgresServer) -> Iterator[None]:
        yield from self._serve(postgres)

    def _serve(self, server: PostgresServer) -> Iterator[None]:
        self._databases: Databases | None = databases(server)
        os.environ[_SERVER] = server.url()
        self._urls: list[str] = []
        yield
        for url in self._urls:
            self._databases.give_back(url)
        del os.environ[_SERVER]

    def new_url(self, folder: Path) -> str:
        """A database of the session's server that holds nothing."""
        if self._databases is None:
            return f"{os.environ[_SERVER]}?schema=process_{os.getpid()}_{next(_names)}"
        self._urls.append(self._databases.take())
        return self._urls[-1]

    def release_url(self, url: str) -> None:
        """Empties it for the next one that is asked for."""
        assert self._databases is not None
        self._databases.give_back(url)
        self._urls.remove(url)


class TestOlderPostgres(TestPostgres):
    """The same on the oldest other PostgreSQL of this machine, where there is one."""

    @pytest.fixture(autouse=True)
    def _server(self, postgres_elsewhere: PostgresServer) -> Iterator[None]:
        yield from self._serve(postgres_elsewhere)
