"""PostgreSQL's errors become the store's, in one table of SQLSTATEs.

A server's DETAIL may hold a row and asyncpg's text a host or a value: of both nothing is passed on
but what this module says itself.
"""

from __future__ import annotations

import json
from typing import Any

import asyncpg

from ...errors import Busy, Corrupt, EventStoreError, InvalidEvent, StorageFailed

_DAMAGE = "ES001"
SUPERSEDED = "ES002"
_STALE = "ES004"
_RETRIED = {"40001", "40P01", _STALE}  # what was remembered is forgotten with every error
_BUSY = {
    "40001": "another transaction was in the way, again and again",
    "40P01": "deadlocks, again and again",
    "55P03": "another session held the tenant's head for too long",
    "57014": "a statement ran for too long and was ended",
    "25P03": "a transaction was idle for too long and was ended",
    "25P04": "a transaction ran for too long and was ended",
}
_DAMAGED = {"XX001", "XX002"}
_FAILED = {
    "53100": "the disk is full",
    "53200": "the server is out of memory",
    "53300": "the server has too many connections",
    "53400": "a limit of the server's configuration was hit",
    "58030": "I/O error",
    "58P01": "a file of the server is missing",
    "25006": "the server is read-only",
    "42501": "no permission",
    "42P01": "a table of the store is missing",
    "42883": "a function of the store is missing",
    "3F000": "the store's schema is missing",
    "3D000": "the database does not exist",
    "28000": "the role may not log in",
    "28P01": "the password is refused",
    "54000": "a limit of the server was hit",
    "0A000": "the server cannot do this",
}
_SPEAKS_OF_NO_DATA = {"08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58"}
"""Classes of SQLSTATEs whose messages name objects of the database and no values."""
_LOST_CLASSES = ("08",)
_DEADLY_CLASSES = ("53", "57", "58", "XX")
"""Classes whose FATAL ends a session at work; those of a refused login are not among them."""
_LOST = {"57P01", "57P02", "57P03", "57P05", "53300"}


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, so that what was sent on it may or may not be done."""
    if isinstance(error, asyncpg.PostgresError):
        if is_startup_refused(error):
            return False
        state = error.sqlstate or ""
        if state in _LOST or state[:2] in _LOST_CLASSES:
            return True
        # Whoever dies of a failed sync may have written the commit before.
        severity = getattr(error, "severity_en", None) or getattr(error, "severity", None)
        return severity == "PANIC" or (severity == "FATAL" and state[:2] in _DEADLY_CLASSES)
    # asyncpg says with an InterfaceError that a connection is closed or was ended elsewhere.
    return isinstance(
        error, (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    )


def is_startup_refused(error: BaseException) -> bool:
    """Whether a pooler lets no session begin that asks for settings. PgBouncer gives everything of
    its own the same SQLSTATE, a lost server too, so that only the text tells them apart."""
    is_protocol = isinstance(error, asyncpg.ProtocolViolationError)
    return is_protocol and "startup parameter" in str(error)


def is_retried(error: BaseException) -> bool:
    """Whether the transaction was rolled back because of others, or for an id that we remembered,
    and may simply be run again."""
    if not isinstance(error, asyncpg.PostgresError):
        return False
    # Under an id that nobody has, a stream's name would stand twice.
    return (
        error.sqlstate in _RETRIED or getattr(error, "constraint_name", None) == "streams_by_name"
    )


def translate(error: BaseException, where: str) -> EventStoreError:
    """The store's error for what asyncpg raised; `where` is the store's URL without a password."""
    if isinstance(error, EventStoreError):
        return error
    state = getattr(error, "sqlstate", None)
    if state == _DAMAGE:
        return _damage(error, where)
    _silence(error, state)
    if is_startup_refused(error):
        return StorageFailed(
            f"{where}: a pooler refuses the settings of the store's sessions; nothing was written;"
            " say pooler=on in the URL"
        )
    if state in _BUSY:
        return Busy(f"{where}: {_BUSY[state]}; nothing was written, try again")
    if state in _DAMAGED:
        return Corrupt(f"{where}: PostgreSQL reports damaged data ({state})", kind="page")
    if state in _FAILED:
        return StorageFailed(f"{where}: {_FAILED[state]}; nothing was written")
    if state is not None and state[:2] == "23":
        return _of_constraint(getattr(error, "constraint_name", None), where)
    if is_lost(error):
        return StorageFailed(f"{where}: no connection to the server; nothing was written")
    name = state or type(error).__name__
    return StorageFailed(f"{where}: PostgreSQL refused ({name}); nothing was written")


def _silence(error: BaseException, state: str | None) -> None:
    """Takes out of asyncpg's error what may hold data: it stays the cause of ours, and what is
    printed with its cause ends in logs."""
    if not isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError)):
        return
    if state is None or state[:2] not in _SPEAKS_OF_NO_DATA:
        error.args = (f"{type(error).__name__} ({state})",)
        _forget(error, "message")  # asyncpg keeps it twice
    _forget(error, "detail", "hint", "context", "internal_query")


def _forget(error: BaseException, *names: str) -> None:
    for name in names:
        if getattr(error, name, None) is not None:
            setattr(error, name, None)


def _damage(error: BaseException, where: str) -> Corrupt:
    """What `refuse_damage.sql` raised: its message is ours, and its DETAIL says the place."""
    place: list[Any] = json.loads(getattr(error, "detail", None) or "[null, null, null, null]")
    kind, position, stream, version = place
    return Corrupt(
        f"{where}: {error.args[0]}",
        kind=kind or "head",
        position=position,
        stream=stream,
        version=version,
    )


def _of_constraint(name: str | None, where: str) -> EventStoreError:
    """Everything but the id is given by the store itself, so that it can only stand already where
    the heads or the indexes are not those of the log."""
    if name == "events_by_id":
        return InvalidEvent(f"{where}: an id that the id factory made stands already")
    if name in ("events_by_position", "events_by_stream"):
        return Corrupt(f"{where}: an event stands where the next one is due", kind="head")
    return Corrupt(f"{where}: the log and its tables of names disagree", kind="index")
