"""What a row of a vector view holds, as a projection gives it and as it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from eventstore import InvalidEvent
from eventstore.canonical import decode_mutable, encodable, encode
from eventstore.points import from_microseconds, to_microseconds

from ..errors import ProjectionError
from ..projection import Key, key_of_text, key_text
from ..sinks import Change

TEXT_BYTES_MAX = 1_048_576
"""One row's text. An embedder reads its beginning (see `projections.embedding`), words are looked
for in all of it; a book belongs into many rows."""

METADATA_BYTES_MAX = 262_144
"""The further fields of a row: they come back with every row that is found."""

KEY_BYTES_MAX = 1_024
"""UTF-8 bytes of a row's key: PostgreSQL's index entries end at about 2,700."""

_OWN = ("text", "user", "type", "time")


class Memory(msgspec.Struct, frozen=True):
    """A row's columns; `metadata` is canonical JSON of the further fields."""

    key: str
    is_json: bool
    text: str
    user: str | None
    type: str | None
    time_us: int | None
    metadata: str


def memory_of(view: str, change: Change) -> Memory:
    """The columns of a change. Raises `ProjectionError`, which names view and key and never the
    text."""
    key = key_text(change.key)
    where = f"view {view!r}, key {key[:100]!r}"
    why = _wrong_key(key)
    if why is not None:
        raise ProjectionError(f"{where}: {why}")
    value = change.value
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise ProjectionError(f"{where}: a row is a dict with a text")
    text: str = value["text"]
    user, kind, time = [value.get(name) for name in _OWN[1:]]
    for name, each in (("user", user), ("type", kind)):
        if each is not None and not isinstance(each, str):
            raise ProjectionError(f"{where}: {name} is a text or None")
    if not all(each is None or encodable(each) for each in (text, user, kind)):
        raise ProjectionError(f"{where}: a text holds a lone surrogate")
    if len(text.encode()) > TEXT_BYTES_MAX:
        raise ProjectionError(f"{where}: a text of more than {TEXT_BYTES_MAX} bytes")
    if time is not None and (not isinstance(time, datetime) or time.tzinfo is None):
        raise ProjectionError(f"{where}: time is an aware datetime or None")
    further = {name: each for name, each in value.items() if name not in _OWN}
    try:
        time_us = None if time is None else to_microseconds(time, "time")
        metadata = encode(further, "value", METADATA_BYTES_MAX).decode()
    except InvalidEvent as refused:
        raise ProjectionError(f"{where}: {refused}") from None
    return Memory(key, key != change.key, text, user, kind, time_us, metadata)


def value_of(
    text: str, user: str | None, type: str | None, time_us: int | None, metadata: str
) -> dict[str, Any]:
    """The value that the columns were made of; what was not said of it is None."""
    time = None if time_us is None else from_microseconds(time_us)
    further: dict[str, Any] = decode_mutable(metadata.encode())
    return {"text": text, "user": user, "type": type, "time": time, **further}


def key_of(text: str, is_json: bool) -> Key:
    """The key that a projection gave."""
    return key_of_text(text) if is_json else text


def askable_keys(keys: Sequence[Key]) -> dict[str, Key]:
    """The texts of the keys that may have a row, each with the key that was asked for."""
    texts = {key_text(key): key for key in keys}
    return {text: key for text, key in texts.items() if _wrong_key(text) is None}


def _wrong_key(text: str) -> str | None:
    if not encodable(text):
        return "a key is Unicode text without lone surrogates"
    size = len(text.encode())
    if not 0 < size <= KEY_BYTES_MAX:
        return f"{size} bytes, a key has 1 to {KEY_BYTES_MAX}"
    # PostgreSQL holds no NUL in a text.
    return "a key holds no NUL" if "\0" in text else None
