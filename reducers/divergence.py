"""Where two sessions part: the first event of which the one has another than the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable
from contextlib import aclosing
from itertools import count, zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from eventstore.calls import FORKED
from eventstore.events import RecordedEvent

from .diffs import Change, diff, same
from .forking import version_at

if TYPE_CHECKING:
    from eventstore import EventStore

    from .loading import Moment


class Divergence(msgspec.Struct, frozen=True):
    """Behind `common` events that are the same, one side has `a` and the other `b`; None where a
    side has ended. `changes` leads from the data of `a` to that of `b`."""

    common: int
    a: RecordedEvent | None
    b: RecordedEvent | None
    changes: list[Change]


def first_divergence(
    a_events: Iterable[RecordedEvent],
    b_events: Iterable[RecordedEvent],
    key: Callable[[RecordedEvent], Any] | None = None,
    ignore: Collection[str] = (),
) -> Divergence | None:
    """The first pair of events, by their place, that are not the same; None when all are, and
    there are as many of both.

    Two events are the same when type and data are: ids, times, actors and all else that is said
    about an event may differ. `key` says otherwise: its answers for two events are compared with
    ``==``. Events of the types in `ignore` are left out on both sides, as if they had not happened:
    one that notes when a session began differs always. Nothing behind that pair is taken. Raises
    `InvalidEvent` for data that cannot be decoded, where it is compared, and what `key` raises.
    """
    a_side, b_side = (_without(ignore, events) for events in (a_events, b_events))
    for common, (a, b) in enumerate(zip_longest(a_side, b_side)):
        found = _parting(common, a, b, key)
        if found is not None:
            return found
    return None


async def divergence(
    store: EventStore,
    stream: str,
    other: str,
    *,
    at: Moment | None = None,
    other_at: Moment | None = None,
    key: Callable[[RecordedEvent], Any] | None = None,
    ignore: Collection[str] = (),
) -> Divergence | None:
    """Where two stored streams part, as `first_divergence` says; None where they do not.

    They are read side by side, no further than that, and no further than `at` and `other_at`:
    moments as `fork` takes them, each of its own stream, None is the head. That one of them was
    forked is nothing that happened in a session: of a fork and its parent the first events behind
    the fork are compared. Raises as `first_divergence`, `InvalidEvent` for what is no moment, and
    `Corrupt` for damage. If cancelled, nothing is left open.
    """
    left_out = {FORKED, *ignore}
    a_side = _happened(store, stream, at, left_out)
    b_side = _happened(store, other, other_at, left_out)
    async with aclosing(a_side) as a_events, aclosing(b_side) as b_events:
        for common in count():
            a, b = await anext(a_events, None), await anext(b_events, None)
            if a is None and b is None:
                break
            found = _parting(common, a, b, key)
            if found is not None:
                return found
    return None


def _without(types: Collection[str], events: Iterable[RecordedEvent]) -> Iterable[RecordedEvent]:
    return (event for event in events if event.type not in types)


async def _happened(
    store: EventStore, stream: str, at: Moment | None, left_out: Collection[str]
) -> AsyncGenerator[RecordedEvent, None]:
    limit = None if at is None else await version_at(store, stream, at)
    async for event in store.read(stream, limit=limit):
        if event.type not in left_out:
            yield event


def _parting(
    common: int,
    a: RecordedEvent | None,
    b: RecordedEvent | None,
    key: Callable[[RecordedEvent], Any] | None,
) -> Divergence | None:
    if a is None or b is None:
        return Divergence(common, a, b, [])
    if _alike(a, b) if key is None else key(a) == key(b):
        return None
    return Divergence(common, a, b, diff(a.untyped().data, b.untyped().data))


def _alike(a: RecordedEvent, b: RecordedEvent) -> bool:
    if a.type != b.type:
        return False
    # Payloads are canonical: the same data are the same bytes, but for the schema's version.
    if a.schema_version == b.schema_version:
        return a.payload == b.payload
    return same(a.untyped().data, b.untyped().data)
