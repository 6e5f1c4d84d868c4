"""Writing sessions: each record's events in one piece, once, behind what the stream holds.

A stream is written with the version that was read, so two importers at once cannot fork it: the
later one is told of a conflict, reads what the other wrote, leaves that out and goes on. A record
that stands is never written again; one that stands with other content is reported.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import chain
from typing import Final

import msgspec

from eventstore import Append, AppendResult, Conflict, EventStore, NewEvent
from reducers.agent import vocabulary

from .mapping import UNEXPECTED, Mapper, kept_whole
from .moving import HEAD, SOURCE_RECORD, TAIL, At, NotOurs, put_together, take_apart
from .parsing import Broken, Json, Parsed, Refused, encode_sorted, parse_record, refusal
from .report import CHANGED_SHOWN, Counting, ImportReport, Problem, SessionReport
from .standing import Standing, digest_of_bytes, digest_of_json, read_standing

BATCH_EVENTS: Final = 2_000
"""Events that are written in one go: large enough that the commit does not count (measured: from
2,000 on the rate does not change), small enough for neighbours in the store."""

BATCH_BYTES: Final = 8 * 1024 * 1024
"""Source bytes behind these events: an importer holds about four times as much."""

BATCH_SESSIONS: Final = 500
"""Streams in one go; the store allows 1,000."""

RECORD_EVENTS_MAX: Final = 5_000
"""Events of one record, half of what one append may hold; a record that gives more (a message
with thousands of calls) is kept whole."""

RECORD_BYTES_MAX: Final = 44 * 1024 * 1024
"""Bytes of one record: as base64 they just go into one append, and a record is never divided
between two. A larger one is reported and not imported."""

RAW_CHUNK_BYTES: Final = 4 * 1024 * 1024
"""Bytes of a refused record in one event: base64 makes them 5.6 MB, and a payload has 8 MiB."""

_CONFLICTS_MAX: Final = 1_000
"""Conflicts in a row on one stream: each means that another importer wrote at least a batch."""


_NO_RECORD: Final = ""
"""The number of events that hold no record."""


class _Pending(msgspec.Struct, gc=False):
    """A record that is about to be written."""

    at: At
    digest: bytes
    events: list[NewEvent]
    replaces: bool = False


class OpenSession:
    """One session while it is imported. Made by `Importer.open`."""

    def __init__(
        self,
        importer: Importer,
        report: SessionReport,
        mapper: Mapper,
        standing: Standing,
        *,
        by_content: bool = False,
    ) -> None:
        self.report = report
        self.mapper = mapper
        self.standing = standing
        self.counting = Counting(report)
        self.pending: list[_Pending] = []
        self._importer = importer
        self._by_content = by_content
        self._stood_until = standing.last
        self._changed: set[At] = set()
        self._seen: set[bytes] = set()
        self._highest = 0
        self._blocked = False

    def start(self, head: bytes | None, started: NewEvent | None = None) -> None:
        """Takes the session's fields that stand before its records. `started` is the event where
        the mapper's own is not wanted."""
        parsed = None if head is None else parse_record(head)
        event = started
        if isinstance(parsed, Parsed):
            event = event or self.mapper.start(parsed.value)
            reason = refusal([event]) if parsed.doubtful else None
            if reason is None:
                self.counting.count_fields([event])
                self._keep(HEAD, parsed, [event])
                return
            event, parsed = None, Refused(reason)
        event = event or self.mapper.start(None)
        self.counting.count_fields([event])
        if not self.standing.started:
            self._write(_NO_RECORD, b"", [event])
        if head is not None and parsed is not None:
            self._keep_raw(HEAD, head, parsed.reason)

    def add(self, number: int, raw: bytes, line: int | None = None) -> bool:
        """Takes the next record; False when it is no JSON."""
        self._highest = number
        if len(raw) > RECORD_BYTES_MAX:
            self._problem(f"{len(raw)} bytes, at most {RECORD_BYTES_MAX}", line, number)
            return False
        parsed = parse_record(raw)
        if isinstance(parsed, Broken):
            self._problem(parsed.reason, line, number)
            return False
        if isinstance(parsed, Refused):
            self.counting.count_raw()
            self._keep_raw(number, raw, parsed.reason)
            return True
        events = self._map(parsed)
        reason = refusal([*events, NewEvent("", parsed.value)]) if parsed.doubtful else None
        if reason is not None:
            self.counting.count_raw()
            self._keep_raw(number, raw, reason)
            return True
        self.counting.count(events)
        self._keep(number, parsed, events)
        return True

    def end(self, tail: bytes | None, *, may_change: bool = False) -> None:
        """Takes the fields that say how the session ended or stands after its last record."""
        if tail is not None:
            parsed = parse_record(tail)
            if isinstance(parsed, Parsed):
                events = self._map_tail(parsed.value)
                reason = refusal(events) if parsed.doubtful else None
                if reason is None:
                    self.counting.count_fields(events)
                    self._keep(TAIL, parsed, events, replaces=may_change)
                    return
                parsed = Refused(reason)
            self._keep_raw(TAIL, tail, parsed.reason, replaces=may_change)

    def check_length(self) -> None:
        """Reports a source that ends before the records that stand."""
        missing = self._stood_until - self._highest
        if missing > 0 and not self._by_content:
            self._problem(
                f"the source ends before record {self._stood_until}, which stands in the store:"
                " it was cut short or replaced",
                None,
                self._highest + 1,
            )

    def _map_tail(self, tail: Json) -> list[NewEvent]:
        try:
            return self.mapper.end(tail)
        except UNEXPECTED:
            return kept_whole("session", tail)

    def _map(self, parsed: Parsed) -> list[NewEvent]:
        try:
            events = self.mapper.record(parsed.value)
        except UNEXPECTED:
            events = []
        if 0 < len(events) <= RECORD_EVENTS_MAX:
            return events
        return kept_whole("unknown shape", parsed.value)

    def _keep(
        self, at: At, parsed: Parsed, events: list[NewEvent], *, replaces: bool = False
    ) -> None:
        digest = digest_of_json(parsed.canonical)
        if not self._is_new(at, digest, replaces):
            return
        first = events[0].data
        first[SOURCE_RECORD] = take_apart(at, parsed.value, [event.data for event in events])
        if not _comes_back(parsed, events):
            # By construction it does; were there ever a record for which it did not, then it is
            # kept whole, so that nothing is lost.
            del first[SOURCE_RECORD]
            events = [*events, *kept_whole("record", parsed.value)]
            kept = {"at": at, "moved": {"": f"{len(events) - 1}/record"}}
            first[SOURCE_RECORD] = kept
        self._write(at, digest, events, replaces)

    def _keep_raw(self, at: At, raw: bytes, reason: str, *, replaces: bool = False) -> None:
        digest = digest_of_bytes(raw)
        if not self._is_new(at, digest, replaces):
            return
        chunks = range(0, max(len(raw), 1), RAW_CHUNK_BYTES)
        events = [
            vocabulary.import_raw(record=raw[start : start + RAW_CHUNK_BYTES], reason=reason)
            for start in chunks
        ]
        events[0].data[SOURCE_RECORD] = {"at": at, "raw": len(events)}
        self._write(at, digest, events, replaces)

    def _is_new(self, at: At, digest: bytes, replaces: bool) -> bool:
        """Whether a record is to be written; what does not fit what stands is reported."""
        if self._by_content:
            new = digest not in self._seen and digest not in self.standing.digests.values()
            self._seen.add(digest)
            return new
        stands = self.standing.digests.get(at)
        if stands == digest:
            return False
        if stands is not None and not replaces:
            self._report_changed(at)
            return False
        if isinstance(at, int) and at <= self._stood_until:
            self._problem(
                "could not be read when later records were imported, and does not go behind them",
                None,
                at,
            )
            return False
        if self._stood_until and self._stood_until in self._changed:
            # An edit within the history leaves its end as it was; here everything has shifted.
            if not self._blocked:
                self._blocked = True
                self._problem(
                    f"not appended, like all behind it: record {self._stood_until}, the last that"
                    " stands, has changed, so this does not follow it",
                    None,
                    at,
                )
            return False
        return True

    def _report_changed(self, at: At) -> None:
        self._changed.add(at)
        self.report.changed_count += 1
        if len(self.report.changed) < CHANGED_SHOWN:
            self.report.changed.append(at)
            self._problem("changed since it was imported; what stands was not touched", None, at)

    def _problem(self, reason: str, line: int | None, at: At | None) -> None:
        report = self.report
        self._importer.report.problems.append(Problem(report.file, reason, line, report.stream, at))

    def _write(self, at: At, digest: bytes, events: list[NewEvent], replaces: bool = False) -> None:
        self.pending.append(_Pending(at, digest, events, replaces))
        self._importer.note(self, len(events))

    # --- when a batch is written

    def take_pending(self) -> list[_Pending]:
        """Hands over what is pending, but for what was found to stand since it was taken: when a
        batch meets another importer's, the next one is made already."""
        pending, self.pending = self.pending, []
        return self._still_new(pending)

    def append(self, pending: list[_Pending]) -> Append:
        """Records as one append behind what stands."""
        events = list(chain.from_iterable(one.events for one in pending))
        return Append(self.report.stream, events, expected=self.standing.version)

    def written(self, pending: list[_Pending], version: int) -> None:
        """These records stand now."""
        for one in pending:
            self.report.new_events += len(one.events)
            if isinstance(one.at, int):
                self.report.new_records += 1
                self.standing.last = max(self.standing.last, one.at)
            if one.digest:
                self.standing.digests[one.at] = one.digest
        self.standing.started = True
        self.standing.version = version

    async def read_again(self, store: EventStore, pending: list[_Pending]) -> list[_Pending]:
        """What is left of `pending` when what another importer has written meanwhile is gone."""
        await read_standing(store, self.report.stream, self.standing)
        return self._still_new(pending)

    def _still_new(self, pending: list[_Pending]) -> list[_Pending]:
        standing = self.standing
        left: list[_Pending] = []
        for one in pending:
            stands = standing.digests.get(one.at)
            if stands == one.digest or (one.at == _NO_RECORD and standing.started):
                continue
            if self._by_content and one.digest in standing.digests.values():
                continue
            if stands is not None and not one.replaces and not self._by_content:
                self._report_changed(one.at)
                continue
            left.append(one)
        return left


