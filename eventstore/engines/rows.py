"""Stored rows become events, and each is held against its hash on the way; for engines with rows.

A row has position, stream id, version, event id, type id, schema version, recorded_at,
occurred_at, actor, causation id, correlation id, derived_from, tags, context, payload format,
subject key id, payload and hash, in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from ..calls import Written
from ..envelope import envelope_tail
from ..errors import Corrupt
from ..events import RecordedEvent
from ..judge import StoredKey
from ..limits import PAGE_BYTES_MAX

Row = tuple[Any, ...]

PAYLOAD_COLUMN = 16
"""Where the payload stands in a row; its size bounds a page."""

CONTENT_HASH_BYTES = 16
"""Kept of a key's SHA-256: 128 bits tell contents apart, and a key's index row stays small."""

_encode = msgspec.json.Encoder().encode
_decode_call = msgspec.json.Decoder(tuple[list[str], list[tuple[int, int, int]]]).decode
_decode_names = msgspec.json.Decoder(tuple[str, ...]).decode
_names: dict[str, tuple[str, ...]] = {}
_NAMES_MAX = 10_000
"""Distinct tag lists remembered decoded: most events of a log share a few."""


def envelope_of(row: Row, stream: str, event_type: str) -> bytes:
    """The part of a stored row's envelope that its writer knew before the commit."""
    return envelope_tail(
        row[3],
        stream,
        event_type,
        row[5],
        row[7],
        row[8],
        row[9],
        row[10],
        row[11],
        row[12],
        row[13],
        row[14],
        row[15],
    )


def hashes_wanted(rows: Sequence[Row]) -> list[int]:
    """The positions whose hashes `to_events` needs: those before each row that does not follow
    the row above it. 0 is before the first event of all."""
    wanted = []
    last = -1
    for row in rows:
        position = row[0]
        if position != last + 1:
            wanted.append(position - 1)
        last = position
    return wanted


def to_events(
    rows: Sequence[Row],
    streams: dict[int, str],
    types: dict[int, str],
    hashes: dict[int, bytes],
) -> list[RecordedEvent]:
    """The events of rows of `EVENT_COLUMNS`, in their order, each checked against its hash.

    `hashes` has the hashes at the positions that `hashes_wanted` names. Raises `Corrupt`, naming
    stream, version and position.
    """
    events: list[RecordedEvent] = []
    add, last, before = events.append, -1, b""
    for row in rows:
        (
            position, stream_id, version, event_id, type_id, schema_version, recorded_us,
            occurred_us, actor, causation_id, correlation_id, derived, tags, context,
            payload_format, subject_key_id, payload, digest,
        ) = row  # fmt: skip
        try:
            stream, event_type = streams[stream_id], types[type_id]
            if position != last + 1:
                before = hashes[position - 1]
            # The same bytes as `chain` covers: its three numbers stand in front of the rest.
            envelope = _encode(
                (
                    position, version, recorded_us, event_id, stream, event_type, schema_version,
                    occurred_us, actor, causation_id, correlation_id, derived, tags, context,
                    payload_format, subject_key_id,
                )
            )  # fmt: skip
            found = sha256(before + envelope + payload).digest()
        except (KeyError, TypeError, ValueError) as exc:
            raise _damaged(row, streams) from exc
        if found != digest:
            raise _damaged(row, streams)
        last, before = position, digest
        add(
            RecordedEvent(
                position, stream, version, event_id, event_type, schema_version, payload,
                recorded_us, occurred_us, actor, causation_id, correlation_id,
                () if derived is None else _decode_names(derived),
                () if tags is None else (_names.get(tags) or _remember(tags)),
                context,
            )
        )  # fmt: skip
    return events


def check_consecutive(rows: Sequence[Row], after: int, last: int) -> None:
    """Raises `Corrupt` unless the rows' positions are after + 1, after + 2, ... , last."""
    expected = list(range(after + 1, last + 1))
    found = [row[0] for row in rows]
    if found != expected:
        missing = _first_difference(found, expected)
        raise Corrupt(f"position {missing} is missing from the log", kind="gap", position=missing)


