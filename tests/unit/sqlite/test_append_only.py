"""The database itself refuses to change what was written, whoever asks."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from eventstore import Append, EventStore, NewEvent

from .conftest import Connect

APPEND_ONLY = ("events", "event_tags", "event_causes", "idempotency_keys")


@pytest_asyncio.fixture
async def written(store: EventStore) -> AsyncIterator[EventStore]:
    """A store with a row in every append-only table."""
    await store.append("s", NewEvent("t", {"n": 1}, id="a", tags=["x", "y"]), idempotency_key="k")
    await store.append("s", NewEvent("t", {"n": 2}, id="b", causation_id="a"))
    await store.append_many([Append("r", NewEvent("u", [3]))], idempotency_key="many")
    yield store
    assert (await store.verify()).damages == ()
    assert [event.data for event in await store.read_all().list()] == [{"n": 1}, {"n": 2}, [3]]


@pytest.mark.parametrize("table", APPEND_ONLY)
async def test_a_row_is_updated_or_deleted_then_the_database_refuses(
    written: EventStore, connect: Connect, table: str
) -> None:
    """UPDATE of any column, and DELETE of one row or of all, fail and change nothing."""
    with connect() as raw:
        before = raw.execute(f"SELECT * FROM {table}").fetchall()
        assert before
        columns = [row[1] for row in raw.execute(f"PRAGMA table_info({table})")]
        for statement in (
            *(f"UPDATE {table} SET {column} = {column}" for column in columns),
            f"UPDATE OR REPLACE {table} SET {columns[0]} = 99",
            f"DELETE FROM {table}",
            f"DELETE FROM {table} WHERE {columns[0]} = (SELECT min({columns[0]}) FROM {table})",
        ):
            with pytest.raises(sqlite3.IntegrityError, match=f"{table}: append-only"):
                raw.execute(statement)
        assert raw.execute(f"SELECT * FROM {table}").fetchall() == before


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("position", {"position": 1, "stream_id": 77, "version": 1, "event_id": "new"}),
        ("stream and version", {"position": 77, "stream_id": 1, "version": 1, "event_id": "new"}),
        ("event id", {"position": 77, "stream_id": 77, "version": 1, "event_id": "a"}),
    ],
)
@pytest.mark.parametrize("verb", ["INSERT", "INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE"])
async def test_an_event_is_put_on_a_taken_place_then_the_database_refuses(
    written: EventStore, connect: Connect, verb: str, place: str, changes: dict[str, object]
) -> None:
    """INSERT OR REPLACE would delete the row in its way without a DELETE trigger: each of the
    three unique places of an event is guarded."""
    with connect() as raw:
        raw.row_factory = sqlite3.Row
        row = dict(raw.execute("SELECT * FROM events WHERE position = 1").fetchone()) | changes
        names = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        with pytest.raises(sqlite3.IntegrityError, match=r"the (place|id) is taken"):
            raw.execute(f"{verb} INTO events ({names}) VALUES ({values})", row)


async def test_a_key_is_replaced_then_the_database_refuses(
    written: EventStore, connect: Connect
) -> None:
    """A key's first answer cannot be put aside, or a retry would be written twice."""
    with connect() as raw:
        rows = raw.execute("SELECT * FROM idempotency_keys").fetchall()
        assert len(rows) == 2
        for tenant, stream, key, *_ in rows:
            with pytest.raises(sqlite3.IntegrityError, match="the key is taken"):
                raw.execute(
                    "INSERT OR REPLACE INTO idempotency_keys VALUES (?, ?, ?, x'00', 99, 1, NULL)",
                    (tenant, stream, key),
                )
        assert raw.execute("SELECT * FROM idempotency_keys").fetchall() == rows


@pytest.mark.parametrize("table", ["event_tags", "event_causes"])
async def test_an_index_row_is_replaced_then_it_is_the_same_row(
    written: EventStore, connect: Connect, table: str
) -> None:
    """These tables are all key: a row can only be replaced by itself."""
    with connect() as raw:
        before = raw.execute(f"SELECT * FROM {table}").fetchall()
        columns = raw.execute(f"PRAGMA table_info({table})").fetchall()
        assert all(column[5] for column in columns)
        slots = ", ".join("?" * len(columns))
        raw.execute(f"INSERT OR REPLACE INTO {table} VALUES ({slots})", before[0])
        assert raw.execute(f"SELECT * FROM {table}").fetchall() == before


async def test_the_store_was_closed_and_another_program_comes_then_it_is_refused_as_well(
    url: str, file: Path
) -> None:
    """The guard lies in the file, not in our connections."""
    async with EventStore.open(url) as store:
        await store.append("s", NewEvent("t", 1))
    other = sqlite3.connect(file)
    with pytest.raises(sqlite3.IntegrityError):
        other.execute("UPDATE events SET payload = '2'")
    other.close()


async def test_sql_users_look_at_events_json_then_they_see_the_events(
    written: EventStore, connect: Connect
) -> None:
    """The view shows names, and payloads as text that SQLite's JSON functions take."""
    await written.tenant("acme").append(
        "s", NewEvent("t", {"who": "Zoë"}, derived_from=["a"]), actor="ann", correlation_id="run"
    )
    with connect() as raw:
        raw.row_factory = sqlite3.Row
        rows = raw.execute("SELECT * FROM events_json ORDER BY tenant DESC, position").fetchall()
        (sum_of_n,) = raw.execute(
            "SELECT sum(data ->> 'n') FROM events_json WHERE stream = 's' AND tenant = 'default'"
        ).fetchone()
    log = await written.read_all().list()
    other = await written.tenant("acme").read_all().list()
    assert [(row["tenant"], row["position"]) for row in rows] == [
        ("default", 1),
        ("default", 2),
        ("default", 3),
        ("acme", 1),
    ]
    for row, event in zip(rows, [*log, *other], strict=True):
        assert (row["stream"], row["version"], row["type"]) == (
            event.stream,
            event.version,
            event.type,
        )
        assert (row["id"], row["actor"], row["correlation_id"], row["causation_id"]) == (
            event.id,
            event.actor,
            event.correlation_id,
            event.causation_id,
        )
        assert json.loads(row["data"]) == event.data
        assert tuple(json.loads(row["tags"] or "[]")) == event.tags
        assert tuple(json.loads(row["derived_from"] or "[]")) == event.derived_from
    assert sum_of_n == 3
