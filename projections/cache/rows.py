"""What both caches hold: keys as texts, values as canonical JSON, and until when a row is good."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore import InvalidEvent
from eventstore.canonical import encode

from ..errors import ProjectionError
from ..projection import Key, key_text
from ..sinks import Change

KEY_BYTES_MAX = 1_024
"""UTF-8 bytes of a row's key: PostgreSQL's index entries end at about 2,700."""

VALUE_BYTES_MAX = 8 * 1024 * 1024
"""One value: as much as one event's payload. A longer one would hold Redis up for all others."""


def stored_key(view: str, key: Key) -> str:
    """The key's text. Raises `ProjectionError` for one that a cache cannot hold."""
    text = key_text(key)
    why = _wrong_with(text)
    if why is not None:
        raise ProjectionError(f"view {view!r}, key {text[:100]!r}: {why}")
    return text


def askable_keys(keys: Sequence[Key]) -> dict[str, Key]:
    """The texts of the keys that may have a row, each with the key that was asked for."""
    texts = {key_text(key): key for key in keys}
    return {text: key for text, key in texts.items() if _wrong_with(text) is None}


def encode_value(view: str, change: Change) -> bytes:
    """The canonical JSON of a row's value. Raises `ProjectionError`, which names view and key and
    never the value."""
    try:
        return encode(change.value, "value", VALUE_BYTES_MAX)
    except InvalidEvent as refused:
        key = key_text(change.key)
        raise ProjectionError(f"view {view!r}, key {key[:100]!r}: {refused}") from None


def expires_us(change: Change, expire_us: int | None) -> int | None:
    """Until when the row is served: from when its event was recorded, whenever it is written."""
    return None if expire_us is None else change.recorded_us + expire_us


def _wrong_with(text: str) -> str | None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "a key is Unicode text without lone surrogates"
    if not 0 < size <= KEY_BYTES_MAX:
        return f"{size} bytes, a key has 1 to {KEY_BYTES_MAX}"
    # PostgreSQL holds no NUL in a text.
    return "a key holds no NUL" if "\0" in text else None
