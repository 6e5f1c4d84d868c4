"""The tables that a declared table becomes: one for each generation, and a database view that
shows every tenant's serving generation under the declared name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from eventstore.outbox import Outbox
from eventstore.schema import TABLES

from ..catalog import SERVING, ask
from ..dialects import own_tenant_where, quoted
from ..errors import ProjectionError

TENANT, POSITION, PARTITION = "_tenant", "_position", "_partition"

_OWN_PREFIXES = ("view_", "cache_", "recall_")
"""What the names of tables begin with that sinks make for themselves."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,50}", re.ASCII)


def check_table(view: str, table: object) -> sa.Table:
    """The table, if a view can be made of it. Raises `ProjectionError`, naming what is wrong."""
    if not isinstance(table, sa.Table):
        raise ProjectionError(f"view {view!r}: a SQLAlchemy Table, not {type(table).__name__}")
    where = f"view {view!r}, table {table.name!r}"
    if not _NAME.fullmatch(table.name) or table.name in TABLES or table.schema is not None:
        raise ProjectionError(f"{where}: a name of small letters that is not the store's own")
    if table.name.startswith(_OWN_PREFIXES):
        raise ProjectionError(f"{where}: names of views' own tables begin so; take another one")
    if not table.primary_key.columns:
        raise ProjectionError(f"{where}: needs a primary key, which is the row's key")
    if table.foreign_keys:
        raise ProjectionError(f"{where}: views are filled apart and cannot have foreign keys")
    for column in table.columns:
        if column.name.startswith("_") or column.computed or column.identity:
            raise ProjectionError(f"{where}: column {column.name!r} is computed or begins with _")
        if any((column.default, column.server_default, column.onupdate, column.server_onupdate)):
            # A row would differ by when and where it was written: live from rebuilt.
            raise ProjectionError(
                f"{where}: column {column.name!r} has a default; let the projection say the value"
            )
    return table


def table_name(view: str, generation: int) -> str:
    """The name of a generation's table."""
    return f"view_{view}_{generation}"


def table_of(view: str, declared: sa.Table, generation: int, schema: str | None) -> sa.Table:
    """A generation's table: the declared columns, and whose rows they are, of which event."""
    name = table_name(view, generation)
    made = sa.Table(name, sa.MetaData(schema=schema))
    made.append_column(sa.Column(TENANT, sa.BigInteger, primary_key=True, autoincrement=False))
    for column in declared.columns:
        made.append_column(
            sa.Column(
                column.name,
                column.type,
                primary_key=column.primary_key,
                nullable=column.nullable,
                autoincrement=False,
            )
        )
    made.append_column(sa.Column(POSITION, sa.BigInteger, nullable=False))
    made.append_column(sa.Column(PARTITION, sa.BigInteger, nullable=False))
    for constraint in declared.constraints:
        if isinstance(constraint, sa.UniqueConstraint):
            made.append_constraint(
                sa.UniqueConstraint(TENANT, *[column.name for column in constraint.columns])
            )
        elif isinstance(constraint, sa.CheckConstraint):
            made.append_constraint(sa.CheckConstraint(str(constraint.sqltext)))
    for number, index in enumerate(sorted(declared.indexes, key=lambda each: str(each.name))):
        columns = [made.c[TENANT], *[made.c[column.name] for column in index.columns]]
        made.indexes.add(
            # A table's name ends in its generation, which this must not be taken for.
            sa.Index(f"{name}_i{number}", *columns, unique=bool(index.unique), _table=made)
        )
    return made


def shape_of(declared: sa.Table) -> str:
    """A text of the columns, types and keys of a table: rows of one shape fit no other. Indexes
    and checks are not in it, because rows fit without them."""
    columns = [
        f"{column.name} {_type_of(column)}{'' if column.nullable else ' not null'}"
        for column in declared.columns
    ]
    unique = [
        f"unique {sorted(column.name for column in each.columns)}"
        for each in declared.constraints
        if isinstance(each, sa.UniqueConstraint)
    ]
    key = f"key {[column.name for column in declared.primary_key.columns]}"
    said = "\n".join([*sorted(columns), key, *sorted(unique)])
    return sha256(said.encode()).hexdigest()[:16]


