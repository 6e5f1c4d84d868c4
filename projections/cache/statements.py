"""SQL of the cache: the table of a generation's rows, and the count of writes that Redis took.

Written by hand with ``?``, because each is run with every page; `_spoken` numbers the arguments
for PostgreSQL.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar
from zlib import crc32

import msgspec

from eventstore.outbox import Statement

from ..dialects import quoted, tenant_policy
from ..sinks import Build

S = TypeVar("S", bound=msgspec.Struct)


class RowsSql(msgspec.Struct, frozen=True):
    """What is said to one generation's table."""

    table: str
    create: tuple[str, ...]
    upsert: str
    delete: str
    sweep: str
    find: str
    scan: str
    boundary: str
    delete_until: str
    delete_all: str
    forget_until: str
    forget_all: str
    """As `delete_until` and `delete_all`, of rows that belong to another incarnation."""
    mark: str
    marked: str
    """Whether the rows are those of an incarnation."""
    drop: str
    exists: str
    named: tuple[str, ...]
    """The arguments of `exists`."""
    alone: tuple[str, ...]
    """Lets nobody else make, mark or forget until the end of the transaction."""


class WritesSql(msgspec.Struct, frozen=True):
    """What is said to the table of writes that Redis acknowledged."""

    create: tuple[str, ...]
    find: str
    elsewhere: str
    """Whether the relay's progress has partitions that were last fed to another incarnation."""
    keep: str
    forget: str
    forget_all: str


def rows_sql(build: Build) -> RowsSql:
    """The statements for a build's rows."""
    return _rows_sql(table_name(build), build.outbox.schema, build.outbox.dialect)


def writes_sql(build: Build) -> WritesSql:
    """The statements for a build's writes."""
    return _writes_sql(build.outbox.schema, build.outbox.dialect)


def made(sqls: tuple[str, ...]) -> list[Statement]:
    """Statements that take no arguments."""
    return [Statement(sql) for sql in sqls]


def table_name(build: Build) -> str:
    """The name of a generation's table; a view's name has no characters to be quoted."""
    return f"cache_{build.view}_{build.generation}"


def place_of(build: Build) -> tuple[int, str, int]:
    """Tenant, view and generation."""
    return build.tenant_id, build.view, build.generation


@cache
def _rows_sql(name: str, schema: str | None, dialect: str) -> RowsSql:
    table = _prefix(schema, dialect) + name
    columns = (
        "tenant_id BIGINT NOT NULL, key {text} NOT NULL, value {blob} NOT NULL,"
        " position BIGINT NOT NULL, expires_at BIGINT, PRIMARY KEY (tenant_id, key)"
    )
    index = (
        f"CREATE INDEX IF NOT EXISTS {name}_expiry ON {table} (tenant_id, expires_at)"
        " WHERE expires_at IS NOT NULL"
    )
    live = "(expires_at IS NULL OR expires_at > ?)"
    if dialect == "sqlite":
        among = "key IN (SELECT j.value FROM json_each(?) j)"
        chosen = "IN ({})"
        exists = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    else:
        among = "key = ANY(?::text[])"
        # A row that another partition is writing is left to the next sweep: nobody waits. An array
        # is made once; IN may ask anew for each row, and go beyond the limit.
        chosen = "= ANY(ARRAY({} FOR UPDATE SKIP LOCKED))"
        exists = "SELECT 1 FROM pg_tables WHERE tablename = ? AND schemaname = ?"
    own = f"FROM {table} WHERE tenant_id = ?"
    expired = f"SELECT key {own} AND expires_at <= ? ORDER BY expires_at LIMIT ?"
    row = "SELECT key, value, position"
    # No row has an empty key, and nothing that asks for rows finds it: see `rows.py`.
    marker = f"SELECT 1 FROM {table} m WHERE m.tenant_id = ? AND m.key = '' AND m.value = ?"
    sqls = RowsSql(
        table=table,
        create=(*_create(name, columns, schema, dialect), index),
        # The relay's transactions come in order; a key that is tried again must not go back either.
        upsert=f"INSERT INTO {table} AS held (tenant_id, key, value, position, expires_at)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (tenant_id, key) DO UPDATE SET"
        " value = excluded.value, position = excluded.position, expires_at = excluded.expires_at"
        " WHERE held.position <= excluded.position",
        delete=f"DELETE {own} AND key = ? AND position <= ?",
        # The outer comparison is made again for a row that changed after it was chosen.
        sweep=f"DELETE {own} AND expires_at <= ? AND key {chosen.format(expired)}",
        find=f"{row} {own} AND {among} AND {live}",
        scan=f"{row} {own} AND key > ? AND {live} ORDER BY key LIMIT ?",
        boundary=f"SELECT key {own} ORDER BY key LIMIT 1 OFFSET ?",
        delete_until=f"DELETE {own} AND key <= ?",
        delete_all=f"DELETE {own}",
        forget_until=f"DELETE {own} AND key <= ? AND NOT EXISTS ({marker})",
        forget_all=f"DELETE {own} AND NOT EXISTS ({marker})",
        mark=f"INSERT INTO {table} (tenant_id, key, value, position) VALUES (?, '', ?, 0)"
        " ON CONFLICT (tenant_id, key) DO UPDATE SET value = excluded.value",
        marked=marker,
        drop=f"DROP TABLE {table}",
        exists=exists,
        named=(name,) if schema is None else (name, schema),
        alone=_alone(name, schema, dialect),
    )
    return _spoken(sqls, dialect)


