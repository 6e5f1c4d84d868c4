"""Generations of a view: begun, given up, dropped. The switch from one to the next is
`switching`'s."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any
from zlib import crc32

import sqlalchemy as sa

from eventstore.ids import UuidSevens
from eventstore.outbox import Outbox, Statement

from ..asking import checkpoint_name
from ..catalog import (
    BUILDING,
    COMPARING,
    RETIRED,
    SERVING,
    Generation,
    ask,
    generations,
    own,
    statement,
    tables,
)
from ..dialects import Compiled, compile
from ..errors import ProjectionError, ViewNotBuilt
from ..sinks import Build
from ..view import View
from .progress import first_places

_log = logging.getLogger("eventstore")

RETIRED_SECONDS = 60.0
"""How long a generation stays after another one took over: whoever reads it has long finished."""

ABANDONED_SECONDS = 86_400.0
"""How long an unfinished generation of other code is kept though nobody feeds it: that code may be
run again within a day, and would have to begin anew."""

_Found = list[Generation]


async def of_views(outbox: Outbox, names: Sequence[str]) -> dict[tuple[int, str], _Found]:
    """All generations of these views, of all tenants, by tenant and name: one question."""
    made = _of_views(outbox.schema, outbox.dialect, tuple(names))
    found: dict[tuple[int, str], _Found] = {}
    for tenant_id, name, *rest in await outbox.query(made.sql, made.args({})):
        found.setdefault((tenant_id, name), []).append(Generation(*rest))
    return found


@cache
def _of_views(schema: str | None, dialect: str, names: tuple[str, ...]) -> Compiled:
    """Made once: it is asked twice a second as long as a relay runs."""
    v = tables(schema).views
    question = sa.select(*v.columns).where(v.c.name.in_(names)).order_by(v.c.generation)
    return compile(question, dialect)


def serving_of(found: Sequence[Generation]) -> Generation | None:
    """The one that serves."""
    return next((each for each in found if each.state == SERVING), None)


async def living(view: View) -> list[tuple[Build, Generation]]:
    """The generation that serves, and those that are being built. Raises `ViewNotBuilt` where
    there is none. If cancelled, nothing is left open."""
    outbox = view.store.outbox
    tenant_id = await outbox.tenant_id()
    found = await generations(outbox, tenant_id, view.name)
    alive = [each for each in found if each.state != RETIRED]
    if not alive:
        raise ViewNotBuilt(f"view {view.name!r}: no generation serves tenant {outbox.tenant!r}")
    alive.sort(key=lambda each: (each.state != SERVING, each.generation))
    return [(each.build(outbox, view.name, tenant_id), each) for each in alive]


def to_feed(view: View, found: Sequence[Generation]) -> list[Generation] | None:
    """The generations that this code feeds; None where it has none of its own, or is older than
    what serves."""
    serving = serving_of(found)
    if serving is not None and serving.version > view.projection.version:
        return None
    living = [each for each in found if each.state != RETIRED]
    mine = [each for each in living if view.fits(each.version, each.fingerprint)]
    fed = [each for each in mine if view.takes(each.fingerprint)]
    return fed if fed or unlike(view, found) else None


def unlike(view: View, found: Sequence[Generation]) -> list[Generation]:
    """The one that serves, where it is of the code's version but has no place for its rows."""
    serving = serving_of(found)
    if serving is None or not view.fits(serving.version, serving.fingerprint):
        return []
    return [] if view.takes(serving.fingerprint) else [serving]