def _type_of(column: sa.Column[Any]) -> str:
    try:
        return str(column.type)
    except sa.exc.CompileError:  # a type that only one database knows
        return type(column.type).__name__


async def taken_by(outbox: Outbox, view: str, name: str) -> str | None:
    """What of somebody else's has the name in the database that the view's rows are shown under:
    a table, or a database view of other rows; None where nothing has."""
    if outbox.dialect == "sqlite":
        question = sa.text(
            "SELECT type, coalesce(sql, '') FROM sqlite_master"
            " WHERE name = :name AND type IN ('table', 'view')"
        ).bindparams(name=name)
    else:
        question = sa.text(
            "SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END,"
            " CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) ELSE '' END"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = :schema AND c.relname = :name"
        ).bindparams(schema=outbox.schema, name=name)
    for kind, definition in await ask(outbox, question):
        if kind == "table":
            return "a table"
        if f"'{view}'" not in definition:
            return "a database view of something else"
    return None


async def stored_tables(outbox: Outbox, view: str) -> dict[int, list[str]]:
    """The generations that have a table, each with its columns."""
    if outbox.dialect == "sqlite":
        question = sa.text(
            "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c"
            " WHERE m.type = 'table' AND m.name LIKE :like ESCAPE '\\' ORDER BY m.name, c.cid"
        )
    else:
        question = sa.text(
            "SELECT table_name::text, column_name::text FROM information_schema.columns"
            " WHERE table_schema = :schema AND table_name LIKE :like"
            " ORDER BY table_name, ordinal_position"
        ).bindparams(schema=outbox.schema)
    like = table_name(view, 0)[:-1].replace("_", "\\_") + "%"
    found: dict[int, list[str]] = {}
    for table, column in await ask(outbox, question.bindparams(like=like)):
        number = table.removeprefix(table_name(view, 0)[:-1])
        if number.isdigit():
            found.setdefault(int(number), []).append(column)
    return found


def show(
    view: str, declared: sa.Table, tables: dict[int, list[str]], dialect: str, schema: str | None
) -> Sequence[str]:
    """The statements that make the database view anew for the generations that have tables."""
    prefix = f"{schema}." if schema else ""
    name = prefix + quoted(declared.name, dialect)
    halves = []
    for generation, columns in sorted(tables.items()):
        shown = ", ".join(
            f"g.{quoted(column.name, dialect)}"
            if column.name in columns
            else f"NULL AS {quoted(column.name, dialect)}"
            for column in declared.columns
        )
        halves.append(
            f"SELECT t.name AS tenant, {shown} FROM {prefix}{table_name(view, generation)} g"
            f" JOIN {prefix}views v ON v.tenant_id = g.{TENANT} AND v.name = '{view}'"
            f" AND v.generation = {generation} AND v.state = '{SERVING}'"
            f" LEFT JOIN {prefix}tenants t ON t.tenant_id = g.{TENANT}"
            f"{_own(view, generation, schema)}"
        )
    made = [f"DROP VIEW IF EXISTS {name}"]
    if halves:
        # It has the rights of whoever asks, where PostgreSQL can. A cheap function of the asker's
        # must not see a row before it is known whose it is.
        rights = " WITH (security_barrier = true)" if schema else ""
        made.append(f"CREATE VIEW {name}{rights} AS {' UNION ALL '.join(halves)}")
    if halves and schema:
        made.append(
            "DO $$ BEGIN IF current_setting('server_version_num')::int >= 150000 THEN"
            f" ALTER VIEW {name} SET (security_invoker = true); END IF; END $$"
        )
    return made


def _own(view: str, generation: int, schema: str | None) -> str:
    if schema is None:
        return ""
    tables = ("views", "tenants", table_name(view, generation))
    return f" WHERE {own_tenant_where(schema, tables, 't.name')}"
