"""A vector view's rows in PostgreSQL: pgvector's column and its HNSW index, and a tsvector."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any
from zlib import crc32

import msgspec
import numpy as np

from eventstore.outbox import Statement

from ..dialects import tenant_policy
from ..errors import ProjectionError
from ..sinks import Build
from .following import Place
from .found import Filters
from .rows import Memory
from .statements import PLACES, place_of, prefix, spoken, table_name, table_of

INDEXED_DIMENSIONS_MAX = 2_000
"""What pgvector's HNSW index takes of `vector`. Longer ones are compared one by one."""

_WORDS_CHARS_MAX = 200_000
"""Of a longer text only the beginning is looked for by its words: a tsvector ends at 1 MB."""

_ITERATIVE = (0, 8)
"""The version of pgvector whose index goes on looking until enough rows pass the filters."""

_FUNCTION = "recall_near"


class _Extension(msgspec.Struct, frozen=True):
    """Where pgvector is, and whether its index takes filters into account."""

    schema: str
    is_iterative: bool


class Pgvector:
    """What a `VectorSink` does in PostgreSQL."""

    def __init__(self, view: str, dimensions: int) -> None:
        self.view = view
        self._dimensions = dimensions

    async def create(self, build: Build) -> list[str]:
        """The statements that make the table. Raises `ProjectionError` where pgvector is not
        there, with what to do."""
        found = await self._extension(build)
        name = table_name(build.view, build.generation)
        schema = str(build.outbox.schema)
        lock = f"SELECT pg_advisory_xact_lock({crc32(f'{schema}.{PLACES}'.encode())})"
        # Two workers that make the same table at once would fail at PostgreSQL's catalog.
        return [
            lock,
            *_create_places(prefix(build), schema),
            *_create(prefix(build), schema, name, found.schema, self._dimensions),
            _near_function(prefix(build), found.schema, found.is_iterative),
        ]

    async def _extension(self, build: Build) -> _Extension:
        rows = await build.outbox.query(
            "SELECT n.nspname::text, e.extversion FROM pg_extension e"
            " JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
        )
        if rows:
            major, minor = [int(part) for part in rows[0][1].split(".")[:2]]
            return _Extension(_quoted(rows[0][0]), (major, minor) >= _ITERATIVE)
        there = await build.outbox.query(
            "SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"
        )
        todo = (
            "let an administrator run CREATE EXTENSION vector in this database"
            if there
            else "install pgvector on the server, then run CREATE EXTENSION vector in this database"
        )
        raise ProjectionError(
            f"view {self.view!r}: PostgreSQL has no extension vector here: {todo}"
        )

    def write(
        self,
        build: Build,
        embedder: str,
        memories: Sequence[tuple[Memory, bytes, bytes, int]],
        gone: Sequence[tuple[str, int]],
    ) -> list[Statement]:
        """The statements for a page: rows with their content hash, vector and position, and keys
        that are gone with theirs."""
        tenant = build.tenant_id
        sql = _sql(table_of(build), prefix(build))
        # Not run where the build is of another embedder: vectors of two are never mixed.
        made = [Statement(sql.step, ((*place_of(build), embedder),), 1)]
        if gone:
            made.append(Statement(sql.delete, [(tenant, key) for key, _ in gone]))
        if memories:
            rows = [
                (
                    *(tenant, row.key, row.is_json, _without_nul(row.text)),
                    *(_without_nul(row.user), _without_nul(row.type), row.time_us, row.metadata),
                    *(hash_, _numbers(np.frombuffer(vector, dtype="<f4")), position),
                )
                for row, hash_, vector, position in memories
            ]
            made.append(Statement(sql.upsert, rows))
        return made

    def drop(self, build: Build) -> Sequence[str]:
        """The statements that take the table away."""
        return (f"DROP TABLE {table_of(build)}",)

    async def near(
        self, build: Build, place: Place, vector: Any, count: int, wanted: Filters
    ) -> tuple[list[tuple[int, float]], int]:
        """(label, cosine) of the nearest rows. Where the index gives fewer than were asked for,
        all rows that the filters allow are compared."""
        asked = _numbers(vector)
        if asked is None:
            return [], 0
        sql = _sql(table_of(build), prefix(build))
        limits = (wanted.user, wanted.type, wanted.since_us, wanted.until_us)
        given = (sql.table, build.tenant_id, asked, count, *limits)
        found = await build.outbox.query(sql.near, (*given, False))
        if len(found) < count:
            found = await build.outbox.query(sql.near, (*given, True))
        rows = [(row[0], float(row[1])) for row in found]
        return sorted(rows, key=lambda row: (-row[1], row[0])), 0

    async def words(
        self, build: Build, place: Place, text: str, count: int, wanted: Filters
    ) -> list[int]:
        """Labels of rows that share words with the text, as PostgreSQL ranks them."""
        conditions, args = wanted.conditions()
        sql = _sql(table_of(build), prefix(build))
        question = spoken(sql.words.format(conditions=conditions), "postgresql")
        asked = (_without_nul(text), build.tenant_id, *args, count)
        return [row[0] for row in await build.outbox.query(question, asked)]


class _Sql(msgspec.Struct, frozen=True):
    """What only PostgreSQL is told."""

    table: str
    step: str
    upsert: str
    delete: str
    near: str
    words: str


