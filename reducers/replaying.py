"""Replay: every step of a fold, with what it changed, and a watch on handlers that cheat."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from datetime import date, time, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

import msgspec
from immutables import Map

from eventstore.canonical import FrozenDict, FrozenList
from eventstore.events import RecordedEvent

from .diffs import Change, diff
from .errors import ReducerError
from .folding import UNSET, fold, where
from .json_form import canonical_json
from .persistent import PersistentList

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
    watch = _Watch()
    for event in events:
        before = state
        if event.type in steps:
            seen = watch.look(before)
            state = fold((event,), reducer, before)
            if watch.changed(seen):
                raise ReducerError(
                    f"reducer {reducer.name!r}: handler {reducer.handler_name(event.type)} changed"
                    f" the state it was given, at {where(event)}; return a new one"
                )
        yield Step(event, before, state)


def unchangeable(state: Any) -> bool:
    """Whether nothing in a state can be changed in place."""
    found: list[Any] = []
    _Watch()._collect(state, found)
    return not found


REMEMBERED_MAX = 200_000
"""Objects that a replay keeps alive only to know them again: some tens of MiB."""

_Seen = list[tuple[Any, bytes]]


class _Watch:
    """Sees whether anything in a state was changed in place.

    Only what can be changed is written down before a handler runs and compared after it: dicts,
    lists, sets, models. What was found to hold no such thing is remembered with its object, so
    that of a large state that shares structure with the one before only the new part is looked at.
    """

    def __init__(self) -> None:
        self._sound: dict[int, Any] = {}

    def look(self, state: Any) -> _Seen:
        """What is changeable in a state, as bytes."""
        found: list[Any] = []
        self._collect(state, found)
        return [(each, canonical_json(each)) for each in found]

    def changed(self, seen: _Seen) -> bool:
        """Whether any of it is no longer what it was."""
        return any(canonical_json(each) != before for each, before in seen)

    def _collect(self, value: Any, found: list[Any]) -> None:
        """Adds the outermost changeable things in `value`."""
        if isinstance(value, _ATOMS) or id(value) in self._sound:
            return
        if isinstance(value, PersistentList):
            inner: Iterable[Any] = value.parts()
        elif isinstance(value, (tuple, frozenset)):
            inner = value
        elif isinstance(value, Map):
            inner = value.values()
        elif isinstance(value, msgspec.Struct) and value.__struct_config__.frozen:
            # By attribute: the JSON form may leave defaults out.
            inner = [getattr(value, field) for field in value.__struct_fields__]
        else:
            found.append(value)
            return
        count = len(found)
        for item in inner:
            self._collect(item, found)
        if len(found) == count:
            self._remember(value)

    def _remember(self, value: Any) -> None:
        if len(self._sound) >= REMEMBERED_MAX:
            self._sound.clear()
        self._sound[id(value)] = value


_ATOMS = (
    *(str, int, float, bool, bytes, type(None), msgspec.UnsetType, enum.Enum),
    *(date, time, timedelta, timezone, UUID, Decimal, FrozenDict, FrozenList),
)
