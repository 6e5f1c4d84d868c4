"""One source record: from its exact bytes to a JSON value, or to the reason why not.

Three outcomes. Parsed: the store can hold it as JSON and give it back equal. Refused: it is JSON,
but something in it would not come back (a key twice, NaN, a lone surrogate, a huge integer, too
deep, too large); its bytes are kept instead. Broken: it is no JSON at all.

`msgspec` does the parsing because it is ten times as fast as `json`, and it is asked again only
where it may have been too lenient (a repeated key) or too strict (what only `json` reads).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from eventstore import InvalidEvent, NewEvent, canonical

from .splitting import is_closed

Json = Any

_decode = msgspec.json.Decoder().decode
encode_sorted = msgspec.json.Encoder(order="sorted").encode
"""One record's canonical bytes: equal bytes mean equal JSON, 1 and 1.0 and true being three."""

_encode = msgspec.json.Encoder().encode

_SHAPE = bytes.maketrans(b"123456789{", b"000000000[")
"""Every digit becomes 0 and every opening bracket the same one, so that one count finds all
brackets, and a plain search, in a tenth of the time of a regular expression, all long numbers."""

_LONG_NUMBER = b"0" * 19
"""Nineteen digits are the fewest that an integer beyond signed 64 bits has."""

_LONG_INTEGER = re.compile(rb"(?:^|[:,\[])-?[0-9]{19}")
"""Where an integer may stand in compact JSON: not behind a decimal point, as most long ones do."""

_TOO_DEEP = "deeper than 100 levels"
"""What the door says as well. How deep the parser itself can go hangs on the Python, and what is
written into the log must not."""

_BRACKETS_SURE = 80
"""A record with fewer brackets than this cannot be too deep: the door allows 100 levels, and an
event puts at most ten around a record."""

_BYTES_SURE = 1024 * 1024
"""A record below this cannot become too large an event: canonical bytes are at most five times
the source's (``1e15`` becomes ``1000000000000000.0``), and the door allows 8 MiB."""


class Parsed(msgspec.Struct, gc=False):
    """A record as JSON. `doubtful`: the door has to be asked about the events made of it."""

    value: Json
    doubtful: bool

    @property
    def canonical(self) -> bytes:
        """The record's canonical bytes."""
        return encode_sorted(self.value)


class Refused(msgspec.Struct, gc=False):
    """A record that is JSON and cannot be stored as such; the reason names no content."""

    reason: str


class Broken(msgspec.Struct, gc=False):
    """Bytes that are no JSON; the reason names no content."""

    reason: str


def parse_record(raw: bytes) -> Parsed | Refused | Broken:
    """What the bytes of one record are. Nothing is raised for any bytes."""
    try:
        value = _decode(raw)
        compact = _encode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return _parse_leniently(raw)
    # Every key and every text has two quotes, and the encoder escapes a quote as the source does:
    # the counts differ when a repeated key was dropped, or when a quote was written as \u0022.
    if raw.count(b'"') != compact.count(b'"') or b"\\u0022" in raw:
        reason = _why_not(raw)
        if reason is not None:
            return Refused(reason)
    shape = compact.translate(_SHAPE)
    doubtful = (
        shape.count(b"[") > _BRACKETS_SURE
        or len(raw) > _BYTES_SURE
        or (_LONG_NUMBER in shape and _LONG_INTEGER.search(compact) is not None)
    )
    return Parsed(value, doubtful)


def refusal(events: Sequence[NewEvent]) -> str | None:
    """Why the store's door refuses one of these events, or None. Only their data can be at
    fault, because a mapper makes the rest."""
    for event in events:
        try:
            canonical.encode(event.data, "$")
        except InvalidEvent as exc:
            # The path may hold a key of the source; what follows it is the store's own words.
            return str(exc).rsplit(": ", 1)[-1]
        except RecursionError:
            return _TOO_DEEP
    return None


def _parse_leniently(raw: bytes) -> Refused | Broken:
    try:
        text = raw.decode()
    except UnicodeDecodeError as exc:
        return Broken(f"not UTF-8 at byte {exc.start + 1}")
    try:
        reason = _why_not(text)
    except json.JSONDecodeError as exc:
        return Broken(f"no JSON: {exc.msg} at column {exc.colno}")
    except RecursionError:
        return Refused(_TOO_DEEP) if is_closed(raw) else Broken("no JSON: a bracket is not closed")
    except ValueError:
        return Refused("an integer with too many digits")
    return Refused(reason or "not readable without loss")


def _why_not(raw: bytes | str) -> str | None:
    """What in this JSON would not come back from the store; None when nothing was found.

    Raises `json.JSONDecodeError` for what is no JSON, `RecursionError` for what is too deep.
    """
    lost: list[str] = []

    def once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(pairs)
        if len(found) < len(pairs):
            lost.append("an object has a key twice")
        return found

    def no_number(name: str) -> None:
        lost.append(f"{name} is no JSON number")

    # It is read to its end, because what follows may be no JSON at all.
    value = json.loads(raw, object_pairs_hook=once, parse_constant=no_number)
    if lost:
        return lost[0]
    try:
        canonical.encode(value, "$")
    except InvalidEvent as exc:
        return str(exc).rsplit(": ", 1)[-1]
    return None
