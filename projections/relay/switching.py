"""The switch: a generation that is built takes over from the one that serves, unless a reader would
lose by it what is served: the rows of a key that waits in the new one's dead letters and not in
those of the old one, or that are owed in the new one."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ..asking import reached
from ..catalog import (
    BUILDING,
    COMPARING,
    OWED,
    RETIRED,
    SERVING,
    Generation,
    ask,
    generations,
    own,
    statement,
    tables,
)
from ..sinks import Build
from ..view import View
from .generations import serving_of


async def switch(view: View, build: Build, *, at_least: int, accept_parked: bool = False) -> bool:
    """Lets a built generation serve, in one transaction, once it is as far as the one that serves
    and as `at_least`; False where it is not yet, is no longer being built, or has keys
    `parked_anew`, which may be accepted."""
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
    serve = sa.update(v).where(own(v, build), v.c.state.in_([BUILDING, COMPARING]))
    old = serving_of(found)
    if old is not None:
        old_build = old.build(outbox, view.name, build.tenant_id)
        if position < (await reached(old_build))[0]:
            return False
        if not accept_parked:
            # Asked before, because nobody may write to the file while the transaction looks.
            if await ask(outbox, _parked_anew(build, old_build).limit(1)):
                return False
            serve = serve.where(~_parked_anew(build, old_build).exists())
        # The old one may go on until the very moment: its rows are locked, then looked at.
        # They are locked in the order in which relays lock them, who move several in one commit.
        hold = sa.select(p.c.partition).where(own(p, old_build)).order_by(p.c.partition)
        enough = _is_level(p, build, old_build)
        retire = sa.update(v).where(own(v, old_build), v.c.state == SERVING, enough)
        statements.append(statement(outbox, hold.with_for_update()))
        statements.append(statement(outbox, retire.values(state=RETIRED), expect=1))
        # Who read of the old one before the switch may read its rows after it: they are not to be
        # newer than those of the new one.
        over = sa.update(p).where(own(p, old_build)).values(state=RETIRED)
        statements.append(statement(outbox, over))
    serve = serve.values(state=SERVING, switched_at=outbox.now())
    statements.append(statement(outbox, serve, expect=1))
    return await outbox.change(statements)


async def parked_anew(build: Build, serving: Generation | None) -> int:
    """How many keys of a generation wait for an event that stands in the rows of the one that
    serves, or have rows that are owed: while there are any, it does not take over by itself."""
    if serving is None or serving.generation == build.generation:
        return 0
    old = serving.build(build.outbox, build.view, build.tenant_id)
    keys = _parked_anew(build, old).distinct().subquery()
    return int((await ask(build.outbox, sa.select(sa.func.count()).select_from(keys)))[0][0])


def _parked_anew(build: Build, old: Build) -> sa.Select[Any]:
    """The keys of the letters of a build whose events the old one has come to and, as far as it
    can be seen, applied: neither they, under whatever key, nor earlier ones of the key wait there.
    Rows that are owed lack an event that no letter names, so any of them counts."""
    t = tables(build.outbox.schema)
    mine, theirs, p = t.letters.alias("built"), t.letters.alias("served"), t.progress
    waits_there = sa.exists().where(
        own(theirs, old),
        theirs.c.key == mine.c.key,
        theirs.c.dropped_reason.is_(None),
        theirs.c.position.between(1, mine.c.position),
    )
    # Other code may have ordered the same events by other keys.
    events_there = sa.select(theirs.c.position).where(
        own(theirs, old), theirs.c.dropped_reason.is_(None), theirs.c.position > 0
    )
    come_to = sa.select(sa.func.max(p.c.position)).where(own(p, old)).scalar_subquery()
    applied_there = sa.and_(
        mine.c.position.between(1, come_to),
        ~waits_there,
        mine.c.position.not_in(events_there),
    )
    stands = sa.or_(mine.c.position == OWED, applied_there)
    return sa.select(mine.c.key).where(own(mine, build), mine.c.dropped_reason.is_(None), stands)


def _is_level(progress: sa.Table, build: Build, old: Build) -> sa.ColumnElement[bool]:
    """That no row goes back: each partition of a build is where the old one's is or further, or,
    where they are divided in other ways, all of it is where the furthest of the old ones is."""
    mine, theirs = progress.alias("mine"), progress.alias("theirs")
    every, count = progress.c.position, sa.func.count()

    def of(build: Build, value: Any) -> Any:
        return sa.select(value).where(own(progress, build)).scalar_subquery()

    behind = sa.exists().where(
        own(mine, build),
        own(theirs, old),
        mine.c.partition == theirs.c.partition,
        mine.c.position < theirs.c.position,
    )
    alike = of(build, count) == of(old, count)
    return sa.or_(of(build, sa.func.min(every)) >= of(old, sa.func.max(every)), alike & ~behind)
