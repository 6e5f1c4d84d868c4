"""The bookkeeping of views, in the store's own database: generations, progress, folds and dead
letters, as statements that go into the relay's transactions, and as questions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
import sqlalchemy as sa

from eventstore.outbox import Outbox, Statement

from .dialects import Compiled, compile
from .sinks import Build

BUILDING, COMPARING, SERVING, RETIRED = "building", "comparing", "serving", "retired"
"""Of generations. One that is compared is fed, and does not serve until that is done."""

RUNNING, WAITING, STOPPED = "running", "waiting", "stopped"

OWED = -1
"""The position of a letter that says that the rows of its key are known to be wrong, and not made
good yet: an event was left out of them, or one that is in them was dropped."""

_KEYS_ASKED_MAX = 500
"""Keys in one question: SQLite takes 32,766 values, and a text of 500 is still planned fast."""


class Tables:
    """The tables of the bookkeeping, in a schema or in none."""

    def __init__(self, schema: str | None) -> None:
        meta = sa.MetaData(schema=schema)
        big, text, blob = sa.BigInteger, sa.Text, sa.LargeBinary

        def table(named: str, /, **columns: Any) -> sa.Table:
            return sa.Table(named, meta, *[sa.Column(c, kind) for c, kind in columns.items()])

        place = {"tenant_id": big, "name": text, "generation": big}
        self.views = table(
            "views",
            **place,
            state=text,
            version=big,
            fingerprint=text,
            partitions=big,
            incarnation=text,
            created_at=big,
            switched_at=big,
        )
        self.progress = table(
            "view_progress",
            **place,
            partition=big,
            position=big,
            incarnation=text,
            recorded_at=big,
            updated_at=big,
            state=text,
            last_error=text,
            events=big,
            changes=big,
            writes=big,
            bytes=big,
            embedded=big,
            embeddings_saved=big,
        )
        self.folds = table("view_folds", **place, key=text, position=big, state=blob)
        self.letters = table(
            "dead_letters",
            **place,
            key=text,
            position=big,
            partition=big,
            parked_at=big,
            attempts=big,
            error=text,
            dropped_reason=text,
            retry_asked=big,
        )
        self.embeddings = table(
            "embeddings", tenant_id=big, embedder=text, content_hash=blob, vector=blob
        )


@cache
def tables(schema: str | None) -> Tables:
    """The tables of a schema."""
    return Tables(schema)


class Generation(msgspec.Struct, frozen=True):
    """A row of `views`: one build of a view."""

    generation: int
    state: str
    version: int
    fingerprint: str
    partitions: int
    incarnation: str
    created_us: int
    switched_us: int | None

    def build(self, outbox: Outbox, view: str, tenant_id: int) -> Build:
        """Where its rows are."""
        return Build(outbox, view, tenant_id, self.generation, self.incarnation)


async def ask(outbox: Outbox, question: Any) -> list[tuple[Any, ...]]:
    """The rows of a SELECT."""
    made = compile(question, outbox.dialect)
    return await outbox.query(made.sql, made.args({}))


def statement(outbox: Outbox, change: Any, *, expect: int | None = None) -> Statement:
    """An INSERT, UPDATE or DELETE that says its values itself."""
    made = compile(change, outbox.dialect)
    return Statement(made.sql, (made.args({}),), expect)


def bulk(made: Compiled, rows: Sequence[dict[str, Any]]) -> Statement:
    """The same statement for many rows of named values."""
    return Statement(made.sql, [made.args(row) for row in rows])


def insert_into(table: sa.Table, dialect: str) -> Any:
    """INSERT, of the kind that can say what becomes of a row that stands."""
    from sqlalchemy.dialects import postgresql, sqlite

    return (sqlite if dialect == "sqlite" else postgresql).insert(table)


def insert_or_replace(
    table: sa.Table, keys: Sequence[str], dialect: str, *, unless: Any = None
) -> Any:
    """INSERT, or UPDATE of all other columns where a row with these keys stands; that row is left
    as it is where `unless` holds for it."""
    insert = insert_into(table, dialect)
    others = {c.name: insert.excluded[c.name] for c in table.columns if c.name not in keys}
    if not others:
        return insert.on_conflict_do_nothing(index_elements=list(keys))
    where = None if unless is None else sa.not_(unless)
    return insert.on_conflict_do_update(index_elements=list(keys), set_=others, where=where)


async def generations(outbox: Outbox, tenant_id: int, view: str) -> list[Generation]:
    """All generations of a tenant's view, oldest first."""
    v = tables(outbox.schema).views
    rows = await ask(
        outbox,
        sa.select(*list(v.columns)[2:])
        .where(v.c.tenant_id == tenant_id, v.c.name == view)
        .order_by(v.c.generation),
    )
    return [Generation(*row) for row in rows]


