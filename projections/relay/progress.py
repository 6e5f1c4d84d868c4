"""What a worker keeps beside its checkpoint: counts, the time it is good for, what is wrong."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import sqlalchemy as sa

from eventstore import LeaseLost
from eventstore.ids import UuidSevens
from eventstore.outbox import Statement

from ..catalog import RUNNING, ask, bulk, own, statement, tables
from ..dialects import Compiled, compile
from ..sinks import Build, Written
from .pages import Applied

_PLACE = ("tenant_id", "name", "generation", "partition")
_COUNTS = ("events", "changes", "writes", "bytes", "embedded", "embeddings_saved")


def note_progress(
    build: Build, partition: int, position: int, applied: Applied, written: Written
) -> Statement:
    """Says how far the partition is, and adds what a page came to."""
    outbox = build.outbox
    row = {
        **_place(build, partition),
        "position": position,
        "incarnation": build.incarnation,
        "recorded_at": applied.recorded_us,
        "updated_at": outbox.now(),
        "state": RUNNING,
        "last_error": None,
        "events": applied.events,
        "changes": applied.effects,
        "writes": written.writes,
        "bytes": written.bytes,
        "embedded": written.embedded,
        "embeddings_saved": written.embeddings_saved,
    }
    return bulk(_note(outbox.schema, outbox.dialect), [row])


def note_state(build: Build, partition: int, state: str, error: str) -> Statement:
    """Says that the worker waits or stopped, and why."""
    outbox = build.outbox
    table = tables(outbox.schema).progress
    row: dict[str, Any] = {**_place(build, partition), "state": state, "last_error": error}
    row["updated_at"] = outbox.now()
    row["incarnation"] = build.incarnation
    row.update(dict.fromkeys(("position", "recorded_at", *_COUNTS), 0))
    made = _insert(table, outbox.dialect)
    kept = {name: made.excluded[name] for name in ("state", "last_error", "updated_at")}
    change = made.on_conflict_do_update(index_elements=list(_PLACE), set_=kept)
    return bulk(compile(change, outbox.dialect), [row])


async def incarnation_of(build: Build, partition: int) -> str | None:
    """The sink's incarnation when the partition was last written; None where it never was."""
    t = tables(build.outbox.schema).progress
    question = sa.select(t.c.incarnation).where(own(t, build), t.c.partition == partition)
    rows = await ask(build.outbox, question)
    return None if not rows else rows[0][0]


async def reincarnate(build: Build) -> Build:
    """The build with the incarnation that stands now; a new one where it is still the old one."""
    outbox = build.outbox
    v = tables(outbox.schema).views
    mine = own(v, build)
    fresh = UuidSevens()()
    change = sa.update(v).where(mine, v.c.incarnation == build.incarnation)
    await outbox.change([statement(outbox, change.values(incarnation=fresh))])
    rows = await ask(outbox, sa.select(v.c.incarnation).where(mine))
    if not rows:
        raise LeaseLost(f"view {build.view!r}: generation {build.generation} is gone")
    return msgspec.structs.replace(build, incarnation=rows[0][0])


def _place(build: Build, partition: int) -> dict[str, Any]:
    return {
        "tenant_id": build.tenant_id,
        "name": build.view,
        "generation": build.generation,
        "partition": partition,
    }


@cache
def _note(schema: str | None, dialect: str) -> Compiled:
    table = tables(schema).progress
    made = _insert(table, dialect)
    new = made.excluded
    sums = {name: table.c[name] + new[name] for name in _COUNTS}
    names = ("position", "incarnation", "updated_at", "state", "last_error")
    latest: dict[str, Any] = {name: new[name] for name in names}
    # A page without events of the view says no time, and one that is tried again an old one.
    latest["recorded_at"] = sa.case(
        (new.recorded_at > table.c.recorded_at, new.recorded_at), else_=table.c.recorded_at
    )
    return compile(
        made.on_conflict_do_update(index_elements=list(_PLACE), set_={**latest, **sums}), dialect
    )


def _insert(table: sa.Table, dialect: str) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite

    return (sqlite if dialect == "sqlite" else postgresql).insert(table)