@cache
def _sql(table: str, start: str) -> _Sql:
    given = 'is_json, text, "user", "type", "time", metadata, content_hash, vector, position'
    taken = ", ".join([f"{name} = excluded.{name}" for name in given.split(", ")])
    # Its answers are joined with an OR: a row that shares one word is found.
    asked = (
        "SELECT replace(plainto_tsquery('pg_catalog.english', ?)::text, ' & ', ' | ')::tsquery AS q"
    )
    # Numbers become a vector by assignment, wherever the extension's type is.
    return _Sql(
        table=table,
        step=spoken(
            f"UPDATE {start}{PLACES} SET embedder = embedder WHERE tenant_id = ? AND name = ?"
            " AND generation = ? AND embedder = ?",
            "postgresql",
        ),
        upsert=spoken(
            f"INSERT INTO {table} AS held (tenant_id, key, {given})"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?::real[], ?)"
            f" ON CONFLICT (tenant_id, key) DO UPDATE SET {taken}",
            "postgresql",
        ),
        delete=spoken(f"DELETE FROM {table} WHERE tenant_id = ? AND key = ?", "postgresql"),
        near=spoken(
            f"SELECT f.label, f.score FROM {start}{_FUNCTION}"
            "(?::text::regclass, ?, ?, ?, ?, ?, ?, ?, ?) f",
            "postgresql",
        ),
        words=f"SELECT r.label FROM {table} r, ({asked}) a WHERE r.words @@ a.q"
        " AND r.tenant_id = ?{conditions} ORDER BY ts_rank(r.words, a.q) DESC, r.label DESC"
        " LIMIT ?",
    )


def _create_places(start: str, schema: str) -> list[str]:
    return [
        f"CREATE TABLE IF NOT EXISTS {start}{PLACES} (tenant_id BIGINT NOT NULL,"
        ' name TEXT COLLATE "C" NOT NULL, generation BIGINT NOT NULL,'
        ' embedder TEXT COLLATE "C" NOT NULL,'
        " change BIGINT NOT NULL, purged BIGINT NOT NULL,"
        " PRIMARY KEY (tenant_id, name, generation))",
        tenant_policy(schema, PLACES),
    ]


def _create(start: str, schema: str, name: str, extension: str, dimensions: int) -> list[str]:
    table = start + name
    made = [
        f"CREATE TABLE IF NOT EXISTS {table}"
        " (label BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        ' tenant_id BIGINT NOT NULL, key TEXT COLLATE "C" NOT NULL, is_json BOOLEAN NOT NULL,'
        ' position BIGINT NOT NULL, "user" TEXT COLLATE "C", "type" TEXT COLLATE "C",'
        ' "time" BIGINT, content_hash BYTEA NOT NULL, text TEXT NOT NULL, metadata TEXT NOT NULL,'
        f" vector {extension}.vector({dimensions}), words TSVECTOR GENERATED ALWAYS AS"
        f" (to_tsvector('pg_catalog.english', left(text, {_WORDS_CHARS_MAX}))) STORED)",
        f"CREATE UNIQUE INDEX IF NOT EXISTS {name}_keys ON {table} (tenant_id, key)",
        f'CREATE INDEX IF NOT EXISTS {name}_users ON {table} (tenant_id, "user", "type", "time")',
        f"CREATE INDEX IF NOT EXISTS {name}_contents ON {table} (tenant_id, content_hash)",
        f"CREATE INDEX IF NOT EXISTS {name}_words ON {table} USING gin (words)",
        tenant_policy(schema, name),
    ]
    if dimensions <= INDEXED_DIMENSIONS_MAX:
        made.append(
            f"CREATE INDEX IF NOT EXISTS {name}_near ON {table}"
            f" USING hnsw (vector {extension}.vector_cosine_ops)"
        )
    return made


def _near_function(start: str, extension: str, is_iterative: bool) -> str:
    """The search: a function, because the index's settings belong to a transaction and a question
    is one statement. It has its caller's rights, so that policies hold. Planned anew each time:
    with few rows allowed, their own index is better."""
    goes_on = "PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true);"
    distance = f"(r.vector OPERATOR({extension}.<=>) $2::{extension}.vector)"
    chosen = (
        f"SELECT r.label, 1 - {distance} FROM %s r WHERE r.tenant_id = $1 AND r.vector IS NOT NULL"
        ' AND ($4 IS NULL OR r."user" = $4) AND ($5 IS NULL OR r."type" = $5)'
        ' AND ($6 IS NULL OR r."time" >= $6) AND ($7 IS NULL OR r."time" < $7)'
        f" ORDER BY {distance} %s LIMIT $3"
    )
    return (
        f"CREATE OR REPLACE FUNCTION {start}{_FUNCTION}(held regclass, tenant bigint, asked real[],"
        " wanted integer, of_user text, of_type text, since bigint, until bigint, every boolean)"
        " RETURNS TABLE (label bigint, score double precision) LANGUAGE plpgsql AS $near$ BEGIN"
        " PERFORM set_config('hnsw.ef_search', least(1000, greatest(100, 2 * wanted))::text, true);"
        f" {goes_on if is_iterative else ''}"
        # An order by a sum is none that an index has.
        f" RETURN QUERY EXECUTE format($q${chosen}$q$, held,"
        " CASE WHEN every THEN '+ 0' ELSE '' END)"
        " USING tenant, asked, wanted, of_user, of_type, since, until; END $near$"
    )


def _numbers(vector: Any) -> list[float] | None:
    """The vector as the driver takes it; None for one of zeros, which has no direction."""
    numbers = np.asarray(vector, dtype=np.float32)
    return numbers.tolist() if numbers.any() else None


def _without_nul(value: Any) -> Any:
    """PostgreSQL holds no NUL in a text: there it is U+FFFD."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
