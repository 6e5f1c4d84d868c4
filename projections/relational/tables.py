"""The tables that a declared table becomes: one for each generation, and a database view that
shows every tenant's serving generation under the declared name."""

from __future__ import annotations

import re
from collections.abc import Sequence

import sqlalchemy as sa

from eventstore.outbox import Outbox
from eventstore.schema import TABLES

from ..catalog import SERVING, ask
from ..dialects import quoted
from ..errors import ProjectionError

TENANT, POSITION, PARTITION = "_tenant", "_position", "_partition"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,50}", re.ASCII)


def check_table(view: str, table: object) -> sa.Table:
    """The table, if a view can be made of it. Raises `ProjectionError`, naming what is wrong."""
    if not isinstance(table, sa.Table):
        raise ProjectionError(f"view {view!r}: a SQLAlchemy Table, not {type(table).__name__}")
    where = f"view {view!r}, table {table.name!r}"
    if not _NAME.fullmatch(table.name) or table.name in TABLES or table.schema is not None:
        raise ProjectionError(f"{where}: a name of small letters that is not the store's own")
    if not table.primary_key.columns:
        raise ProjectionError(f"{where}: needs a primary key, which is the row's key")
    if table.foreign_keys:
        raise ProjectionError(f"{where}: views are filled apart and cannot have foreign keys")
    for column in table.columns:
        if column.name.startswith("_") or column.computed or column.identity:
            raise ProjectionError(f"{where}: column {column.name!r} is computed or begins with _")
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
            sa.Index(f"{name}_{number}", *columns, unique=bool(index.unique), _table=made)
        )
    return made


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
        )
    made = [f"DROP VIEW IF EXISTS {name}"]
    if halves:
        made.append(f"CREATE VIEW {name} AS {' UNION ALL '.join(halves)}")
    return made
