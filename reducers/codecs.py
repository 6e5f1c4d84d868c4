"""How a state becomes the bytes of a snapshot and comes back the same, whatever it is made of.

MessagePack. What it has no kind for goes into extensions, so that it survives in untyped places
too: maps, persistent lists, pydantic models, and, in states without a declared type, tuples and
sets. The declared type then makes the classes. Nothing here can run code that is in the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_origin

import msgspec
from immutables import Map
from pydantic import BaseModel

from .errors import ReducerError
from .json_form import state_hash
from .persistent import PersistentList

_MAP, _LIST, _MODEL, _TUPLE, _SET, _FROZENSET = range(1, 7)

_UNTYPED = (dict, list, tuple, set, frozenset, Map, PersistentList, str, bytes, int, float, object)
"""Kinds of which the type alone does not say what is inside."""


class StateCodec:
    """Encodes and decodes the states of one reducer.

    `state_type` is a Struct, a pydantic model, an annotation such as `Map[str, Card]`, or a plain
    kind, whose contents are then written with their own kinds.
    """

    def __init__(self, state_type: Any) -> None:
        self._typed = state_type not in (*_UNTYPED, type(None), bool)
        if self._typed:
            self._decode = _decoder(state_type)
        else:
            self._decode = _decode_any

    def encode(self, state: Any) -> bytes:
        """The snapshot bytes. Raises `ReducerError`, saying why, for a state that would not come
        back equal, or equal with another JSON form (1 for 1.0)."""
        try:
            encoded = _encode(state if self._typed else _marked(state))
            back = self._decode(encoded)
            equal = bool(back == state)
        except (TypeError, ValueError, OverflowError, RecursionError) as exc:
            raise ReducerError(f"it cannot be encoded ({type(exc).__name__})") from None
        if not equal:
            raise ReducerError("it would not come back equal")
        if state_hash(back) != state_hash(state):
            raise ReducerError("a number in it would come back as another type")
        return encoded

    def decode(self, encoded: bytes) -> Any:
        """The state. Raises `ReducerError` for bytes of another shape."""
        try:
            return self._decode(encoded)
        except (TypeError, ValueError) as exc:
            raise ReducerError(f"a snapshot that does not decode ({type(exc).__name__})") from None


class PartsCodec:
    """Encodes a combined state part by part, each with its own codec."""

    def __init__(self, state_class: type, parts: dict[str, StateCodec | PartsCodec]) -> None:
        self._state_class = state_class
        self._parts = parts

    def encode(self, state: Any) -> bytes:
        """See `StateCodec.encode`; the error names the part."""
        encoded = {}
        for field, codec in self._parts.items():
            try:
                encoded[field] = codec.encode(getattr(state, field))
            except ReducerError as exc:
                raise ReducerError(f"{field}: {exc}") from None
        return _encode(encoded)

    def decode(self, encoded: bytes) -> Any:
        """See `StateCodec.decode`."""
        try:
            parts = _decode_parts(encoded)
        except ValueError as exc:
            raise ReducerError(f"a snapshot that does not decode ({type(exc).__name__})") from None
        if parts.keys() != self._parts.keys():
            raise ReducerError("a snapshot of other parts")
        return self._state_class(
            **{field: codec.decode(parts[field]) for field, codec in self._parts.items()}
        )


def _hook(value: Any) -> Any:
    """What msgspec cannot write itself."""
    if isinstance(value, Map):
        return _extension(_MAP, dict(value))
    if isinstance(value, PersistentList):
        return _extension(_LIST, list(value))
    if isinstance(value, BaseModel):
        dumped = value.model_dump_json(by_alias=True, round_trip=True)
        return msgspec.msgpack.Ext(_MODEL, dumped.encode())
    raise TypeError(f"an object of type {type(value).__name__}")


def _extension(code: int, value: Any) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, _encode(value))


def _read_extension(code: int, data: memoryview) -> Any:
    make = _MAKERS.get(code)
    if make is None:
        raise ValueError(f"unknown extension {code}")
    return bytes(data) if code == _MODEL else make(_decode_any(data))


def _marked(value: Any) -> Any:
    """The same with everything marked that would lose its kind where no type is declared."""
    kind = type(value)
    if isinstance(value, dict):
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    if kind is tuple:
        return _extension(_TUPLE, [_marked(item) for item in value])
    if kind is set or kind is frozenset:
        code = _SET if kind is set else _FROZENSET
        return _extension(code, [_marked(item) for item in value])
    if kind is Map:
        return _extension(_MAP, {key: _marked(item) for key, item in value.items()})
    if kind is PersistentList:
        return _extension(_LIST, [_marked(item) for item in value])
    return value


def _decoder(state_type: Any) -> Callable[[bytes], Any]:
    try:
        return msgspec.msgpack.Decoder(state_type, dec_hook=_typed, ext_hook=_read_extension).decode
    except (NameError, TypeError) as exc:
        shown = getattr(state_type, "__name__", "this annotation")
        raise ReducerError(f"{shown} cannot be decoded ({type(exc).__name__})") from None


def _typed(wanted: Any, value: Any) -> Any:
    """Gives what an extension held the classes that its annotation names."""
    kind = get_origin(wanted) or wanted
    of = get_args(wanted)
    if kind is Map and isinstance(value, Map):
        return Map(_convert(dict(value), dict.__class_getitem__(of))) if of else value
    if kind is PersistentList and isinstance(value, PersistentList):
        return PersistentList(_convert(list(value), list.__class_getitem__(of[0]))) if of else value
    if isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(value, bytes):
        return kind.model_validate_json(value)
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    raise TypeError(f"{getattr(kind, '__name__', kind)} from {type(value).__name__}")


def _convert(value: Any, wanted: Any) -> Any:
    return msgspec.convert(value, wanted, dec_hook=_typed)


_MAKERS: dict[int, Callable[[Any], Any]] = {
    _MAP: Map,
    _LIST: PersistentList,
    _MODEL: bytes,
    _TUPLE: tuple,
    _SET: set,
    _FROZENSET: frozenset,
}

_encode = msgspec.msgpack.Encoder(enc_hook=_hook).encode
_decode_any = msgspec.msgpack.Decoder(ext_hook=_read_extension).decode
_decode_parts = msgspec.msgpack.Decoder(dict[str, bytes]).decode
