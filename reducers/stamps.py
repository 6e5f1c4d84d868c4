"""What a snapshot says of itself, in front of its bytes: which version of the reducer made it, and
the state's canonical hash.

The hash speaks of the state and not of its encoding, so it can be compared by code that could not
read the state any more. Snapshots of earlier programs bear no stamp; they are read all the same.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from .json_form import state_hash

_MARK = b"h"
"""No encoding begins so: they begin with t, x, or as a map of MessagePack does."""

_FORM = struct.Struct(">cQ32s")


class Stamp(msgspec.Struct, frozen=True):
    """The `version` of the reducer that kept a state, and the `state_hash` of that state."""

    version: int
    state_hash: str


def stamped(version: int, state: Any, encoded: bytes) -> bytes:
    """The bytes that are kept. Raises `ReducerError` for a state without a JSON form."""
    number = min(version, 2**64 - 1)
    return _FORM.pack(_MARK, number, bytes.fromhex(state_hash(state))) + encoded


def unstamped(kept: bytes) -> tuple[Stamp | None, bytes]:
    """(the stamp, None where there is none; the encoded state)."""
    if kept[:1] != _MARK or len(kept) < _FORM.size:
        return None, kept
    _, version, digest = _FORM.unpack_from(kept)
    return Stamp(version, digest.hex()), kept[_FORM.size :]
