"""Tables of views for a log in memory: an SQLite database in memory, made when it is first asked
for. The log itself is not in it, so a view's query cannot join events."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ...errors import RowRefused
from ..port import Statement

_ROW_ERRORS = (sqlite3.Error, OverflowError, UnicodeEncodeError)


class MemoryViews:
    """The tables of all tenants' views of one store."""

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._tenants: dict[str, int] = {}

    def place_tenant(self, tenant: str) -> int:
        """The tenant's number."""
        return self._tenants.setdefault(tenant, len(self._tenants) + 1)

    def change(self, statements: Sequence[Statement]) -> bool:
        """See `Engine.change_views`; there is no await inside."""
        connection = self._open()
        connection.execute("BEGIN")
        try:
            for index, statement in enumerate(statements):
                if not _holds(connection, statement, index):
                    connection.execute("ROLLBACK")
                    return False
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return True

    def query(self, sql: str, args: Sequence[Any]) -> list[tuple[Any, ...]]:
        """See `Engine.query_views`."""
        return self._open().execute(sql, tuple(args)).fetchall()

    def close(self) -> None:
        """Forgets everything."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            # Imported here: most stores in memory have no views.
            import sqlalchemy
            from sqlalchemy.pool import StaticPool

            from ...schema import upgrade

            made = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            engine = sqlalchemy.create_engine(
                "sqlite://", creator=lambda: made, poolclass=StaticPool, pool_reset_on_return=None
            )
            with engine.connect() as wrapped:
                upgrade(wrapped)
            self._connection = made
        return self._connection


def _holds(connection: sqlite3.Connection, statement: Statement, index: int) -> bool:
    try:
        if len(statement.rows) == 1:
            changed = connection.execute(statement.sql, statement.rows[0]).rowcount
        else:
            changed = connection.executemany(statement.sql, statement.rows).rowcount
    except _ROW_ERRORS as exc:
        # SQLite names the constraint and its columns; the driver's own texts may hold a value.
        said = str(exc) if isinstance(exc, sqlite3.IntegrityError) else type(exc).__name__
        raise RowRefused(f"view: {said}", statement=index) from None
    return statement.expect is None or changed == statement.expect
