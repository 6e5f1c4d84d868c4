"""The JSON form of a state, and its canonical hash.

Structs and pydantic models become objects of their fields, maps objects, tuples and persistent
lists arrays, sets sorted arrays; what msgspec or pydantic writes as a string (dates, enums,
UUIDs, decimals) is that string. Diffs and hashes speak about this form.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Collection, Iterable
from hashlib import sha256
from typing import Any

import msgspec
from immutables import Map

from eventstore.limits import SNAPSHOT_BYTES_MAX
from eventstore.models import is_model

from .errors import ReducerError
from .persistent import PersistentList

MISSING: Any = msgspec.UNSET
"""What stands for a member that is not there."""


def to_json(state: Any) -> Any:
    """The state as fresh plain data: dict, list, str, int, float, bool and None.

    NaN and the infinities, which JSON lacks, become None; keys become strings, as numbers, dates
    and enums can. Raises `ReducerError` for objects without a JSON form, for keys without one (a
    tuple), and for integers beyond 64 bits.
    """
    return _decode(canonical_json(state))


def state_hash(state: Any) -> str:
    """64 hex digits that are equal exactly when the JSON forms are.

    The order of keys, the process's hash seed and the kind of container make no difference; the
    type of a number does (1, 1.0 and true differ). It is the SHA-256 of UTF-8 JSON without spaces,
    keys sorted by code point. Raises as `to_json` does.
    """
    return sha256(canonical_json(state)).hexdigest()


def bounded_hash(value: Any) -> str:
    """As `state_hash`, also for a value that nobody has looked at: one that shares its parts
    without end (a list that holds another one twice, which holds a third one twice) is small in
    memory, and its JSON form would never end.

    Raises `ReducerError` too where the form would take more bytes than a snapshot may.
    """
    try:
        size = _bytes_at_least(value, {})
    except RecursionError:
        size = SNAPSHOT_BYTES_MAX + 1  # a ring, or too deep for the encoder as well
    if size > SNAPSHOT_BYTES_MAX:
        raise ReducerError(f"a {type(value).__name__} of more than {SNAPSHOT_BYTES_MAX} bytes")
    return state_hash(value)


def _bytes_at_least(value: Any, known: dict[int, int]) -> int:
    """Characters and commas of the JSON form, looking at each part once: they are known by their
    identity, because all of them are held by the value."""
    if type(value) is str:
        return len(value)
    parts = _parts(value)
    if parts is None:
        return 1
    size = len(parts) + 1
    for part in parts:
        size += known.get(id(part)) or _bytes_at_least(part, known)
    known[id(value)] = size
    return size


def _parts(value: Any) -> Collection[Any] | None:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, Map):
        return list(value.values())
    if isinstance(value, (list, tuple, set, frozenset, deque, PersistentList)):
        return value
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.astuple(value)
    if is_model(type(value)):
        return list(value.__dict__.values())
    if isinstance(value, type):
        return None  # a class has the marks of its instances
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    if hasattr(type(value), "__attrs_attrs__"):
        return [getattr(value, field.name, None) for field in type(value).__attrs_attrs__]
    return None


def canonical_json(state: Any) -> bytes:
    """The bytes that are hashed."""
    try:
        try:
            return _encode(state)
        except TypeError:
            # msgspec sorts only objects whose keys are all strings.
            return _encode(_with_text_keys(state))
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        kind = type(state).__name__
        raise ReducerError(f"a state of type {kind} has no JSON form: {_reason(exc)}") from None


def packed(value: Any) -> bytes:
    """Bytes that tell what a value was from what it became, for as long as this process runs:
    nothing is sorted, which costs a third. Raises as `to_json` does."""
    try:
        return _pack(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return canonical_json(value)


def members(value: Any) -> dict[str, Any] | None:
    """The members of what is an object in JSON, as they are; None for anything else. Not to be
    changed: it may be the state's own dict."""
    if isinstance(value, (dict, Map)):
        if set(map(type, value)) <= _TEXT:
            # A Map gives names and values much faster one after the other than as pairs.
            return value if type(value) is dict else dict(zip(value, value.values(), strict=True))
        return {k if type(k) is str else key_text(k): item for k, item in value.items()}
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        if config.array_like:
            return None
        if config.omit_defaults:
            # Which fields msgspec leaves out depends on identities; only its own answer is exact.
            kept = _decode(_encode_any(value))
        else:
            kept = None
        found = {} if config.tag_field is None else {config.tag_field: config.tag}
        names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        for field, name in names:
            item = getattr(value, field)
            if item is not msgspec.UNSET and (kept is None or name in kept):
                found[name] = item
        return found
    if is_model(type(value)):
        # Not __dict__, where cached properties stand as well.
        fields = type(value).__pydantic_fields__
        return {
            **{name: value.__dict__[name] for name in fields},
            **(value.__pydantic_extra__ or {}),
        }
    return None


def items(value: Any) -> Iterable[Any] | None:
    """The items of what is an array in JSON and has an order; None for anything else."""
    if isinstance(value, (list, tuple, PersistentList)):
        return value
    if isinstance(value, msgspec.Struct) and value.__struct_config__.array_like:
        tag = value.__struct_config__.tag
        fields = [getattr(value, field) for field in value.__struct_fields__]
        return fields if tag is None else [tag, *fields]
    return None


def key_text(key: Any) -> str:
    """A key as JSON has it. Raises `ReducerError` for what cannot be one."""
    if isinstance(key, str):
        return str.__str__(key)
    try:
        (text,) = _decode(_encode_key({key: None}))
    except (TypeError, ValueError, OverflowError):
        raise ReducerError(
            f"a key of type {type(key).__name__} has no JSON form, in which keys are strings:"
            " make one string of it, or nest dicts"
        ) from None
    return str(text)


def _hook(value: Any) -> Any:
    if isinstance(value, Map):
        return dict(value)
    if isinstance(value, PersistentList):
        return list(value)
    if is_model(type(value)):
        return members(value)
    from pydantic_core import PydanticSerializationError, to_jsonable_python  # for few states

    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        raise TypeError(f"an object of type {type(value).__name__}") from None


def _with_text_keys(value: Any) -> Any:
    """The same with every key a string. It is slow, and needed for few states."""
    found = members(value)
    if found is not None:
        return {key: _with_text_keys(item) for key, item in found.items()}
    each = items(value)
    if each is not None:
        return [_with_text_keys(item) for item in each]
    return value


def _reason(exc: Exception) -> str:
    # The messages of msgspec name types and limits; of others only the class is safe to show.
    return str(exc) if type(exc) in (TypeError, OverflowError) else type(exc).__name__


_TEXT = {str}
_encode = msgspec.json.Encoder(order="sorted", enc_hook=_hook).encode
_encode_key = msgspec.json.Encoder().encode
_encode_any = msgspec.json.Encoder(enc_hook=_hook).encode
_pack = msgspec.msgpack.Encoder(enc_hook=_hook).encode
_decode = msgspec.json.Decoder().decode