def check_versions(rows: Sequence[Row], stream: str, first: int, step: int) -> None:
    """Raises `Corrupt` unless the rows' versions are first, first + step, first + 2 step, ..."""
    expected = list(range(first, first + step * len(rows), step))
    found = [row[2] for row in rows]
    if found != expected:
        missing = _first_difference(found, expected)
        raise Corrupt(
            f"stream {stream!r}: version {missing} is missing",
            kind="gap",
            stream=stream,
            version=missing,
        )


def check_stream_rows(
    rows: Sequence[Row],
    stream: str,
    version: int,
    after: int,
    limit: int,
    backwards: bool,
    low: int = 0,
) -> None:
    """Raises `Corrupt` where the rows of a stream at `version` are not the ones that must come.
    Its own versions begin behind `low`."""
    if not rows and (after > low + 1 if backwards else after < version):
        raise Corrupt(
            f"stream {stream!r}: its head says version {version}, an event is missing",
            kind="gap",
            stream=stream,
            version=min(after, version + 1) - 1 if backwards else after + 1,
        )
    if rows and backwards:
        last = max(version, rows[0][2])  # it may have grown between the two queries
        check_versions(rows, stream, min(after - 1, last), -1)
    elif rows:
        check_versions(rows, stream, after + 1, 1)
    if rows and len(rows) < limit and not is_full(rows):
        missing = rows[-1][2] - 1 if backwards else rows[-1][2] + 1
        if low < missing <= version:
            raise Corrupt(
                f"stream {stream!r}: version {missing} is missing",
                kind="gap",
                stream=stream,
                version=missing,
            )


def is_full(rows: Sequence[Row]) -> bool:
    """Whether a page of rows was ended by its bytes of payload."""
    payloads = [row[PAYLOAD_COLUMN] for row in rows]
    # What is no bytes is damage, and told by the event's hash.
    return sum([len(payload) for payload in payloads if type(payload) is bytes]) > PAGE_BYTES_MAX


def stored_key(
    scope: str,
    row: tuple[bytes, int, int, str | None],
    event: tuple[int, int] | None,
) -> StoredKey:
    """A key's row, and its first event's version and recorded_at, as the judge takes them."""
    content, first, count, detail = row
    if event is None:
        raise Corrupt(
            f"position {first}: a key stands for an event that is missing",
            kind="gap",
            position=first,
        )
    version, recorded_us = event
    if detail is None:
        return StoredKey(content, Written([(version, first, count)], recorded_us), (scope,))
    streams, rows = _decode_call(detail)
    return StoredKey(content, Written(rows, recorded_us), tuple(streams))


def prefix_end(prefix: str) -> str | None:
    """The first text, by bytes, behind all that begin with `prefix`; None where there is none.

    UTF-8 sorts as code points do, so the last character that can be raised is raised.
    """
    for index in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[index])
        if code < 0x10FFFF:
            after = 0xE000 if code + 1 == 0xD800 else code + 1
            return prefix[:index] + chr(after)
    return None


def _first_difference(found: list[int], expected: list[int]) -> int:
    pairs = zip(found, expected, strict=False)
    return next((b for a, b in pairs if a != b), expected[min(len(found), len(expected) - 1)])


def _remember(tags: str) -> tuple[str, ...]:
    if len(_names) >= _NAMES_MAX:
        _names.clear()
    found = _names[tags] = _decode_names(tags)
    return found


def _damaged(row: Row, streams: dict[int, str]) -> Corrupt:
    stream = streams.get(row[1])
    if stream is not None:
        # Odd bytes of a name that is not UTF-8 stand in it as surrogates, which cannot be printed.
        stream = stream.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return Corrupt(
        f"stream {stream!r} version {row[2]} (position {row[0]}): stored bytes do not match their"
        " hash",
        kind="hash",
        position=row[0],
        stream=stream,
        version=row[2],
    )
