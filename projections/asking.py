"""Reading a view: from its serving generation, as fresh as was asked for, or from the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa

from eventstore.events import RecordedEvent
from eventstore.limits import PAGE_ROWS_MAX
from eventstore.outbox import Outbox
from eventstore.points import from_microseconds

from .catalog import SERVING, Generation, ask, find_folds, held_back, own, tables
from .errors import KeyParked, ProjectionError, ViewNotBuilt, ViewStale
from .folding import Folder
from .projection import Key, Upsert, key_name
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
        return await _answer_waiting(view, build, key, waits, at_least, late)
    behind, budget = 0.0, view.fresh_seconds
    if budget is not None:
        behind = await seconds_behind(view, build.outbox, position)
    stale = budget is not None and behind > budget
    if stale and late == "fold":
        return await _fold_the_rest(view, build, key, position)
    if stale:
        said = f"view {view.name!r}: {behind:.3g} s behind, its budget is {budget:g} s"
        if late == "raise":
            head = (await build.outbox.head()).position
            raise ViewStale(said, view=view.name, position=position, wanted=head)
        _log.warning("%s", said)
    value = await _value(view, build, key)
    at = from_microseconds(recorded_us) if recorded_us else None
    return Answer(value, position, at, stale)


async def _answer_waiting(
    view: View, build: Build, key: Key, waits: Waiting, at_least: int | None, late: Late
) -> Answer:
    """The row of a key that is parked: good for what comes before the first event that waits."""
    if at_least and at_least >= waits.position:
        raise _parked(view, waits.key, waits.position)
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
    value = await _value(view, build, key)
    good_for = waits.position - 1
    recorded = await time_of(build, good_for)
    return Answer(value, good_for, from_microseconds(recorded) if recorded else None, True)


def _parked(view: View, key: str, position: int) -> KeyParked:
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


async def _value(view: View, build: Build, key: Key) -> Any:
    found = await view.sink.find(build, [key])
    return found[0].value if found else None


async def seconds_behind(view: View, outbox: Outbox, position: int) -> float:
    """How long the first event that is not in the view has been waiting; 0 where there is none.
    Of a log that is far ahead, the first page is looked at."""
    head = await outbox.head()
    if head.position <= position:
        return 0.0
    page = await outbox.page(position, head.position, view.projection.queries())
    if page.events:
        waiting_since = page.events[0].recorded_us
    elif page.scanned_to >= head.position:
        return 0.0
    else:
        waiting_since = head.recorded_us
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
            raise _parked(view, parked, position)


async def _fold_the_rest(view: View, build: Build, key: Key, position: int) -> Answer:
    """The row as the log has it: what the view has, and the events since, applied here. What
    waits in the dead letters or was dropped is left out, as the view does."""
    outbox, queries = build.outbox, view.projection.queries()
    head = await outbox.head()
    parked, dropped = await held_back(build)
    value = await _value(view, build, key)
    apply = await _applier(view, build, key)
    at, changed = position, False
    while at < head.position:
        page = await outbox.page(at, head.position, queries)
        for event in page.events:
            try:
                owner = view.projection.key(event)
                if owner is None or event.position in dropped:
                    continue
                if event.position >= parked.get(key_name(owner), head.position + 1):
                    continue
                found = apply(owner, event)
            except Exception as exc:
                raise ViewStale(
                    f"view {view.name!r}: the event at position {event.position} cannot be applied"
                    f" ({type(exc).__name__})",
                    view=view.name,
                    position=position,
                    wanted=head.position,
                ) from exc
            if found is not None:
                value, changed = found.value, True
        at = page.scanned_to
    if changed and value is not None:
        shown = getattr(view.sink, "shown", None)
        value = value if shown is None else shown(build, key, value)
    return Answer(value, head.position, from_microseconds(head.recorded_us), False)


async def _applier(
    view: View, build: Build, key: Key
) -> Callable[[Key, RecordedEvent], _Became | None]:
    """What an event of an owner makes of the row of `key`; None where it leaves it as it is."""
    projection, text = view.projection, key_name(key)
    if not projection.is_fold:

        def apply(owner: Key, event: RecordedEvent) -> _Became | None:
            became = None
            for effect in projection.effects(event):
                if effect.key == key:
                    became = _Became(effect.value if isinstance(effect, Upsert) else None)
            return became

        return apply
    folder = Folder(projection)
    folder.take(await find_folds(build, [text]))

    def fold(owner: Key, event: RecordedEvent) -> _Became | None:
        if owner != key:
            return None
        folder.apply(text, event)
        return _Became(folder.row(key))

    return fold


class _Became(msgspec.Struct, frozen=True):
    """What a row became: None for one that is gone."""

    value: Any
