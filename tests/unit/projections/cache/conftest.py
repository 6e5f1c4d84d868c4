"""Cache views on real parts: SQLite, PostgreSQL and a Redis, and builds without a relay."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import redis
import sqlalchemy as sa

from eventstore import EventStore
from eventstore.outbox import Statement
from eventstore.testing import FixedClock
from projections.cache import CacheView
from projections.catalog import own, statement, tables
from projections.projection import Key, Projection
from projections.sinks import Build, Change, Row, Written
from tests.engines.databases import template
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

KINDS = ("table in SQLite", "table in PostgreSQL", "Redis")


def declared(name: str = "hot") -> Projection:
    """A projection of which only the name matters here."""
    return Projection(name, map=lambda event: None)


class Cache:
    """One build of a cache view, used as a relay would use it."""

    def __init__(self, view: CacheView, store: EventStore, build: Build) -> None:
        self.view, self.store, self.build = view, store, build
        self.sink: Any = view.sink

    async def create(self) -> None:
        """Makes the place of the build, and its row in the bookkeeping."""
        made = await self.sink.create(self.build)
        assert await self.store.outbox.change([*made, *self._bookkeeping(is_kept=True)])

    async def write(self, *changes: Change) -> Written:
        """Hands over a page and runs the statements, as with the checkpoint."""
        written: Written = await self.sink.write(self.build, changes)
        assert await self.store.outbox.change(written.statements)
        return written

    async def put(self, key: Key, value: Any, position: int, recorded_us: int = 0) -> Written:
        """One row."""
        return await self.write(Change(key, value, position, recorded_us))

    async def values(self, *keys: Key) -> dict[Key, Any]:
        """The values of those keys that have a row."""
        return {row.key: row.value for row in await self.sink.find(self.build, keys)}

    async def pages(self) -> list[list[Row]]:
        """All rows, page by page."""
        return [page async for page in self.sink.scan(self.build)]

    async def drop(self) -> None:
        """Takes the build away."""
        gone = await self.sink.drop(self.build)
        assert await self.store.outbox.change([*gone, *self._bookkeeping(is_kept=False)])

    def _bookkeeping(self, is_kept: bool) -> list[Statement]:
        build = self.build
        views = tables(build.outbox.schema).views
        kept = [statement(build.outbox, sa.delete(views).where(own(views, build)))]
        if is_kept:
            row = {
                "tenant_id": build.tenant_id,
                "name": build.view,
                "generation": build.generation,
                "state": "building",
                "version": 1,
                "fingerprint": "",
                "partitions": 1,
                "incarnation": build.incarnation,
                "created_at": 0,
            }
            kept.append(statement(build.outbox, sa.insert(views).values(row)))
        return kept

    async def other(self, tenant: str | None = None, **changed: Any) -> Cache:
        """Another build of the same view in the same sink, also of another tenant; created."""
        store = self.store if tenant is None else self.store.tenant(tenant)
        outbox = store.outbox
        tenant_id = await outbox.tenant_id()
        fresh = {"incarnation": f"{self.build.incarnation}-{tenant}-{changed}", **changed}
        build = msgspec.structs.replace(self.build, outbox=outbox, tenant_id=tenant_id, **fresh)
        made = Cache(self.view, store, build)
        await made.create()
        return made


async def cache_of(store: EventStore, view: CacheView, incarnation: str = "first") -> Cache:
    """The first build of a view in a store, created."""
    outbox = store.outbox
    build = Build(outbox, view.name, await outbox.tenant_id(), 1, incarnation)
    made = Cache(view, store, build)
    await made.create()
    return made


def rows(count: int, position: int = 1, value: Any = "v") -> Sequence[Change]:
    """A page of rows."""
    return [Change(f"key/{n:06}", value, position + n, 0) for n in range(count)]


@pytest.fixture
def clock() -> FixedClock:
    """The store's time, which moves when it is told to."""
    return FixedClock()


@pytest_asyncio.fixture
async def store(tmp_path: Path, clock: FixedClock) -> AsyncIterator[EventStore]:
    """A store in a SQLite file."""
    async with EventStore.open(f"sqlite:///{tmp_path}/log.db", clock=clock) as opened:
        yield opened


@pytest_asyncio.fixture
async def postgres_store(postgres: PostgresServer, clock: FixedClock) -> AsyncIterator[EventStore]:
    """A store in PostgreSQL."""
    url = postgres.new_url(template(postgres))
    async with EventStore.open(url, clock=clock) as opened:
        yield opened
    postgres.drop(url)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which sink."""
    return str(request.param)


@pytest.fixture
def place(kind: str, request: pytest.FixtureRequest) -> tuple[EventStore, str | None]:
    """The store and the URL of a sink of this kind."""
    if kind == "table in PostgreSQL":
        return request.getfixturevalue("postgres_store"), None
    url = request.getfixturevalue("redis_url") if kind == "Redis" else None
    return request.getfixturevalue("store"), url


@pytest_asyncio.fixture
async def cache(place: tuple[EventStore, str | None]) -> AsyncIterator[Cache]:
    """A cache of each kind, created and empty."""
    store, url = place
    view = CacheView(declared(), url)
    yield await cache_of(store, view)
    await view.close()


@pytest_asyncio.fixture
async def expiring(place: tuple[EventStore, str | None]) -> AsyncIterator[Cache]:
    """One whose rows are good for ten seconds."""
    store, url = place
    view = CacheView(declared("brief"), url, expire_seconds=10)
    yield await cache_of(store, view)
    await view.close()


@contextlib.asynccontextmanager
async def using(store: EventStore, url: str, **options: Any) -> AsyncIterator[Cache]:
    """A cache in the server of this URL, created; its connections are closed."""
    view = CacheView(declared(), url, **options)
    try:
        yield await cache_of(store, view)
    finally:
        await view.close()


@pytest.fixture
def raw(redis_server: RedisServer, redis_url: str) -> Iterator[redis.Redis]:
    """A client of another program on the same database."""
    with redis_server.client(int(redis_url.rpartition("/")[2])) as client:
        yield client


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server to be flushed, stopped and killed."""
    with RedisServer() as server:
        yield server
