"""The state of a stored stream, at its head or at an earlier moment, with snapshots as a cache.

A load takes the newest usable snapshot, folds what comes behind it page by page, and at the head
may keep a new one. Whatever is wrong with a snapshot costs time, never the load.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import AsyncIterator
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from eventstore import Busy, InvalidEvent, Occurred, Position, StorageFailed, Version
from eventstore.events import RecordedEvent
from eventstore.points import to_microseconds
from eventstore.snapshots import Snapshot
from eventstore.tracing import load_span, tell_loaded

from .errors import ReducerError
from .folding import fold
from .stamps import stamped, unstamped

if TYPE_CHECKING:
    from eventstore import EventStore

    from .reducer import Reducer

S = TypeVar("S")
Moment = Version | Position | datetime | Occurred

_END = 2**62
"""Beyond every version, position and time, and within what a database's integer holds."""

_logger = logging.getLogger("eventstore")


class Loaded(msgspec.Struct, Generic[S], frozen=True):
    """A stream's state, and the version and position of the last event in it (0, 0: none)."""

    state: S
    version: int
    position: int


class _Until(msgspec.Struct, frozen=True):
    """Where a load ends; all bounds are inclusive."""

    version: int = _END
    position: int = _END
    recorded_us: int = _END

    def count(self, page: list[RecordedEvent]) -> int:
        """How many events of the page lie within. Versions, positions and recording times
        ascend, so that bisection finds it."""
        count = len(page)
        if self.version != _END:
            count = bisect_right(page, self.version, hi=count, key=lambda event: event.version)
        if self.position != _END:
            count = bisect_right(page, self.position, hi=count, key=lambda event: event.position)
        if self.recorded_us != _END:
            count = bisect_right(page, self.recorded_us, hi=count, key=_recorded)
        return count


async def load(reducer: Reducer[S], store: EventStore, stream: str, at: Moment | None) -> Loaded[S]:
    """See `Reducer.load`."""
    with load_span(store, stream, reducer.name) as span:
        if isinstance(at, Occurred):
            start, loaded = 0, await _load_occurred(reducer, store, stream, at)
        else:
            start, loaded = await _load(reducer, store, stream, at)
        if span is not None:
            tell_loaded(span, loaded.version - start, loaded.version, loaded.position)
    return loaded


async def _load(
    reducer: Reducer[S], store: EventStore, stream: str, at: object
) -> tuple[int, Loaded[S]]:
    """The version of the snapshot that it began with, 0 for none, and the state."""
    until = _until(at)
    start = await _snapshot(reducer, store, stream, until)
    state, version, position = start.state, start.version, start.position
    async for page in _pages(store, stream, version, until):
        state = fold(page, reducer, state)
        version, position = page[-1].version, page[-1].position
    loaded = Loaded(state, version, position)
    every = reducer.snapshot_every
    if at is None and every is not None and version - start.version >= every:
        await _keep(reducer, store, stream, loaded)
    return start.version, loaded


async def take_snapshot(reducer: Reducer[S], store: EventStore, stream: str) -> Loaded[S]:
    """Keeps a snapshot of the stream's head now, whatever `snapshot_every` says.

    Returns what was kept. Raises `ReducerError` when this state cannot be kept, with the reason.
    If cancelled, it may or may not be kept.
    """
    loaded = await load(reducer, store, stream, None)
    if loaded.version:
        snapshot = _encoded(reducer, loaded)
        name, mark = reducer.name, reducer.fingerprint()
        if not await store.snapshots.save(stream, name, mark, snapshot):
            raise ReducerError(f"reducer {name!r}, stream {stream!r}: the state is too large")
    return loaded


def _until(at: object) -> _Until:
    if at is None:
        return _Until()
    if isinstance(at, (Version, Position)) and at < 0:
        raise InvalidEvent(f"at: {at!r}, versions and positions count from 1 (0: before all)")
    if isinstance(at, Version):
        return _Until(version=min(int(at), _END))
    if isinstance(at, Position):
        return _Until(position=min(int(at), _END))
    if isinstance(at, datetime):
        return _Until(recorded_us=to_microseconds(at, "at"))
    if isinstance(at, int):
        raise InvalidEvent("at: a bare number is ambiguous; say Version(n) or Position(n)")
    raise InvalidEvent(
        f"at: a Version, a Position, an aware datetime or Occurred, not {type(at).__name__}"
    )


async def _pages(
    store: EventStore, stream: str, after: int, until: _Until
) -> AsyncIterator[list[RecordedEvent]]:
    """The pages behind a version up to the end of the load."""
    limit = None if until.version == _END else max(until.version - after, 0)
    async for page in store.read(stream, after=after, limit=limit).pages():
        count = until.count(page)
        if count:
            yield page[:count]
        if count < len(page):
            return


async def _load_occurred(
    reducer: Reducer[S], store: EventStore, stream: str, at: Occurred
) -> Loaded[S]:
    # No prefix of the stream, so no snapshot: source times go back and forth along the log.
    until = to_microseconds(at.at, "at")
    state, version, position = reducer.initial, 0, 0
    async for page in store.read(stream).pages():
        taken = [event for event in page if _occurred(event) <= until]
        if taken:
            state = fold(taken, reducer, state)
            version, position = taken[-1].version, taken[-1].position
    return Loaded(state, version, position)


def _occurred(event: RecordedEvent) -> int:
    return event.recorded_us if event.occurred_us is None else event.occurred_us


def _recorded(event: RecordedEvent) -> int:
    return event.recorded_us


async def kept_between(
    reducer: Reducer[S], store: EventStore, stream: str, after: int, until: int
) -> Loaded[S] | None:
    """The newest sound snapshot behind version `after`, up to and with `until`; None for none."""
    loaded = await _snapshot(reducer, store, stream, _Until(version=until), after)
    return loaded if loaded.version else None


async def _snapshot(
    reducer: Reducer[S], store: EventStore, stream: str, until: _Until, after: int = 0
) -> Loaded[S]:
    """Where to begin: the newest snapshot that lies within and is sound, or the start."""
    begin = Loaded(reducer.initial, 0, 0)
    bound = until.version
    while bound > after and reducer.snapshot_every is not None:
        found = await store.snapshots.find(stream, reducer.name, reducer.fingerprint(), until=bound)
        if found is None or found.version <= after:
            return begin
        bound = found.version - 1
        if not await _stands(store, stream, found, until):
            continue
        loaded = decoded(reducer, stream, found)
        if loaded is not None:
            return loaded
    return begin


async def _stands(store: EventStore, stream: str, found: Snapshot, until: _Until) -> bool:
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


def _encoded(reducer: Reducer[S], loaded: Loaded[S]) -> Snapshot:
    state = stamped(reducer.version, loaded.state, reducer.codec().encode(loaded.state))
    return Snapshot(loaded.version, loaded.position, state, sha256(state).digest())


async def _keep(reducer: Reducer[S], store: EventStore, stream: str, loaded: Loaded[S]) -> None:
    name = reducer.name
    try:
        snapshot = _encoded(reducer, loaded)
        if not await store.snapshots.save(stream, name, reducer.fingerprint(), snapshot):
            raise ReducerError(f"{len(snapshot.state)} bytes are too many")
    except ReducerError as exc:
        if not reducer.snapshot_refused:
            reducer.snapshot_refused = True
            _logger.warning("reducer %r: its state is refused a snapshot: %s", name, exc)
    except (Busy, StorageFailed) as exc:
        # The load itself succeeded; a later one tries again.
        _logger.info("reducer %r: no snapshot of %r: %s", name, stream, type(exc).__name__)