_Batch = list[tuple[OpenSession, list[_Pending]]]


class Importer:
    """Writes sessions into one store, in batches over sessions, and keeps the report.

    One batch is on its way while the next is made: the store's own thread writes it.
    """

    def __init__(self, store: EventStore, report: ImportReport) -> None:
        self.store = store
        self.report = report
        self._waiting: dict[str, OpenSession] = {}
        self._events = self._bytes = 0
        self._on_its_way: tuple[asyncio.Task[list[AppendResult]], _Batch] | None = None

    async def open(
        self,
        kind: str,
        stream: str,
        mapper: Mapper,
        file: str,
        *,
        by_content: bool = False,
        version: int | None = None,
    ) -> OpenSession:
        """A session to be fed. If it comes a second time, the first is written before. `version`
        is the stream's where it was asked for already. If cancelled, nothing is left open."""
        if stream in self._streams():
            await self.flush()
            version = None
        standing = Standing()
        if version is None:
            version = await self.store.version(stream)
        if version:
            await read_standing(self.store, stream, standing)
        report = SessionReport(stream, kind, file)
        if not by_content:
            self.report.sessions.append(report)
        return OpenSession(self, report, mapper, standing, by_content=by_content)

    def note(self, session: OpenSession, events: int) -> None:
        """A session has something to write."""
        self._waiting[session.report.stream] = session
        self._events += events

    def is_full(self, size: int) -> bool:
        """Whether a batch has to go before a record of this size is taken. Counts it."""
        full = bool(self._waiting) and (
            self._events >= BATCH_EVENTS
            or self._bytes + size > BATCH_BYTES
            or len(self._waiting) >= BATCH_SESSIONS
        )
        self._bytes = size if full else self._bytes + size
        return full

    async def send(self) -> None:
        """Sends what waits on its way, when the batch before it has arrived. If cancelled, a part
        may be written; importing again writes the rest."""
        await self._arrive()
        waiting, self._waiting, self._events = self._waiting, {}, 0
        taken = [(session, session.take_pending()) for session in waiting.values()]
        batch = [(session, pending) for session, pending in taken if pending]
        if batch:
            appends = [session.append(pending) for session, pending in batch]
            task = asyncio.create_task(self.store.append_many(appends))
            self._on_its_way = task, batch
            # The task begins now: it hands the batch to the store, which then works beside us.
            await asyncio.sleep(0)

    async def flush(self) -> None:
        """Writes all that waits, durably. Cancellation as with `send`."""
        await self.send()
        await self._arrive()

    async def abandon(self) -> None:
        """Waits for the batch that is on its way, whatever becomes of it: nothing of this run is
        left behind when it ends by an error."""
        if self._on_its_way is not None:
            (task, _), self._on_its_way = self._on_its_way, None
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()

    def _streams(self) -> set[str]:
        batch = self._on_its_way[1] if self._on_its_way is not None else []
        return {*self._waiting, *(session.report.stream for session, _ in batch)}

    async def _arrive(self) -> None:
        if self._on_its_way is None:
            return
        (task, batch), self._on_its_way = self._on_its_way, None
        try:
            results = await task
        except Conflict:
            for session, pending in batch:
                await self._settle(session, pending)
            return
        for (session, pending), result in zip(batch, results, strict=True):
            session.written(pending, result.version)

    async def _settle(self, session: OpenSession, pending: list[_Pending]) -> None:
        """Writes one session beside another writer of its stream."""
        for attempt in range(_CONFLICTS_MAX):
            if not pending:
                return
            try:
                (result,) = await self.store.append_many([session.append(pending)])
            except Conflict:
                if attempt == _CONFLICTS_MAX - 1:
                    raise
                pending = await session.read_again(self.store, pending)
                continue
            session.written(pending, result.version)
            return


def _comes_back(parsed: Parsed, events: Iterable[NewEvent]) -> bool:
    datas = [event.data for event in events]
    if "record" in datas[0] and datas[0]["record"] is parsed.value:
        return True
    try:
        again = put_together(datas[0][SOURCE_RECORD], datas)
    except NotOurs:
        return False
    return encode_sorted(again) == parsed.canonical
