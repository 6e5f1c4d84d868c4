"""What changed between two states, as JSON Pointers, and as a patch that others can apply.

The walk goes over the states as they are and skips what both share, so that it costs about as
much as what changed. Two things are the same when their JSON forms are (`json_form`): a tuple and
a list of the same items are, as are NaN and None; 1 and 1.0 and true are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, compress, count
from math import isfinite
from operator import is_not, itemgetter
from typing import Any, Literal

import msgspec
from immutables import Map

from .json_form import MISSING, items, members, to_json
from .map_nodes import differing_names
from .persistent import PersistentList
from .pointers import escape


class Change(msgspec.Struct, frozen=True):
    """One difference: `op` at `path`, an RFC 6901 pointer ("" is the whole state).

    `before` and `after` are the values as they stand in the states; `before` is None for an add,
    `after` for a remove. Index paths hold at their place in the sequence of changes.
    """

    op: Literal["add", "remove", "replace"]
    path: str
    before: Any = None
    after: Any = None


def diff(before: Any, after: Any) -> list[Change]:
    """The changes that make `after` of `before`, in the order in which they apply.

    States may be Structs, pydantic models, dicts, maps, lists, tuples, persistent lists or plain
    values. Members come in the order of their names. In lists equal
    fronts and ends are left out; between them items are compared pairwise, then removed from the
    back or added. Raises `ReducerError` for what has no JSON form.
    """
    return list(_walk(before, after, ""))


def changes_to_patch(changes: list[Change]) -> list[dict[str, Any]]:
    """An RFC 6902 patch: applied to `to_json(before)` it gives `to_json(after)`."""
    patch = []
    for change in changes:
        step = {"op": change.op, "path": change.path}
        if change.op != "remove":
            step["value"] = to_json(change.after)
        patch.append(step)
    return patch


def _walk(before: Any, after: Any, path: str) -> Iterator[Change]:
    if before is after:
        return
    kind = type(before)
    if kind in _PLAIN and type(after) in _PLAIN:
        if kind is float or type(after) is float:
            changed = _in_json(before) != _in_json(after)
        else:
            changed = kind is not type(after) or before != after
        if changed:
            yield Change("replace", path, before, after)
        return
    unshared = _unshared(before, after)
    if unshared is not None:
        yield from _walk_members(unshared, path)
        return
    was, now = items(before), items(after)
    if was is not None and now is not None:
        yield from _walk_items(was, now, path)
        return
    contains = any(_contains(each) for each in (before, after))
    if contains and (kind in _PLAIN or type(after) in _PLAIN):
        # An object or array in place of a plain value: no need to encode it.
        yield Change("replace", path, before, after)
    else:
        yield from _walk_others(before, after, path)


def _walk_members(unshared: Iterable[_Member], path: str) -> Iterator[Change]:
    for name, was, now in sorted(unshared, key=itemgetter(0)):
        at = f"{path}/{escape(name)}"
        if was is MISSING:
            yield Change("add", at, None, now)
        elif now is MISSING:
            yield Change("remove", at, was, None)
        else:
            yield from _walk(was, now, at)


def _unshared(before: Any, after: Any) -> Iterable[_Member] | None:
    """The members that are not the same object in both; None unless both are objects in JSON."""
    kind = type(before)
    if kind is Map and type(after) is Map and len(before) > _FEW:
        differing = differing_names(before, after)
        if differing is not None:
            return [
                (name, before.get(name, MISSING), after.get(name, MISSING)) for name in differing
            ]
    if kind is type(after) and (kind is Map or kind is dict):
        # Most often one came from the other and has its names in its order. The loops are then
        # the interpreter's own: ten of ten thousand are found in a millisecond or two.
        names = list(before)
        if names == list(after) and set(map(type, names)) <= _TEXT:
            was, now = list(before.values()), list(after.values())
            return compress(zip(names, was, now, strict=True), map(is_not, was, now))
    elif kind is type(after) and (fields := _fields(before.__class__)) is not None:
        return [
            (name, was, now)
            for name, field in fields
            if (was := getattr(before, field)) is not (now := getattr(after, field))
        ]
    old, new = members(before), members(after)
    if old is None or new is None:
        return None
    return [
        *(
            (name, old.get(name, MISSING), now)
            for name, now in new.items()
            if old.get(name, MISSING) is not now
        ),
        *((name, was, MISSING) for name, was in old.items() if name not in new),
    ]


@lru_cache(maxsize=1024)  # more classes than states are made of
def _fields(kind: type) -> tuple[tuple[str, str], ...] | None:
    """(name in JSON, field) of a Struct's class, whose instances have the same members: a field
    that is unset is no member, which is how `MISSING` is written. None for other classes."""
    if not issubclass(kind, msgspec.Struct):
        return None
    config = kind.__struct_config__
    if config.array_like or config.omit_defaults:
        return None
    return tuple(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))


def _walk_items(was: Any, now: Any, path: str) -> Iterator[Change]:
    first = 0
    if isinstance(was, PersistentList) and isinstance(now, PersistentList):
        # What lists that came from each other share at the front is known without looking.
        first = was.shared_prefix(now)
    old, new = _from(was, first), _from(now, first)
    front = _common(old, new, min(len(old), len(new)))
    shorter = min(len(old), len(new)) - front
    ends = _common(old[::-1], new[::-1], shorter)
    shared = shorter - ends
    pairs = old[front : front + shared], new[front : front + shared]
    for index in compress(count(front), map(is_not, *pairs)):
        yield from _walk(old[index], new[index], f"{path}/{first + index}")
    for index in range(len(old) - ends - 1, front + shared - 1, -1):
        yield Change("remove", f"{path}/{first + index}", old[index], None)
    for index in range(front + shared, len(new) - ends):
        yield Change("add", f"{path}/{first + index}", None, new[index])


def _from(items: Any, first: int) -> Sequence[Any]:
    """The items from `first` on, for looking at them by index and from behind."""
    if isinstance(items, PersistentList):
        return tuple(chain.from_iterable(items.parts(first)))
    return items if isinstance(items, (list, tuple)) else tuple(items)


def _common(was: Sequence[Any], now: Sequence[Any], room: int) -> int:
    """How many items are the same until the first that is not, at most `room`."""
    for place in compress(range(room), map(is_not, was, now)):
        if not same(was[place], now[place]):
            return place
    return room


def _contains(value: Any) -> bool:
    return members(value) is not None or items(value) is not None


def _walk_others(before: Any, after: Any, path: str) -> Iterator[Change]:
    """Sets, dates, enums and the like, or things of two shapes: what counts is what they are in
    JSON."""
    old, new = to_json(before), to_json(after)
    if isinstance(old, (dict, list)) and type(old) is type(new):
        yield from _walk(old, new, path)
    elif type(old) is not type(new) or old != new:
        yield Change("replace", path, before, after)


def _in_json(value: Any) -> Any:
    """A plain value, to compare: by a float's digits, because 0.0 == -0.0, and None for what JSON
    lacks."""
    if type(value) is not float:
        return value
    return (repr(value),) if isfinite(value) else None


def same(before: Any, after: Any) -> bool:
    """Whether two values have the same JSON form; it stops at the first difference."""
    return next(_walk(before, after, ""), None) is None


_Member = tuple[str, Any, Any]
_TEXT = {str}
_FEW = 64
"""Entries of a map that are compared as fast one by one as by its nodes."""

_PLAIN = frozenset((str, int, float, bool, type(None)))
