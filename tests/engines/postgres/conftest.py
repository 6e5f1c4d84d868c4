"""A store of one test in the session's PostgreSQL, and the database behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from eventstore import EventStore
from tests.engines.databases import template
from tests.servers.postgres import PostgresServer


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """A database with an empty store, as opening makes it."""
    made = postgres.new_url(template(postgres))
    yield made
    postgres.drop(made)


@pytest_asyncio.fixture
async def store(url: str) -> AsyncIterator[EventStore]:
    """An open store on `url`."""
    async with EventStore.open(url) as opened:
        yield opened


@pytest_asyncio.fixture
async def raw(url: str) -> AsyncIterator[Any]:
    """A connection of another program, with the rights of the database's owner."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()
