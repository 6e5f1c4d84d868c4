"""A view: a projection, the sink that its rows are in, and how fresh an answer has to be."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from eventstore import EventStore

from .errors import ProjectionError
from .projection import Key, Projection
from .sinks import Sink

if TYPE_CHECKING:
    from .freshness import Values

Late = Literal["warn", "raise", "fold"]
OnError = Literal["park", "stop"]

PARTITIONS_MAX = 256
"""Partitions of one view: each reads the whole log once, and has a lease of its own."""

_SHAPE = "/table:"
"""Between the code's fingerprint and the shape of the place that its rows are in."""

V = TypeVar("V", bound="View")


class Answer(msgspec.Struct, frozen=True):
    """A row's value (None: there is no row), and what it is good for: everything up to `position`
    is in it, which was recorded at `recorded_at` (None for an empty log). `stale` says that the
    view was further behind than its freshness budget when it was asked, or that the row's key
    waits in the dead letters: then `position` is the one before the first event that waits."""

    value: Any
    position: int
    recorded_at: datetime | None
    stale: bool


class View:
    """What relational, cache and vector views have in common. Made without a store, so that it
    can be declared once; `bind` gives the same view on a store, to be asked.

    `fresh_seconds` is the freshness budget of reads (None: none), and `when_late` what a read
    beyond it does: "warn" logs, "raise" raises `ViewStale`, "fold" folds the log from where the
    view is (or raises, where that is more than 10,000 events or 5 seconds). `on_error` says what
    becomes of an event that cannot be applied: "park" its key, or "stop" the view. `attempts` is
    how often it is tried. `partitions` of the keys may be fed by as many workers. Raises
    `ProjectionError` for a bad declaration.
    """

    def __init__(
        self,
        projection: Projection,
        sink: Sink,
        *,
        fresh_seconds: float | None = None,
        when_late: Late = "warn",
        on_error: OnError = "park",
        attempts: int = 5,
        partitions: int = 1,
    ) -> None:
        if not isinstance(projection, Projection):
            raise ProjectionError(f"view: a Projection, not {type(projection).__name__}")
        name = projection.name
        if when_late not in ("warn", "raise", "fold"):
            raise ProjectionError(f"view {name!r}: when_late is warn, raise or fold")
        if on_error not in ("park", "stop"):
            raise ProjectionError(f"view {name!r}: on_error is park or stop")
        if not 1 <= partitions <= PARTITIONS_MAX:
            raise ProjectionError(f"view {name!r}: 1 to {PARTITIONS_MAX} partitions")
        if attempts < 1:
            raise ProjectionError(f"view {name!r}: attempts from 1 on")
        if fresh_seconds is not None and not fresh_seconds > 0:
            raise ProjectionError(f"view {name!r}: fresh_seconds are more than 0, or None")
        self.name = name
        self.projection = projection
        self.sink = sink
        self.fresh_seconds = fresh_seconds
        self.when_late: Late = when_late
        self.on_error: OnError = on_error
        self.attempts = attempts
        self.partitions = partitions
        self._store: EventStore | None = None

    def bind(self: V, store: EventStore) -> V:
        """The same view on this store (and its tenant), to be asked. It shares the sink."""
        bound = copy.copy(self)
        bound._store = store
        return bound

    @property
    def store(self) -> EventStore:
        """The store it is bound to. Raises `ProjectionError` for one that is not."""
        if self._store is None:
            raise ProjectionError(f"view {self.name!r}: bind(store) it before it is asked")
        return self._store

    @property
    def is_bound(self) -> bool:
        """Whether it is on a store already."""
        return self._store is not None

    def fingerprint(self) -> str:
        """What the view's rows depend on, as far as it can be seen; kept with each generation. It
        ends in the shape of the sink's place, where that has one."""
        code, shape = self.projection.fingerprint(), _shape_of(self.sink)
        return f"{code}{_SHAPE}{shape}" if shape else code

    def fits(self, version: int, fingerprint: str) -> bool:
        """Whether a generation that was begun with these is one that this view may feed."""
        return version == self.projection.version

    def takes(self, fingerprint: str) -> bool:
        """Whether rows of this view's code have a place in a generation that was begun with this
        fingerprint: one of the same columns, types and keys. Who knows no shape, such as one of
        which only the name is known, has nothing against any."""
        kept, mine = fingerprint.partition(_SHAPE)[2], _shape_of(self.sink)
        return not kept or not mine or kept == mine

    async def get(
        self,
        key: Key,
        *,
        at_least: int | None = None,
        timeout_seconds: float = 5.0,
        late: Late | None = None,
    ) -> Answer:
        """The row of `key`, or None as its value.

        `at_least` is a position, such as `AppendResult.position`: the answer waits until the view
        has it, so that one reads one's own writes. `late` overrides `when_late`. Raises
        `ViewStale` when the view is not there within `timeout_seconds` or is beyond its budget,
        `KeyParked` when what is waited for stands in the dead letters, `ViewNotBuilt` when no
        generation serves, `SinkUnavailable`. If cancelled, nothing is left open.
        """
        from .asking import get

        return await get(self, key, at_least, timeout_seconds, late or self.when_late)

    async def rows(
        self,
        keys: Sequence[Key],
        *,
        at_least: int | None = None,
        timeout_seconds: float = 5.0,
    ) -> Values[Key]:
        """The values of those keys that have a row: a dict, with the position and the time that
        it is good for. `at_least` is as in `get`.

        While a key waits in the dead letters (in a fold one of `keys`, in a map any, because its
        rows may be of any key), they are `stale`, and `position` is the one before its first event
        there, be it less than `at_least`. Raises as `get`, but in a map `KeyParked` only for the
        event at `at_least` itself; and `ViewStale` beyond the budget of a view that was declared
        to fold: many rows are not folded from the log. If cancelled, nothing is left open.
        """
        from .freshness import Values, stand

        standing = await stand(self, at_least, timeout_seconds, keys)
        found = await self.sink.find(standing.build, keys)
        return Values({row.key: row.value for row in found}, standing)

    async def close(self) -> None:
        """Frees what the sink holds (connections of its own). If cancelled, call it again."""
        await self.sink.close()


def _shape_of(sink: Sink) -> str:
    shape = getattr(sink, "shape", None)
    return "" if shape is None else str(shape())
