"""Opening a file: the writer's connection and the schema in a thread, then the readers."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ...errors import StorageFailed
from .connection import connect_writer, settings_of
from .engine import SqliteEngine
from .errors import translate
from .migrating import migrate
from .reader import Reader


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
        connection, settings = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_late)
        raise
    try:
        reader = await Reader.open(path, options.busy_timeout_seconds)
    except BaseException:
        connection.close()
        raise
    return SqliteEngine(
        path,
        connection,
        reader,
        settings,
        clock,
        options.queue_appends_max,
        options.queue_bytes_max,
    )


def _open_file(path: str, options: SqliteOptions) -> tuple[sqlite3.Connection, dict[str, Any]]:
    parent = Path(path).absolute().parent
    if not parent.is_dir():
        raise StorageFailed(f"{path}: the folder {parent} does not exist")
    connection = connect_writer(path, options.synchronous, options.busy_timeout_seconds)
    try:
        migrate(path, connection)
        return connection, settings_of(connection)
    except sqlite3.Error as exc:
        connection.close()
        raise translate(exc, path) from exc
    except BaseException:
        connection.close()
        raise


def _close_late(opening: asyncio.Future[tuple[sqlite3.Connection, dict[str, Any]]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].close()
