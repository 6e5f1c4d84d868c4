"""Reading a view: from its serving generation, as fresh as was asked for, or from the log."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import sqlalchemy as sa

from eventstore.limits import PAGE_ROWS_MAX
from eventstore.outbox import Outbox
from eventstore.points import from_microseconds

from .catalog import SERVING, Generation, ask, own, tables
from .errors import KeyParked, ProjectionError, ViewNotBuilt, ViewStale
from .projection import Key, key_name
from .reckoning import fold_the_rest, value_of
from .sinks import Build
from .view import Answer, Late, View
from .waiting import Waiting, time_of, waits_since

_log = logging.getLogger("eventstore")

_LOOK_SECONDS = 0.002
_LOOK_SECONDS_MAX = 0.05
"""How often a checkpoint is looked at while somebody waits for it: at first as often as a small
page takes, later a tenth of the promised lag."""


async def serving(view: View) -> tuple[Build, Generation]:
    """Where the serving generation's rows are. Raises `ViewNotBuilt`."""
    outbox = view.store.outbox
    tenant_id = await outbox.tenant_id()
    v = tables(outbox.schema).views
    rows = await ask(
        outbox,
        sa.select(*list(v.columns)[2:]).where(
            v.c.tenant_id == tenant_id, v.c.name == view.name, v.c.state == SERVING
        ),
    )
    if not rows:
        raise ViewNotBuilt(f"view {view.name!r}: no generation serves tenant {outbox.tenant!r}")
    found = Generation(*rows[0])
    return found.build(outbox, view.name, tenant_id), found


async def reached(build: Build) -> tuple[int, int]:
    """(position, recorded_at in us) that all partitions have reached; (0, 0) where the generation
    is gone."""
    t = tables(build.outbox.schema).progress
    rows = await ask(build.outbox, sa.select(t.c.position, t.c.recorded_at).where(own(t, build)))
    return min(((int(row[0]), int(row[1])) for row in rows), default=(0, 0))


def checkpoint_name(view: str) -> str:
    """The name of a view's checkpoints: apart from those that readers of the log name."""
    return f"view/{view}"


async def get(
    view: View, key: Key, at_least: int | None, timeout_seconds: float, late: Late
) -> Answer:
    """See `View.get`."""
    if at_least is not None and (type(at_least) is not int or at_least < 0):
        raise ProjectionError(f"view {view.name!r}: at_least is a position, an int from 0 on")
    if at_least:
        build, position, recorded_us = await _wait(view, key, at_least, timeout_seconds)
    else:
        build, _ = await serving(view)
        # How far first, the row second: the row may be newer than what is said of it.
        position, recorded_us = await reached(build)
    waits = await waits_since(view, build, key, at_least)
    if waits is not None and waits.position <= position:
        value = await value_of(view, build, key)
        return await _answer_waiting(view, build, waits, at_least, late, value)
    behind, budget = 0.0, view.fresh_seconds
    if budget is not None:
        behind = await seconds_behind(view, build.outbox, position)
    stale = budget is not None and behind > budget
    if stale and late == "fold":
        rest = await fold_the_rest(view, build, key, position)
        if rest.waits is not None:
            return await _answer_waiting(view, build, rest.waits, at_least, late, rest.value)
        head_at = from_microseconds(rest.head.recorded_us)
        return Answer(rest.value, rest.head.position, head_at, False)
    if stale:
        said = f"view {view.name!r}: {behind:.3g} s behind, its budget is {budget:g} s"
        if late == "raise":
            head = (await build.outbox.head()).position
            raise ViewStale(said, view=view.name, position=position, wanted=head)
        _log.warning("%s", said)
    value = await value_of(view, build, key)
    at = from_microseconds(recorded_us) if recorded_us else None
    return Answer(value, position, at, stale)


async def _answer_waiting(
    view: View, build: Build, waits: Waiting, at_least: int | None, late: Late, value: Any
) -> Answer:
    """The row of a key that is parked: good for what comes before the first event that waits."""
    if at_least and at_least >= waits.position:
        raise parked_error(view, waits.key, waits.position)
    return await good_before(view, build, waits, late, value)


