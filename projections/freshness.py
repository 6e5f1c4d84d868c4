"""How far a view is when many of its rows are asked for at once, and whether that is far enough."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from eventstore.points import from_microseconds

from . import asking
from .errors import ProjectionError, ViewStale
from .projection import Key, key_name
from .sinks import Build
from .view import Late, View
from .waiting import first_waiting

_log = logging.getLogger("eventstore")

K = TypeVar("K")


class Standing(msgspec.Struct, frozen=True):
    """Where a view's rows are, and what they are good for; see `Answer`."""

    build: Build
    position: int
    recorded_at: datetime | None
    stale: bool


class Rows(list[dict[str, Any]]):
    """The rows of a query, and what they are good for: everything up to `position`, which was
    recorded at `recorded_at` (None for an empty log), is in them. `stale` says that a view was
    further behind than its freshness budget, or that a key waits in the dead letters: then
    `position` is the one before the first event that waits, and may be less than was waited
    for."""

    def __init__(self, rows: Iterable[dict[str, Any]], standing: Standing) -> None:
        super().__init__(rows)
        self.position, self.recorded_at = standing.position, standing.recorded_at
        self.stale = standing.stale


class Values(dict[K, Any]):
    """The values of several keys, and what they are good for; see `Rows`."""

    def __init__(self, values: dict[K, Any], standing: Standing) -> None:
        super().__init__(values)
        self.position, self.recorded_at = standing.position, standing.recorded_at
        self.stale = standing.stale


async def stand(
    view: View, at_least: int | None, timeout_seconds: float, keys: Sequence[Key] | None = None
) -> Standing:
    """How the serving generation stands, once it has `at_least`; asked before its rows are, which
    may be newer than what is said of them.

    While a key waits in the dead letters, rows are good for what comes before its first event
    there: any key of the view, because a row does not say which it is of; in a fold one of `keys`,
    where they are given, and then `KeyParked` is raised as by `View.get`.

    Raises `ViewStale` also where the view is beyond its budget and was declared to raise or to
    fold: many rows are not folded from the log. Otherwise as `View.get`. If cancelled, nothing is
    left open.
    """
    if at_least is not None and (type(at_least) is not int or at_least < 0):
        raise ProjectionError(f"view {view.name!r}: at_least is a position, an int from 0 on")
    if at_least:
        build = await asking.wait_for(view, at_least, timeout_seconds)
    else:
        build, _ = await asking.serving(view)
    position, recorded_us = await asking.reached(build)
    position = max(position, at_least or 0)
    names = None if keys is None or not view.projection.is_fold else [key_name(k) for k in keys]
    waits = await first_waiting(build, names)
    if waits is not None and waits.position <= position:
        if names is not None and at_least and at_least >= waits.position:
            raise asking.parked_error(view, waits.key, waits.position)
        late: Late = "warn" if view.when_late == "warn" else "raise"
        answer = await asking.good_before(view, build, waits, late, None)
        return Standing(build, answer.position, answer.recorded_at, True)
    stale = await is_late(view, build, position)
    at = from_microseconds(recorded_us) if recorded_us else None
    return Standing(build, position, at, stale)


async def is_late(view: View, build: Build, position: int) -> bool:
    """Whether a view that is at `position` is beyond its freshness budget, which is told, or
    raised as `stand` says. If cancelled, nothing is left open."""
    if view.fresh_seconds is None:
        return False
    behind = await asking.seconds_behind(view, build.outbox, position)
    if behind <= view.fresh_seconds:
        return False
    said = f"view {view.name!r}: {behind:.3g} s behind, its budget is {view.fresh_seconds:g} s"
    if view.when_late != "warn":
        head = (await build.outbox.head()).position
        raise ViewStale(said, view=view.name, position=position, wanted=head)
    _log.warning("%s", said)
    return True
