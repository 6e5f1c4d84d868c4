"""What a worker keeps beside its checkpoint: counts, the time it is good for, what is wrong."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import sqlalchemy as sa

from eventstore import LeaseLost
from eventstore.ids import UuidSevens
from eventstore.outbox import Head, Statement

from ..catalog import RETIRED, RUNNING, ask, bulk, own, statement, tables
from ..dialects import Compiled, compile
from ..sinks import Build, Written
from .pages import Applied

_PLACE = ("tenant_id", "name", "generation", "partition")
_COUNTS = ("events", "changes", "writes", "bytes", "embedded", "embeddings_saved")


class Place(msgspec.Struct, frozen=True):
    """Where a partition is, as its last write left it: `incarnation` is the sink's as it was then,
    `build` the build with the one that stands now."""

    build: Build
    position: int
    incarnation: str


async def place_of(build: Build, partition: int) -> Place | None:
    """The partition's place; None where its generation is gone."""
    t = tables(build.outbox.schema)
    p, v = t.progress, t.views
    question = (
        sa.select(p.c.position, p.c.incarnation, v.c.incarnation)
        .select_from(v.join(p, sa.and_(own(p, build), p.c.partition == partition)))
        .where(own(v, build))
    )
    rows = await ask(build.outbox, question)
    if not rows:
        return None
    position, written_as, stands = rows[0]
    return Place(msgspec.structs.replace(build, incarnation=stands), position, written_as)


def first_places(build: Build, partitions: int) -> Statement:
    """The progress of a generation's partitions before anything was read."""
    outbox = build.outbox
    table = tables(outbox.schema).progress
    row = {
        "position": 0,
        "incarnation": build.incarnation,
        "recorded_at": 0,
        "updated_at": outbox.now(),
        "state": RUNNING,
        "last_error": None,
        **dict.fromkeys(_COUNTS, 0),
    }
    made = compile(sa.insert(table), outbox.dialect)
    return bulk(made, [{**_place(build, number), **row} for number in range(partitions)])


def note_progress(
    build: Build,
    partition: int,
    position: int,
    applied: Applied,
    written: Written,
    end: Head | None = None,
) -> Statement:
    """Says how far the partition is, and adds what a page came to; refused for a generation that
    was replaced, and where another event stands by now at `end`, the log's end before the page was
    read: a server without the last commits took over, and the page is of the log that was."""
    outbox = build.outbox
    # A file has no other server that takes over; nor does a log in memory, beside its views.
    guarded = end is not None and end.position > 0 and outbox.dialect == "postgresql"
    row = {
        "new_position": position,
        "new_incarnation": build.incarnation,
        "new_recorded_at": applied.recorded_us,
        "new_updated_at": outbox.now(),
        "more_events": applied.events,
        "more_changes": applied.effects,
        "more_writes": written.writes,
        "more_bytes": written.bytes,
        "more_embedded": written.embedded,
        "more_embeddings_saved": written.embeddings_saved,
        **{f"of_{name}": value for name, value in _place(build, partition).items()},
    }
    if end is not None and guarded:
        row |= {"end_position": end.position, "end_hash": end.hash}
    made = _note(outbox.schema, outbox.dialect, guarded)
    return Statement(made.sql, (made.args(row),), 1)


def note_state(build: Build, partition: int, state: str, error: str | None) -> Statement:
    """Says that the worker runs, waits or stopped, and why."""
    outbox = build.outbox
    p = tables(outbox.schema).progress
    mine = (own(p, build), p.c.partition == partition, p.c.state != RETIRED)
    change = sa.update(p).where(*mine)
    return statement(outbox, change.values(state=state, last_error=error, updated_at=outbox.now()))


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
def _note(schema: str | None, dialect: str, guarded: bool) -> Compiled:
    p = tables(schema).progress
    recorded = sa.bindparam("new_recorded_at", type_=p.c.recorded_at.type)
    position = sa.bindparam("new_position", type_=p.c.position.type)
    values: dict[str, Any] = {
        "position": position,
        "incarnation": sa.bindparam("new_incarnation"),
        "updated_at": sa.bindparam("new_updated_at"),
        "state": RUNNING,
        "last_error": None,
        # A page without events of the view says no time, and one that is tried again an old one.
        "recorded_at": sa.case(
            (position == 0, 0), (recorded > p.c.recorded_at, recorded), else_=p.c.recorded_at
        ),
    }
    for name in _COUNTS:
        values[name] = p.c[name] + sa.bindparam(f"more_{name}")
    which = [p.c[name] == sa.bindparam(f"of_{name}") for name in _PLACE]
    # In the row that the switch has locked, so that one who waited for it sees it.
    which.append(p.c.state != sa.literal(RETIRED))
    if guarded:
        which.append(_end_stands(schema))
    return compile(sa.update(p).where(*which).values(values), dialect)


def _end_stands(schema: str | None) -> sa.ColumnElement[bool]:
    """Whether the event at a position is the one it was: then all before it are, too, because each
    carries the hash of the one before it."""
    kinds: dict[str, Any] = {
        "tenant_id": sa.BigInteger(),
        "position": sa.BigInteger(),
        "hash": sa.LargeBinary(),
    }
    e = sa.table("events", *[sa.column(n, kind) for n, kind in kinds.items()], schema=schema)
    there = {"tenant_id": "of_tenant_id", "position": "end_position", "hash": "end_hash"}
    same = [e.c[name] == sa.bindparam(of, type_=kinds[name]) for name, of in there.items()]
    return sa.exists().where(*same)
