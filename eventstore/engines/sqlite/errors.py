"""SQLite's errors become the store's, in one table."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path

from ...errors import Busy, Corrupt, EventStoreError, InvalidEvent, StorageFailed

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FAILED = {
    sqlite3.SQLITE_FULL: "the disk or the file's page limit is full",
    sqlite3.SQLITE_IOERR: "I/O error",
    sqlite3.SQLITE_READONLY: "the file is read-only",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_PERM: "no permission",
    sqlite3.SQLITE_TOOBIG: "a row is larger than SQLite's limit",
}
_MISSING = re.compile("^no such (table|column)|has no column named")

_STEPS = {
    sqlite3.SQLITE_READONLY: "give yourself write permission to the file and to its folder",
    sqlite3.SQLITE_CANTOPEN: "check the path, and that its folder may be written",
    sqlite3.SQLITE_PERM: "give yourself write permission to the file and to its folder",
    sqlite3.SQLITE_NOMEM: "free some memory, then try again",
    sqlite3.SQLITE_TOOBIG: "append less at once",
}
"""What to do, where it is not to make room or to mend the disk."""


DRIVER_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What the driver raises. SQLite's message about a damaged schema quotes it, and where that is not
UTF-8 any more the driver fails at the message itself."""


def translate(
    error: sqlite3.Error | UnicodeDecodeError, where: str, opened: bool = True
) -> EventStoreError:
    """The store's error for what the driver raised; `where` names the file, `opened` says that
    its schema has been looked at and is the store's.

    SQLite's own text is kept only for codes whose text cannot hold data.
    """
    if isinstance(error, UnicodeDecodeError):
        return Corrupt(f"{where}: SQLite reports a damaged file", kind="page")
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in _BUSY:
        return Busy(f"{where}: another process held the write lock for too long; try again")
    if primary in _DAMAGED:
        return Corrupt(f"{where}: SQLite reports a damaged file", kind="page")
    if primary in _FAILED:
        step = _STEPS.get(primary)
        return StorageFailed(f"{where}: {_FAILED[primary]}; nothing was written", next_step=step)
    if primary == sqlite3.SQLITE_CONSTRAINT:
        return _of_constraint(str(error), where)
    if opened and primary == sqlite3.SQLITE_ERROR and _MISSING.search(str(error)):
        return Corrupt(f"{where}: a table or column of the store is missing", kind="page")
    if code is None and isinstance(error, sqlite3.OperationalError):
        return Corrupt(f"{where}: a stored text is not UTF-8", kind="page")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StorageFailed(f"{where}: SQLite refused ({name}); nothing was written")


def _of_constraint(text: str, where: str) -> EventStoreError:
    """SQLite's text for a constraint names columns or is our trigger's; it holds no data.

    Everything but the id is given by the store itself, so that it can only stand already where
    the heads or the indexes are not those of the log.
    """
    if "the id is taken" in text or "events.event_id" in text:
        return InvalidEvent(f"{where}: an id that the id factory made stands already")
    if text.startswith("events:") or "events.position" in text or "events.version" in text:
        return Corrupt(f"{where}: an event stands where the next one is due", kind="head")
    return Corrupt(f"{where}: the log and its tables of names disagree", kind="index")


def wal_out_of_reach(path: str) -> StorageFailed:
    """A file that may not be written, whose last events are in a write-ahead log that cannot be
    read so: it takes a file of shared memory beside it."""
    wal = f"{Path(path).name}-wal"
    return StorageFailed(
        f"{path}: may not be written here, and its last events stand in {wal}, which SQLite reads"
        " only where it may write beside it",
        next_step=f"{permission_step(path)}, or copy the file and {wal} together elsewhere",
    )


def may_write(path: str | Path) -> bool:
    """Whether the process may write there, as the one that it acts as: who runs it may be another
    (a program that took on, or gave up, somebody's rights)."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def permission_step(path: str) -> str:
    """Which permission is missing, as what to do."""
    folder = Path(path).absolute().parent
    if os.path.exists(path) and not may_write(path):
        return f"give yourself write permission to the file and to its folder {folder}"
    return f"give yourself write permission to the folder {folder}"
