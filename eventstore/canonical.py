"""Canonical JSON: the bytes that are stored, and the refusal of what would not come back the same.

Canonical means UTF-8, no spaces, object keys sorted by code point, numbers as msgspec writes
them. `tests/unit/test_canonical.py` pins golden bytes. Decoded data is read-only, because events
are shared between readers.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, NoReturn

import msgspec

from .errors import InvalidEvent
from .limits import INTEGER_MAX, INTEGER_MIN, PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode
_SCALARS = frozenset((str, int, float, bool, type(None), bytes))
_MODEL_MARKS = ("__pydantic_fields__", "__dataclass_fields__", "__attrs_attrs__")
"""What the classes have whose instances a typed event may hold, beside msgspec's own."""
_FEW_BYTES = 100_000
"""Brackets and commas of a value that is walked without asking whether it has an end: 10 ms."""


def encode(data: object, where: str, bytes_max: int = PAYLOAD_BYTES_MAX) -> bytes:
    """The canonical bytes of any JSON value made of dict, list, str, int, float, bool and None.

    `where` names the place in errors. Raises `InvalidEvent` with a JSON path for what would not
    come back equal: NaN, infinities, lone surrogates, integers beyond signed 64 bits, depth over
    100, non-string keys, tuples, sets, bytes, dates and other objects, more than `bytes_max` bytes.
    """
    odd = False
    if _walk_plain(data, 0, _FEW_BYTES) < 0:
        # It is not plain, or of many parts, or of few that it shares without end.
        refuse_endless(data, where, bytes_max)
        odd = _walk_plain(data, 0, bytes_max) < 0 and _check(data, 0, where)
    try:
        payload = _encode(data)
    except UnicodeEncodeError:
        _refuse_surrogate(data, where)
    except (TypeError, ValueError, OverflowError) as exc:
        raise InvalidEvent(f"{where}: cannot be stored as JSON ({type(exc).__name__})") from None
    if len(payload) > bytes_max:
        raise InvalidEvent(f"{where}: {len(payload)} bytes, at most {bytes_max}")
    if odd and _decode(payload) != data:
        raise InvalidEvent(f"{where}: holds an object that would not come back the same")
    return payload


def encode_typed(instance: object, where: str) -> bytes:
    """The canonical bytes of a msgspec Struct; what they decode to is checked by the caller."""
    try:
        payload = _encode(instance)
    except UnicodeEncodeError:
        _refuse_surrogate(msgspec.to_builtins(instance), where)
    except (TypeError, ValueError, OverflowError) as exc:
        raise InvalidEvent(f"{where}: cannot be stored as JSON ({type(exc).__name__})") from None
    _check(_decode(payload), 0, where)
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise InvalidEvent(f"{where}: {len(payload)} bytes, at most {PAYLOAD_BYTES_MAX}")
    return payload


def decode(payload: bytes) -> Any:
    """The JSON value in `payload`, read-only all the way down."""
    return freeze(_decode(payload))


def decode_mutable(payload: bytes) -> Any:
    """The JSON value in `payload` as fresh dicts and lists, for a caller that owns them."""
    return _decode(payload)


def refuse_endless(value: Any, where: str, bytes_max: int = PAYLOAD_BYTES_MAX) -> None:
    """Raises `InvalidEvent` for a value that has more parts than `bytes_max` has room for.

    A list that holds another one twice, which holds a third one twice, is small in memory and
    without end as JSON: the encoder would not come back. Each part is looked at once here.
    """
    if _bytes_at_least(value, 0, {}) > bytes_max:
        raise InvalidEvent(f"{where}: more than {bytes_max} bytes as JSON")


def _bytes_at_least(value: Any, depth: int, known: dict[int, int]) -> int:
    items: Collection[Any]
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = value
    elif isinstance(value, msgspec.Struct):
        items = msgspec.structs.astuple(value)
    elif any(hasattr(type(value), mark) for mark in _MODEL_MARKS):
        items = getattr(value, "__dict__", {}).values()  # a model inside a list
    else:
        return 1  # refused for what it is: nobody knows what hangs on it
    size = len(items) + 1
    if depth > PAYLOAD_DEPTH_MAX:
        return size  # refused for its depth
    known[id(value)] = size
    for item in items:
        if type(item) not in _SCALARS:
            # By identity: all that is looked at is held by `value`.
            size += known.get(id(item)) or _bytes_at_least(item, depth + 1, known)
    known[id(value)] = size
    return size


