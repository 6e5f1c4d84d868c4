"""Merge: two states that came from one, as one state, where they changed different parts."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
from immutables import Map

from eventstore.canonical import FrozenList
from eventstore.models import is_model

from .diffs import Change, diff, same
from .json_form import MISSING, key_text, members
from .persistent import PersistentList
from .pointers import escape

S = TypeVar("S")


class Merged(msgspec.Struct, Generic[S], frozen=True):
    """What `merge` made: the `state` that holds both sides' changes, and `changes`, which lead to
    it from the base.

    Or `clashes`, the pointers of what both sides changed in different ways, in the order of names;
    then `state` is None and there are no changes.
    """

    state: S | None
    changes: list[Change]
    clashes: list[str]

    @property
    def ok(self) -> bool:
        """Whether there is a merged state."""
        return not self.clashes


def merge(base: S, mine: S, theirs: S) -> Merged[S]:
    """Three ways: what one side left as it is in `base` is taken from the other; so is what both
    made the same.

    Members of objects (dicts, maps, Structs, models) are merged one by one, at any depth. Items of
    lists are, by their index, where all three lists are equally long; a list that became
    longer or shorter on one side and was changed on the other clashes as a whole, because nothing
    says which order is meant. What was removed here and changed there clashes, as does what was
    added on both sides and is not the same. Whose side is which makes no difference. Raises
    `ReducerError` for what has no JSON form.
    """
    clashes: list[str] = []
    state = _merged(base, mine, theirs, "", clashes)
    if clashes:
        return Merged(None, [], clashes)
    return Merged(state, diff(base, state), [])


def _merged(base: Any, mine: Any, theirs: Any, path: str, clashes: list[str]) -> Any:
    """What stands at a path in the merged state; whatever, where something clashes."""
    if _alike(base, theirs) or _alike(mine, theirs):
        return mine
    if _alike(base, mine):
        return theirs
    kinds = {_kind(each) for each in (base, mine, theirs)}
    kind = kinds.pop()
    if not kinds and kind is list:
        if len(base) == len(mine) == len(theirs):
            triples = enumerate(zip(base, mine, theirs, strict=True))
            return _LISTS[type(base)](
                _merged(*each, f"{path}/{index}", clashes) for index, each in triples
            )
    elif not kinds and kind is not None:
        return _merged_members(base, mine, theirs, path, clashes)
    clashes.append(path)
    return base


def _merged_members(base: Any, mine: Any, theirs: Any, path: str, clashes: list[str]) -> Any:
    if isinstance(base, msgspec.Struct):
        return _with_attributes(base, mine, theirs, path, clashes)
    sides = [members(each) or {} for each in (base, mine, theirs)]
    merged = {}
    for name in sorted({name for side in sides for name in side}):
        was, here, there = (side.get(name, MISSING) for side in sides)
        if here is not was or there is not was:
            merged[name] = _merged(was, here, there, f"{path}/{escape(name)}", clashes)
    if isinstance(base, (dict, Map)):
        return _with_keys(base, mine, theirs, merged)
    return _with_fields(base, merged)


def _with_attributes(base: Any, mine: Any, theirs: Any, path: str, clashes: list[str]) -> Any:
    """A Struct like `base` with other values: by attribute, as JSON may leave defaults out."""
    fields = zip(base.__struct_encode_fields__, base.__struct_fields__, strict=True)
    merged = {}
    for name, field in sorted(fields):
        was, here, there = (getattr(side, field) for side in (base, mine, theirs))
        if here is not was or there is not was:
            merged[field] = _merged(was, here, there, f"{path}/{escape(name)}", clashes)
    return msgspec.structs.replace(base, **merged)


def _with_keys(base: Any, mine: Any, theirs: Any, merged: dict[str, Any]) -> Any:
    """A dict or map like `base` with other values; keys that are no strings stay what they are."""
    keys = {key_text(key): key for side in (theirs, mine, base) for key in side}
    entries = dict(base.items())
    for name, value in merged.items():
        if value is MISSING:
            entries.pop(keys[name], None)
        else:
            entries[keys[name]] = value
    return Map(entries) if isinstance(base, Map) else entries


def _with_fields(base: Any, merged: dict[str, Any]) -> Any:
    """A pydantic model like `base` with other values, of which the extra ones may be gone."""
    gone = [name for name, value in merged.items() if value is MISSING]
    kept = {name: value for name, value in merged.items() if value is not MISSING}
    made = base.model_copy(update=kept)
    for name in gone:
        (made.__pydantic_extra__ or {}).pop(name, None)
    return made


def _alike(one: Any, other: Any) -> bool:
    if one is other:
        return True
    return one is not MISSING and other is not MISSING and same(one, other)


def _kind(value: Any) -> Any:
    """What is merged part by part: `dict`, `list`, or a class of Structs or models that all sides
    are of; None for what is taken or left as a whole."""
    kind = type(value)
    if kind in _LISTS:
        return list
    if isinstance(value, (dict, Map)):
        return dict
    if isinstance(value, msgspec.Struct):
        return None if kind.__struct_config__.array_like else kind
    return kind if is_model(kind) else None


_LISTS: dict[type, Any] = {
    list: list,
    tuple: tuple,
    FrozenList: list,
    PersistentList: PersistentList,
}