async def ensure(
    view: View, outbox: Outbox, tenant_id: int, found: Sequence[Generation]
) -> list[tuple[Build, Generation]]:
    """The generations that are to be fed with the code as it is, made where there is none.

    Code of a new version gets a new generation, which is built beside the one that serves; what
    older code, or code that nobody runs any more, has begun and not finished is given up for it.
    Raises `ProjectionError` for code older than what serves or is being built.
    """
    version = view.projection.version
    if not found:  # none, or none that whoever looked may see
        found = await generations(outbox, tenant_id, view.name)
    for _ in range(3):  # another process may make the same generation first
        serving = serving_of(found)
        if serving is not None and serving.version > version:
            raise ProjectionError(
                f"view {view.name!r}: version {serving.version} serves, this code is version"
                f" {version}"
            )
        mine = to_feed(view, found)
        if mine is not None:
            return [(each.build(outbox, view.name, tenant_id), each) for each in mine]
        for each in found:
            if each.state in (BUILDING, COMPARING):
                build = each.build(outbox, view.name, tenant_id)
                if each.version >= version and await is_fed(view, build, each.partitions):
                    raise ProjectionError(
                        f"view {view.name!r}: generation {each.generation} of version"
                        f" {each.version} is being built by other code, this code is version"
                        f" {version}"
                    )
                await give_up(build, each.state)
        await begin(view, outbox, SERVING if serving is None else BUILDING)
        found = await generations(outbox, tenant_id, view.name)
    raise ProjectionError(f"view {view.name!r}: its generations change while they are looked at")


async def is_fed(view: View, build: Build, partitions: int) -> bool:
    """Whether a relay holds a partition of the generation."""
    checkpoints = view.store.tenant(build.outbox.tenant).checkpoints
    for partition in range(partitions):
        holder = await checkpoints.held_by(
            checkpoint_name(view.name), generation=build.generation, partition=partition
        )
        if holder is not None:
            return True
    return False


async def give_up(build: Build, state: str) -> bool:
    """Retires a generation that was not finished, so that another one may be built; whoever feeds
    it stops, and what it has is dropped later. False where its state is another one."""
    t = tables(build.outbox.schema)
    mine = sa.and_(own(t.views, build), t.views.c.state == state)
    statements = [
        statement(build.outbox, sa.update(t.views).where(mine).values(state=RETIRED), expect=1),
        statement(
            build.outbox, sa.update(t.progress).where(own(t.progress, build)).values(state=RETIRED)
        ),
    ]
    done = await build.outbox.change(statements)
    if done:
        _log.warning(
            "view %s: generation %d was not finished by the code that began it, and is given up",
            build.view,
            build.generation,
        )
    return done


async def begin(view: View, outbox: Outbox, state: str = BUILDING) -> Build:
    """Makes a new generation, empty; nothing where another process does the same. If cancelled,
    it may be made."""
    tenant_id = await outbox.tenant_id()
    found = await generations(outbox, tenant_id, view.name)
    number = 1 + max((each.generation for each in found), default=0)
    build = Build(outbox, view.name, tenant_id, number, UuidSevens()())
    v = tables(outbox.schema).views
    row = {
        "tenant_id": tenant_id,
        "name": view.name,
        "generation": number,
        "state": state,
        "version": view.projection.version,
        "fingerprint": view.fingerprint(),
        "partitions": view.partitions,
        "incarnation": build.incarnation,
        "created_at": outbox.now(),
        "switched_at": outbox.now() if state == SERVING else None,
    }
    made = await view.sink.create(build)
    insert = statement(
        outbox,
        sa.insert(v).from_select(
            list(row),
            sa.select(*[sa.literal(value, v.c[name].type) for name, value in row.items()]).where(
                ~sa.exists().where(
                    v.c.tenant_id == tenant_id,
                    v.c.name == view.name,
                    sa.or_(v.c.generation == number, v.c.state == state),
                )
            ),
        ),
        expect=1,
    )
    places = first_places(build, view.partitions)
    if not await outbox.change([*alone(build), insert, places, *made, *_copy_drops(build, found)]):
        _log.info("view %s: another process begins generation %d", view.name, number)
    return build


def _copy_drops(build: Build, found: Sequence[Generation]) -> list[Statement]:
    """What was dropped with a reason stays dropped in the new generation."""
    if not found:
        return []
    d = tables(build.outbox.schema).letters
    columns = [column.name for column in d.columns]
    model = serving_of(found) or found[-1]
    fresh: dict[str, Any] = {"generation": build.generation, "partition": 0, "retry_asked": None}
    copied = sa.select(
        *[sa.literal(fresh[c], d.c[c].type) if c in fresh else d.c[c] for c in columns]
    ).where(
        d.c.tenant_id == build.tenant_id,
        d.c.name == build.view,
        d.c.generation == model.generation,
        d.c.dropped_reason.is_not(None),
    )
    return [statement(build.outbox, sa.insert(d).from_select(columns, copied))]


