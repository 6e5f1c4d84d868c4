"""Turns between the processes that write one file: one transaction or checkpoint at a time.

SQLite's own write lock orders the commits, but not commits against checkpoints, and before 3.51.3
a checkpoint that meets another process's write at the wrong instant can lose committed pages
(the WAL-reset defect). Our processes therefore take turns on a lock file beside the database,
which covers both. It also wakes waiters sooner: SQLite's busy handler sleeps up to 100 ms between
two tries. Programs that do not use this library do not take the lock; the writer warns of them.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import weakref
from types import TracebackType

from ...errors import Busy, StorageFailed
from . import statements as sql

try:
    import fcntl
except ImportError:  # pragma: no cover - not a POSIX system: SQLite's own lock has to do
    fcntl = None  # type: ignore[assignment]  # the module is asked for before use

_TRY_AGAIN_SECONDS = 0.001
"""Between two tries for the lock: about a third of a commit with its sync."""


def set_busy_timeout(connection: sqlite3.Connection, seconds: float) -> None:
    """Sets how long SQLite waits for a lock of its own; it counts milliseconds, in 32 bits."""
    connection.execute(f"PRAGMA busy_timeout = {int(min(seconds * 1_000, 2**31 - 1))}")


def close_in_turn(connection: sqlite3.Connection, turns: Turns) -> None:
    """Closes a write connection, which may checkpoint, in a turn of its own; then the lock file."""
    try:
        with turns:
            connection.close()
    except (Busy, StorageFailed):
        # SQLite's own locks have to do: a connection left open would be worse.
        connection.close()
    finally:
        turns.close()


class Turns:
    """The lock file of one database; ``with turns:`` holds it. For one thread."""

    def __init__(self, path: str, timeout_seconds: float) -> None:
        self._path = path
        self._timeout_seconds = timeout_seconds
        self._deadline: float | None = None
        self._file = -1
        self._takes_turns = fcntl is not None
        _all.add(self)
        if self._takes_turns:
            self._open()

    def __enter__(self) -> None:
        self._deadline = None
        if self._takes_turns and not self._try():
            self._wait()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file < 0:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError:
            # What was committed in this turn stands, so that nobody is told of an error. Closing
            # the file ends the turn as well; the next one opens it anew.
            self._give_back()

    def begin(self, connection: sqlite3.Connection) -> None:
        """Begins a transaction in this turn. A program that takes no turns may hold SQLite's own
        lock: it is waited for as long as the wait for the turn has left of the time-out."""
        if self._deadline is None:
            connection.execute(sql.BEGIN)
            return
        set_busy_timeout(connection, self.left_seconds())
        try:
            connection.execute(sql.BEGIN)
        finally:
            set_busy_timeout(connection, self._timeout_seconds)

    def left_seconds(self) -> float:
        """What the wait for this turn has left of the time-out: all of it where there was none."""
        if self._deadline is None:
            return self._timeout_seconds
        return max(0.0, self._deadline - time.monotonic())

    def close(self) -> None:
        """Gives the descriptor back; the lock file stays, because others may wait on it."""
        self._takes_turns = False
        self._give_back()

    def _open(self) -> None:
        # Beside the database and not the database itself: closing any descriptor of that would
        # drop SQLite's own locks (POSIX locks belong to process and file).
        # Of the real file, so that who comes by another name meets the same lock.
        place = os.path.realpath(self._path)
        self._file = os.open(f"{place}-turns", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def _give_back(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            with contextlib.suppress(OSError):  # the descriptor is gone, whatever close says
                os.close(file)

    def _wait(self) -> None:
        self._deadline = deadline = time.monotonic() + self._timeout_seconds
        while not self._try():
            if time.monotonic() > deadline:
                raise Busy(
                    f"{self._path}: another process has been writing for"
                    f" {self._timeout_seconds:g} s; nothing was written, try again"
                )
            time.sleep(_TRY_AGAIN_SECONDS)

    def _try(self) -> bool:
        try:
            if self._file < 0:
                self._open()
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as exc:
            raise StorageFailed(
                f"{self._path}: its lock file cannot be locked ({exc.strerror});"
                " nothing was written",
                next_step="keep the store on a disk of this machine, or mount it so that files"
                " on it can be locked",
            ) from exc
        return True


_all: weakref.WeakSet[Turns] = weakref.WeakSet()


def _forget_in_child() -> None:
    """A forked child shares the open file, and with it the lock: it would keep the lock of a
    parent that is killed for as long as it lives. It may not use the store anyway."""
    for turns in _all:
        turns.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
