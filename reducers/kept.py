"""Snapshots as loads use them: which one a state begins with, and how one is kept.

A fork begins with what its parents kept, up to where it leaves them. Whatever is wrong with a
snapshot costs time, never the state.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from eventstore import Busy, StorageFailed
from eventstore.events import RecordedEvent
from eventstore.snapshots import Snapshot
from eventstore.thinning import too_close

from .errors import ReducerError
from .folding import fold
from .stamps import stamped, unstamped

if TYPE_CHECKING:
    from eventstore import EventStore

    from .reducer import Reducer

S = TypeVar("S")

END = 2**62
"""Beyond every version, position and time, and within what a database's integer holds."""

WAYSIDE_BYTES = 16
"""Bytes that a load keeps on its way for each event that it folds: to encode, hash and write a byte
takes about 0.05 us, to read and fold an event about 10, so that it costs a tenth of the load."""

WAYSIDE_EVENTS = 500
"""Events between two states that a load keeps on its way, at least: to fold so many takes 5 ms."""

_logger = logging.getLogger("eventstore")


class Loaded(msgspec.Struct, Generic[S], frozen=True):
    """A stream's state, and the version and position of the last event in it (0, 0: none)."""

    state: S
    version: int
    position: int


class Until(msgspec.Struct, frozen=True):
    """Where a load ends; all bounds are inclusive."""

    version: int = END
    position: int = END
    recorded_us: int = END

    def count(self, page: list[RecordedEvent]) -> int:
        """How many events of the page lie within. Versions, positions and recording times
        ascend, so that bisection finds it."""
        count = len(page)
        if self.version != END:
            count = bisect_right(page, self.version, hi=count, key=lambda event: event.version)
        if self.position != END:
            count = bisect_right(page, self.position, hi=count, key=lambda event: event.position)
        if self.recorded_us != END:
            count = bisect_right(page, self.recorded_us, hi=count, key=_recorded)
        return count


def _recorded(event: RecordedEvent) -> int:
    return event.recorded_us


async def newest_kept(
    reducer: Reducer[S], store: EventStore, stream: str, until: Until, after: int = 0
) -> Loaded[S] | None:
    """The newest snapshot behind version `after` that lies within and is sound; None for none."""
    bound = until.version
    while bound > after and reducer.snapshot_every is not None:
        kind = (stream, reducer.name, reducer.fingerprint())
        found = await store.snapshots.find(*kind, until=bound)
        if found is None and await inherits(reducer, store, stream):
            found = await store.snapshots.find(*kind, until=bound, inherited=True)
        if found is None or found.version <= after:
            return None
        bound = found.version - 1
        if not await _stands(store, stream, found, until):
            continue
        loaded = decoded(reducer, stream, found)
        if loaded is not None:
            return loaded
    return None


async def kept_versions(reducer: Reducer[Any], store: EventStore, stream: str) -> list[int]:
    """The versions at which there is a snapshot that a load may begin with, ascending."""
    if reducer.snapshot_every is None:
        return []
    inherited = await inherits(reducer, store, stream)
    kept = await store.snapshots.list(stream, inherited=inherited)
    kind = (reducer.name, reducer.fingerprint())
    return sorted({each.version for each in kept if (each.reducer, each.fingerprint) == kind})


async def inherits(reducer: Reducer[Any], store: EventStore, stream: str) -> bool:
    """Whether a load may begin with what the stream's parents kept. If cancelled, nothing is left
    open."""
    # In this order: code is read for forks alone.
    return await store.snapshots.has_parent(stream) and not reducer.sees_streams()


async def _stands(store: EventStore, stream: str, found: Snapshot, until: Until) -> bool:
    """Whether the snapshot's last event is in this log, at its position, and within the load.
    A log that was restored, or replaced, may be shorter than what is cached of it."""
    page = await store.read(stream, after=found.version - 1, limit=1).list()
    return bool(page) and page[0].position == found.position and until.count(page) == 1


def decoded(reducer: Reducer[S], stream: str, found: Snapshot) -> Loaded[S] | None:
    """The snapshot's state; None where its bytes are not what was kept."""
    try:
        if sha256(found.state).digest() != found.state_hash:
            raise ReducerError("its bytes changed")
        _, encoded = unstamped(found.state)
        return Loaded(reducer.codec().decode(encoded), found.version, found.position)
    except ReducerError as exc:
        _logger.warning(
            "reducer %r, stream %r: the snapshot at version %d is ignored: %s",
            reducer.name,
            stream,
            found.version,
            exc,
        )
        return None


def encoded(reducer: Reducer[S], loaded: Loaded[S]) -> Snapshot:
    """The snapshot of a state. Raises `ReducerError` for a state that cannot be kept."""
    state = stamped(reducer.version, loaded.state, reducer.codec().encode(loaded.state))
    return Snapshot(loaded.version, loaded.position, state, sha256(state).digest())


async def keep(
    reducer: Reducer[S], store: EventStore, stream: str, loaded: Loaded[S]
) -> int | None:
    """Keeps a state, and gives its bytes; None where it was not kept, which is no error: a later
    load tries again."""
    name = reducer.name
    try:
        snapshot = encoded(reducer, loaded)
        if not await store.snapshots.save(stream, name, reducer.fingerprint(), snapshot):
            raise ReducerError(f"{len(snapshot.state)} bytes are too many")
        return len(snapshot.state)
    except ReducerError as exc:
        if not reducer.snapshot_refused:
            reducer.snapshot_refused = True
            _logger.warning("reducer %r: its state is refused a snapshot: %s", name, exc)
    except (Busy, StorageFailed) as exc:
        _logger.info("reducer %r: no snapshot of %r: %s", name, stream, type(exc).__name__)
    return None


class Wayside(Generic[S]):
    """What a load of a long stream keeps on its way to the head: the states that would stand, had
    the stream been loaded all along. A stream that was imported is then looked back at as fast."""

    def __init__(
        self, reducer: Reducer[S], store: EventStore, stream: str, start: Loaded[S], head: int
    ) -> None:
        self._reducer, self._store, self._stream = reducer, store, stream
        self._stops = _stops(start.version, head, reducer.snapshot_every)
        self._after = start.version
        self._last_bytes = self._bytes = 0

    async def over(
        self, loaded: Loaded[S], page: list[RecordedEvent]
    ) -> tuple[Loaded[S], list[RecordedEvent]]:
        """Folds the page up to the last stop in it; the state there, and what is left of it. If
        cancelled, the last one may or may not be kept."""
        while self._stops and self._stops[0] <= page[-1].version:
            count = self._stops.pop(0) - loaded.version
            state = fold(page[:count], self._reducer, loaded.state)
            loaded = Loaded(state, page[count - 1].version, page[count - 1].position)
            page = page[count:]
            await self._keep(loaded)
            if not page:
                break
        return loaded, page

    async def _keep(self, loaded: Loaded[S]) -> None:
        allowed = WAYSIDE_BYTES * (loaded.version - self._after)
        if self._bytes + self._last_bytes > allowed:
            return
        size = await keep(self._reducer, self._store, self._stream, loaded)
        if size is None:
            self._stops = []
            return
        self._last_bytes = size
        self._bytes += size


def _stops(after: int, head: int, every: int | None) -> list[int]:
    if every is None:
        return []
    far = max(every, WAYSIDE_EVENTS)
    versions = range(after + far, head - far + 1, far)
    dropped = set(too_close([(version, 0) for version in (*versions, head)]))
    return [version for version in versions if version not in dropped]
