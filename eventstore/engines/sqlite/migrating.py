"""Whose file it is, and which schema it has: asked before anything is touched, then migrated."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from ...errors import Corrupt, SchemaTooNew, StorageFailed
from ...ids import UuidSevens
from ...limits import NAMES_CHECKED_MAX
from ...schema import NEWEST, TABLES, known_revisions, upgrade
from .errors import DRIVER_ERRORS, translate, wal_out_of_reach

SQLITE_VERSION = sqlite3.sqlite_version
"""The SQLite that Python brings, for those who may not import a driver."""

_OUT_OF_REACH = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
"""What SQLite says of a write-ahead log that it may not read."""


def check_file(path: str, connection: sqlite3.Connection) -> str | None:
    """The file's schema revision; None where it has no event store yet. It only reads.

    Raises `SchemaTooNew` for a file that a newer version of this code has written, and
    `StorageFailed` for another program's file: one that has anything in it, and no event store.
    """
    begun = not connection.in_transaction
    if begun:
        # One snapshot for both questions: another process may be making the schema just now.
        connection.execute("BEGIN")
    try:
        # The names that begin with sqlite_ are SQLite's own, in anybody's file.
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        )
        tables = {row[0] for row in names}
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
    if tables and (found is None or "store_info" not in tables):
        name = min(tables.intersection({*TABLES, "alembic_version"}) or tables)
        raise StorageFailed(
            f"{path}: another program's database, which holds no store: it has"
            f" {name!r}, which is not an event store's; nothing was written",
            next_step="name another file",
        )
    return found


def stored_revision(path: str) -> str | None:
    """The schema revision of a file, None where it holds no store; nothing in it or beside it is
    changed.

    Opening makes the schema where there is none, and migrates an older one: who only wants to
    read asks here first. Raises as the engine does for what is no database, and as `check_file`.
    """
    address = f"file:{quote(str(Path(path).absolute()))}?mode=ro"
    wal = Path(f"{os.path.realpath(path)}-wal")
    # The file alone first, because SQLite leaves files beside a database that it reads in WAL
    # mode; only a log that was not folded in makes those needed.
    for is_last in (False, True):
        with_log = is_last and wal.exists()
        try:
            option = "" if with_log else "&immutable=1"
            with closing(sqlite3.connect(address + option, uri=True)) as connection:
                found = check_file(path, connection)
        except DRIVER_ERRORS as exc:
            if not is_last:
                continue  # so looks a file into which another process folds its log just now
            refused = getattr(exc, "sqlite_errorcode", 0) & 0xFF in _OUT_OF_REACH
            if refused and with_log:
                raise wal_out_of_reach(path) from exc
            raise translate(exc, path) from exc
        if found is not None:
            return found
    return None


def check_names(path: str, connection: sqlite3.Connection) -> None:
    """Raises `Corrupt` where a table of names is damaged.

    A hash shows that an event was changed. That a stream was never there is what an index says, and
    a damaged page of it says so of every stream; the next append would begin it anew. Tables too
    large to be looked at whenever a file is opened are left to `verify`.
    """
    for table in ("tenants", "heads", "event_types", "streams", "tags"):
        (last,) = connection.execute(f"SELECT max(rowid) FROM {table}").fetchone()
        if (last or 0) > NAMES_CHECKED_MAX:
            continue
        found = connection.execute(f"PRAGMA integrity_check({table})").fetchall()
        if found != [("ok",)]:
            raise Corrupt(f"{path}: SQLite reports a damaged table {table!r}", kind="page")


def store_id_of(connection: sqlite3.Connection) -> str | None:
    """Which store it is: copies and backups of a file have its id."""
    row = connection.execute("SELECT store_id FROM store_info").fetchone()
    return None if row is None else str(row[0])


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
