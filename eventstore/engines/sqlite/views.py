"""Tables of views in the store's own file: written by its owner, in one transaction with the
checkpoint that says how far they are."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from ...errors import RowRefused
from ..port import Move, Statement
from . import statements as sql

_ROW_ERRORS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    UnicodeEncodeError,
)
"""What SQLite and its driver raise for a row that they will not take."""


class Missed(Exception):
    """A move or an expectation that does not hold: the transaction is undone."""


def change(
    tenant_id: int, statements: Sequence[Statement], moves: Sequence[Move]
) -> Callable[[sqlite3.Connection], None]:
    """The job that makes all changes. Raises `Missed` and `RowRefused`."""

    def job(connection: sqlite3.Connection) -> None:
        for move in moves:
            row = move.row
            args = (
                *(row.position, row.hash, tenant_id, row.name, row.generation, row.partition),
                *(row.fencing_token, row.holder, move.before),
            )
            if connection.execute(sql.MOVE_CHECKPOINT, args).rowcount != 1:
                raise Missed
        for index, statement in enumerate(statements):
            try:
                changed = _run(connection, statement)
            except _ROW_ERRORS as exc:
                raise RowRefused(_reason(exc), statement=index) from None
            if statement.expect is not None and changed != statement.expect:
                raise Missed

    return job


def _run(connection: sqlite3.Connection, statement: Statement) -> int:
    if len(statement.rows) == 1:
        return connection.execute(statement.sql, statement.rows[0]).rowcount
    return connection.executemany(statement.sql, statement.rows).rowcount


def _reason(error: Exception) -> str:
    """SQLite names the constraint and its columns; the driver's own texts may hold a value."""
    if isinstance(error, sqlite3.IntegrityError):
        return f"view: {error}"
    return f"view: a value that SQLite cannot take ({type(error).__name__})"
