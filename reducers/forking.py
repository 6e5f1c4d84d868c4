"""A fork at a moment: a new stream that goes on from where another one stood."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from eventstore import AppendResult, InvalidEvent, Occurred, Position, Version
from eventstore.points import to_microseconds

if TYPE_CHECKING:
    from eventstore import EventStore
    from eventstore.events import RecordedEvent

    from .loading import Moment


async def fork(
    store: EventStore,
    stream: str,
    *,
    into: str,
    at: Moment | None = None,
    idempotency_key: str | None = None,
    actor: str | None = None,
) -> AppendResult:
    """Makes `into` a stream that begins as `stream` stood at a moment: nothing is copied.

    `at` is a `Version`, a `Position`, an aware datetime (`recorded_at`), or `Occurred`; all of
    them inclusive, None is the head. Of source times, which go back and forth along a stream, it
    is what comes before the first event that is later. Sent again with its `idempotency_key`, it
    gives its first answer, also where the stream has grown since, so that the moment is now a
    later version. The result's event
    is of type ``$stream.forked``, behind what is inherited: its data names the parent, which is
    the stream that itself holds the version, and the version.

    Raises `Conflict` where `into` exists, `InvalidEvent` where `stream` has no event by that
    moment, and as `EventStore.append`. If cancelled, it may be written all the same.
    """
    version = await version_at(store, stream, at)
    if idempotency_key is not None and not isinstance(at, Version):
        first = await store.lookup(into, idempotency_key)
        if first is not None:  # what came behind the first answer was not there to be meant
            until = first.position
            stood = await _last(store, stream, lambda event: event.position < until)
            version = min(version, stood)
    if version == 0:
        when = "" if at is None else f" by {at!r}"
        raise InvalidEvent(f"fork: stream {stream!r} has no event{when}")
    return await store.fork(stream, into, version, idempotency_key=idempotency_key, actor=actor)


async def version_at(store: EventStore, stream: str, at: Moment | None) -> int:
    """The stream's version at a moment, 0 for none. A `Version` beyond its end is given back as it
    is. Raises `InvalidEvent` for what is no moment. If cancelled, nothing is left open."""
    if at is None:
        return await store.version(stream)
    if isinstance(at, (Version, Position)) and at < 0:
        raise InvalidEvent(f"at: {at!r}, versions and positions count from 1 (0: before all)")
    if isinstance(at, Version):
        return int(at)
    if isinstance(at, Occurred):
        return await _before_later(store, stream, to_microseconds(at.at, "at"))
    if isinstance(at, Position):
        return await _last(store, stream, lambda event: event.position <= int(at))
    if isinstance(at, datetime):
        until = to_microseconds(at, "at")
        return await _last(store, stream, lambda event: event.recorded_us <= until)
    raise InvalidEvent(
        f"at: a Version, a Position, an aware datetime or Occurred, not {type(at).__name__}"
    )


async def _last(
    store: EventStore, stream: str, lies_within: Callable[[RecordedEvent], bool]
) -> int:
    """By bisection: positions and recording times ascend with versions."""
    low, high = 0, await store.version(stream)
    while low < high:
        middle = (low + high + 1) // 2
        (event,) = await store.read(stream, after=middle - 1, limit=1).list()
        if lies_within(event):
            low = middle
        else:
            high = middle - 1
    return low


async def _before_later(store: EventStore, stream: str, until: int) -> int:
    version = 0
    async for page in store.read(stream).pages():
        for event in page:
            if _occurred(event) > until:
                return version
            version = event.version
    return version


def _occurred(event: RecordedEvent) -> int:
    return event.recorded_us if event.occurred_us is None else event.occurred_us
