"""Rows become events, and each is held against its hash on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from ...envelope import envelope_tail
from ...errors import Corrupt
from ...events import RecordedEvent

Row = tuple[Any, ...]
_encode = msgspec.json.Encoder().encode
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


def prefetch_names(
    fetch: Callable[[str, tuple[str]], list[Row]],
    rows: Sequence[Row],
    streams: dict[int, str],
    types: dict[int, str],
) -> None:
    """Puts the names of the rows' streams and types, where they are missing, into the dicts."""
    from . import statements as sql

    for query, ids, known in (
        (sql.NAMES_OF_STREAMS, {row[1] for row in rows}, streams),
        (sql.NAMES_OF_TYPES, {row[4] for row in rows}, types),
    ):
        missing = [i for i in ids if i not in known]
        if missing:
            known.update(fetch(query, (_encode(missing).decode(),)))


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
