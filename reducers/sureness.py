"""Which states come back from typed bytes as they went, known without decoding them.

To decode a state and compare it, kind by kind, takes many times what encoding it does, and a relay
encodes a state for every key of every page. For the types that states are mostly made of, what
msgspec writes and reads is known: a `str` in a field that says `str` comes back as that text, an
int in a field that says `float` does not come back as an int. `sureness_of` makes of a declared
type a function that walks a value once and says whether all of it is such. It may be unsure of
what would come back, and then the codec decodes and compares; it is never sure of what would not:
a test holds it against decoding and comparing.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from immutables import Map

from eventstore.canonical import FrozenDict, FrozenList

from .persistent import PersistentList

UNSURE, SURE, SURE_FOR_GOOD = 0, 1, 3
"""What is known of a value: nothing; that it comes back as it stands now; that it always will,
because nothing in it can be changed in place. Of several values it is what all have: their `&`."""

Sureness = Callable[[Any, Any], int]
"""What is known of a value, given one that was `SURE_FOR_GOOD` for the same type, or None. What
the value shares with that one is not walked again."""

_DEPTH_MAX = 100
"""Of plain data, as in an event's payload. A ring ends here too."""

_NAMED: tuple[type, ...] = (str, int, bool, type(None))
_ATOMS = frozenset(_NAMED)


def sureness_of(annotation: Any) -> Sureness:
    """The function for a declared type. It is unsure of everything where it knows no better."""
    kinds, look = _compiled(annotation, ())

    def sureness(value: Any, known: Any) -> int:
        if type(value) in kinds:
            return SURE_FOR_GOOD
        return look(value, known if type(known) is type(value) else None)

    return sureness


_Compiled = tuple[frozenset[type], Sureness]
"""The kinds that are sure for good whatever their value, and what looks at all others."""


def _compiled(annotation: Any, within: tuple[type, ...]) -> _Compiled:
    """`within` holds the classes that are being looked at: one that holds itself has no end."""
    if annotation is Any:
        return _ATOMS, lambda value, known: _plain(value, 0)
    if annotation is None:
        return frozenset((type(None),)), _unsure
    if annotation in _NAMED:
        return frozenset((annotation,)), _unsure
    if annotation is float:
        return frozenset(), _number
    kind, of = get_origin(annotation) or annotation, get_args(annotation)
    if kind in (Union, types.UnionType):
        return _union([_compiled(each, within) for each in of])
    if kind is Literal:
        return frozenset(), _one_of(of)
    if kind in (dict, Map) and of[:1] in ((), (str,), (Any,)):
        item = _compiled(of[1] if of else Any, within)
        return frozenset(), (_mapping if kind is dict else _map)(*item)
    if kind is PersistentList:
        return frozenset(), _persistent_list(*_compiled(of[0] if of else Any, within))
    if kind is tuple and len(of) == 2 and of[1] is ...:
        return frozenset(), _tuple(*_compiled(of[0], within))
    if kind is list:
        return frozenset(), _list(*_compiled(of[0] if of else Any, within))
    if _is_simple(kind) and not of and kind not in within:
        return frozenset(), _struct(kind, (*within, kind))
    return frozenset(), _unsure


def _is_simple(kind: Any) -> bool:
    """Whether a class is a Struct that is its fields, written all and compared all."""
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return False
    config = kind.__struct_config__
    odd = config.tag is not None or config.array_like or config.omit_defaults
    as_made = kind.__eq__ is msgspec.Struct.__eq__ and not hasattr(kind, "__post_init__")
    return config.eq and as_made and not odd


def _unsure(value: Any, known: Any) -> int:
    return UNSURE


def _number(value: Any, known: Any) -> int:
    # NaN does not equal itself.
    return SURE_FOR_GOOD if type(value) is float and value == value else UNSURE


def _union(members: list[_Compiled]) -> _Compiled:
    looks = [look for _, look in members if look is not _unsure]
    # Which of several containers is read is for msgspec to say.
    look = looks[0] if len(looks) == 1 else _unsure
    return frozenset[type]().union(*(kinds for kinds, _ in members)), look


def _one_of(values: tuple[Any, ...]) -> Sureness:
    texts = frozenset(each for each in values if type(each) is str)

    def look(value: Any, known: Any) -> int:
        return SURE_FOR_GOOD if type(value) is str and value in texts else UNSURE

    return look