def _walk_plain(value: Any, depth: int, left: int) -> int:
    """Whether a value holds nothing that has to be looked at twice, which nearly all of them do
    not: `left` less the bytes that brackets and commas take, else a negative number. It makes no
    paths for errors, and so takes half the time of `_check`, which follows."""
    items: Collection[Any]
    if type(value) is dict:
        items = value.values()
        for key in value:
            if type(key) is not str:
                return -1
    elif type(value) is list:
        items = value
    else:
        return -1
    if depth:  # most have no more than the outermost
        left -= len(items) + 1
        if left < 0 or depth >= PAYLOAD_DEPTH_MAX:
            return -1
    for item in items:
        kind = type(item)
        if kind is str or item is None or kind is bool:
            continue
        if kind is int:
            if not INTEGER_MIN <= item <= INTEGER_MAX:
                return -1
        elif kind is float:
            if not math.isfinite(item):
                return -1
        else:
            left = _walk_plain(item, depth + 1, left)
            if left < 0:
                return -1
    return left


def _check(value: Any, depth: int, path: str) -> bool:
    """Refuses what JSON would lose; True when an odd type is left for the round-trip check."""
    odd = False
    if depth >= PAYLOAD_DEPTH_MAX and isinstance(value, (dict, list)):
        raise InvalidEvent(f"{_root(path)}: deeper than {PAYLOAD_DEPTH_MAX} levels")
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                _refuse(f"key of type {type(key).__name__}", path)
            kind = type(item)
            if kind is str or item is None or kind is bool:
                continue
            if kind is int:
                if not INTEGER_MIN <= item <= INTEGER_MAX:
                    _refuse("integer beyond signed 64 bits", f"{path}.{_show(key)}")
            elif _check_item(item, depth, f"{path}.{_show(key)}"):
                odd = True
    elif isinstance(value, list):
        for index, item in enumerate(value):
            kind = type(item)
            if kind is str or item is None or kind is bool:
                continue
            if _check_item(item, depth, f"{path}[{index}]"):
                odd = True
    else:
        odd = _check_item(value, depth, path)
    return odd


def _check_item(item: Any, depth: int, path: str) -> bool:
    kind = type(item)
    if kind is float:
        if not math.isfinite(item):
            _refuse("NaN or infinity", path)
        return False
    if isinstance(item, (dict, list)):
        return _check(item, depth + 1, path)
    if isinstance(item, int):
        if not INTEGER_MIN <= item <= INTEGER_MAX:
            _refuse("integer beyond signed 64 bits", path)
        return kind is not int and kind is not bool
    if item is None or kind is str:
        return False
    if isinstance(item, (str, float)):
        return True
    _refuse(f"{kind.__name__}, which JSON does not give back", path)


def _refuse(what: str, path: str) -> NoReturn:
    raise InvalidEvent(f"{path}: {what}")


def _refuse_surrogate(value: Any, path: str) -> NoReturn:
    """Finds the lone surrogate that made the encoder fail, for the message."""
    stack = [(value, path)]
    while stack:
        item, at = stack.pop()
        if isinstance(item, str) and not encodable(item):
            _refuse("lone surrogate", at)
        if isinstance(item, dict):
            for key, child in item.items():
                if not encodable(key):
                    _refuse("lone surrogate in a key", at)
                stack.append((child, f"{at}.{_show(key)}"))
        elif isinstance(item, list):
            stack.extend((child, f"{at}[{index}]") for index, child in enumerate(item))
    _refuse("lone surrogate", path)


def encodable(text: str) -> bool:
    """Whether `text` has UTF-8 bytes: a lone surrogate has none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _show(key: str) -> str:
    """A key as it may stand in an error: keys are structure, but a long one may be content."""
    return key if len(key) <= 40 and key.isprintable() else f"<key of {len(key)} characters>"


def _root(path: str) -> str:
    return path if len(path) <= 120 else path[:120] + "..."


class FrozenDict(dict[str, Any]):
    """A decoded JSON object. It compares and encodes as a dict; changing it raises TypeError.

    `copy.deepcopy` and `copy()` give a plain dict that may be changed.
    """

    __slots__ = ()

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("event data is read-only; copy it first (copy.deepcopy gives plain data)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __deepcopy__(self, memo: object) -> dict[str, Any]:
        return {key: thaw(value) for key, value in self.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (thaw(self),)


class FrozenList(list[Any]):
    """A decoded JSON array. It compares and encodes as a list; changing it raises TypeError."""

    __slots__ = ()

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("event data is read-only; copy it first (copy.deepcopy gives plain data)")

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __deepcopy__(self, memo: object) -> list[Any]:
        return [thaw(value) for value in self]

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (thaw(self),)


def freeze(value: Any) -> Any:
    """`value` with every dict and list in it read-only."""
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(item) is dict or type(item) is list:
                value[key] = freeze(item)
        return FrozenDict(value)
    if kind is list:
        return FrozenList([freeze(item) for item in value])
    return value


def thaw(value: Any) -> Any:
    """`value` as plain dicts and lists that may be changed."""
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list):
        return [thaw(item) for item in value]
    return value
