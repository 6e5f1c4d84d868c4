"""Stores that relays are tried on: every engine, a test on each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from eventstore import EventStore
from tests.engines.databases import template
from tests.servers.postgres import PostgresServer


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of one test."""
    if request.param == "memory":
        return "memory://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_url(template(server))


@pytest_asyncio.fixture
async def store(url: str) -> AsyncIterator[EventStore]:
    """An empty store on each engine."""
    async with EventStore.open(url) as opened:
        yield opened
