"""What a vector view promises on PostgreSQL alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import numpy as np
import pytest
import pytest_asyncio

from eventstore import EventStore, NewEvent
from projections import ProjectionError
from tests.engines.databases import template
from tests.servers.postgres import PostgresServer

from .conftest import CountingEmbedder, Recall, with_pgvector

TABLE = "eventstore.recall_memories_found_1"
TOPICS = ("cats", "trains", "tax law", "weather", "pizza", "opera")


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """A database in which the extension is."""
    return with_pgvector(postgres)


@pytest_asyncio.fixture
async def many(url: str) -> AsyncIterator[Recall]:
    """Two thousand memories, twelve of them one user's."""
    async with EventStore.open(url) as store:
        recall = Recall(store, CountingEmbedder())
        events = [
            NewEvent(
                "memory.kept",
                {
                    "id": n,
                    "text": f"{TOPICS[n % 6]} and {TOPICS[n % 5]} number {n} of {n * n % 977}",
                    "user": "rare" if n % 170 == 3 else "usual",
                },
            )
            for n in range(2_000)
        ]
        await store.append("all", events)
        await recall.feed()
        yield recall


async def test_the_extension_is_missing_then_the_error_says_what_to_do(
    postgres: PostgresServer,
) -> None:
    """An administrator makes it; nothing of the view is there meanwhile."""
    async with EventStore.open(postgres.new_url(template(postgres))) as store:
        with pytest.raises(ProjectionError, match="CREATE EXTENSION vector"):
            await Recall(store, CountingEmbedder()).feed()
        found = await store.outbox.query("SELECT 1 FROM eventstore.views")
    assert found == []


async def test_the_extension_is_in_a_schema_of_its_own_then_it_is_found_there(
    postgres: PostgresServer,
) -> None:
    """Nothing has to be on the search path."""
    made = postgres.new_url(template(postgres))
    name = made.rsplit("/", 1)[1]
    postgres.execute('CREATE SCHEMA "of admins"', name)
    postgres.execute('CREATE EXTENSION vector SCHEMA "of admins"', name)
    async with EventStore.open(made) as store:
        recall = Recall(store, CountingEmbedder())
        await recall.keep("a", "pizza")
        await recall.feed()
        assert await recall.keys("pizza", user=None) == ["a"]


async def test_few_rows_pass_the_filters_then_all_of_them_are_found(many: Recall) -> None:
    """The index goes on until there are enough, and what it misses is compared."""
    for hybrid in (True, False):
        found = await many.view.search("pizza and trains", 10, user="rare", hybrid=hybrid)
        assert len(found) == 10
        assert {each.value["user"] for each in found} == {"rare"}
    assert len(await many.keys("pizza", 100, user="rare")) == 12


async def test_the_index_answers_then_it_finds_nearly_all_that_comparing_finds(
    many: Recall,
) -> None:
    """Recall of the ten nearest, over questions that are no rows."""
    rows = await many.store.outbox.query(f"SELECT text FROM {TABLE} ORDER BY label")
    texts = [row[0] for row in rows]
    matrix = await many.embedder._hashing.embed(texts[:256])
    parts = [await many.embedder._hashing.embed(texts[n : n + 256]) for n in range(0, 2_000, 256)]
    matrix = np.concatenate(parts)
    met = asked = 0
    for n in range(30):
        vector = (await many.embedder.embed([f"{TOPICS[n % 6]} by night {n}"]))[0]
        scores = np.sort(matrix @ vector)[::-1]
        found = await many.view.search(vector, 10)
        met += sum(each.score >= scores[9] - 1e-5 for each in found)
        asked += 10
    assert met / asked >= 0.95


async def test_a_search_is_planned_then_it_goes_by_the_index(many: Recall, url: str) -> None:
    """The index of pgvector is made for the question as it is asked."""
    await many.view.search("pizza", 10)
    connection = await asyncpg.connect(url)
    try:
        # With as few rows as these, sorting all of them is cheaper.
        await connection.execute("SET enable_sort = off; SET enable_seqscan = off")
        vector = "[" + ",".join(["0.125"] * 64) + "]"
        plan = await connection.fetch(
            f"EXPLAIN SELECT label FROM {TABLE} r WHERE tenant_id = 1"
            f" ORDER BY r.vector <=> '{vector}' LIMIT 10"
        )
    finally:
        await connection.close()
    assert any("_near" in line[0] for line in plan)


async def test_tenants_are_isolated_by_the_database_then_views_are_as_well(
    postgres: PostgresServer, url: str
) -> None:
    """With row-level security switched on for the view's tables, for a role without rights to
    pass it by; a question in SQL that forgets the tenant sees its own rows."""
    name = url.rsplit("/", 1)[1]
    async with EventStore.open(url) as store:
        for tenant, text in (("default", "mine"), ("acme", "theirs")):
            recall = Recall(store.tenant(tenant), CountingEmbedder())
            await recall.keep("a", text)
            await recall.feed()
    isolated = [
        *("tenants", "heads", "streams", "tags", "events", "event_tags", "event_causes"),
        *("idempotency_keys", "checkpoints", "snapshots", "views", "view_progress", "view_folds"),
        *("dead_letters", "embeddings", "recall_places", "recall_memories_found_1"),
    ]
    for statement in (
        *[f"ALTER TABLE eventstore.{table} ENABLE ROW LEVEL SECURITY" for table in isolated],
        "CREATE ROLE reader LOGIN PASSWORD 'of-this-test'",
        "GRANT USAGE ON SCHEMA eventstore TO reader",
        "GRANT SELECT ON ALL TABLES IN SCHEMA eventstore TO reader",
    ):
        postgres.execute(statement, name)
    place = url.split("@", 1)[1]
    try:
        opened = f"postgresql://reader:of-this-test@{place}?tenant_isolation=on"
        async with EventStore.open(opened) as store:
            for tenant, text in (("default", "mine"), ("acme", "theirs")):
                reader = Recall(store.tenant(tenant), CountingEmbedder())
                found = await reader.view.search("anything at all, mine or theirs")
                assert [each.text for each in found] == [text]
                rows: list[Any] = await reader.store.outbox.query(f"SELECT text FROM {TABLE}")
                assert rows == [(text,)]
    finally:
        postgres.execute("DROP OWNED BY reader", name)
        postgres.execute("DROP ROLE reader", name)
