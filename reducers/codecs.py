"""How a state becomes the bytes of a snapshot and comes back the same, whatever it is made of.

MessagePack, in one of two ways. *Typed*: msgspec reads the declared type, which is fast, but
turns what the annotation does not say (a tuple under `Any`) or says otherwise (an int in a float
field) into something else. *Exact*: every object is written with its own kind, and classes by
their number among those that the declared type names. A state is written typed where that gives
it back unchanged, else exactly, else not at all. Nothing in the bytes can make code run.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin

import msgspec
from immutables import Map
from msgspec.msgpack import Ext

from eventstore.canonical import FrozenDict, FrozenList
from eventstore.models import is_model

from .errors import ReducerError
from .json_form import state_hash
from .persistent import PersistentList
from .schemas import classes_in
from .sureness import SURE_FOR_GOOD, sureness_of

_MAP, _LIST, _MODEL, _TUPLE, _SET, _FROZENSET, _OBJECT = range(1, 8)
_TYPED, _EXACT = b"t", b"x"

_SMALL_BYTES_MAX = 256
"""Bytes that a codec keeps of the last state: what a state of no entries takes, with room."""

_LARGE_BYTES_MIN = 2048
"""From here on it is cheaper to know what a state shares with the last one than to prove it anew:
about ten messages or calls."""

_NEVER = object()

_UNREADABLE = (TypeError, ValueError, OverflowError, RecursionError, LookupError)


class StateCodec:
    """Encodes and decodes the states of one reducer: a class, an annotation such as
    `Map[str, Card]`, or a plain kind, of which the type does not say what is inside."""

    def __init__(self, state_type: Any) -> None:
        self._exact = _ExactCodec(classes_in(state_type))
        self._decode_typed = _typed_decoder(state_type)
        self._sureness = sureness_of(state_type)
        self._small: tuple[Any, bytes] = _NEVER, b""

    def encode(self, state: Any) -> bytes:
        """The snapshot bytes. Raises `ReducerError`, saying why, for a state that would not come
        back equal, made of the same kinds, and with the same JSON form."""
        return self.encode_after(state, None)[0]

    def encode_after(self, state: Any, known: Any) -> tuple[bytes, Any]:
        """(the same bytes, what is known by now), given what a call before came to know, or None.

        What is known of a state helps with those that came from it: what they share is not proven
        again, if nothing can change it in place. It holds that state. Raises as `encode`.
        """
        # Most parts of most states are those that no event has touched, one object for all keys.
        small, encoded_small = self._small
        if state is small:
            return encoded_small, None
        if self._decode_typed is not None:
            body = _encode_or_none(state)
            if body is not None:
                encoded = _TYPED + body
                sure = self._sureness(state, known)
                if sure == SURE_FOR_GOOD:
                    if len(body) <= _SMALL_BYTES_MAX:
                        self._small = state, encoded
                    return encoded, state if len(body) >= _LARGE_BYTES_MIN else None
                if sure or _gives_back(self._decode_typed, body, state):
                    return encoded, None
        return self._encode_exact(state), None

    def _encode_exact(self, state: Any) -> bytes:
        try:
            encoded = self._exact.encode(state)
        except _UNREADABLE as exc:
            raise ReducerError(f"it cannot be encoded ({_reason(exc)})") from None
        if not _gives_back(self._exact.decode, encoded, state):
            raise ReducerError("it would not come back equal")
        return _EXACT + encoded

    def decode(self, encoded: bytes) -> Any:
        """The state. Raises `ReducerError` for bytes of another shape."""
        way, body = encoded[:1], memoryview(encoded)[1:]
        try:
            if way == _TYPED and self._decode_typed is not None:
                return self._decode_typed(body)
            if way == _EXACT:
                return self._exact.decode(body)
        except _UNREADABLE as exc:
            raise ReducerError(f"it does not decode ({type(exc).__name__})") from None
        raise ReducerError("it does not decode (unknown format)")


class PartsCodec:
    """Encodes a combined state part by part, each with its own codec."""

    def __init__(self, state_class: type, parts: dict[str, StateCodec | PartsCodec]) -> None:
        self._state_class = state_class
        self._parts = parts

    def encode(self, state: Any) -> bytes:
        """See `StateCodec.encode`; the error names the part."""
        return self.encode_after(state, None)[0]

    def encode_after(self, state: Any, known: Any) -> tuple[bytes, Any]:
        """See `StateCodec.encode_after`; the error names the part."""
        encoded, learnt = {}, {}
        for field, codec in self._parts.items():
            of_part = None if known is None else known.get(field)
            try:
                encoded[field], of_part = codec.encode_after(getattr(state, field), of_part)
            except ReducerError as exc:
                raise ReducerError(f"{field}: {exc}") from None
            if of_part is not None:
                learnt[field] = of_part
        return _encode(encoded), learnt or None

    def decode(self, encoded: bytes) -> Any:
        """See `StateCodec.decode`."""
        try:
            parts = _decode_parts(encoded)
        except ValueError as exc:
            raise ReducerError(f"it does not decode ({type(exc).__name__})") from None
        if parts.keys() != self._parts.keys():
            raise ReducerError("it has other parts")
        return self._state_class(
            **{field: codec.decode(parts[field]) for field, codec in self._parts.items()}
        )


class _ExactCodec:
    """Everything with its own kind; only the classes that it was given can come out."""

    def __init__(self, classes: list[type]) -> None:
        self._classes = classes
        self._numbers = {cls: number for number, cls in enumerate(classes)}
        self.decode = msgspec.msgpack.Decoder(ext_hook=self._read).decode

    def encode(self, state: Any) -> bytes:
        return _encode(self._marked(state))

    def _marked(self, value: Any) -> Any:
        kind = type(value)
        if kind in self._numbers:
            return Ext(_OBJECT, _encode((self._numbers[kind], self._content(value))))
        if isinstance(value, msgspec.Struct) or is_model(type(value)):
            raise TypeError(f"the state's type does not name {kind.__name__}; give state_type")
        if kind in _DICTS:
            return {key: self._marked(item) for key, item in value.items()}
        if kind is Map:
            return Ext(_MAP, _encode({key: self._marked(item) for key, item in value.items()}))
        if kind in _LISTS:
            return [self._marked(item) for item in value]
        code = _CODES.get(kind)
        if code is not None:
            return Ext(code, _encode([self._marked(item) for item in value]))
        if isinstance(value, _PLAIN) and kind not in _PLAIN:
            # msgspec would write an enum's value, or a defaultdict as a dict.
            raise TypeError(f"a {kind.__name__} would come back as another kind")
        return value

    def _content(self, value: Any) -> Any:
        if isinstance(value, msgspec.Struct):
            return [self._marked(getattr(value, field)) for field in value.__struct_fields__]
        return value.value if isinstance(value, enum.Enum) else _dump(value)

    def _read(self, code: int, data: memoryview) -> Any:
        if code != _OBJECT:
            return _MAKERS[code](self.decode(data))
        number, content = self.decode(data)
        cls = self._classes[number]
        if issubclass(cls, msgspec.Struct):
            return cls(**dict(zip(cls.__struct_fields__, content, strict=True)))
        if is_model(cls):
            return cls.model_validate_json(content)
        return cls(content)


def _gives_back(decode: Callable[[bytes], Any], encoded: bytes, state: Any) -> bool:
    try:
        back = decode(encoded)
        return (
            bool(back == state)
            and _same_kinds(back, state)
            and state_hash(back) == state_hash(state)
        )
    except (*_UNREADABLE, ReducerError):
        return False


def _same_kinds(back: Any, state: Any) -> bool:
    """Whether two equal states are made of the same kinds throughout: neither `==` nor the JSON
    form tells a StrEnum from its text, or a Counter from a dict. An event's read-only dicts and
    lists are dicts and lists here: handlers change neither."""
    kind = type(state)
    if type(back) is not kind and _WRITABLE.get(kind) is not type(back):
        return False
    if kind in _PLAIN_VALUES:
        return True
    # The commonest first: to ask for a model, an abstract class, is slow.
    if isinstance(state, msgspec.Struct):
        return _all_same(_fields(back), _fields(state))
    if isinstance(state, dict):
        return _all_same(back, state) and _all_same(back.values(), state.values())
    if isinstance(state, (list, tuple)):
        return _all_same(back, state)
    if kind is Map:
        # Its order is that of hashes, and equal keys may stand in another one.
        names = {name: name for name in back}
        return all(
            _same_kinds(names[name], name) and _same_kinds(back[name], item)
            for name, item in state.items()
        )
    if isinstance(state, (set, frozenset)):
        names = {name: name for name in back}
        return all(_same_kinds(names[name], name) for name in state)
    if isinstance(state, (PersistentList, deque)):
        return _all_same(back, state)
    if is_model(type(state)) or is_dataclass(state):
        return _all_same(_fields(back), _fields(state))
    return True


def _all_same(back: Iterable[Any], state: Iterable[Any]) -> bool:
    for one, other in zip(back, state, strict=True):
        kind = type(other)
        # Most are plain: to ask that here halves the price.
        if not (type(one) is kind and kind in _PLAIN_VALUES) and not _same_kinds(one, other):
            return False
    return True


def _fields(value: Any) -> list[Any]:
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    if is_model(type(value)):
        # Not __dict__, where cached properties stand as well.
        found = [value.__dict__[name] for name in type(value).__pydantic_fields__]
        return [*found, value.__pydantic_extra__]
    return [getattr(value, field.name) for field in fields(value)]


def _encode_or_none(state: Any) -> bytes | None:
    try:
        return _encode(state)
    except _UNREADABLE:
        return None


def _hook(value: Any) -> Any:
    """What msgspec cannot write itself, for the typed way."""
    if isinstance(value, Map):
        return Ext(_MAP, _encode(dict(value))) if value else _EMPTY_MAP
    if isinstance(value, PersistentList):
        return Ext(_LIST, _encode(list(value))) if value else _EMPTY_LIST
    if is_model(type(value)):
        return Ext(_MODEL, _dump(value))
    raise TypeError(f"an object of type {type(value).__name__}")


def _dump(model: Any) -> bytes:
    text: str = model.model_dump_json(by_alias=True, round_trip=True, warnings="none")
    return text.encode()


def _typed_decoder(state_type: Any) -> Callable[[Any], Any] | None:
    try:
        decoder = msgspec.msgpack.Decoder(state_type, dec_hook=_typed, ext_hook=_read_extension)
    except (NameError, TypeError):
        # Such as a class inside a function whose annotations cannot be looked up.
        return None
    return decoder.decode


def _read_extension(code: int, data: memoryview) -> Any:
    return bytes(data) if code == _MODEL else _MAKERS[code](_decode_any(data))


def _typed(wanted: Any, value: Any) -> Any:
    """Gives what an extension held the classes that its annotation names."""
    kind = get_origin(wanted) or wanted
    of = get_args(wanted)
    if kind is Map and isinstance(value, Map):
        return Map(_convert(dict(value), dict.__class_getitem__(of))) if of else value
    if kind is PersistentList and isinstance(value, PersistentList):
        return PersistentList(_convert(list(value), list.__class_getitem__(of))) if of else value
    if is_model(kind) and isinstance(value, bytes):
        return kind.model_validate_json(value)
    raise TypeError(f"{kind.__name__} from {type(value).__name__}")


def _convert(value: Any, wanted: Any) -> Any:
    return msgspec.convert(value, wanted, dec_hook=_typed)


def _reason(exc: BaseException) -> str:
    # These messages name types and limits; those of other errors may hold values.
    return str(exc) if type(exc) in (TypeError, OverflowError) else type(exc).__name__


_MAKERS: dict[int, Callable[[Any], Any]] = {
    _MAP: Map,
    _LIST: PersistentList,
    _TUPLE: tuple,
    _SET: set,
    _FROZENSET: frozenset,
}
_CODES: dict[type, int] = {
    PersistentList: _LIST,
    tuple: _TUPLE,
    set: _SET,
    frozenset: _FROZENSET,
}

_DICTS = (dict, FrozenDict)
_LISTS = (list, FrozenList)
_WRITABLE: dict[type, type] = {FrozenDict: dict, FrozenList: list}
_PLAIN_VALUES = frozenset((str, int, float, bool, bytes, type(None)))
_PLAIN: tuple[type, ...] = (
    *(str, int, float, bool, bytes, bytearray),
    *(dict, list, tuple, set, frozenset, enum.Enum),
)
_encode = msgspec.msgpack.Encoder(enc_hook=_hook).encode
_EMPTY_MAP, _EMPTY_LIST = Ext(_MAP, _encode({})), Ext(_LIST, _encode([]))
_decode_any = msgspec.msgpack.Decoder(ext_hook=_read_extension).decode
_decode_parts = msgspec.msgpack.Decoder(dict[str, bytes]).decode
