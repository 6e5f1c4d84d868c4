"""Which schema a database has, and making or updating it under a lock that others wait for."""

from __future__ import annotations

import zlib
from typing import Any

import asyncpg

from ...errors import InvalidEvent, SchemaTooNew, StorageFailed
from ...ids import UuidSevens
from ...schema import NEWEST, TABLES, known_revisions, upgrade
from ...schema.postgres import functions_digest, make_functions
from . import statements as sql
from .address import Address, parse_address
from .connections import Connection, Connections

_LOCK = "SELECT pg_advisory_xact_lock($1, $2)"
_LOCK_SPACE = 0x65766E74
"""A number of our own, so that other programs' advisory locks are not ours."""

PATIENCE_SECONDS = 30.0
"""For a server that does not answer: what `EventStore.open` waits for unless it is told."""


async def check_schema(connection: Connection, address: Address) -> str | None:
    """The revision of the store's schema; None where there is no store yet. It only reads.

    Raises `SchemaTooNew` for a store that a newer version of this code has written, and
    `StorageFailed` for tables of another program that are in our way.
    """
    names = sql.Statements(address.schema)
    tables = {row[0] for row in await connection.fetch(sql.LIST_TABLES, address.schema)}
    found = None
    if "alembic_version" in tables:
        found = await connection.fetchval(names.find_revision)
    where = f"{address.shown}: schema {address.schema}"
    if found is not None and found not in known_revisions():
        raise SchemaTooNew(f"{where} has revision {found!r}, newer than {NEWEST!r}, which we know")
    if found is None or "store_info" not in tables:
        taken = sorted(tables.intersection({*TABLES, "alembic_version"}))
        if taken:
            raise StorageFailed(f"{where} has a table {taken[0]!r} that is not an event store's")
    return None if found is None else str(found)


async def _has_our_functions(connection: Connection, address: Address) -> bool:
    found = [row[0] for row in await connection.fetch(sql.FIND_FUNCTIONS, address.schema)]
    return found == [functions_digest()]


async def _say_schema(connection: Connection, address: Address) -> str | None:
    found = await check_schema(connection, address)
    if found != NEWEST or await _has_our_functions(connection, address):
        return found
    return f"{found} with the functions of another version"


async def stored_revision(url: str) -> str | None:
    """The revision of the store of a URL, with a word where it is ours and the functions are
    another version's; None where the database holds no store. It only reads.

    Raises as `EventStore.open` for a server that cannot be asked, and as `check_schema`. If
    cancelled, nothing stays open.
    """
    connections = Connections(parse_address(url, "FULL"), 1, PATIENCE_SECONDS)
    try:
        return await connections.run(lambda asked: _say_schema(asked, connections.address))
    finally:
        await connections.close()


async def prepare_schema(connections: Connections) -> None:
    """Makes the schema where it is absent. One of an older revision is migrated only where the
    URL says ``migrate=on``: other processes may still run the older code; so are the functions of
    another version. Raises as `check_schema`, and `StorageFailed` for what is left as it is."""
    address = connections.address
    found = await connections.run(lambda connection: check_schema(connection, address))
    if found == NEWEST:
        if await connections.run(lambda connection: _has_our_functions(connection, address)):
            return
        if not address.migrate:
            raise StorageFailed(
                f"{address.shown}: the functions in schema {address.schema} are those of another"
                " version of this program; run 'eventstore doctor --migrate', or open it with"
                " migrate=on"
            )
    elif found is not None and not address.migrate:
        raise StorageFailed(
            f"{address.shown}: schema {address.schema} has revision {found!r}, this program needs"
            f" {NEWEST!r}; run 'eventstore doctor --migrate', or open it with migrate=on"
        )
    await connections.run(lambda _: migrate(connections), is_long=True)


async def migrate(connections: Connections) -> None:
    """Makes or updates the schema, in one transaction; others who want to wait for it."""
    # Imported here: a database that is up to date is opened without them.
    from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
    from sqlalchemy.pool import NullPool

    address = connections.address
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connections.connect, poolclass=NullPool
    )
    try:
        wrapped: AsyncConnection
        async with engine.begin() as wrapped:
            await wrapped.exec_driver_sql("SET LOCAL statement_timeout = 0")
            await wrapped.exec_driver_sql("SET LOCAL lock_timeout = 0")
            schema_number = zlib.crc32(address.schema.encode()) - 2**31
            await wrapped.exec_driver_sql(_LOCK, (_LOCK_SPACE, schema_number))
            raw = await wrapped.get_raw_connection()
            driver: Any = raw.driver_connection
            found = await check_schema(driver, address)
            if found == NEWEST and await _has_our_functions(driver, address):
                return  # another process was first
            if await driver.fetchval(sql.IS_SQL_WORD, address.schema):
                raise InvalidEvent(
                    f"store URL: schema={address.schema} is a word of SQL; give it another name"
                )
            if not await driver.fetchval(sql.FIND_SCHEMA, address.schema):
                await wrapped.exec_driver_sql(f"CREATE SCHEMA {address.schema}")
            await wrapped.exec_driver_sql(f"SET LOCAL search_path = {address.schema}")
            await wrapped.run_sync(upgrade)
            if not await _has_our_functions(driver, address):
                await wrapped.run_sync(make_functions)
            store = sql.Statements(address.schema).insert_store
            await wrapped.exec_driver_sql(store, (UuidSevens()(),))
    except Exception as exc:
        original = _driver_error(exc)
        if original is not None and original is not exc:
            raise original from None  # the text around it shows parameters
        raise
    finally:
        await engine.dispose()


def _driver_error(error: BaseException | None) -> BaseException | None:
    """asyncpg's own error behind SQLAlchemy's, whose text shows parameters."""
    while error is not None and not isinstance(error, asyncpg.PostgresError):
        error = getattr(error, "orig", None) or error.__cause__
    return error