def _struct(cls: type[msgspec.Struct], within: tuple[type, ...]) -> Sureness:
    try:
        fields = msgspec.structs.fields(cls)
    except (NameError, TypeError):
        # A class inside a function may name types that cannot be looked up from outside.
        return _unsure
    compiled = [_compiled(field.type, within) for field in fields]
    kinds = [kinds for kinds, _ in compiled]
    looks = [look for _, look in compiled]
    values_of = _values_of([field.name for field in fields])
    nothing = (None,) * len(fields)
    itself = SURE_FOR_GOOD if cls.__struct_config__.frozen else SURE

    def look(value: Any, known: Any) -> int:
        if type(value) is not cls:
            return UNSURE
        if value is known:
            return SURE_FOR_GOOD
        found = itself
        before = nothing if known is None else values_of(known)
        for item, was, sure, other in zip(values_of(value), before, kinds, looks, strict=True):
            if type(item) not in sure:
                found &= other(item, was if type(was) is type(item) else None)
                if not found:
                    return UNSURE
        return found

    return look


def _values_of(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


def _map(kinds: frozenset[type], look: Sureness) -> Sureness:
    def look_at(value: Any, known: Any) -> int:
        if type(value) is not Map:
            return UNSURE
        if value is known:
            return SURE_FOR_GOOD
        found = SURE_FOR_GOOD
        before = _EMPTY if known is None else known
        for key, item in value.items():
            if type(key) is not str:
                return UNSURE
            if type(item) not in kinds:
                was = before.get(key, _NOTHING)
                if was is not item:
                    found &= look(item, was if type(was) is type(item) else None)
                    if not found:
                        return UNSURE
        return found

    return look_at


def _persistent_list(kinds: frozenset[type], look: Sureness) -> Sureness:
    def look_at(value: Any, known: Any) -> int:
        if type(value) is not PersistentList:
            return UNSURE
        shared = 0 if known is None else value.shared_prefix(known)
        found = SURE_FOR_GOOD
        for part in value.parts(shared):
            found &= _all(part, kinds, look)
        return found

    return look_at


def _tuple(kinds: frozenset[type], look: Sureness) -> Sureness:
    def look_at(value: Any, known: Any) -> int:
        return _all(value, kinds, look) if type(value) is tuple else UNSURE

    return look_at


def _list(kinds: frozenset[type], look: Sureness) -> Sureness:
    def look_at(value: Any, known: Any) -> int:
        if type(value) is list:
            return SURE & _all(value, kinds, look)
        return _all(value, kinds, look) if type(value) is FrozenList else UNSURE

    return look_at


def _mapping(kinds: frozenset[type], look: Sureness) -> Sureness:
    def look_at(value: Any, known: Any) -> int:
        kind = type(value)
        if kind is not dict and kind is not FrozenDict:
            return UNSURE
        for name in value:
            if type(name) is not str:
                return UNSURE
        itself = SURE if kind is dict else SURE_FOR_GOOD
        return itself & _all(value.values(), kinds, look)

    return look_at


def _all(items: Iterable[Any], kinds: frozenset[type], look: Sureness) -> int:
    found = SURE_FOR_GOOD
    for item in items:
        if type(item) not in kinds:
            found &= look(item, None)
            if not found:
                return UNSURE
    return found


def _plain(value: Any, depth: int) -> int:
    """What stands where no type is named: JSON's kinds, and the containers of states."""
    kind = type(value)
    if kind is float:
        return _number(value, None)
    found = _KEPT.get(kind, UNSURE)
    if not found or depth >= _DEPTH_MAX:
        return UNSURE
    items = value
    if kind in _KEYED:
        for name in value:
            if type(name) is not str:
                return UNSURE
        items = value.values()
    for item in items:
        if type(item) not in _ATOMS:
            found &= _plain(item, depth + 1)
            if not found:
                return UNSURE
    return found


_EMPTY: Map[str, Any] = Map()
_NOTHING = object()
_KEYED: frozenset[type] = frozenset((dict, FrozenDict, Map))
_KEPT: dict[type, int] = {
    dict: SURE,
    list: SURE,
    FrozenDict: SURE_FOR_GOOD,
    FrozenList: SURE_FOR_GOOD,
    Map: SURE_FOR_GOOD,
    PersistentList: SURE_FOR_GOOD,
}
