"""Replay: every step of a fold, with what it changed. A handler that changes its input is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from eventstore.events import RecordedEvent

from .changeable import Watch
from .diffs import Change, diff
from .folding import UNSET, fold, refuse_change, where

if TYPE_CHECKING:
    from .reducer import Reducer

S = TypeVar("S")


class Step(Generic[S]):
    """One event of a replay: `event`, the states `before` and `after` it, and its `changes`."""

    __slots__ = ("_changes", "after", "before", "event")

    def __init__(self, event: RecordedEvent, before: S, after: S) -> None:
        self.event = event
        self.before = before
        self.after = after
        self._changes: list[Change] | None = None

    @property
    def changes(self) -> list[Change]:
        """`diff(before, after)`, computed at first use."""
        if self._changes is None:
            self._changes = diff(self.before, self.after)
        return self._changes

    def __repr__(self) -> str:
        return f"<Step {where(self.event)}>"


def replay(
    events: Iterable[RecordedEvent], reducer: Reducer[S], state: S = UNSET
) -> Iterator[Step[S]]:
    """The steps of `fold(events, reducer, state)`, lazily, one for each event.

    An event without a handler is a step without changes. Raises as `fold` does, and `ReducerError`
    for a handler that changed the state it was given instead of returning another; it is named.
    """
    if state is UNSET:
        state = reducer.initial
    steps = reducer.steps()
    watch = Watch()
    for event in events:
        before = state
        if event.type in steps:
            seen = watch.look(before)
            state = fold((event,), reducer, before)
            if watch.changed(seen):
                refuse_change(reducer, event)
        yield Step(event, before, state)
