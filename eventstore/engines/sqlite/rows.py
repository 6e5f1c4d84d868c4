"""Rows become events, and each is held against its hash on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from ...envelope import GENESIS, envelope_tail
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


def to_events(
    rows: Sequence[Row],
    streams: dict[int, str],
    types: dict[int, str],
    previous: bytes | None,
) -> list[RecordedEvent]:
    """The events of rows of `EVENT_COLUMNS`, in their order, each checked against its hash.

    `previous` is the hash before the first row when the rows are consecutive positions; None when
    each row ends with the hash before it. Raises `Corrupt`, naming stream, version and position.
    """
    events: list[RecordedEvent] = []
    add = events.append
    for row in rows:
        (
            position,
            stream_id,
            version,
            event_id,
            type_id,
            schema_version,
            recorded_us,
            occurred_us,
            actor,
            causation_id,
            correlation_id,
            derived,
            tags,
            context,
            payload_format,
            subject_key_id,
            payload,
            digest,
        ) = row[:18]
        try:
            stream, event_type = streams[stream_id], types[type_id]
            before = previous if previous is not None else (row[18] or GENESIS)
            tail = _encode(
                (
                    event_id,
                    stream,
                    event_type,
                    schema_version,
                    occurred_us,
                    actor,
                    causation_id,
                    correlation_id,
                    derived,
                    tags,
                    context,
                    payload_format,
                    subject_key_id,
                )
            )
            found = sha256(
                b"%b[%d,%d,%d,%b%b" % (before, position, version, recorded_us, tail[1:], payload)
            ).digest()
        except (KeyError, TypeError, ValueError) as exc:
            raise _damaged(row, streams) from exc
        if found != digest:
            raise _damaged(row, streams)
        if previous is not None:
            previous = digest
        add(
            RecordedEvent(
                position,
                stream,
                version,
                event_id,
                event_type,
                schema_version,
                payload,
                recorded_us,
                occurred_us,
                actor,
                causation_id,
                correlation_id,
                () if derived is None else _decode_names(derived),
                () if tags is None else (_names.get(tags) or _remember(tags)),
                context,
            )
        )
    return events


def check_consecutive(rows: Sequence[Row], after: int, last: int) -> None:
    """Raises `Corrupt` unless the rows' positions are after + 1, after + 2, ... , last."""
    expected = after
    for row in rows:
        expected += 1
        if row[0] != expected:
            raise Corrupt(
                f"position {expected} is missing from the log", kind="gap", position=expected
            )
    if expected != last:
        raise Corrupt(f"position {expected + 1} is missing", kind="gap", position=expected + 1)


def check_versions(rows: Sequence[Row], stream: str, first: int, step: int) -> None:
    """Raises `Corrupt` unless the rows' versions are first, first + step, first + 2 step, ..."""
    expected = first
    for row in rows:
        if row[2] != expected:
            raise Corrupt(
                f"stream {stream!r}: version {expected} is missing",
                kind="gap",
                stream=stream,
                version=expected,
            )
        expected += step


def _remember(tags: str) -> tuple[str, ...]:
    if len(_names) >= _NAMES_MAX:
        _names.clear()
    found = _names[tags] = _decode_names(tags)
    return found


def _damaged(row: Row, streams: dict[int, str]) -> Corrupt:
    stream = streams.get(row[1])
    return Corrupt(
        f"stream {stream!r} version {row[2]} (position {row[0]}): stored bytes do not match their"
        " hash",
        kind="hash",
        position=row[0],
        stream=stream,
        version=row[2],
    )
