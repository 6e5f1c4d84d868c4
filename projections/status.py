"""How views are doing: one line for each view, tenant and generation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from eventstore import Corrupt, EventStore
from eventstore.outbox import Outbox

from .asking import checkpoint_name, seconds_behind
from .catalog import (
    BUILDING,
    COMPARING,
    RETIRED,
    RUNNING,
    STOPPED,
    WAITING,
    Generation,
    ask,
    generations,
    own,
    tables,
)
from .relay.generations import serving_of
from .relay.switching import parked_anew
from .sinks import Build
from .view import View

_UNLIKE = (
    "its code changed without a new version, for other columns, types or keys: raise version, or"
    " rebuild the view"
)

_WORST = {RUNNING: 0, WAITING: 1, STOPPED: 2}


class ViewStatus(msgspec.Struct, frozen=True):
    """One generation of one tenant's view.

    `state` is of the generation (building, comparing, serving, retired), `feeding` of its relay
    (running, waiting or stopped), `workers` who feeds its partitions now. `lag_seconds` is how
    long the first event that it lacks has been waiting. `parked_anew` are parked keys whose rows
    the serving generation has: while there are any, one that is built does not take over. Counts
    are of its whole life; `rate` is in events a second since the status that was given, else None.
    """

    view: str
    tenant: str
    generation: int
    state: str
    feeding: str
    version: int
    code_changed: bool
    partitions: int
    position: int
    head: int
    lag_seconds: float
    events: int
    changes: int
    writes: int
    bytes: int
    embedded: int
    embeddings_saved: int
    parked_keys: int
    parked_anew: int
    parked_events: int
    dropped_events: int
    workers: list[str]
    last_error: str | None
    taken_us: int
    rate: float | None = None

    @property
    def lag_events(self) -> int:
        """Positions of the log that it has not looked at; of other views' types too."""
        return max(self.head - self.position, 0)

    @property
    def writes_per_event(self) -> float | None:
        """What coalescing leaves of the events; None where there was none."""
        return self.writes / self.events if self.events else None


async def status(
    store: EventStore, views: Sequence[View], *, before: Sequence[ViewStatus] = ()
) -> list[ViewStatus]:
    """The generations of the views on the store's tenant, by view and number. `before` is what was
    given the last time, which rates are reckoned from. A view that was never fed is not in it. If
    cancelled, nothing is left open."""
    earlier = {(each.view, each.tenant, each.generation): each for each in before}
    outbox = store.outbox
    tenant_id = await outbox.tenant_id()
    made = []
    for view in views:
        found = await generations(outbox, tenant_id, view.name)
        for each in found:
            build = each.build(outbox, view.name, tenant_id)
            now = await _status(store, view, build, each)
            if each.state in (BUILDING, COMPARING):
                anew = await parked_anew(build, serving_of(found))
                now = msgspec.structs.replace(now, parked_anew=anew)
            made.append(_with_rate(now, earlier.get((now.view, now.tenant, now.generation))))
    return made


async def _status(
    store: EventStore, view: View, build: Build, generation: Generation
) -> ViewStatus:
    outbox = build.outbox
    p = tables(outbox.schema).progress
    rows = await ask(
        outbox,
        sa.select(
            *(p.c.partition, p.c.position, p.c.state, p.c.last_error, p.c.events, p.c.changes),
            *(p.c.writes, p.c.bytes, p.c.embedded, p.c.embeddings_saved),
        )
        .where(own(p, build))
        .order_by(p.c.partition),
    )
    position = min((row[1] for row in rows), default=0)
    worst = max(rows, key=lambda row: _WORST.get(row[2], 0), default=None)
    sums: list[int] = [sum([int(row[n]) for row in rows]) for n in range(4, 10)]
    holders = [
        await store.checkpoints.held_by(
            checkpoint_name(view.name), generation=generation.generation, partition=row[0]
        )
        for row in rows
    ]
    keys, events, dropped = await _letters(build)
    is_mine = generation.state != RETIRED and view.fits(generation.version, generation.fingerprint)
    unlike = is_mine and not view.takes(generation.fingerprint)
    return ViewStatus(
        view=view.name,
        tenant=outbox.tenant,
        generation=generation.generation,
        state=generation.state,
        feeding=STOPPED if unlike else RUNNING if worst is None else worst[2],
        version=generation.version,
        code_changed=generation.fingerprint != view.fingerprint(),
        partitions=generation.partitions,
        position=position,
        head=(await outbox.head()).position,
        lag_seconds=await _lag_seconds(view, outbox, position),
        events=sums[0],
        changes=sums[1],
        writes=sums[2],
        bytes=sums[3],
        embedded=sums[4],
        embeddings_saved=sums[5],
        parked_keys=keys,
        parked_anew=0,
        parked_events=events,
        dropped_events=dropped,
        workers=sorted({holder for holder in holders if holder is not None}),
        last_error=_UNLIKE if unlike else None if worst is None else worst[3],
        taken_us=outbox.now(),
    )


async def _lag_seconds(view: View, outbox: Outbox, position: int) -> float:
    """How long the view's next event has been waiting. One that is damaged does not say: at least
    as long as the log's end, then. What stopped the view is told beside it."""
    try:
        return await seconds_behind(view, outbox, position)
    except Corrupt:
        return max(outbox.now() - (await outbox.head()).recorded_us, 0) / 1_000_000


async def _letters(build: Build) -> tuple[int, int, int]:
    """(keys that wait, events that wait, events that were dropped)."""
    d = tables(build.outbox.schema).letters
    waits: Any = d.c.dropped_reason.is_(None)
    question = sa.select(
        sa.func.count(sa.distinct(sa.case((waits, d.c.key)))),
        sa.func.count(sa.case((waits, d.c.position))),
        sa.func.count(sa.case((~waits, d.c.position))),
    ).where(own(d, build), d.c.position > 0)
    keys, events, dropped = (await ask(build.outbox, question))[0]
    return int(keys), int(events), int(dropped)


def _with_rate(now: ViewStatus, before: ViewStatus | None) -> ViewStatus:
    if before is None or now.taken_us <= before.taken_us:
        return now
    seconds = (now.taken_us - before.taken_us) / 1_000_000
    return msgspec.structs.replace(now, rate=(now.events - before.events) / seconds)
