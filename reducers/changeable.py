"""What of a state can be changed in place, and whether a handler did it.

A handler returns a new state; one that changes the state it was given makes every earlier state
that is still held a lie. It is seen by writing down what can be changed (dicts, lists, sets,
models) before a handler runs, and again behind it. What was found to hold no such thing is
remembered with its object, so that of a large state that shares its parts with the one before, a
map down to its nodes, only the new parts are looked at.
"""

from __future__ import annotations

import enum
import gc
from collections.abc import Callable, Collection
from datetime import date, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from immutables import Map

from eventstore.canonical import FrozenDict, FrozenList

from .errors import ReducerError
from .json_form import packed
from .map_nodes import is_node, root
from .persistent import PersistentList

REMEMBERED_MAX = 200_000
"""Objects that a watch keeps alive only to know them again: some tens of MiB."""

Seen = tuple[list[Any], bytes]
"""What can be changed in a state, and what it was."""


def unchangeable(state: Any) -> bool:
    """Whether nothing in a state can be changed in place."""
    found: list[Any] = []
    # Not what it was: that would be written out, and may be without end or have no JSON form.
    Watch().collect(state, found)
    return not found


class Watch:
    """Sees whether anything in a state was changed in place."""

    def __init__(self) -> None:
        self._sound: dict[int, Any] = {}
        self._openers: dict[type, _Opener | None] = {}

    def look(self, state: Any) -> Seen:
        """Writes down what can be changed in a state. Raises `ReducerError` for what of that has
        no JSON form, and for a state that is nested too deeply."""
        found: list[Any] = []
        self.collect(state, found)
        return found, packed(found) if found else b""

    def collect(self, state: Any, found: list[Any]) -> None:
        """Adds the outermost changeable things in a state. Raises `ReducerError` for one that is
        nested too deeply."""
        try:
            self._collect((state,), found)
        except RecursionError:
            raise ReducerError("a state is nested too deeply to be looked through") from None

    def changed(self, seen: Seen) -> bool:
        """Whether any of it is no longer what it was."""
        found, before = seen
        return bool(found) and packed(found) != before

    def _collect(self, values: Collection[Any], found: list[Any]) -> None:
        """Adds the outermost changeable things among these values and in them."""
        kinds, openers = set(map(type, values)), self._openers
        for kind in kinds - openers.keys():
            openers[kind] = _opener(kind)
        if not any(map(openers.get, kinds)):
            return  # most often: nothing but plain values
        sound = self._sound
        for value in [each for each in values if id(each) not in sound]:
            open_up = openers[type(value)]
            if open_up is None:
                continue
            inner = open_up(value)
            if inner is None:
                found.append(value)
                continue
            count = len(found)
            self._collect(inner, found)
            if len(found) == count:
                self._remember(value)

    def _remember(self, value: Any) -> None:
        if len(self._sound) >= REMEMBERED_MAX:
            self._sound.clear()
        self._sound[id(value)] = value


_Opener = Callable[[Any], Collection[Any] | None]
"""Gives what a thing holds that cannot be changed itself; None for one that can."""


def _opener(kind: type) -> _Opener | None:
    """How to look into things of a class; None for what neither changes nor holds anything."""
    if issubclass(kind, _ATOMS):
        return None
    if issubclass(kind, Map):
        return _of_map
    if is_node(kind):
        return gc.get_referents
    if issubclass(kind, PersistentList):
        return _of_list
    if issubclass(kind, (tuple, frozenset)):
        return _itself
    if issubclass(kind, msgspec.Struct) and kind.__struct_config__.frozen:
        # By attribute: the JSON form may leave defaults out.
        return msgspec.structs.astuple
    return _changeable


def _of_map(entries: Map[Any, Any]) -> Collection[Any]:
    """Its nodes, which it shares with the maps that it came from, else its values."""
    top = root(entries)
    return list(entries.values()) if top is None else (top,)


def _of_list(items: PersistentList[Any]) -> Collection[Any]:
    return items.shared_parts()


def _itself(value: Any) -> Collection[Any]:
    found: Collection[Any] = value
    return found


def _changeable(value: Any) -> None:
    return None


_ATOMS = (
    *(str, int, float, bool, bytes, type(None), msgspec.UnsetType, enum.Enum),
    *(date, time, timedelta, timezone, UUID, Decimal, FrozenDict, FrozenList),
)
