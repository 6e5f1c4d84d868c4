"""Where two sessions part: the first event of which the one has another than the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Any

import msgspec

from eventstore.events import RecordedEvent

from .diffs import Change, diff, same


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
) -> Divergence | None:
    """The first pair of events, by their place, that are not the same; None when all are, and
    there are as many of both.

    Two events are the same when type and data are: ids, times, actors and all else that is said
    about an event may differ. `key` says otherwise: its answers for two events are compared with
    ``==``. Nothing behind that pair is taken. Raises `InvalidEvent` for data that cannot be
    decoded, where it is compared, and what `key` raises.
    """
    for common, (a, b) in enumerate(zip_longest(a_events, b_events)):
        if a is None or b is None:
            return Divergence(common, a, b, [])
        if not (_alike(a, b) if key is None else key(a) == key(b)):
            return Divergence(common, a, b, diff(a.untyped().data, b.untyped().data))
    return None


def _alike(a: RecordedEvent, b: RecordedEvent) -> bool:
    if a.type != b.type:
        return False
    # Payloads are canonical: the same data are the same bytes, but for the schema's version.
    if a.schema_version == b.schema_version:
        return a.payload == b.payload
    return same(a.untyped().data, b.untyped().data)
