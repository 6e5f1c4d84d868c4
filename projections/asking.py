"""Reading a view: from its serving generation, as fresh as was asked for, or from the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from eventstore.outbox import Outbox
from eventstore.points import from_microseconds

from .catalog import SERVING, Generation, ask, find_folds, own, tables
from .errors import KeyParked, ProjectionError, ViewNotBuilt, ViewStale
from .folding import Folder
from .projection import Key, Upsert, key_text
from .sinks import Build
from .view import Answer, Late, View

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


async def reached(build: Build, partitions: int, partition: int | None = None) -> tuple[int, int]:
    """(position, recorded_at in us) that all partitions, or one of them, have reached."""
    t = tables(build.outbox.schema).progress
    question = sa.select(t.c.position, t.c.recorded_at).where(own(t, build))
    if partition is not None:
        question = question.where(t.c.partition == partition)
    rows = await ask(build.outbox, question)
    if len(rows) < (partitions if partition is None else 1):
        return 0, 0  # some partition has not begun
    found = min(rows)
    return int(found[0]), int(found[1])


def checkpoint_name(view: str) -> str:
    """The name of a view's checkpoints: apart from those that readers of the log name."""
    return f"view/{view}"


async def get(
    view: View, key: Key, at_least: int | None, timeout_seconds: float, late: Late
) -> Answer:
    """See `View.get`."""
    if at_least is not None and (type(at_least) is not int or at_least < 0):
        raise ProjectionError(f"view {view.name!r}: at_least is a position, an int from 0 on")
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    build, generation = await serving(view)
    wait = _LOOK_SECONDS
    while at_least:
        position, _ = await reached(build, generation.partitions)
        await _refuse_parked(view, build, key, at_least)
        if position >= at_least:
            break
        left = deadline - asyncio.get_running_loop().time()
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
        build, generation = await serving(view)
    # How far first, the row second: the row may be newer than what is said of it, never older.
    position, recorded_us = await reached(build, generation.partitions)
    behind = await _seconds_behind(build.outbox, position)
    stale = view.fresh_seconds is not None and behind > view.fresh_seconds
    if stale and late == "fold":
        return await _fold_the_rest(view, build, key, position)
    if stale:
        said = f"view {view.name!r}: {behind:.3g} s behind, its budget is {view.fresh_seconds:g} s"
        if late == "raise":
            head = (await build.outbox.head()).position
            raise ViewStale(said, view=view.name, position=position, wanted=head)
        _log.warning("%s", said)
    value = await _value(view, build, key)
    at = from_microseconds(recorded_us) if recorded_us else None
    return Answer(value, position, at, stale)


async def rows(view: View, keys: Sequence[Key]) -> dict[Key, Any]:
    """See `View.rows`."""
    build, _ = await serving(view)
    return {row.key: row.value for row in await view.sink.find(build, keys)}


async def _value(view: View, build: Build, key: Key) -> Any:
    found = await view.sink.find(build, [key])
    return found[0].value if found else None


async def _seconds_behind(outbox: Outbox, position: int) -> float:
    """How long the first event that is not in the view has been waiting; 0 where there is none."""
    head = await outbox.head()
    if head.position <= position:
        return 0.0
    page = await outbox.page(position, position + 1, (), 1)
    waiting_since = page.events[0].recorded_us if page.events else head.recorded_us
    return max(outbox.now() - waiting_since, 0) / 1_000_000


async def _refuse_parked(view: View, build: Build, key: Key, at_least: int) -> None:
    """Raises `KeyParked` when what is waited for stands in the dead letters: the event itself, or
    the row's key."""
    d = tables(build.outbox.schema).letters
    question = (
        sa.select(d.c.key, sa.func.min(d.c.position))
        .where(
            own(d, build),
            d.c.dropped_reason.is_(None),
            sa.or_(d.c.key == key_text(key), d.c.position == at_least),
        )
        .group_by(d.c.key)
    )
    for parked, position in await ask(build.outbox, question):
        if position <= at_least:
            raise KeyParked(
                f"view {view.name!r}: key {parked!r} waits in the dead letters since position"
                f" {position}",
                view=view.name,
                key=parked,
                position=position,
            )


async def _fold_the_rest(view: View, build: Build, key: Key, position: int) -> Answer:
    """The row as the log has it: what the view has, and the events since, folded here."""
    outbox, projection = build.outbox, view.projection
    head = await outbox.head()
    value = await _value(view, build, key)
    folder: Folder | None = None
    if projection.is_fold:
        folder = Folder(projection)
        kept = await find_folds(build, [key_text(key)])
        folder.take(kept)
    at = position
    while at < head.position:
        page = await outbox.page(at, head.position, projection.queries())
        for event in page.events:
            if folder is not None:
                if projection.key(event) == key_text(key):
                    value = folder.apply(key_text(key), event)
                continue
            for effect in projection.effects(event):
                if effect.key == key:
                    value = effect.value if isinstance(effect, Upsert) else None
        at = page.scanned_to
    return Answer(value, head.position, from_microseconds(head.recorded_us), False)
