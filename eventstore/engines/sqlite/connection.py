"""Opening the file: settings asked for, read back, and refused when they are weaker."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...errors import InvalidEvent, StorageFailed
from ...limits import CHECKPOINT_WAL_PAGES, PAGE_BYTES_MAX, WAL_BYTES_MAX
from ..rows import PAYLOAD_COLUMN
from .errors import translate
from .migrating import check_file

SYNCHRONOUS = {"NORMAL": 1, "FULL": 2, "EXTRA": 3}

WRITER_CACHE_KIB = 64 * 1024
"""Page cache of the owner's connection: the inner pages and recent leaves of the indexes of a few
million events. SQLite's default of 2 MiB reads most of a random key's path from the file."""

READER_CACHE_KIB = 8 * 1024

FIRST_SAFE_VERSION = (3, 51, 3)
"""SQLite's WAL-reset defect (https://sqlite.org/wal.html#walresetbug) is in 3.7.0 to 3.51.2: with
several processes, a checkpoint that meets a write at the wrong instant can lose committed pages."""


def connect_writer(path: str, synchronous: str, busy_timeout_seconds: float) -> sqlite3.Connection:
    """The connection of the file's owner in this process, for use in one other thread.

    Raises `StorageFailed` where a setting that was asked for is not in force, and as `check_file`.
    """
    wanted = synchronous.upper()
    if wanted not in SYNCHRONOUS:
        raise InvalidEvent(f"synchronous: one of {', '.join(SYNCHRONOUS)}")
    try:
        connection = sqlite3.connect(
            path,
            timeout=busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
    except sqlite3.Error as exc:
        raise translate(exc, path) from exc
    try:
        check_file(path, connection)  # before the switch to WAL, which is a write
        _set_wal(connection, path, busy_timeout_seconds)
        run = connection.execute
        run(f"PRAGMA synchronous = {wanted}")
        run(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_WAL_PAGES}")
        run(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
        run(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
        run("PRAGMA temp_store = MEMORY")
        _read_back(connection, path, SYNCHRONOUS[wanted])
    except sqlite3.Error as exc:
        connection.close()
        raise translate(exc, path) from exc
    except BaseException:
        connection.close()
        raise
    return connection


def settings_of(connection: sqlite3.Connection) -> dict[str, Any]:
    """The settings in force on a connection, read back from SQLite."""
    names = (
        "journal_mode",
        "synchronous",
        "wal_autocheckpoint",
        "journal_size_limit",
        "page_size",
        "cache_size",
        "busy_timeout",
    )
    return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}


class BoundedCursor(sqlite3.Cursor):
    """A cursor whose `fetchall` stops when the payloads fetched exceed the bytes of a page."""

    def fetchall(self) -> list[Any]:
        """Rows up to the page's bound (and one beyond it); the statement is finished then."""
        if self.description is None or len(self.description) <= PAYLOAD_COLUMN:
            return super().fetchall()
        rows: list[Any] = []
        add, left, column = rows.append, PAGE_BYTES_MAX, PAYLOAD_COLUMN
        for row in self:
            add(row)
            try:
                left -= len(row[column])
            except TypeError:
                continue  # no bytes: damage, and told by the event's hash
            if left < 0:
                break
        self.close()
        return rows


class ReadConnection(sqlite3.Connection):
    """A connection for pages; see `BoundedCursor`."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """As `sqlite3.Connection.execute`, with a cursor that bounds its pages."""
        return self.cursor(BoundedCursor).execute(sql, parameters)


def read_uri(path: str, *, immutable: bool = False) -> str:
    """The URI that opens the file for reading only; `immutable`: the file alone, without locks
    and without the files beside it, as where nobody can write."""
    option = "&immutable=1" if immutable else ""
    return f"file:{quote(str(Path(path).absolute()))}?mode=ro{option}"


def _set_wal(connection: sqlite3.Connection, path: str, timeout_seconds: float) -> None:
    """Switches to WAL. SQLite does not wait for a lock here, so we do: two processes may open a
    new file at once."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as exc:
            busy = getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise StorageFailed(f"{path}: SQLite gives journal mode {mode!r} where WAL is needed")
        return


def _read_back(connection: sqlite3.Connection, path: str, synchronous: int) -> None:
    found = settings_of(connection)
    if found["journal_mode"] != "wal" or found["synchronous"] < synchronous:
        raise StorageFailed(
            f"{path}: asked for WAL and synchronous {synchronous},"
            f" SQLite runs {found['journal_mode']} and {found['synchronous']}"
        )
