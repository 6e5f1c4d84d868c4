"""Tables of views in the store's own database: written in one transaction with the checkpoint
that says how far they are."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from ...errors import RowRefused
from ..port import Move, Statement
from .connections import Connection

_ROW_CLASSES = ("22", "23", "54")
"""SQLSTATE classes of rows that the server will not take: data, constraints, limits."""


class Missed(Exception):
    """A move or an expectation that does not hold: the transaction is undone."""


async def change(
    connection: Connection,
    move_checkpoint: str,
    tenant_id: int,
    statements: Sequence[Statement],
    moves: Sequence[Move],
) -> None:
    """Makes all changes in the transaction that is open. Raises `Missed` and `RowRefused`."""
    for move in moves:
        row = move.row
        moved = await connection.fetchval(
            move_checkpoint,
            *(row.position, row.hash, tenant_id, row.name, row.generation, row.partition),
            *(row.fencing_token, row.holder, move.before),
        )
        if not moved:
            raise Missed
    for index, statement in enumerate(statements):
        try:
            changed = await _run(connection, statement)
        except asyncpg.PostgresError as exc:
            if (exc.sqlstate or "")[:2] in _ROW_CLASSES:
                raise RowRefused(_reason(exc), statement=index) from None
            raise
        except (ValueError, OverflowError, asyncpg.DataError) as exc:
            # What asyncpg cannot encode; its text may hold the value.
            reason = f"view: a value that PostgreSQL cannot take ({type(exc).__name__})"
            raise RowRefused(reason, statement=index) from None
        if statement.expect is not None and changed != statement.expect:
            raise Missed


async def _run(connection: Connection, statement: Statement) -> int | None:
    if len(statement.rows) != 1:
        await connection.executemany(statement.sql, statement.rows)
        return None
    done: str = await connection.execute(statement.sql, *statement.rows[0])
    count = done.rpartition(" ")[2]
    return int(count) if count.isdigit() else None


def _reason(error: asyncpg.PostgresError) -> str:
    named = [error.constraint_name, error.table_name, error.column_name]
    where = ", ".join(name for name in named if name)
    return f"view: PostgreSQL refused a row ({error.sqlstate}{': ' if where else ''}{where})"
