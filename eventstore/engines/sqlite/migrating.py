"""Whose file it is, and which schema it has: asked before anything is touched, then migrated."""

from __future__ import annotations

import sqlite3

from ...errors import SchemaTooNew, StorageFailed
from ...ids import UuidSevens
from ...schema import NEWEST, TABLES, known_revisions, upgrade


def check_file(path: str, connection: sqlite3.Connection) -> str | None:
    """The file's schema revision; None where it has no event store yet. It only reads.

    Raises `SchemaTooNew` for a file that a newer version of this code has written, and
    `StorageFailed` for another program's file whose tables are in our way.
    """
    begun = not connection.in_transaction
    if begun:
        # One snapshot for both questions: another process may be making the schema just now.
        connection.execute("BEGIN")
    try:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        found = None
        if "alembic_version" in tables:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            found = None if row is None else str(row[0])
    finally:
        if begun and connection.in_transaction:
            connection.execute("ROLLBACK")
    if found is not None and found not in known_revisions():
        raise SchemaTooNew(
            f"{path}: schema revision {found!r} is newer than {NEWEST!r}, which this program knows"
        )
    if found is None or "store_info" not in tables:
        taken = sorted(tables.intersection({*TABLES, "alembic_version"}))
        if taken:
            raise StorageFailed(f"{path}: has a table {taken[0]!r} that is not an event store's")
    return found


def migrate(path: str, connection: sqlite3.Connection) -> None:
    """Makes or updates the schema, in one transaction that excludes other processes.

    Raises as `check_file` does.
    """
    if check_file(path, connection) == NEWEST:
        return
    # Imported here: a file that is up to date is opened without them.
    import sqlalchemy
    from sqlalchemy.pool import StaticPool

    engine = sqlalchemy.create_engine(
        "sqlite://", creator=lambda: connection, poolclass=StaticPool, pool_reset_on_return=None
    )
    try:
        with engine.connect() as wrapped:
            # The driver's own BEGIN is off (isolation_level=None); this one excludes other
            # processes. Through SQLAlchemy, whose first connection rolls back what is open.
            wrapped.exec_driver_sql("BEGIN IMMEDIATE")
            if check_file(path, connection) != NEWEST:  # another process may have been first
                upgrade(wrapped)
                wrapped.exec_driver_sql(
                    "INSERT INTO store_info (only, store_id) VALUES (1, ?) ON CONFLICT DO NOTHING",
                    (UuidSevens()(),),
                )
            wrapped.commit()
    except sqlalchemy.exc.DBAPIError as exc:
        if isinstance(exc.orig, sqlite3.Error):
            raise exc.orig from exc
        raise
