"""SQL that both databases are told of a vector view, and what differs between them as arguments.

Written by hand with ``?``, because each is run with every page or search; `spoken` numbers the
arguments for PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from eventstore.outbox import Statement

from ..catalog import SERVING
from ..dialects import quoted
from ..sinks import Build

PLACES = "recall_places"
"""One row for each build of a vector view: whose vectors are in it, and how often it changed."""


class Sql(msgspec.Struct, frozen=True):
    """What is said of one generation's table, and of the tables that all generations share."""

    table: str
    place: str
    """Notes a build: tenant, view, generation, embedder."""
    unplace: str
    generations: str
    """A tenant's generations of a view, each with its embedder."""
    tenants: str
    """Tenants that have a build in the table."""
    state: str
    """The serving build: generation, incarnation, embedder, change, purged, the first and the last
    of its partitions' positions, the time of the first, and whether other tenants have rows in its
    table."""
    keep: str
    find: str
    scan: str
    hashes: str
    some: str
    """Labels of any rows of a tenant."""
    delete_rows: str
    delete_all: str
    among_labels: str


def table_name(view: str, generation: int) -> str:
    """The name of a generation's table; a view's name has no characters to be quoted."""
    return f"recall_{view}_{generation}"


def table_of(build: Build) -> str:
    """The table of a build's rows, as it stands in a statement."""
    return prefix(build) + table_name(build.view, build.generation)


def prefix(build: Build) -> str:
    """What stands before a table's name."""
    return _prefix(build.outbox.schema, build.outbox.dialect)


def sql_of(build: Build) -> Sql:
    """The statements for a build's rows."""
    outbox = build.outbox
    return _sql(table_name(build.view, build.generation), outbox.schema, outbox.dialect)


def place_of(build: Build) -> tuple[int, str, int]:
    """Tenant, view and generation."""
    return build.tenant_id, build.view, build.generation


def embeddings_found(build: Build, count: int) -> str:
    """The question for kept vectors of `count` content hashes, after tenant and embedder."""
    start = (
        f"SELECT content_hash, vector FROM {prefix(build)}embeddings"
        " WHERE tenant_id = ? AND embedder = ? AND content_hash"
    )
    if build.outbox.dialect == "sqlite":
        return f"{start} IN ({', '.join('?' * count)})"
    return spoken(f"{start} = ANY(?::bytea[])", build.outbox.dialect)


def embeddings_forgotten(
    build: Build, embedder: str, hashes: Sequence[bytes], generations: Sequence[int]
) -> Statement:
    """Takes kept vectors away that no row of these generations uses."""
    unused = "".join(
        f" AND NOT EXISTS (SELECT 1 FROM {prefix(build)}{table_name(build.view, number)} r"
        " WHERE r.tenant_id = ? AND r.content_hash = ?)"
        for number in generations
    )
    text = (
        f"DELETE FROM {prefix(build)}embeddings WHERE tenant_id = ? AND embedder = ?"
        f" AND content_hash = ?{unused}"
    )
    tenant = build.tenant_id
    rows = [(tenant, embedder, each, *(tenant, each) * len(generations)) for each in hashes]
    return Statement(spoken(text, build.outbox.dialect), rows)


@cache
def _sql(name: str, schema: str | None, dialect: str) -> Sql:
    start = _prefix(schema, dialect)
    table, places = start + name, start + PLACES
    is_sqlite = dialect == "sqlite"
    listed = "IN (SELECT j.value FROM json_each(?) j)" if is_sqlite else "= ANY(?::{}[])"
    labels, keys = listed.format("bigint"), listed.format("text")
    own = f"FROM {table} r WHERE r.tenant_id = ?"
    living = f"{own} AND r.text IS NOT NULL"
    columns = 'r.key, r.is_json, r.text, r."user", r."type", r."time", r.metadata, r.position'
    progress = (
        "(SELECT {} FROM " + start + "view_progress g WHERE g.tenant_id = v.tenant_id"
        " AND g.name = v.name AND g.generation = v.generation)"
    )
    said = Sql(
        table=table,
        place=f"INSERT INTO {places} (tenant_id, name, generation, embedder, change, purged)"
        " VALUES (?, ?, ?, ?, 0, 0) ON CONFLICT (tenant_id, name, generation)"
        " DO UPDATE SET embedder = excluded.embedder",
        unplace=f"DELETE FROM {places} WHERE tenant_id = ? AND name = ? AND generation = ?",
        generations=f"SELECT generation, embedder FROM {places} WHERE tenant_id = ? AND name = ?",
        tenants=f"SELECT tenant_id FROM {places} WHERE name = ? AND generation = ?",
        state="SELECT v.generation, v.incarnation, p.embedder, p.change, p.purged,"
        f" {progress.format('min(g.position)')}, {progress.format('max(g.position)')},"
        f" {progress.format('min(g.recorded_at)')},"
        f" EXISTS (SELECT 1 FROM {places} o WHERE o.name = v.name AND o.generation = v.generation"
        " AND o.tenant_id <> v.tenant_id)"
        f" FROM {start}views v JOIN {places} p ON p.tenant_id = v.tenant_id AND p.name = v.name"
        " AND p.generation = v.generation"
        f" WHERE v.tenant_id = ? AND v.name = ? AND v.state = '{SERVING}'",
        keep=f"INSERT INTO {start}embeddings (tenant_id, embedder, content_hash, vector)"
        " VALUES (?, ?, ?, ?) ON CONFLICT (tenant_id, embedder, content_hash) DO NOTHING",
        find=f"SELECT {columns} {living} AND r.key {keys}",
        scan=f"SELECT {columns} {living} AND r.key > ? ORDER BY r.key LIMIT ?",
        hashes=f"SELECT r.content_hash {living} AND r.key {keys}",
        some=f"SELECT r.label, r.content_hash {own} LIMIT ?",
        delete_rows=f"DELETE FROM {table} WHERE tenant_id = ? AND label {labels}",
        delete_all=f"DELETE FROM {table} WHERE tenant_id = ?",
        among_labels=f"SELECT r.label, {columns}, {'r.change' if is_sqlite else '0'}"
        # Rows are taken by their labels; an index by tenant would go through all of them.
        f" FROM {table} r WHERE r.label {labels} AND {'+' if is_sqlite else ''}r.tenant_id = ?"
        " AND r.text IS NOT NULL",
    )
    fields = {field: getattr(said, field) for field in said.__struct_fields__}
    return Sql(**{field: spoken(text, dialect) for field, text in fields.items()})


def listed(build: Build, values: Sequence[int] | Sequence[str]) -> Any:
    """Labels or keys as one argument."""
    if build.outbox.dialect == "sqlite":
        return msgspec.json.encode(values).decode()
    return list(values)


@cache
def _prefix(schema: str | None, dialect: str) -> str:
    return f"{quoted(schema, dialect)}." if schema else ""


def spoken(text: str, dialect: str) -> str:
    """The same statement with $1, $2, ... where the dialect wants numbers. It holds no ``?`` that
    is not an argument."""
    if dialect == "sqlite":
        return text
    first, *others = text.split("?")
    return first + "".join([f"${n}{part}" for n, part in enumerate(others, 1)])
