"""Where the items of a list stood before it changed: what blame follows along lists."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

from .diffs import same
from .json_form import canonical_json
from .persistent import PersistentList


def came_from(was: Sequence[Any], now: Sequence[Any], place: int) -> int | None:
    """The index that the item `now[place]` had in `was`; None for one that was added."""
    if _stayed(was, now, place):
        return place
    front = _front(was, now)
    ends = _ends(was, now, min(len(was), len(now)) - front)
    if place >= len(now) - ends:
        return place - len(now) + len(was)
    # What is left in the middle: items that stayed, then equal ones in order.
    forms = [canonical_json(each) for each in islice(was, front, len(was) - ends)]
    new_forms = [canonical_json(each) for each in islice(now, front, len(now) - ends)]
    origin = [
        number if number < len(forms) and forms[number] == form else None
        for number, form in enumerate(new_forms)
    ]
    places: defaultdict[bytes, deque[int]] = defaultdict(deque)
    for number in sorted(set(range(len(forms))) - set(origin)):
        places[forms[number]].append(number)
    for number, form in enumerate(new_forms):
        if origin[number] is None and places[form]:
            origin[number] = places[form].popleft()
    mine = origin[place - front]
    if mine is not None:
        return front + mine
    left = sorted(number for numbers in places.values() for number in numbers)
    added = [number for number, each in enumerate(origin) if each is None]
    if len(left) == len(added):
        return front + left[added.index(place - front)]
    return place if place - front in left else None


def _front(was: Sequence[Any], now: Sequence[Any]) -> int:
    front = 0
    if isinstance(was, PersistentList) and isinstance(now, PersistentList):
        front = was.shared_prefix(now)
    for old, new in zip(islice(was, front, None), islice(now, front, None), strict=False):
        if old is not new and not same(old, new):
            break
        front += 1
    return front


def _ends(was: Sequence[Any], now: Sequence[Any], room: int) -> int:
    """How many items at the ends are equal; up to one that stayed at its index on either side."""
    count = 0
    while count < room:
        old, new = len(was) - 1 - count, len(now) - 1 - count
        if not same(was[old], now[new]) or _stayed(was, now, old) or _stayed(was, now, new):
            break
        count += 1
    return count


def _stayed(was: Sequence[Any], now: Sequence[Any], place: int) -> bool:
    return place < min(len(was), len(now)) and same(was[place], now[place])