async def set_state(build: Build, before: str, after: str) -> bool:
    """Changes a generation's state from `before`; False where it is another one."""
    v = tables(build.outbox.schema).views
    change = sa.update(v).where(own(v, build), v.c.state == before).values(state=after)
    return await build.outbox.change([statement(build.outbox, change, expect=1)])


def to_drop(outbox: Outbox, found: Sequence[Generation]) -> list[Generation]:
    """Those that were replaced `RETIRED_SECONDS` ago, or given up. The newest stays, so that its
    number is not used again while a worker may still be at it."""
    serving = serving_of(found)
    if serving is None or serving.switched_us is None:
        return []
    if outbox.now() - serving.switched_us < RETIRED_SECONDS * 1_000_000:
        return []
    newest = max(each.generation for each in found)
    return [each for each in found if each.state == RETIRED and each.generation != newest]


async def drop_retired(
    view: View, outbox: Outbox, tenant_id: int, found: Sequence[Generation]
) -> None:
    """Takes away what is `to_drop`. If cancelled, it is done the next time."""
    for each in to_drop(outbox, found):
        await drop(view, each.build(outbox, view.name, tenant_id))
        _log.info("view %s: generation %d is dropped", view.name, each.generation)


def to_give_up(view: View, outbox: Outbox, found: Sequence[Generation]) -> list[Generation]:
    """The unfinished ones that this code, which feeds others, cannot go on with, and that are
    older than `ABANDONED_SECONDS`: somebody else may still be at them."""
    if not to_feed(view, found):
        return []
    return [
        each
        for each in found
        if each.state in (BUILDING, COMPARING)
        and not (view.fits(each.version, each.fingerprint) and view.takes(each.fingerprint))
        and outbox.now() - each.created_us >= ABANDONED_SECONDS * 1_000_000
    ]


async def drop_abandoned(
    view: View, outbox: Outbox, tenant_id: int, found: Sequence[Generation]
) -> None:
    """Takes away those `to_give_up` that nobody has fed for as long. If cancelled, it is done the
    next time, or given up and dropped with the retired ones."""
    p = tables(outbox.schema).progress
    for each in to_give_up(view, outbox, found):
        build = each.build(outbox, view.name, tenant_id)
        told = await ask(outbox, sa.select(sa.func.max(p.c.updated_at)).where(own(p, build)))
        is_new = outbox.now() - (told[0][0] or 0) < ABANDONED_SECONDS * 1_000_000
        if is_new or await is_fed(view, build, each.partitions):
            continue
        if await give_up(build, each.state):
            await drop(view, build)


async def drop(view: View, build: Build) -> None:
    """Takes a retired (or unfinished) generation away: rows, folds, dead letters, bookkeeping.
    Raises `ProjectionError` for the one that serves."""
    outbox = build.outbox
    found = await generations(outbox, build.tenant_id, view.name)
    for each in found:
        if each.generation == build.generation and each.state == SERVING:
            raise ProjectionError(f"view {view.name!r}: generation {build.generation} serves")
    t = tables(outbox.schema)
    rows = await view.sink.drop(build)
    own_tables = (t.folds, t.letters, t.progress, t.views)
    kept = [statement(outbox, sa.delete(each).where(own(each, build))) for each in own_tables]
    await outbox.change([*alone(build), *rows, *kept])


def alone(build: Build) -> list[Statement]:
    """Lets nobody else make or drop tables until the end of the transaction. SQLite has one
    writer; in PostgreSQL even CREATE TABLE IF NOT EXISTS fails where two do it at once, and some
    tables are several views'."""
    if build.outbox.dialect != "postgresql":
        return []
    lock = crc32(f"{build.outbox.schema}.views".encode())
    return [Statement("SELECT pg_advisory_xact_lock($1)", ((lock,),))]
