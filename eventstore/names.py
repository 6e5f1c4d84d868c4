"""What a name may be: streams, types, tags, keys, actors, tenants and ids share one rule."""

from __future__ import annotations

import unicodedata

from .errors import InvalidEvent
from .limits import NAME_BYTES_MAX


def check_name(kind: str, value: object) -> str:
    """Returns `value` when it is a usable name of this `kind`, which errors mention.

    A name is a `str` of 1 to 200 UTF-8 bytes, in Unicode normal form C, without control
    characters, lone surrogates or a leading ``$`` (the store's own). Raises `InvalidEvent`.
    """
    if (
        type(value) is str
        and 0 < len(value) <= NAME_BYTES_MAX
        and value.isascii()
        and value.isprintable()
        and value[0] != "$"
    ):
        return value
    return _check_slowly(kind, value)


def _check_slowly(kind: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidEvent(f"{kind}: a name is a str, not {type(value).__name__}")
    try:
        size_bytes = len(value.encode())
    except UnicodeEncodeError as exc:
        raise InvalidEvent(f"{kind}: lone surrogate at character {exc.start}") from None
    if not 0 < size_bytes <= NAME_BYTES_MAX:
        raise InvalidEvent(f"{kind}: {size_bytes} bytes, a name has 1 to {NAME_BYTES_MAX}")
    for index, char in enumerate(value):
        if unicodedata.category(char) in ("Cc", "Zl", "Zp"):
            raise InvalidEvent(f"{kind}: control character U+{ord(char):04X} at {index}")
    if not unicodedata.is_normalized("NFC", value):
        raise InvalidEvent(f"{kind}: not in Unicode normal form C")
    if value.startswith("$"):
        raise InvalidEvent(f"{kind}: a leading '$' is the store's own")
    # Not str(): a str-mixed enum's str() is its member's name.
    return str.__str__(value)
