"""What SQLite's file may have suffered, and that no read passes over it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from eventstore import Corrupt, EventStore, NewEvent, Query

Read = Callable[[EventStore], Coroutine[Any, Any, Any]]

DAMAGES = {
    "last event of the stream": "DELETE FROM events WHERE position = 5",
    "an event in the middle": "DELETE FROM events WHERE position = 2",
    "the first event": "DELETE FROM events WHERE position = 1",
    "all events of the stream": "DELETE FROM events WHERE stream_id = 1",
    "a payload": "UPDATE events SET payload = CAST('{\"n\":9}' AS BLOB) WHERE position = 2",
    "the kind of a payload": "UPDATE events SET payload = 5 WHERE position = 2",
    "a version": "UPDATE events SET version = 9 WHERE position = 5",
    "an actor": "UPDATE events SET actor = 'other' WHERE position = 2",
    "a tag list": "UPDATE events SET tags = '[\"y\"]' WHERE position = 2",
    "a moment": "UPDATE events SET recorded_at = recorded_at + 1 WHERE position = 2",
    "a hash": "UPDATE events SET hash = zeroblob(32) WHERE position = 2",
    "a stream's name": "UPDATE streams SET name = 'r' WHERE name = 's'",
    "a type's name": "UPDATE event_types SET name = 'other'",
}


async def _damaged(folder: Path, statement: str) -> EventStore:
    """A store with s at version 4 (positions 1, 2, 4, 5) and t at 1, damaged behind its back."""
    url = f"sqlite:///{folder}/log.db"
    async with await EventStore.open(url) as store:
        for stream in ("s", "s", "t", "s", "s"):
            await store.append(stream, NewEvent("note", {"n": 1}, tags=["x"]), actor="ann")
    with sqlite3.connect(folder / "log.db") as connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
    connection.close()
    return await EventStore.open(url)


@pytest.mark.parametrize("statement", DAMAGES.values(), ids=[k.replace(" ", "_") for k in DAMAGES])
async def test_the_file_is_damaged_then_reads_and_verify_say_so(
    tmp_path: Path, statement: str
) -> None:
    """The whole log, the stream in both directions, a filtered read, and `verify`."""
    async with await _damaged(tmp_path, statement) as store:
        name = "r" if "streams" in statement else "s"
        reads: list[Read] = [
            lambda store: store.read_all().list(),
            lambda store: store.read(name).list(),
            lambda store: store.read(name, backwards=True).list(),
            lambda store: store.read_all(query=Query(tags=("x",))).list(),
        ]
        for read in reads:
            with pytest.raises(Corrupt):
                await read(store)
        report = await store.verify()
        assert report.damages != ()


@pytest.mark.parametrize("verb", ["UPDATE events SET actor = 'x'", "DELETE FROM events"])
async def test_the_database_is_asked_to_change_an_event_then_it_refuses_by_itself(
    tmp_path: Path, verb: str
) -> None:
    """Append-only holds for every program that opens the file."""
    async with await EventStore.open(f"sqlite:///{tmp_path}/log.db") as store:
        await store.append("s", NewEvent("note", {"n": 1}, tags=["x"]))
        with sqlite3.connect(tmp_path / "log.db") as connection:
            with pytest.raises(sqlite3.DatabaseError, match="append-only"):
                connection.execute(verb)
            with pytest.raises(sqlite3.DatabaseError, match="append-only"):
                connection.execute("INSERT OR REPLACE INTO events SELECT * FROM events")
        connection.close()
        assert (await store.verify()).damages == ()
