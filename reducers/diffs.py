"""What changed between two states, as JSON Pointers, and as a patch that others can apply.

The walk goes over the states as they are and skips what both share, so that it costs about as
much as what changed. Two things are the same when their JSON forms are (`json_form`): a tuple and
a list of the same items are, as are NaN and None; 1 and 1.0 and true are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import isfinite
from typing import Any, Literal

import msgspec

from .json_form import MISSING, items, members, to_json
from .persistent import PersistentList


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
    old, new = members(before), members(after)
    if old is not None and new is not None:
        yield from _walk_members(old, new, path)
        return
    was, now = items(before), items(after)
    if was is not None and now is not None:
        yield from _walk_items(was, now, path)
        return
    contains = any(each is not None for each in (old, new, was, now))
    if contains and (kind in _PLAIN or type(after) in _PLAIN):
        # An object or array in place of a plain value: no need to encode it.
        yield Change("replace", path, before, after)
    else:
        yield from _walk_others(before, after, path)


def _walk_members(old: dict[str, Any], new: dict[str, Any], path: str) -> Iterator[Change]:
    names = [
        *(name for name, now in new.items() if old.get(name, MISSING) is not now),
        *(name for name in old if name not in new),
    ]
    for name in sorted(names):
        was, now = old.get(name, MISSING), new.get(name, MISSING)
        at = f"{path}/{_escape(name)}"
        if was is MISSING:
            yield Change("add", at, None, now)
        elif now is MISSING:
            yield Change("remove", at, was, None)
        else:
            yield from _walk(was, now, at)


def _walk_items(was: Any, now: Any, path: str) -> Iterator[Change]:
    front = _common_front(was, now)
    ends = _common_end(was, now, front)
    shared = min(len(was), len(now)) - front - ends
    for index, (old, new) in enumerate(
        zip(
            islice(was, front, front + shared),
            islice(now, front, front + shared),
            strict=True,
        ),
        front,
    ):
        yield from _walk(old, new, f"{path}/{index}")
    for index in range(len(was) - ends - 1, front + shared - 1, -1):
        yield Change("remove", f"{path}/{index}", was[index], None)
    for index in range(front + shared, len(now) - ends):
        yield Change("add", f"{path}/{index}", None, now[index])


def _common_front(was: Any, now: Any) -> int:
    front = 0
    if isinstance(was, PersistentList) and isinstance(now, PersistentList):
        front = was.shared_prefix(now)
    for old, new in zip(islice(was, front, None), islice(now, front, None), strict=False):
        if not same(old, new):
            break
        front += 1
    return front


def _common_end(was: Any, now: Any, front: int) -> int:
    room = min(len(was), len(now)) - front
    count = 0
    while count < room and same(was[-1 - count], now[-1 - count]):
        count += 1
    return count


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


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


_PLAIN = frozenset((str, int, float, bool, type(None)))
