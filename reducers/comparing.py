"""The states of two streams, or of one at two moments, and what lies between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from .diffs import Change, diff
from .kept import Loaded
from .loading import Moment, load

if TYPE_CHECKING:
    from eventstore import EventStore

    from .reducer import Reducer

S = TypeVar("S")


class Compared(msgspec.Struct, Generic[S], frozen=True):
    """Two stored states, `before` and `after`, each with its version and position, and the
    `changes` that lead from the one to the other."""

    before: Loaded[S]
    after: Loaded[S]
    changes: list[Change]


async def compare(
    reducer: Reducer[S],
    store: EventStore,
    stream: str,
    other: str | None,
    at: Moment | None,
    other_at: Moment | None,
) -> Compared[S]:
    """See `Reducer.diff`."""
    before = await load(reducer, store, stream, at)
    after = await load(reducer, store, stream if other is None else other, other_at)
    return Compared(before, after, diff(before.state, after.state))
