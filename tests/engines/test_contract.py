"""One contract, every engine: a new engine is one more class here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.testing import EngineContract
from tests.engines.databases import databases
from tests.servers.postgres import PostgresServer

_names = itertools.count()


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

    @pytest.fixture(autouse=True)
    def _server(self, postgres: PostgresServer) -> Iterator[None]:
        yield from self._serve(postgres)

    def _serve(self, server: PostgresServer) -> Iterator[None]:
        self._databases = databases(server)
        self._urls: list[str] = []
        yield
        for url in self._urls:
            self._databases.give_back(url)

    def new_url(self, folder: Path) -> str:
        """A database of the session's server that holds nothing."""
        self._urls.append(self._databases.take())
        return self._urls[-1]


class TestOlderPostgres(TestPostgres):
    """The same on the oldest other PostgreSQL of this machine, where there is one."""

    @pytest.fixture(autouse=True)
    def _server(self, postgres_elsewhere: PostgresServer) -> Iterator[None]:
        yield from self._serve(postgres_elsewhere)
