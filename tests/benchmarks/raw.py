"""The raw limits: what the standard library's sqlite3 does with the very rows that we wrote.

The rows, the table and its indexes are read from a file of this store, so that the comparison
follows the schema. Pragmas are those of the store's own connections. Nothing is encoded, hashed
or made inside the timed parts: what is measured is SQLite, the disk, and the driver.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from eventstore import EventStore
from eventstore.engines.sqlite.statements import EVENT_COLUMNS

from .measuring import Timing, timing
from .workload import fill_stream, plain_events

Row = tuple[Any, ...]
_FETCH = 1_000
"""Rows of one fetchmany: the page of the store's own reads."""
_STREAM = f"SELECT {EVENT_COLUMNS} FROM events e WHERE e.stream_id = ? ORDER BY e.version"
_LOG = f"SELECT {EVENT_COLUMNS} FROM events e WHERE e.tenant_id = 1 ORDER BY e.position"


class Template(msgspec.Struct, frozen=True):
    """What the raw side writes: DDL, an INSERT, and rows that the store wrote itself."""

    table: str
    indexes: tuple[str, ...]
    insert: str
    rows: list[Row]


async def make_template(path: Path, count: int) -> Template:
    """Appends `count` events to a store, then reads table, indexes and rows from its file."""
    async with EventStore.open(f"sqlite:///{path}") as store:
        await fill_stream(store, "session/template", plain_events(count))
    return _read_template(path)


def _read_template(path: Path) -> Template:
    connection = sqlite3.connect(path)
    ddl = connection.execute(
        "SELECT type, sql FROM sqlite_master WHERE tbl_name = 'events' AND sql IS NOT NULL"
    ).fetchall()
    rows = connection.execute("SELECT * FROM events ORDER BY position").fetchall()
    connection.close()
    (table,) = [sql for kind, sql in ddl if kind == "table"]
    indexes = tuple(sql for kind, sql in ddl if kind == "index")
    places = ", ".join("?" * len(rows[0]))
    return Template(table, indexes, f"INSERT INTO events VALUES ({places})", rows)


def commit_each(path: Path, template: Template, count: int, settings: dict[str, Any]) -> Timing:
    """One transaction for each event, into the bare table with its primary key alone."""
    connection = new_file(path, settings)
    connection.execute(template.table)
    run, insert = connection.execute, template.insert
    rows = template.rows[:count]
    with timing() as time:
        for row in rows:
            run("BEGIN IMMEDIATE")
            run(insert, row)
            run("COMMIT")
    connection.close()
    return time


def commit_thousands(
    path: Path, template: Template, count: int, settings: dict[str, Any], size: int = 1_000
) -> Timing:
    """`executemany` into the table with all its indexes, `size` events for each transaction."""
    connection = new_file(path, settings)
    for statement in (template.table, *template.indexes):
        connection.execute(statement)
    parts = [template.rows[start : start + size] for start in range(0, count, size)]
    with timing() as time:
        for part in parts:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(template.insert, part)
            connection.execute("COMMIT")
    connection.close()
    return time


class RawReader:
    """A plain connection that fetches the same columns in the same order from the same file."""

    def __init__(self, path: Path, cache_size: int) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute(f"PRAGMA cache_size = {cache_size}")

    def fetch_stream(self, name: str, times: int) -> tuple[Timing, int]:
        """Fetches a stream so many times; how long it took, and the rows of one time."""
        (stream_id,) = self._connection.execute(
            "SELECT stream_id FROM streams WHERE name = ?", (name,)
        ).fetchone()
        with timing() as time:
            for _ in range(times):
                count = self._drain(_STREAM, (stream_id,))
        return time, count

    def fetch_log(self) -> tuple[Timing, int]:
        """Fetches the whole log once."""
        with timing() as time:
            count = self._drain(_LOG, ())
        return time, count

    def close(self) -> None:
        """Frees the connection."""
        self._connection.close()

    def _drain(self, statement: str, args: Row) -> int:
        cursor = self._connection.execute(statement, args)
        count = 0
        while rows := cursor.fetchmany(_FETCH):
            count += len(rows)
        return count


def new_file(path: Path, settings: dict[str, Any]) -> sqlite3.Connection:
    """A connection to a fresh file, with the pragmas of the store's own connections."""
    connection = sqlite3.connect(path, isolation_level=None)
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    connection.execute("PRAGMA synchronous = FULL")
    for name in ("wal_autocheckpoint", "journal_size_limit", "cache_size"):
        connection.execute(f"PRAGMA {name} = {settings[name]}")
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    if (mode, synchronous) != ("wal", 2):
        raise RuntimeError(f"raw side: journal mode {mode}, synchronous {synchronous}")
    return connection
