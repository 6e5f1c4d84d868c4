"""Generations of a view: the first one, rebuilding beside the one that serves, the switch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any
from zlib import crc32

import sqlalchemy as sa

from eventstore.ids import UuidSevens
from eventstore.outbox import Outbox, Statement

from ..asking import checkpoint_name, reached
from ..catalog import (
    BUILDING,
    COMPARING,
    RETIRED,
    SERVING,
    Generation,
    generations,
    own,
    statement,
    tables,
)
from ..dialects import Compiled, compile
from ..errors import ProjectionError
from ..sinks import Build
from ..view import View
from .progress import first_places

_log = logging.getLogger("eventstore")

RETIRED_SECONDS = 60.0
"""How long a generation stays after another one took over: whoever reads it has long finished."""

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


async def give_up(build: Build, state: str) -> None:
    """Retires a generation that was not finished, so that another one may be built; whoever feeds
    it stops, and what it has is dropped later."""
    t = tables(build.outbox.schema)
    mine = sa.and_(own(t.views, build), t.views.c.state == state)
    statements = [
        statement(build.outbox, sa.update(t.views).where(mine).values(state=RETIRED), expect=1),
        statement(
            build.outbox, sa.update(t.progress).where(own(t.progress, build)).values(state=RETIRED)
        ),
    ]
    if await build.outbox.change(statements):
        _log.warning(
            "view %s: generation %d was not finished by the code that began it, and is given up",
            build.view,
            build.generation,
        )


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


async def switch(view: View, build: Build, *, at_least: int) -> bool:
    """Lets a built generation serve, in one transaction, once it is as far as the one that serves
    and as `at_least`; False where it is not yet, or is no longer being built."""
    outbox = build.outbox
    found = await generations(outbox, build.tenant_id, view.name)
    mine = next((each for each in found if each.generation == build.generation), None)
    if mine is None or mine.state not in (BUILDING, COMPARING):
        return False
    position, _ = await reached(build)
    if position < at_least:
        return False
    t = tables(outbox.schema)
    v, p = t.views, t.progress
    statements = []
    old = serving_of(found)
    if old is not None:
        old_build = old.build(outbox, view.name, build.tenant_id)
        if position < (await reached(old_build))[0]:
            return False
        # The old one may go on until the very moment: its rows are locked, then looked at.
        # They are locked in the order in which relays lock them, who move several in one commit.
        hold = sa.select(p.c.partition).where(own(p, old_build)).order_by(p.c.partition)
        enough = _furthest(p, build) >= _furthest(p, old_build)
        retire = sa.update(v).where(own(v, old_build), v.c.state == SERVING, enough)
        statements.append(statement(outbox, hold.with_for_update()))
        statements.append(statement(outbox, retire.values(state=RETIRED), expect=1))
        # Who read of the old one before the switch may read its rows after it: they are not to be
        # newer than those of the new one.
        over = sa.update(p).where(own(p, old_build)).values(state=RETIRED)
        statements.append(statement(outbox, over))
    serve = sa.update(v).where(own(v, build), v.c.state.in_([BUILDING, COMPARING]))
    serve = serve.values(state=SERVING, switched_at=outbox.now())
    statements.append(statement(outbox, serve, expect=1))
    return await outbox.change(statements)


def _furthest(progress: sa.Table, build: Build) -> sa.ScalarSelect[int]:
    """The position that all partitions of a build have reached."""
    return sa.select(sa.func.min(progress.c.position)).where(own(progress, build)).scalar_subquery()


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
