"""Stores with vector views, on every engine, and the memories that they are fed with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from eventstore import EventStore, NewEvent
from projections import Delete, Projection, Relay, Upsert, VectorView
from projections.embedding import EmbeddingFailed, HashingEmbedder
from tests.engines.databases import template
from tests.servers.postgres import PostgresServer


class CountingEmbedder:
    """The hashing embedder, with a name and version to choose, that notes what it is given and
    fails as often as it is told to."""

    batch_max = 8

    def __init__(self, name: str = "counting", version: str = "1", dimensions: int = 64) -> None:
        self.name, self.version = name, version
        self.dimensions = dimensions
        self.given: list[str] = []
        self.failures: list[EmbeddingFailed] = []
        self._hashing = HashingEmbedder(dimensions)

    async def embed(self, texts: Sequence[str]) -> Any:
        """See `Embedder`."""
        if self.failures:
            raise self.failures.pop()
        self.given += texts
        return await self._hashing.embed(texts)


def memories(name: str = "memories_found", version: int = 1) -> Projection:
    """A row for each memory, under its id (any JSON key)."""
    made = Projection(name, version=version, key=lambda event: str(event.data["id"]))

    @made.on("memory.kept")
    def kept(event: Any) -> Upsert:
        given = dict(event.data)
        key = given.pop("id")
        key = tuple(key) if isinstance(key, list) else key
        return Upsert(key, {**given, "time": event.occurred_at})

    @made.on("memory.gone")
    def gone(event: Any) -> Delete:
        key = event.data["id"]
        return Delete(tuple(key) if isinstance(key, list) else key)

    return made


class Recall:
    """A store, a view on it, and a relay that is run when it is asked to."""

    def __init__(self, store: EventStore, embedder: CountingEmbedder, **options: Any) -> None:
        self.store, self.embedder = store, embedder
        self.declared = VectorView(memories(), embedder=embedder, **options)
        self.view = self.declared.bind(store)

    async def keep(self, id: Any, text: str, day: int | None = None, **more: Any) -> int:
        """Appends a memory."""
        at = None if day is None else datetime(2024, 1, day, tzinfo=UTC)
        event = NewEvent("memory.kept", {"id": id, "text": text, **more}, occurred_at=at)
        return (await self.store.append("all", event)).position

    async def forget(self, id: Any) -> int:
        """Appends its end."""
        return (await self.store.append("all", NewEvent("memory.gone", {"id": id}))).position

    async def feed(self) -> None:
        """Brings the view up to the log's end."""
        await Relay(self.store, [self.declared]).run_once()

    async def keys(self, query: Any, k: int = 10, **options: Any) -> list[Any]:
        """The keys that a search finds."""
        return [each.key for each in await self.view.search(query, k, **options)]

    async def embedded(self, generation: int) -> tuple[int, int]:
        """Texts that a generation had embedded, and saved."""
        schema = self.store.outbox.schema
        rows = await self.store.outbox.query(
            f"SELECT sum(embedded), sum(embeddings_saved) FROM {f'{schema}.' if schema else ''}"
            f"view_progress WHERE generation = {generation}"
        )
        return int(rows[0][0]), int(rows[0][1])

    async def kept_vectors(self) -> int:
        """Rows of the table of embeddings."""
        schema = self.store.outbox.schema
        table = f"{schema}.embeddings" if schema else "embeddings"
        return int((await self.store.outbox.query(f"SELECT count(*) FROM {table}"))[0][0])

    async def scanned(self, generation: int) -> dict[Any, Any]:
        """All rows of a generation."""
        from projections.asking import serving

        build, _ = await serving(self.view)
        import msgspec

        wanted = msgspec.structs.replace(build, generation=generation)
        sink: Any = self.declared.sink
        return {row.key: row.value async for page in sink.scan(wanted) for row in page}


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of one test; in PostgreSQL with pgvector."""
    if request.param == "memory":
        return "memory://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    return with_pgvector(request.getfixturevalue("postgres"))


def with_pgvector(server: PostgresServer) -> str:
    """A new database's URL, in which an administrator has made the extension."""
    made = server.new_url(template(server))
    server.execute("CREATE EXTENSION vector", made.rsplit("/", 1)[1])
    return made


@pytest_asyncio.fixture
async def store(url: str) -> AsyncIterator[EventStore]:
    """An empty store on each engine."""
    async with EventStore.open(url) as opened:
        yield opened


@pytest_asyncio.fixture
async def recall(store: EventStore) -> AsyncIterator[Recall]:
    """A view that was built, with nothing in it."""
    made = Recall(store, CountingEmbedder())
    await made.feed()
    yield made
    await made.declared.close()
