"""RFC 6901 pointers into states as they are, without making JSON of them first.

What a pointer means is decided by the JSON form (`json_form`); what is found is the part of the
state itself, so that whoever asks can see by its identity that nothing changed. What a pointer's
value was, one event before, is the business of `blaming`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from immutables import Map

from eventstore.models import is_model

from .errors import ReducerError
from .json_form import MISSING, items, members, to_json
from .persistent import PersistentList


def split(pointer: str) -> list[str]:
    """The names along a pointer; none for "", the whole. Raises `ReducerError` for what is no
    pointer."""
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise ReducerError(
            f"{pointer!r} is no path: it is empty, or begins with / as in /tasks/tasks/7"
        )
    return [name.replace("~1", "/").replace("~0", "~") for name in pointer.split("/")[1:]]


def join(names: Sequence[str]) -> str:
    """The pointer made of these names."""
    return "".join(f"/{escape(name)}" for name in names)


def escape(name: str) -> str:
    """A member's name as a pointer holds it."""
    return name.replace("~", "~0").replace("/", "~1")


def find(value: Any, names: Sequence[str]) -> Any:
    """What stands there in a state, as it is; MISSING where nothing does."""
    for name in names:
        if value is MISSING:
            break
        value = child(value, name)
    return value


def child(value: Any, name: str) -> Any:
    """The member or item of this name; MISSING where there is none."""
    if isinstance(value, (dict, Map)):
        return _member(value, name)
    if isinstance(value, msgspec.Struct):
        fields = _fields_by_name(type(value))
        if fields is not None:
            field = fields.get(name)
            return MISSING if field is None else getattr(value, field)
    each = listed(value)
    if each is not None:
        place = index(name)
        return each[place] if place is not None and place < len(each) else MISSING
    found = members(value)
    if found is None and not isinstance(value, _PLAIN):
        # A dataclass, a date: what counts is what it is in JSON.
        plain = to_json(value)
        return child(plain, name) if isinstance(plain, (dict, list)) else MISSING
    return MISSING if found is None else found.get(name, MISSING)


def listed(value: Any) -> Sequence[Any] | None:
    """The items of what is an array in JSON, in its order; None for anything else."""
    if isinstance(value, (list, tuple, PersistentList)):
        return value
    if isinstance(value, (set, frozenset, deque)):
        return list(to_json(value))
    each = items(value)
    return None if each is None else list(each)


def has_names(value: Any) -> bool:
    """Whether its parts stand under names, and are in the state themselves."""
    if isinstance(value, msgspec.Struct):
        return not value.__struct_config__.array_like
    return isinstance(value, (dict, Map)) or is_model(type(value))


def index(name: str) -> int | None:
    """A name as the index of an item: digits without leading zeros."""
    if name.isascii() and name.isdigit() and (name == "0" or name[0] != "0"):
        return int(name)
    return None


def _member(value: Any, name: str) -> Any:
    found = value.get(name, MISSING)
    if found is not MISSING or not value or type(next(iter(value))) is str:
        # Keys are all of one kind in a state that a snapshot could give back; looking at each
        # key would cost as much as the map is large, at every event.
        return found
    return (members(value) or {}).get(name, MISSING)


@lru_cache(maxsize=256)
def _fields_by_name(cls: type[msgspec.Struct]) -> dict[str, str] | None:
    """Attributes by their names in JSON; None where only the JSON form itself is exact. Of the
    256 classes no state's tree has near as many."""
    config = cls.__struct_config__
    if config.array_like or config.omit_defaults or config.tag_field is not None:
        return None
    return dict(zip(cls.__struct_encode_fields__, cls.__struct_fields__, strict=True))


_PLAIN = (str, int, float, bool, bytes, type(None), msgspec.UnsetType)