async def good_before(view: View, build: Build, waits: Waiting, late: Late, value: Any) -> Answer:
    """The answer that is good for what comes before the first event that waits. Beyond the budget
    that is told, or raised as `ViewStale`. If cancelled, nothing is left open."""
    since = await time_of(build, waits.position)
    behind, budget = max(build.outbox.now() - since, 0) / 1_000_000, view.fresh_seconds
    if budget is not None and behind > budget:
        said = (
            f"view {view.name!r}: key {waits.key!r} waits in the dead letters since position"
            f" {waits.position}, {behind:.3g} s, the view's budget is {budget:g} s"
        )
        if late == "raise":
            head = (await build.outbox.head()).position
            raise ViewStale(said, view=view.name, position=waits.position - 1, wanted=head)
        _log.warning("%s", said)
    good_for = waits.position - 1
    recorded = await time_of(build, good_for)
    return Answer(value, good_for, from_microseconds(recorded) if recorded else None, True)


def parked_error(view: View, key: str, position: int) -> KeyParked:
    """What is raised for a key that waits since a position."""
    return KeyParked(
        f"view {view.name!r}: key {key!r} waits in the dead letters since position {position}",
        view=view.name,
        key=key,
        position=position,
    )


async def wait_for(view: View, at_least: int, timeout_seconds: float) -> Build:
    """The serving build, once it has the position, whatever row is asked for afterwards. Raises as
    `View.get`."""
    return (await _wait(view, (), at_least, timeout_seconds))[0]


async def _wait(
    view: View, key: Key, at_least: int, timeout_seconds: float
) -> tuple[Build, int, int]:
    """The serving build, once it has the position, and how far it is."""
    clock = asyncio.get_running_loop().time
    deadline, wait = clock() + timeout_seconds, _LOOK_SECONDS
    while True:
        build, _ = await serving(view)
        position, recorded_us = await reached(build)
        await _refuse_parked(view, build, key, at_least)
        if position >= at_least:
            return build, position, recorded_us
        if await _nothing_waits(view, build.outbox, position, at_least):
            return build, at_least, recorded_us
        left = deadline - clock()
        if left <= 0:
            raise ViewStale(
                f"view {view.name!r}: at position {position}, {at_least} was wanted within"
                f" {timeout_seconds:g} s",
                view=view.name,
                position=position,
                wanted=at_least,
            )
        await asyncio.sleep(min(wait, left))
        wait = min(wait * 1.5, _LOOK_SECONDS_MAX)


async def _nothing_waits(view: View, outbox: Outbox, position: int, at_least: int) -> bool:
    """Whether the positions up to `at_least` hold nothing for the view: then it has them, though
    its checkpoint moves for what is its own first."""
    if at_least - position > PAGE_ROWS_MAX:
        return False
    page = await outbox.page(position, at_least, view.projection.queries())
    return not page.events and page.scanned_to >= at_least


async def seconds_behind(view: View, outbox: Outbox, position: int) -> float:
    """How long the first event that is not in the view has been waiting; 0 where there is none.
    One event is asked for; where the engine looks at all positions, the next one and then a page:
    of a log that is far ahead with other events, its end is taken."""
    head = await outbox.head()
    waiting_since, queries = head.recorded_us, view.projection.queries()
    for limit in (1, PAGE_ROWS_MAX):
        if head.position <= position:
            return 0.0
        page = await outbox.page(position, head.position, queries, limit)
        if page.events:
            waiting_since = page.events[0].recorded_us
            break
        position = page.scanned_to
    if head.position <= position:
        return 0.0
    return max(outbox.now() - waiting_since, 0) / 1_000_000


async def _refuse_parked(view: View, build: Build, key: Key, at_least: int) -> None:
    """Raises `KeyParked` when what is waited for stands in the dead letters: the event itself, or
    the row's key."""
    d = tables(build.outbox.schema).letters
    waiting = (own(d, build), d.c.dropped_reason.is_(None), d.c.position > 0)
    held = sa.select(d.c.key).where(
        *waiting, sa.or_(d.c.key == key_name(key), d.c.position == at_least)
    )
    first = (
        sa.select(d.c.key, sa.func.min(d.c.position))
        .where(*waiting, d.c.key.in_(held))
        .group_by(d.c.key)
    )
    for parked, position in await ask(build.outbox, first):
        if position <= at_least:
            raise parked_error(view, parked, position)
