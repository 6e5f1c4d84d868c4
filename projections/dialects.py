"""SQLAlchemy's statements as text and positional arguments, for the dialect of a store.

Bulk writes want the driver: SQLAlchemy Core alone reaches about 40% of a raw executemany
(measured.md of this project's design; `make bench` has a row). So statements are compiled once,
and rows go to the driver as tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

_DIALECTS: dict[str, Any] = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    # asyncpg's own dialect writes $1 and casts, and imports the driver only when it connects.
    "postgresql": postgresql.asyncpg.dialect(),  # type: ignore[no-untyped-call]
}

_DOUBLE, _NUMERIC = 701, 1700
"""The numbers of these types in PostgreSQL's catalogue, the same in every server."""


_FLOAT8, _NUMERIC = 701, 1700
"""PostgreSQL's numbers for the types that its numbers come as."""


_OWN_TENANT = "current_setting('eventstore.tenant', true)"
"""Whose transaction it is, where the store is isolated by tenant: see `eventstore.schema`."""


class Compiled(msgspec.Struct, frozen=True):
    """A statement's text, and the names of its arguments in the order in which it takes them."""

    sql: str
    names: tuple[str, ...]
    fixed: dict[str, Any]

    def args(self, values: dict[str, Any]) -> tuple[Any, ...]:
        """The positional arguments: what the statement says itself, and `values` over it."""
        return tuple([values[name] if name in values else self.fixed[name] for name in self.names])


def compile(statement: Any, dialect: str) -> Compiled:
    """The text of a statement for a dialect."""
    compiled = statement.compile(dialect=_DIALECTS[dialect])
    open_ = {name: None for bind, name in compiled.bind_names.items() if bind.required}
    # A list of an IN becomes an argument each.
    said = compiled.construct_expanded_state(open_)
    processors = dict(said.processors)  # those of the lists; the others are the types' own
    for bind, name in compiled.bind_names.items():
        process = bind.type.dialect_impl(_DIALECTS[dialect]).bind_processor(_DIALECTS[dialect])
        if process is not None and name not in open_:
            processors[name] = process
    fixed = {
        name: processors[name](value) if name in processors else value
        for name, value in said.parameters.items()
    }
    return Compiled(said.statement, tuple(said.positiontup or ()), fixed)


def create_table(table: sa.Table, dialect: str) -> list[str]:
    """CREATE TABLE and CREATE INDEX, where they are not there yet."""
    spoken = _DIALECTS[dialect]
    made: list[Any] = [sa.schema.CreateTable(table, if_not_exists=True)]
    made += [sa.schema.CreateIndex(index, if_not_exists=True) for index in _indexes(table)]
    return [str(each.compile(dialect=spoken)) for each in made]


def to_driver(column: sa.ColumnElement[Any], dialect: str) -> Callable[[Any], Any] | None:
    """What makes a value of this column's type one that the driver takes; None: nothing."""
    spoken = _DIALECTS[dialect]
    found: Callable[[Any], Any] | None = column.type.dialect_impl(spoken).bind_processor(spoken)
    return found


def from_driver(column: sa.ColumnElement[Any], dialect: str) -> Callable[[Any], Any] | None:
    """The way back."""
    spoken = _DIALECTS[dialect]
    if dialect == "postgresql" and isinstance(column.type, sa.JSON):
        return _from_json  # SQLAlchemy has the driver decode it, on connections of its own
    is_float = isinstance(column.type, (sa.Float, sa.Double))
    found: Callable[[Any], Any] | None = column.type.dialect_impl(spoken).result_processor(
        spoken, _FLOAT8 if is_float else _NUMERIC
    )
    return found


def _from_json(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, str) else value


def quoted(name: str, dialect: str) -> str:
    """A name as it stands in a statement."""
    return str(_DIALECTS[dialect].identifier_preparer.quote(name))


def _indexes(table: sa.Table) -> Sequence[sa.Index]:
    return sorted(table.indexes, key=lambda index: str(index.name))


def tenant_policy(schema: str, table: str, column: str = "tenant_id") -> str:
    """The statement that gives a view's table, in PostgreSQL, the policy that every table with
    tenants' rows has; it is switched on where it is for the store's own tables, and rests
    otherwise."""
    start = quoted(schema, "postgresql")
    rule = f"{column} = (SELECT t.tenant_id FROM {start}.tenants t WHERE t.name = {_OWN_TENANT})"
    on = "SELECT relrowsecurity FROM pg_class WHERE oid = '{}'::regclass"
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_policies WHERE tablename = '{table}'"
        f" AND schemaname = '{schema}') THEN"
        f" CREATE POLICY own_tenant ON {start}.{table} USING ({rule}) WITH CHECK ({rule});"
        f" END IF; IF ({on.format(f'{start}.views')}) AND NOT ({on.format(f'{start}.{table}')})"
        f" THEN ALTER TABLE {start}.{table} ENABLE ROW LEVEL SECURITY; END IF; END $$"
    )


def own_tenant_where(schema: str, tables: Sequence[str], name: str) -> str:
    """What a database view over these tables asks of a row, in PostgreSQL, where `name` is its
    tenant's: before version 15 it has its owner's rights, who passes the policies by. So it heeds
    the setting itself wherever they are in force for whoever looks."""
    start = quoted(schema, "postgresql")
    active = " OR ".join([f"row_security_active('{start}.{each}'::regclass)" for each in tables])
    return f"({name} = {_OWN_TENANT} OR (SELECT NOT ({active})))"
