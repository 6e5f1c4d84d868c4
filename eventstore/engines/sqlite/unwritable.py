"""A file that may not be written: opened for reading where that can be, else told what it needs."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Any

from ...errors import StorageFailed
from ...schema import NEWEST
from .connection import read_uri, settings_of
from .errors import may_write, permission_step, wal_out_of_reach
from .migrating import check_names, store_id_of, stored_revision
from .turns import Turns

NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}

_STEPS = {
    errno.EROFS: "choose a folder on a file system that can be written",
    errno.ENOSPC: "make room on the disk, then try again",
    errno.EDQUOT: "make room in your quota, then try again",
    errno.EMFILE: "close files or raise the limit of open files, then try again",
    errno.ENFILE: "close files or raise the limit of open files, then try again",
}
"""What to do about an error of the system, by its number."""


class _NoTurns(Turns):
    """Who may not write needs no turn, and may not make the file for one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._timeout_seconds = 0.0
        self._deadline = None
        self._file = -1
        self._takes_turns = False


def is_unwritable(path: str) -> bool:
    """Whether the file is there, and it or its folder may not be written by this process."""
    folder = os.path.dirname(os.path.realpath(path))
    return os.path.exists(path) and not (may_write(path) and may_write(folder))


def open_for_reading(
    path: str, busy_timeout_seconds: float
) -> tuple[sqlite3.Connection, Turns, dict[str, Any]]:
    """Opens a store that may not be written; every append to it is refused by SQLite then.

    Who reads a WAL file needs its -wal and -shm beside it. Where there is no -wal, nobody writes:
    the file is read as one that does not change (the setting `immutable`), which makes no files
    beside it, for as long as it does not; see `Still`. Where there is one, its events are not to
    be missed: it is read together with it, or not at all.
    Raises `StorageFailed`, and as `stored_revision` and `check_names`.
    """
    if stored_revision(path) != NEWEST:
        raise StorageFailed(
            f"{path}: may not be written here, and holds no store of schema {NEWEST} to read",
            next_step=f"{permission_step(path)}, and open it once",
        )
    wal = Path(f"{os.path.realpath(path)}-wal")
    failed: sqlite3.Error | None = None
    for immutable in (False, True):
        # Looked at anew each time: a writer may have come or gone.
        if not (_is_alone(wal) if immutable else wal.exists()):
            continue
        connection = sqlite3.connect(
            read_uri(path, immutable=immutable),
            uri=True,
            timeout=busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            check_names(path, connection)
            settings = {**settings_of(connection), "store_id": store_id_of(connection)}
        except sqlite3.Error as exc:
            connection.close()
            failed = exc
            continue
        except BaseException:
            connection.close()
            raise
        return connection, _NoTurns(path), {**settings, "read_only": True, "immutable": immutable}
    raise wal_out_of_reach(path) from failed


def _is_alone(wal: Path) -> bool:
    """Whether all that was committed is in the file itself."""
    try:
        return wal.stat().st_size == 0
    except FileNotFoundError:
        return True


class Still:
    """A file that is read as one that does not change: whether it has not.

    SQLite does not look for that in such a file, and would go on with pages of before and after
    a change. A commit of others makes a -wal grow beside the file, and its folding in sets the
    file's time, so whoever asks behind a query knows that nothing was committed before it ended.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = Path(os.path.realpath(path))
        self._wal = Path(f"{self._file}-wal")
        self._looked = self._look()

    def check(self) -> None:
        """Raises `StorageFailed` where somebody has written to the file."""
        if self._look() != self._looked or not _is_alone(self._wal):
            raise StorageFailed(
                f"{self._path}: somebody writes to it since it was opened as a file that nobody"
                " writes to",
                next_step="open it again, which reads what is there by then",
            )

    def _look(self) -> tuple[int, ...] | None:
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def no_lock_file(path: str, error: OSError) -> StorageFailed:
    """Why the lock file beside a database cannot be made, and what to do about that."""
    step = _STEPS.get(error.errno or 0)
    if error.errno in (errno.EACCES, errno.EPERM):
        step = permission_step(path)
    return StorageFailed(f"{path}: cannot make its lock file ({error.strerror})", next_step=step)
