"""Rows of the tables that are not as they were written, on both engines with tables: `verify`
names the stream, the version and the kind, also where the row itself no longer says them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from eventstore import EventStore, NewEvent
from eventstore.engines.indexes import TOLD_MAX
from eventstore.testing import SequentialIds
from tests.engines.databases import template
from tests.servers.postgres import PostgresServer

Damage = Callable[..., Awaitable[None]]
TABLES = ("events", "event_tags", "event_causes")
STREAM, VERSION, POSITION, LAST = "b", 3, 6, 10
"""The event that is damaged: versions 1 to 5 of `a` and `b` stand in turns."""
_THERE = f"WHERE position = {POSITION}"
_TAG = "(SELECT tag_id FROM tags WHERE name = '{}')"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer) -> Any:
    """A store that holds nothing, of each engine with tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/log.db"
        return
    made = postgres.new_url(template(postgres))
    yield made
    postgres.drop(made)


@pytest_asyncio.fixture(autouse=True)
async def _written(url: str) -> AsyncIterator[None]:
    """Ten events in two streams, each with the one before it as its cause; the store is closed."""
    async with EventStore.open(url, ids=SequentialIds()) as store:
        for n in range(1, 6):
            for stream in "ab":
                cause = f"event-{2 * n - (stream == 'a') - 1:06}"
                note = NewEvent(
                    "note.added", n, tags=["all", stream], causation_id=cause, derived_from=["x"]
                )
                await store.append(stream, note)
        assert (await store.verify()).damages == ()
    yield


@pytest.fixture
def damage(url: str) -> Damage:
    """Runs statements, with everything that guards the tables out of the way."""

    async def run(*statements: str) -> None:
        if url.startswith("sqlite"):
            with sqlite3.connect(url.removeprefix("sqlite:///")) as raw:
                for (name,) in raw.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'trigger'"
                ).fetchall():
                    raw.execute(f"DROP TRIGGER {name}")
                for statement in statements:
                    assert raw.execute(statement).rowcount > 0
            raw.close()
            return
        connection = await asyncpg.connect(url)
        await connection.execute("SET search_path = eventstore")
        for table in TABLES:
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        for statement in statements:
            assert not (await connection.execute(statement)).endswith(" 0")
        await connection.close()

    return run


async def _told(url: str) -> list[tuple[str, int | None, str | None, int | None]]:
    async with EventStore.open(url) as store:
        damages = (await store.verify()).damages
    assert all(str(damage.message) for damage in damages)
    return [(one.kind, one.position, one.stream, one.version) for one in damages]


@pytest.mark.parametrize(
    "change",
    [
        f"DELETE FROM event_tags {_THERE} AND tag_id = {_TAG.format('all')}",
        f"DELETE FROM event_causes {_THERE} AND cause_id = 'event-000005'",
        f"DELETE FROM event_causes {_THERE} AND cause_id = 'x'",
        f"INSERT INTO event_tags VALUES ({_TAG.format('a')}, {POSITION})",
        f"INSERT INTO event_causes SELECT tenant_id, 'other', {POSITION} FROM tenants",
    ],
)
async def test_an_index_lacks_a_row_of_an_event_or_has_one_more_then_verify_names_the_event(
    url: str, damage: Damage, change: str
) -> None:
    """Stream, version and kind, whichever index it is and whether it is one row less or more."""
    await damage(change)
    assert await _told(url) == [("index", POSITION, STREAM, VERSION)]


@pytest.mark.parametrize(
    "change",
    [
        f"INSERT INTO event_tags VALUES ({_TAG.format('all')}, 99)",
        "INSERT INTO event_tags VALUES (99, 99)",
        "INSERT INTO event_causes SELECT tenant_id, 'event-000001', 99 FROM tenants",
    ],
)
async def test_an_index_points_to_no_event_then_verify_names_the_position(
    url: str, damage: Damage, change: str
) -> None:
    """There is no stream to be named; a condition would have counted the row all the same."""
    await damage(change)
    assert await _told(url) == [("index", 99, None, None)]


@pytest.mark.parametrize("table", ["event_tags", "event_causes"])
async def test_a_row_points_to_the_wrong_event_then_verify_names_both(
    url: str, damage: Damage, table: str
) -> None:
    """The event that lost its row, and the one that gained it: as many rows as before."""
    named = (
        f"tag_id = {_TAG.format(STREAM)}" if table == "event_tags" else "cause_id = 'event-000005'"
    )
    await damage(f"UPDATE {table} SET position = 7 {_THERE} AND {named}")
    assert await _told(url) == [("index", POSITION, STREAM, VERSION), ("index", 7, "a", 4)]


async def test_an_index_is_lost_whole_then_the_first_rows_are_named_and_the_rest_is_told(
    url: str, damage: Damage
) -> None:
    """What is told is bounded, and says that there is more."""
    await damage("DELETE FROM event_tags")
    async with EventStore.open(url) as store:
        for n in range(TOLD_MAX):
            await store.append("c", NewEvent("note.added", n, tags=["c"]))
    await damage("DELETE FROM event_tags")
    told = await _told(url)
    assert told[0] == ("index", 1, "a", 1)
    assert len(told) == TOLD_MAX + 1
    assert told[-1] == ("index", None, None, None)


_OTHER = "(SELECT stream_id FROM streams WHERE name = 'a')"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (f"UPDATE events SET version = 77 {_THERE}", "hash"),
        (f"UPDATE events SET version = -3 {_THERE}", "hash"),
        (f"UPDATE events SET version = 6 {_THERE}", "hash"),
        (f"UPDATE events SET stream_id = 99 {_THERE}", "hash"),
        (f"UPDATE events SET stream_id = {_OTHER}, version = 6 {_THERE}", "hash"),
        (f"UPDATE events SET position = 66 {_THERE}", "gap"),
        (f"UPDATE events SET tenant_id = 9 {_THERE}", "gap"),
        (f"DELETE FROM events {_THERE}", "gap"),
        (f"UPDATE events SET version = 77, actor = 'eve' {_THERE}", "hash"),
    ],
)
async def test_a_row_no_longer_says_what_it_is_then_verify_finds_its_stream_and_version(
    url: str, damage: Damage, change: str, kind: str
) -> None:
    """Everything before the row is as it was, so a stream that lacks its next event lacks this
    one."""
    await damage(change)
    assert [one for one in await _told(url) if one[0] == kind] == [
        (kind, POSITION, STREAM, VERSION)
    ]


async def test_a_row_says_it_is_the_event_behind_another_stream_then_that_one_is_not_named(
    url: str, damage: Damage
) -> None:
    """A stream's head says which versions it has; one beyond it is not believed."""
    await damage("DELETE FROM event_tags WHERE position = 10")  # is told, and changes nothing here
    await damage(f"UPDATE events SET stream_id = {_OTHER}, version = 6 WHERE position = {LAST}")
    assert ("hash", LAST, STREAM, 5) in await _told(url)


async def test_several_rows_no_longer_say_what_they_are_then_none_is_named_wrongly(
    url: str, damage: Damage
) -> None:
    """Two streams lack their next event: only the position of the first is sure."""
    await damage(f"UPDATE events SET version = version + 70 WHERE position IN ({POSITION}, 7)")
    assert [one for one in await _told(url) if one[0] == "hash"] == [("hash", POSITION, None, None)]
