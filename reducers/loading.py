"""The state of a stored stream, at its head or at an earlier moment, with snapshots as a cache.

A load takes the newest usable snapshot, folds what comes behind it page by page, and at the head
may keep new ones. What a snapshot is, and which are usable, is `kept`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from eventstore import InvalidEvent, Occurred, Position, Version
from eventstore.events import RecordedEvent
from eventstore.points import to_microseconds
from eventstore.tracing import load_span, tell_loaded

from .errors import ReducerError
from .folding import fold
from .kept import END, Loaded, Until, Wayside, encoded, keep, newest_kept

if TYPE_CHECKING:
    from eventstore import EventStore

    from .reducer import Reducer

S = TypeVar("S")
Moment = Version | Position | datetime | Occurred


async def load(
    reducer: Reducer[S],
    store: EventStore,
    stream: str,
    at: Moment | None,
    *,
    keeps_head: bool = True,
) -> Loaded[S]:
    """See `Reducer.load`; without `keeps_head` the head's state is left for the caller to keep."""
    with load_span(store, stream, reducer.name) as span:
        if isinstance(at, Occurred):
            start, loaded = 0, await _load_occurred(reducer, store, stream, at)
        else:
            start, loaded = await _load(reducer, store, stream, at, keeps_head)
        if span is not None:
            tell_loaded(span, loaded.version - start, loaded.version, loaded.position)
    return loaded


async def _load(
    reducer: Reducer[S], store: EventStore, stream: str, at: object, keeps_head: bool
) -> tuple[int, Loaded[S]]:
    """The version of the snapshot that it began with, 0 for none, and the state."""
    until = _until(at)
    start = await newest_kept(reducer, store, stream, until) or Loaded(reducer.initial, 0, 0)
    every = reducer.snapshot_every if at is None else None
    way: Wayside[S] | None = None
    loaded = start
    async for page in _pages(store, stream, start.version, until):
        # Not before the second page: most loads have one, and need not ask for the head.
        if every is not None and loaded is not start:
            way = way or Wayside(reducer, store, stream, loaded, await store.version(stream))
            loaded, page = await way.over(loaded, page)
        if page:
            state = fold(page, reducer, loaded.state)
            loaded = Loaded(state, page[-1].version, page[-1].position)
    if keeps_head and every is not None and loaded.version - start.version >= every:
        await keep(reducer, store, stream, loaded)
    return start.version, loaded


async def take_snapshot(reducer: Reducer[S], store: EventStore, stream: str) -> Loaded[S]:
    """Keeps a snapshot of the stream's head now, whatever `snapshot_every` says.

    Returns what was kept. Raises `ReducerError` when this state cannot be kept, with the reason.
    If cancelled, it may or may not be kept.
    """
    loaded = await load(reducer, store, stream, None, keeps_head=False)
    if loaded.version:
        snapshot = encoded(reducer, loaded)
        name, mark = reducer.name, reducer.fingerprint()
        if not await store.snapshots.save(stream, name, mark, snapshot):
            raise ReducerError(f"reducer {name!r}, stream {stream!r}: the state is too large")
    return loaded


def _until(at: object) -> Until:
    if at is None:
        return Until()
    if isinstance(at, (Version, Position)) and at < 0:
        raise InvalidEvent(f"at: {at!r}, versions and positions count from 1 (0: before all)")
    if isinstance(at, Version):
        return Until(version=min(int(at), END))
    if isinstance(at, Position):
        return Until(position=min(int(at), END))
    if isinstance(at, datetime):
        return Until(recorded_us=to_microseconds(at, "at"))
    if isinstance(at, int):
        raise InvalidEvent("at: a bare number is ambiguous; say Version(n) or Position(n)")
    raise InvalidEvent(
        f"at: a Version, a Position, an aware datetime or Occurred, not {type(at).__name__}"
    )


async def _pages(
    store: EventStore, stream: str, after: int, until: Until
) -> AsyncIterator[list[RecordedEvent]]:
    """The pages behind a version up to the end of the load."""
    limit = None if until.version == END else max(until.version - after, 0)
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