async def stored_names(outbox: Outbox, tenant_id: int) -> list[str]:
    """The names of a tenant's views that have a generation, in order. If cancelled, nothing is
    left open."""
    v = tables(outbox.schema).views
    question = sa.select(v.c.name).where(v.c.tenant_id == tenant_id).distinct().order_by(v.c.name)
    return [row[0] for row in await ask(outbox, question)]


def own(table: sa.FromClause, build: Build) -> sa.ColumnElement[bool]:
    """The rows of one generation in a table of the bookkeeping."""
    return sa.and_(
        table.c.tenant_id == build.tenant_id,
        table.c.name == build.view,
        table.c.generation == build.generation,
    )


async def held_back(
    build: Build, partition: int | None = None
) -> tuple[dict[str, int], dict[int, set[str]]]:
    """The keys that wait in the dead letters (of one partition, or of all), each with the position
    of its first event there, and what somebody gave up: see `given_up`."""
    d = tables(build.outbox.schema).letters
    waiting = sa.select(d.c.key, sa.func.min(d.c.position)).where(
        own(d, build), d.c.dropped_reason.is_(None), d.c.position > 0
    )
    if partition is not None:
        waiting = waiting.where(d.c.partition == partition)
    keys = {row[0]: row[1] for row in await ask(build.outbox, waiting.group_by(d.c.key))}
    return keys, await given_up(build)


async def given_up(build: Build) -> dict[int, set[str]]:
    """The positions of events that somebody gave up, in any partition, each with the keys as which
    it was: an event has one, a fork's may have many."""
    d = tables(build.outbox.schema).letters
    dropped = sa.select(d.c.position, d.c.key).where(own(d, build), d.c.dropped_reason.is_not(None))
    found: dict[int, set[str]] = {}
    for position, key in await ask(build.outbox, dropped):
        found.setdefault(position, set()).add(key)
    return found


async def find_folds(build: Build, keys: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """(position, state) of the folds of these keys that are kept."""
    outbox = build.outbox
    place: dict[str, Any] = {
        "of_tenant_id": build.tenant_id,
        "of_name": build.view,
        "of_generation": build.generation,
    }
    found: dict[str, tuple[int, bytes]] = {}
    for start in range(0, len(keys), _KEYS_ASKED_MAX):
        part = keys[start : start + _KEYS_ASKED_MAX]
        # As many as a power of two, the last one again and again: few statements serve all counts.
        count = 1 << (len(part) - 1).bit_length()
        asked = {f"key_{n}": part[min(n, len(part) - 1)] for n in range(count)}
        made = _find_folds(outbox.schema, outbox.dialect, count)
        for key, position, state in await outbox.query(made.sql, made.args(place | asked)):
            found[key] = (position, bytes(state))
    return found


@cache
def _find_folds(schema: str | None, dialect: str, count: int) -> Compiled:
    f = tables(schema).folds
    columns = ("tenant_id", "name", "generation")
    mine = [f.c[name] == sa.bindparam(f"of_{name}") for name in columns]
    listed = f.c.key.in_([sa.bindparam(f"key_{n}") for n in range(count)])
    return compile(sa.select(f.c.key, f.c.position, f.c.state).where(*mine, listed), dialect)


def keep_folds(build: Build, folds: Sequence[tuple[str, int, bytes]]) -> Statement:
    """Keeps the states of keys, each with the position of its last event."""
    made = _keep_folds(build.outbox.schema, build.outbox.dialect)
    place = {
        "tenant_id": build.tenant_id,
        "name": build.view,
        "generation": build.generation,
    }
    return bulk(
        made,
        [{**place, "key": key, "position": at, "state": state} for key, at, state in folds],
    )


@cache
def _keep_folds(schema: str | None, dialect: str) -> Compiled:
    keys = ("tenant_id", "name", "generation", "key")
    return compile(insert_or_replace(tables(schema).folds, keys, dialect), dialect)
