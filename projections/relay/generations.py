"""Generations of a view: the first one, rebuilding beside the one that serves, the switch."""

from __future__ import annotations

import logging

import sqlalchemy as sa

from eventstore.ids import UuidSevens
from eventstore.outbox import Outbox, Statement

from ..asking import reached
from ..catalog import (
    BUILDING,
    RETIRED,
    SERVING,
    Generation,
    generations,
    own,
    statement,
    tables,
)
from ..errors import ProjectionError
from ..sinks import Build
from ..view import View

_log = logging.getLogger("eventstore")


async def ensure(view: View, outbox: Outbox) -> list[tuple[Build, Generation]]:
    """The generations that are to be fed with the code as it is, made where there is none.

    Code of a new version gets a new generation, which is built beside the one that serves; code
    that changed without one is told of in the log. Raises `ProjectionError` for code older than
    what serves.
    """
    tenant_id = await outbox.tenant_id()
    for _ in range(3):  # another process may make the same generation first
        found = await generations(outbox, tenant_id, view.name)
        serving = next((each for each in found if each.state == SERVING), None)
        mine = [
            each
            for each in found
            if each.state != RETIRED and each.version == view.projection.version
        ]
        if serving is not None and serving.version > view.projection.version:
            raise ProjectionError(
                f"view {view.name!r}: version {serving.version} serves, this code is version"
                f" {view.projection.version}"
            )
        if mine:
            return [(each.build(outbox, view.name, tenant_id), each) for each in mine]
        await begin(view, outbox, BUILDING if serving is not None else SERVING)
    raise ProjectionError(f"view {view.name!r}: its generations change while they are looked at")


async def begin(view: View, outbox: Outbox, state: str = BUILDING) -> Build:
    """Makes a new generation, empty. Raises `ProjectionError` while another one is being built."""
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
        "fingerprint": view.projection.fingerprint(),
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
    if not await outbox.change([insert, *made, *await _copy_drops(build, found)]):
        _log.info("view %s: another process begins generation %d", view.name, number)
    return build


async def _copy_drops(build: Build, found: list[Generation]) -> list[Statement]:
    """What was dropped with a reason stays dropped in the new generation."""
    if not found:
        return []
    d = tables(build.outbox.schema).letters
    columns = [column.name for column in d.columns]
    last = found[-1].generation
    copied = sa.select(
        *[
            sa.literal(build.generation, d.c.generation.type) if name == "generation" else d.c[name]
            for name in columns
        ]
    ).where(
        d.c.tenant_id == build.tenant_id,
        d.c.name == build.view,
        d.c.generation == last,
        d.c.dropped_reason.is_not(None),
    )
    return [statement(build.outbox, sa.insert(d).from_select(columns, copied))]


async def switch(view: View, build: Build, partitions: int) -> bool:
    """Lets a built generation serve, in one transaction, once it is as far as the one that serves;
    False where it is not yet, or is no longer being built."""
    outbox = build.outbox
    found = await generations(outbox, build.tenant_id, view.name)
    old = next((each for each in found if each.state == SERVING), None)
    position, _ = await reached(build, partitions)
    t = tables(outbox.schema)
    v, p = t.views, t.progress
    statements = []
    enough: sa.ColumnElement[bool] = sa.true()
    if old is not None:
        old_build = old.build(outbox, view.name, build.tenant_id)
        old_position, _ = await reached(old_build, old.partitions)
        if position < old_position:
            return False
        # The old one may go on until the very moment: asked again inside the transaction.
        furthest = (
            sa.select(sa.func.coalesce(sa.func.min(p.c.position), 0))
            .where(own(p, old_build))
            .scalar_subquery()
        )
        mine = (
            sa.select(sa.func.coalesce(sa.func.min(p.c.position), 0))
            .where(own(p, build))
            .scalar_subquery()
        )
        enough = mine >= furthest
        retire = sa.update(v).where(own(v, old_build), v.c.state == SERVING, enough)
        statements.append(statement(outbox, retire.values(state=RETIRED), expect=1))
    serve = sa.update(v).where(own(v, build), v.c.state == BUILDING)
    serve = serve.values(state=SERVING, switched_at=outbox.now())
    statements.append(statement(outbox, serve, expect=1))
    return await outbox.change(statements)


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
    await outbox.change([*rows, *kept])


def told_changed(view: View, generation: Generation) -> bool:
    """Whether the code changed since the generation was begun, without a new version."""
    return generation.fingerprint != view.projection.fingerprint()
