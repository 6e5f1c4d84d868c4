"""Opening a file: the writer's connection and the schema in a thread, then the readers."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ...errors import Corrupt, StorageFailed
from .connection import connect_writer, settings_of
from .engine import SqliteEngine
from .errors import translate
from .migrating import migrate
from .reader import Reader
from .turns import Turns, close_in_turn

_Opened = tuple[sqlite3.Connection, Turns, dict[str, Any]]


class SqliteOptions(Protocol):
    """The options of `EventStore.open` that this engine heeds."""

    @property
    def synchronous(self) -> str: ...
    @property
    def busy_timeout_seconds(self) -> float: ...
    @property
    def queue_appends_max(self) -> int: ...
    @property
    def queue_bytes_max(self) -> int: ...


async def open_sqlite(path: str, options: SqliteOptions, clock: Callable[[], int]) -> SqliteEngine:
    """Opens the file, made or migrated where needed. If cancelled, nothing stays open."""
    opening = asyncio.ensure_future(asyncio.to_thread(_open_file, path, options))
    try:
        connection, turns, settings = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_late)
        raise
    try:
        reader = await Reader.open(path, options.busy_timeout_seconds)
    except BaseException:
        close_in_turn(connection, turns)
        raise
    return SqliteEngine(
        path,
        connection,
        turns,
        reader,
        settings,
        clock,
        options.queue_appends_max,
        options.queue_bytes_max,
    )


def _open_file(path: str, options: SqliteOptions) -> _Opened:
    parent = Path(path).absolute().parent
    if not parent.is_dir():
        raise StorageFailed(f"{path}: the folder {parent} does not exist")
    try:
        turns = Turns(path, options.busy_timeout_seconds)
    except OSError as exc:
        raise StorageFailed(f"{path}: cannot make its lock file ({exc.strerror})") from exc
    try:
        with turns:
            connection = connect_writer(path, options.synchronous, options.busy_timeout_seconds)
            try:
                migrate(path, connection)
                return connection, turns, settings_of(connection)
            except BaseException:
                connection.close()
                raise
    except sqlite3.Error as exc:
        turns.close()
        raise translate(exc, path, opened=False) from exc
    except UnicodeDecodeError:
        # SQLite quotes the damaged text of its schema, and Python cannot even make its error.
        turns.close()
        raise Corrupt(f"{path}: SQLite reports a damaged file", kind="page") from None
    except BaseException:
        turns.close()
        raise


def _close_late(opening: asyncio.Future[_Opened]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        connection, turns, _ = opening.result()
        close_in_turn(connection, turns)
