"""What an index hides is found: `verify` looks everything up as reads and appends do."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from eventstore import Corrupt, EventStore, NewEvent
from tests.servers.postgres import PostgresServer

STREAM = "b"


async def _fill(store: EventStore) -> None:
    for n in range(1, 4):
        for stream in ("a", STREAM):
            note = NewEvent(f"note.{stream}", n, tags=[f"t:{stream}"], id=f"{stream}-{n}")
            await store.append(stream, note, idempotency_key=f"k{n}")
    assert (await store.verify()).damages == ()


@pytest_asyncio.fixture
async def filled(store: EventStore) -> AsyncIterator[EventStore]:
    """Six events in two streams, each with a type and a tag of its own."""
    await _fill(store)
    yield store


async def _lose(raw: Any, table: str, index: str, where: str) -> None:
    """Takes a row out of one index: it is written anew while that index is not kept up."""
    ready = (
        "UPDATE pg_catalog.pg_index SET indisready = $1"
        " WHERE indexrelid = ('eventstore.' || $2)::regclass"
    )
    await raw.execute(f"ALTER TABLE eventstore.{table} DISABLE TRIGGER USER")
    await raw.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM eventstore.{table} WHERE {where}")
    assert await raw.execute(f"DELETE FROM eventstore.{table} WHERE {where}") != "DELETE 0"
    await raw.execute(ready, False, index)
    await raw.execute(f"INSERT INTO eventstore.{table} SELECT * FROM kept")
    await raw.execute(ready, True, index)


@pytest.mark.parametrize(
    ("table", "index", "where", "says"),
    [
        ("streams", "streams_by_name", "name = 'b'", "stream 'b': the index of names"),
        ("streams", "streams_pkey", "name = 'b'", "stream 'b': the index of numbers"),
        ("tags", "tags_by_name", "name = 't:b'", "tag 't:b': the index of names"),
        ("tags", "tags_pkey", "name = 't:b'", "tag 't:b': the index of numbers"),
        ("event_types", "event_types_name_key", "name = 'note.b'", "event type 'note.b'"),
        ("event_types", "event_types_pkey", "name = 'note.b'", "event type 'note.b'"),
        ("tenants", "tenants_name_key", "true", "tenant number 1: the index of names"),
        ("tenants", "tenants_pkey", "true", "tenant number 1: the index of numbers"),
        ("heads", "heads_pkey", "true", "log number 1: its head"),
        ("events", "events_by_id", "event_id = 'b-2'", "stream 'b' version 2 (position 4)"),
        ("events", "events_by_type", "event_id = 'b-2'", "stream 'b' version 2 (position 4)"),
        ("idempotency_keys", "keys_by_stream", "key = 'k2'", "2 idempotency keys"),
    ],
)
async def test_an_index_lacks_a_row_then_verify_says_which(
    url: str, filled: EventStore, raw: Any, table: str, index: str, where: str, says: str
) -> None:
    """A name, an id or a key that its index does not lead to is damage, though the row stands."""
    await _lose(raw, table, index, where)
    async with EventStore.open(url) as store:  # which has remembered nothing
        told = (await store.verify()).damages
    found = [damage for damage in told if says in damage.message]
    assert [damage.kind for damage in found[:1]] == ["index"], [d.message for d in told]
    if table in ("streams", "events"):
        assert found[0].stream == STREAM


async def test_a_tenants_row_is_gone_then_verify_tells_of_its_log(
    filled: EventStore, raw: Any
) -> None:
    """A log without a tenant is empty to those who ask for it; everybody is told."""
    await filled.tenant("acme").append("a", NewEvent("t", 1))
    await raw.execute("DELETE FROM eventstore.tenants WHERE name = 'acme'")
    (told,) = (await filled.verify()).damages
    assert (told.kind, told.stream) == ("index", None)
    assert "log number 2" in told.message


@pytest.fixture(scope="module")
def unchecked() -> Iterator[PostgresServer]:
    """A server without data checksums."""
    server = PostgresServer()
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        if server.installation.major >= 18:  # before, a folder has none unless it is asked for
            server._run("pg_checksums", "--disable", "--no-sync", "-D", server.data)
        server.start()
        yield server


async def test_nothing_checks_pages_and_a_name_is_lost_then_opening_is_refused(
    unchecked: PostgresServer,
) -> None:
    """The stream would look as if it had never been, and the next append would begin it anew;
    once the index is built again, all is there."""
    url = unchecked.new_url()
    async with EventStore.open(url) as store:
        await _fill(store)
    raw = await asyncpg.connect(url)
    await _lose(raw, "streams", "streams_by_name", "name = 'b'")
    with pytest.raises(Corrupt) as refused:
        await EventStore.open(url)
    assert (refused.value.kind, refused.value.stream) == ("index", STREAM)
    assert url not in str(refused.value)
    await raw.execute("REINDEX TABLE eventstore.streams")
    await raw.close()
    async with EventStore.open(url) as store:
        assert await store.version(STREAM) == 3
        assert (await store.verify()).damages == ()
