"""Opening a file: the writer's connection and the schema in a thread, then the readers.

A store that may not be written is opened for reading; see `unwritable`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import StorageFailed
from ..port import EngineOptions
from .connection import connect_writer, settings_of
from .engine import SqliteEngine
from .errors import DRIVER_ERRORS, translate
from .migrating import check_names, migrate, store_id_of, stored_revision
from .reader import Reader
from .turns import Turns, close_in_turn, set_busy_timeout
from .unwritable import is_unwritable, no_lock_file, open_for_reading

_Opened = tuple[sqlite3.Connection, Turns, dict[str, Any]]


async def open_sqlite(path: str, options: EngineOptions, clock: Callable[[], int]) -> SqliteEngine:
    """Opens the file, made or migrated where needed. If cancelled, nothing stays open."""
    loop, opener = asyncio.get_running_loop(), _Opener()
    try:
        opening = loop.run_in_executor(None, opener.open, path, options)
        connection, turns, settings = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opener.give_up()
        raise
    try:
        reader = await Reader.open(
            path, options.busy_timeout_seconds, immutable=settings.get("immutable", False)
        )
    except BaseException:
        # Not here: closing waits for a turn. Shielded: who cancels again leaves nothing open.
        await asyncio.shield(loop.run_in_executor(None, close_in_turn, connection, turns))
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


class _Opener:
    """Opens the file in a thread for a caller who may have given up by then: whoever of the two
    comes second closes it, and never in the caller's loop, because closing waits for a turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._unwanted = False

    def open(self, path: str, options: EngineOptions) -> _Opened:
        opened = _open_file(path, options)
        with self._lock:
            self._opened, unwanted = opened, self._unwanted
        if unwanted:
            close_in_turn(opened[0], opened[1])
        return opened

    def give_up(self) -> None:
        with self._lock:
            self._unwanted, opened = True, self._opened
        if opened is not None:
            # A thread of its own: the loop may be ending, and take no more work for its pool.
            threading.Thread(target=close_in_turn, args=opened[:2]).start()


def _open_file(path: str, options: EngineOptions) -> _Opened:
    parent = Path(path).absolute().parent
    if not parent.is_dir():
        raise StorageFailed(f"{path}: the folder {parent} does not exist")
    if is_unwritable(path):
        return open_for_reading(path, options.busy_timeout_seconds)
    if not os.path.exists(f"{os.path.realpath(path)}-turns") and os.path.exists(path):
        stored_revision(path)  # no lock file is left beside what is another program's
    try:
        turns = Turns(path, options.busy_timeout_seconds)
    except OSError as exc:
        raise no_lock_file(path, exc) from exc
    try:
        with turns:
            # One time-out for the turn and for SQLite's own lock.
            connection = connect_writer(path, options.synchronous, turns.left_seconds())
            try:
                migrate(path, connection)
                check_names(path, connection)
                set_busy_timeout(connection, options.busy_timeout_seconds)
                settings = {**settings_of(connection), "store_id": store_id_of(connection)}
                return connection, turns, settings
            except BaseException:
                connection.close()
                raise
    except DRIVER_ERRORS as exc:
        turns.close()
        raise translate(exc, path, opened=False) from exc
    except BaseException:
        turns.close()
        raise