@cache
def _writes_sql(schema: str | None, dialect: str) -> WritesSql:
    name = "cache_writes"
    table = _prefix(schema, dialect) + name
    columns = (
        "tenant_id BIGINT NOT NULL, name {text} NOT NULL, generation BIGINT NOT NULL,"
        " partition BIGINT NOT NULL, incarnation {text} NOT NULL, writes BIGINT NOT NULL,"
        " PRIMARY KEY (tenant_id, name, generation, partition)"
    )
    own = f"FROM {table} WHERE tenant_id = ? AND name = ? AND generation = ?"
    sqls = WritesSql(
        create=_create(name, columns, schema, dialect),
        find=f"SELECT partition, writes {own} AND incarnation = ?",
        elsewhere=f"SELECT 1 {own.replace(name, 'view_progress')} AND incarnation <> ? LIMIT 1",
        keep=f"INSERT INTO {table} (tenant_id, name, generation, partition, incarnation, writes)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (tenant_id, name, generation, partition)"
        " DO UPDATE SET incarnation = excluded.incarnation, writes = excluded.writes",
        forget=f"DELETE {own} AND incarnation = ?",
        forget_all=f"DELETE {own}",
    )
    return _spoken(sqls, dialect)


def _create(name: str, columns: str, schema: str | None, dialect: str) -> tuple[str, ...]:
    prefix = _prefix(schema, dialect)
    if dialect == "sqlite":
        spoken = columns.format(text="TEXT", blob="BLOB")
        return (f"CREATE TABLE IF NOT EXISTS {prefix}{name} ({spoken})",)
    spoken = columns.format(text='TEXT COLLATE "C"', blob="BYTEA")
    return (
        # Two workers that make the same table at once would fail at PostgreSQL's catalog.
        *_alone(name, schema, dialect),
        f"CREATE TABLE IF NOT EXISTS {prefix}{name} ({spoken})",
        tenant_policy(str(schema), name),
    )


def _alone(name: str, schema: str | None, dialect: str) -> tuple[str, ...]:
    """SQLite has one writer."""
    if dialect == "sqlite":
        return ()
    return (f"SELECT pg_advisory_xact_lock({crc32(f'{schema}.{name}'.encode())})",)


def _prefix(schema: str | None, dialect: str) -> str:
    return f"{quoted(schema, dialect)}." if schema else ""


def _spoken(sqls: S, dialect: str) -> S:
    """The same statements with $1, $2, ... where the dialect wants numbers. None holds a ``?`` that
    is not an argument."""
    if dialect == "sqlite":
        return sqls
    numbered: dict[str, Any] = {}
    for field in sqls.__struct_fields__:
        text = getattr(sqls, field)
        if isinstance(text, str):
            first, *others = text.split("?")
            text = first + "".join([f"${n}{part}" for n, part in enumerate(others, 1)])
        numbered[field] = text
    return type(sqls)(**numbered)
