"""Calls become the arguments of one batch, and its answer their outcomes.

`append_batch.sql` says what each argument means. What a whole batch shares (names of streams,
types and tags) is sent once, and a column that no event has is sent as NULL.

Lists of names and of numbers go as one text each, which the server takes apart: the driver looks
at each element of a list three times in Python, the server does it once in C. Names hold no line
breaks, nor does JSON; an empty line stands for NULL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...calls import CALL_SCOPE, Call, Outcome, Prepared, Refused, Written
from ...limits import INTEGER_MAX
from ...points import Expected
from ..rows import CONTENT_HASH_BYTES

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_EXPECTED = {Expected.ANY: -1, Expected.NO_STREAM: -2, Expected.STREAM_EXISTS: -3}
_SEES_BATCH = 1
_HAS_GIVEN_IDS = 2
_WRITTEN, _STOOD, _CONFLICT, _CONDITION, _MISMATCH, _ID, _NO_PARENT = range(7)

NO_PARENT = (0, 0, None, [_NO_PARENT], ["[]"], [None], [None], None)
"""What `append_batch` would answer for a fork whose parent lacks the version, if it knew of it."""


def arguments_of(
    calls: Sequence[Call],
    attempt: str,
    superseded: Sequence[str],
    now_us: int,
    check: bool,
    columns: Columns | None = None,
    stream_ids: Sequence[int] | None = None,
) -> list[Any]:
    """The arguments of `append_batch` for calls of one tenant, in queue order.

    `attempt` names this sending; `superseded` those before it whose end is not known. With
    `check`, the heads of the batch's streams are compared with their events. `columns` is what
    `columns_of` gave for these calls, if it was asked before; `stream_ids` are those of
    `columns.streams`, if all are known.
    """
    columns = columns or columns_of(calls)
    ids = _numbers(stream_ids) if stream_ids and columns.moves else None
    sending = [calls[0].tenant, attempt, superseded or None, now_us, check, ids]
    return [*sending, *columns.values]


class Columns(msgspec.Struct, gc=False):
    """Those of the arguments that are the same in each sending, as long as no more ids of events
    count as given."""

    values: list[Any]
    streams: dict[str, int]  # by name, with its events in the batch
    moves: bool
    """Nothing is asked of the log, and each stream gets events: versions need no look before."""


def columns_of(calls: Sequence[Call]) -> Columns:
    """Lays out a batch."""
    batch = _lay_out(calls)
    flags = _flags(calls)
    is_plain = not any(flag & _SEES_BATCH for flag in flags) and all(
        call.key is None or call.key_scope != CALL_SCOPE for call in calls
    )
    expects = any(part.expected is not Expected.ANY for call in calls for part in call.appends)
    values = [
        is_plain,
        expects,
        _numbers(batch.counts),
        _numbers(batch.part_offsets),
        _numbers(batch.event_offsets),
        "\n".join(batch.streams),
        *_names_of(batch.events),
        _numbers([len(call.appends) for call in calls]),
        _numbers([call.event_count for call in calls]),
        _numbers(flags),
        *_keys_of(calls, batch.streams),
        _numbers(batch.firsts),
        *_columns_of_parts(batch.parts),
        _numbers(batch.event_streams),
        *_columns_of(batch.events),
        _given(calls),
        *_tags_of(batch.events),
        *_causes_of(batch.events),
    ]
    asks_nothing = not expects and not any(call.key is not None or call.given_ids for call in calls)
    moves = is_plain and asks_nothing and 0 not in batch.counts
    return Columns(values, dict(zip(batch.streams, batch.counts, strict=True)), moves)


class _Batch(msgspec.Struct, gc=False):
    """Calls one behind the other: parts and events in order, streams by their first use."""

    streams: dict[str, int] = {}
    counts: list[int] = []  # events of each stream
    firsts: list[int | None] = []  # of each call, its first event
    parts: list[tuple[int, int, int, int, str | None]] = []
    part_offsets: list[int] = []  # events of the same stream that stand before it
    events: list[Prepared] = []
    event_streams: list[int] = []
    event_offsets: list[int] = []


def _lay_out(calls: Sequence[Call]) -> _Batch:
    batch = _Batch()
    streams, counts, events = batch.streams, batch.counts, batch.events
    for call in calls:
        batch.firsts.append(len(events) + 1 if call.event_count else None)
        for part in call.appends:
            stream = streams.get(part.stream)
            if stream is None:
                stream = streams[part.stream] = len(streams) + 1
                counts.append(0)
            offset, count = counts[stream - 1], len(part.events)
            counts[stream - 1] = offset + count
            batch.part_offsets.append(offset)
            queries = None
            if part.queries:
                queries = _encode([(query.types, query.tags) for query in part.queries]).decode()
            expected = part.expected
            wanted = expected if isinstance(expected, int) else _EXPECTED[expected]
            batch.parts.append(
                (stream, min(wanted, INTEGER_MAX), count, min(part.after, INTEGER_MAX), queries)
            )
            if count == 1:
                events.append(part.events[0])
                batch.event_streams.append(stream)
                batch.event_offsets.append(offset + 1)
            elif count:
                events += part.events
                batch.event_streams += [stream] * count
                batch.event_offsets += range(offset + 1, offset + count + 1)
    return batch


def is_refused(answer: Sequence[Any]) -> bool:
    """Whether a batch of one call came to nothing, by what `append_batch` answered."""
    statuses = answer[3]
    return statuses is not None and statuses[0] != _WRITTEN


def outcomes_of(calls: Sequence[Call], answer: Sequence[Any]) -> list[Outcome]:
    """What `append_batch` answered, an outcome for each call."""
    recorded_us, head, stream_versions, statuses, details, versions, positions, *_ = answer
    if statuses is None:
        return _all_accepted(calls, recorded_us, head, stream_versions)
    outcomes: list[Outcome] = []
    at = 0
    for index, call in enumerate(calls):
        status = statuses[index]
        if status == _WRITTEN:
            rows = [
                (versions[at + n], positions[at + n], len(part.events))
                for n, part in enumerate(call.appends)
            ]
            outcomes.append(Written(rows, recorded_us if call.event_count else 0))
        else:
            outcomes.append(_outcome(status, _decode(details[index])))
        at += len(call.appends)
    return outcomes


def _all_accepted(
    calls: Sequence[Call], recorded_us: int, head: int, stream_versions: Sequence[int]
) -> list[Outcome]:
    """The outcomes of a batch that stands whole, one call behind the other."""
    outcomes: list[Outcome] = []
    versions: dict[str, int] = {}
    fresh = iter(stream_versions)  # in the order of the streams' first use
    for call in calls:
        rows, before = [], head  # what a check among its parts was held against
        for part in call.appends:
            stream, count = part.stream, len(part.events)
            version = versions.get(stream)
            if version is None:
                version = next(fresh)
            if count:
                rows.append((version + 1, head + 1, count))
                head += count
            else:
                rows.append((version, before, 0))
            versions[stream] = version + count
        outcomes.append(Written(rows, recorded_us if call.event_count else 0))
    return outcomes


def _outcome(status: int, detail: Any) -> Outcome:
    if status == _CONFLICT:
        return Refused("conflict", detail[0], detail[1])
    if status == _CONDITION:
        return Refused("condition", detail[0], detail[1])
    if status in (_STOOD, _MISMATCH):
        recorded_us, streams, rows = detail
        written = Written([tuple(row) for row in rows], recorded_us, status == _STOOD)
        if status == _STOOD:
            return written
        return Refused("mismatch", first=written, first_streams=tuple(streams))
    if status == _NO_PARENT:
        return Refused("fork")
    return Refused("id", detail[0], detail=detail[1])


def _flags(calls: Sequence[Call]) -> list[int]:
    """Which calls have to see what earlier ones of the batch wrote, and which bear given ids."""
    flags = []
    keys: set[tuple[str, str]] = set()
    ids: set[str] | None = None
    if len(calls) > 1 and any(call.given_ids for call in calls):
        ids = set()
    for call in calls:
        flag = 0
        if call.key is not None:
            place = (call.key_scope, call.key)
            if place in keys:
                flag = _SEES_BATCH
            keys.add(place)
        if call.given_ids:
            flag |= _HAS_GIVEN_IDS
            if ids and not ids.isdisjoint(call.given_ids):
                flag |= _SEES_BATCH
        if ids is not None:
            ids.update([event.id for part in call.appends for event in part.events])
        for part in call.appends:
            if part.queries:
                flag |= _SEES_BATCH
        flags.append(flag)
    return flags


def _keys_of(calls: Sequence[Call], streams: dict[str, int]) -> tuple[Any, Any, Any]:
    """Keys, the streams that they belong to (0: the call), what was sent under them."""
    keys = [call.key for call in calls]
    if not any(keys):
        return None, None, None
    return (
        "\n".join([key or "" for key in keys]),
        _numbers(
            [0 if call.key_scope == CALL_SCOPE else streams[call.key_scope] for call in calls]
        ),
        [
            None if call.content_hash is None else call.content_hash[:CONTENT_HASH_BYTES]
            for call in calls
        ],
    )


def _names_of(events: Sequence[Prepared]) -> tuple[str | None, str | None]:
    """The types and tags of a batch, each once, in the order of their first use."""
    types = dict.fromkeys([event.type for event in events])
    tags = dict.fromkeys([tag for event in events for tag in event.tags])
    return "\n".join(types) or None, "\n".join(tags) or None


def _columns_of_parts(parts: Sequence[tuple[int, int, int, int, str | None]]) -> list[Any]:
    streams, expected, counts, after, queries = zip(*parts, strict=True)
    return [
        _numbers(streams),
        _numbers(expected),
        _numbers(counts),
        _numbers(after),
        _lines(queries),
    ]


def _columns_of(events: Sequence[Prepared]) -> list[Any]:
    types = {name: n for n, name in enumerate(dict.fromkeys([e.type for e in events]), start=1)}
    return [
        "\n".join([event.id for event in events]),
        _numbers([types[event.type] for event in events]),
        _numbers([event.schema_version for event in events]),
        _numbers([event.occurred_us for event in events]),
        _lines([event.actor for event in events]),
        _lines([event.causation_id for event in events]),
        _lines([event.correlation_id for event in events]),
        _lines([event.derived_json for event in events]),
        _lines([event.tags_json for event in events]),
        _lines([event.context_json for event in events]),
        [event.payload for event in events],
        [event.tail for event in events],
    ]


def _lines(column: Sequence[str | None]) -> str | None:
    """A list of names or of JSON as one text; None where it holds nothing."""
    if column.count(None) == len(column):
        return None
    return "\n".join([text or "" for text in column])


def _numbers(column: Sequence[int | None]) -> str | None:
    """A list of numbers as PostgreSQL writes one; None where it holds nothing."""
    nothing = column.count(None)
    if nothing:
        if nothing == len(column):
            return None
        return "{" + ",".join(["NULL" if n is None else str(n) for n in column]) + "}"
    return "{" + ",".join(map(str, column)) + "}"


def _given(calls: Sequence[Call]) -> list[bool] | None:
    if not any(call.given_ids for call in calls):
        return None
    given: list[bool] = []
    for call in calls:
        ids = set(call.given_ids)
        given += [event.id in ids for part in call.appends for event in part.events]
    return given


def _tags_of(events: Sequence[Prepared]) -> tuple[str | None, str | None]:
    """Pairs of (event, tag), by their indexes from 1."""
    numbers: dict[str, int] = {}
    places: list[int] = []
    tags: list[int] = []
    for at, event in enumerate(events, start=1):
        for tag in event.tags:
            places.append(at)
            tags.append(numbers.setdefault(tag, len(numbers) + 1))
    return (_numbers(places), _numbers(tags)) if places else (None, None)


def _causes_of(events: Sequence[Prepared]) -> tuple[str | None, str | None]:
    """Pairs of (event, id that it names as its cause or source), each once."""
    places: list[int] = []
    causes: list[str] = []
    for at, event in enumerate(events, start=1):
        if event.causation_id is not None or event.derived_from:
            named = dict.fromkeys(event.derived_from)
            if event.causation_id is not None:
                named[event.causation_id] = None
            places += [at] * len(named)
            causes += named
    return (_numbers(places), "\n".join(causes)) if places else (None, None)
