"""Outcomes become results or errors: what the caller of an append is told.

A refusal says what was missed. That is read here, after the commit and outside any lock.
"""

from __future__ import annotations

import msgspec

from .calls import Call, Outcome, Refused, StreamAppend, Written
from .engines.port import Engine, recorded
from .errors import ConditionFailed, Conflict, Corrupt, IdempotencyMismatch, InvalidEvent
from .events import AppendResult, RecordedEvent
from .limits import CONFLICT_EVENTS_MAX, PAGE_ROWS_MAX
from .points import Expected


def written(call: Call, outcome: Outcome) -> list[AppendResult] | None:
    """One result for each append of the call where it was written now; else None."""
    if type(outcome) is not Written or outcome.duplicate:
        return None
    recorded_us = outcome.recorded_us
    pairs = zip(call.appends, outcome.rows, strict=True)
    return [_result(part, row, recorded_us) for part, row in pairs]


async def answer(engine: Engine, call: Call, outcome: Outcome) -> list[AppendResult]:
    """The first answer again for a call that stood before. Raises what a refusal stands for.

    Where an earlier sending of this call wrote it, this is its first answer, not a duplicate. The
    ids tell, where the store made them; with none but ids that the caller gave it stays unknown
    who wrote them, and they count as a duplicate.
    """
    if isinstance(outcome, Refused):
        await refuse(engine, call, outcome)
        raise AssertionError("a refusal always raises")
    streams = tuple(part.stream for part in call.appends)
    results = await first_answer(engine, call.tenant, outcome, streams)
    if outcome.was_sent_before:
        made = {event.id for part in call.appends for event in part.events}
        made.difference_update(call.given_ids)
        if any(event.id in made for result in results for event in result.events):
            results = [msgspec.structs.replace(result, duplicate=False) for result in results]
    return results


async def first_answer(
    engine: Engine, tenant: str, written: Written, streams: tuple[str, ...]
) -> list[AppendResult]:
    """The results of a call that was written before, read back from the log."""
    results = []
    for stream, (version, position, count) in zip(streams, written.rows, strict=True):
        if count == 0:
            results.append(AppendResult(version, position, (), True))
            continue
        events: list[RecordedEvent] = []
        while len(events) < count:
            want = min(count - len(events), PAGE_ROWS_MAX)
            page = await engine.stream_page(tenant, stream, version - 1 + len(events), want, False)
            if not page:
                raise Corrupt(
                    f"stream {stream!r}: an event that was answered before is not there",
                    kind="gap",
                    stream=stream,
                    version=version + len(events),
                )
            events += page
        last = events[-1]
        results.append(AppendResult(last.version, last.position, tuple(events), True))
    return results


async def refuse(engine: Engine, call: Call, refused: Refused) -> None:
    """Raises the error of a refusal, with what the caller missed."""
    part = call.appends[refused.index]
    if refused.reason == "mismatch":
        assert refused.first is not None
        assert call.key is not None
        results = await first_answer(engine, call.tenant, refused.first, refused.first_streams)
        single = call.key_scope != ""
        raise IdempotencyMismatch(
            call.key_scope or None, call.key, results[0] if single else results
        )
    if refused.reason == "id":
        raise InvalidEvent(
            f"append {refused.index}: event id {refused.detail!r} stands already, with other"
            " content or as part of another append"
        )
    if part.fork is not None and refused.reason == "fork":
        parent, version = part.fork.parent, part.fork.version
        raise InvalidEvent(f"fork: stream {parent!r} has no version {version} any more")
    if refused.reason == "condition":
        await _refuse_condition(engine, call, part, refused)
    events = await _missed(engine, call.tenant, part, refused.actual)
    raise Conflict(
        part.stream,
        part.expected,
        refused.actual,
        index=refused.index,
        events=events[:CONFLICT_EVENTS_MAX],
        truncated=len(events) > CONFLICT_EVENTS_MAX,
    )


async def _refuse_condition(
    engine: Engine, call: Call, part: StreamAppend, refused: Refused
) -> None:
    assert part.condition is not None
    events: list[RecordedEvent] = []
    at, head = part.after, (await engine.head(call.tenant)).position
    while at < head and len(events) <= CONFLICT_EVENTS_MAX:
        page = await engine.log_page(call.tenant, at, head, part.queries, PAGE_ROWS_MAX)
        at = page.scanned_to
        events += page.events
    raise ConditionFailed(
        part.stream,
        refused.actual,
        query=part.condition.query,
        after=part.after,
        index=refused.index,
        events=events[:CONFLICT_EVENTS_MAX],
        truncated=len(events) > CONFLICT_EVENTS_MAX,
        expected=part.expected,
    )


async def _missed(
    engine: Engine, tenant: str, part: StreamAppend, actual: int
) -> list[RecordedEvent]:
    """Events between the expected and the actual version: at most one more than is reported."""
    if part.expected is Expected.NO_STREAM:
        after = 0
    elif isinstance(part.expected, int):
        after = part.expected
    else:
        return []
    events: list[RecordedEvent] = []
    wanted = min(actual - after, CONFLICT_EVENTS_MAX + 1)
    while len(events) < wanted:
        page = await engine.stream_page(
            tenant, part.stream, after + len(events), wanted - len(events), False
        )
        if not page:
            break
        events += page
    return events


def _result(part: StreamAppend, row: tuple[int, int, int], recorded_us: int) -> AppendResult:
    version, position, count = row
    if count == 0:
        return AppendResult(version, position)
    stream = part.stream
    if count == 1:
        return AppendResult(
            version, position, (recorded(stream, part.events[0], version, position, recorded_us),)
        )
    events = tuple(
        [
            recorded(stream, event, version + offset, position + offset, recorded_us)
            for offset, event in enumerate(part.events)
        ]
    )
    return AppendResult(version + count - 1, position + count - 1, events)
