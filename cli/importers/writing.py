"""Writing sessions: each record's events in one piece, once, behind what the stream holds.

A stream is written with the version that was read, so two importers at once cannot fork it: the
later one is told of a conflict, reads what the other wrote, leaves that out and goes on. A record
that stands is never written again; one that stands with other content is reported.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import Final

from eventstore import Append, AppendResult, Conflict, EventStore, NewEvent

from .mapping import UNEXPECTED, Mapper, kept_whole
from .matching import CHANGED, LATE, NEW, Match, Matching
from .moving import HEAD, TAIL, At
from .packing import Pending, pack, pack_raw
from .parsing import Broken, Json, Parsed, Refused, parse_record, refusal
from .report import CHANGED_SHOWN, Counting, ImportReport, Problem, SessionReport
from .standing import Standing, digest_of, read_standing

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

_CONFLICTS_MAX: Final = 1_000
"""Conflicts in a row on one stream: each means that another importer wrote at least a batch."""


_TURNS_TO_BEGIN: Final = 3
"""Turns of the event loop until a batch is in the hands of the store's thread: its task's first
step, the wake-up that the store puts off to the end of a turn, and one to spare. Without them it
would lie there until the next batch is made."""

_NO_RECORD: Final = ""
"""The number of events that hold no record."""


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
        id_derived: bool = False,
    ) -> None:
        self.report = report
        self.mapper = mapper
        self.standing = standing
        self.counting = Counting(report)
        self.pending: list[Pending] = []
        self._importer = importer
        self._by_content = by_content
        self._id_derived = id_derived
        self._stood_until = standing.last
        self._seen: set[bytes] = set()
        self._matching = Matching({} if by_content else standing.digests)
        self._last_changed = False
        self._blocked = False
        self._hinted = False

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
                self._keep_fields(HEAD, parsed, [event])
                return
            event, parsed = None, Refused(reason)
        event = event or self.mapper.start(None)
        self.counting.count_fields([event])
        if not self.standing.started:
            self._write(Pending(_NO_RECORD, [event]))
        if head is not None and parsed is not None:
            self._keep_fields_raw(HEAD, head, parsed.reason)

    def add(self, number: int, raw: bytes, line: int | None = None) -> bool:
        """Takes the next record; False when it is no JSON."""
        if len(raw) > RECORD_BYTES_MAX:
            self._unreadable(f"{len(raw)} bytes, at most {RECORD_BYTES_MAX}", line, number)
            return False
        parsed = parse_record(raw)
        if isinstance(parsed, Broken):
            self._unreadable(parsed.reason, line, number)
            return False
        if isinstance(parsed, Refused):
            self._add_raw(number, raw, parsed.reason)
            return True
        events = self._map(parsed)
        reason = refusal([*events, NewEvent("", parsed.value)]) if parsed.doubtful else None
        if reason is not None:
            self._add_raw(number, raw, reason)
            return True
        self.counting.count(events)
        at = self._number_of(number, parsed.value)
        if at is not None:
            self._write(pack(at, parsed.value, events))
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
                    self._keep_fields(TAIL, parsed, events, may_change)
                    return
                parsed = Refused(reason)
            self._keep_fields_raw(TAIL, tail, parsed.reason, may_change)

    def check_length(self) -> None:
        """Reports a source that ends before the records that stand."""
        self._take_matches(self._matching.end())
        missing = self._matching.missing
        if missing is not None:
            self._problem(
                f"the source ends before record {self._stood_until}, which stands in the store:"
                f" it was cut short or replaced{self._hint()}",
                None,
                missing,
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

    def _unreadable(self, reason: str, line: int | None, number: int) -> None:
        self._matching.skip()
        self._problem(reason, line, number)

    def _add_raw(self, number: int, raw: bytes, reason: str) -> None:
        self.counting.count_raw()
        at = self._number_of(number, None, raw)
        if at is not None:
            self._write(pack_raw(at, raw, reason))

    def _keep_fields(
        self, at: At, parsed: Parsed, events: list[NewEvent], may_change: bool = False
    ) -> None:
        if self._are_new(at, parsed.value, None, may_change):
            self._write(pack(at, parsed.value, events, may_change))

    def _keep_fields_raw(self, at: At, raw: bytes, reason: str, may_change: bool = False) -> None:
        if self._are_new(at, None, raw, may_change):
            self._write(pack_raw(at, raw, reason, may_change))

    def _are_new(self, at: At, value: Json, raw: bytes | None, may_change: bool) -> bool:
        """Whether fields of the session are to be written; changed ones are reported."""
        stands = self.standing.digests.get(at)
        if stands is not None:
            if stands == digest_of(value, raw):
                return False
            if not may_change:
                self._report_changed(at)
                return False
        return self._follows(at)

    def _number_of(self, number: int, value: Json, raw: bytes | None = None) -> int | None:
        """The number that a record is to be written under; None where it is not to be written.
        What does not fit what stands is reported."""
        if self._by_content:
            digest = digest_of(value, raw)
            new = digest not in self._seen and digest not in self.standing.digests.values()
            self._seen.add(digest)
            return number if new else None
        if not self._stood_until:
            return number
        return self._take_matches(self._matching.take(number, digest_of(value, raw)))

    def _take_matches(self, matches: list[Match]) -> int | None:
        for match in matches:
            if match.what == CHANGED:
                self._last_changed |= match.number == self._stood_until
                self._report_changed(match.number)
            elif match.what == LATE:
                self._problem(
                    "could not be read when later records were imported, and does not go behind"
                    " them",
                    None,
                    match.number,
                )
            elif match.what == NEW and self._follows(match.number):
                return match.number
        return None

    def _follows(self, at: At) -> bool:
        """Whether what is new follows what stands. An edit within the history leaves its end as
        it was; where the end has changed too, everything has shifted."""
        if self._last_changed and not self._blocked:
            self._blocked = True
            self._problem(
                f"not appended, like all behind it: record {self._stood_until}, the last that"
                " stands, has changed, so this does not follow it",
                None,
                at,
            )
        return not self._last_changed

    def _report_changed(self, at: At) -> None:
        self.report.changed_count += 1
        if len(self.report.changed) < CHANGED_SHOWN:
            self.report.changed.append(at)
            reason = "changed since it was imported; what stands was not touched"
            self._problem(reason + self._hint(), None, at)

    def _hint(self) -> str:
        """What else a difference may mean, once for each session: a chat without an id of its own
        is known by its first record."""
        if self._hinted or not self._id_derived:
            return ""
        self._hinted = True
        return "; if this is another chat that begins with the same record, give it an --id"

    def _problem(self, reason: str, line: int | None, at: At | None) -> None:
        report = self.report
        self._importer.report.problems.append(Problem(report.file, reason, line, report.stream, at))

    def _write(self, pending: Pending) -> None:
        self.pending.append(pending)
        self._importer.note(self, len(pending.events))

    # --- when a batch is written

    def take_pending(self) -> list[Pending]:
        """Hands over what is pending, but for what was found to stand since it was taken: when a
        batch meets another importer's, the next one is made already."""
        pending, self.pending = self.pending, []
        return self._still_new(pending)

    def append(self, pending: list[Pending]) -> Append:
        """Records as one append behind what stands."""
        events = list(chain.from_iterable(one.events for one in pending))
        return Append(self.report.stream, events, expected=self.standing.version)

    def written(self, pending: list[Pending], version: int) -> None:
        """These records stand now."""
        for one in pending:
            self.report.new_events += len(one.events)
            if isinstance(one.at, int):
                self.report.new_records += 1
                self.standing.last = max(self.standing.last, one.at)
        self.standing.started = True
        self.standing.version = version

    async def read_again(self, store: EventStore, pending: list[Pending]) -> list[Pending]:
        """What is left of `pending` when what another importer has written meanwhile is gone."""
        await read_standing(store, self.report.stream, self.standing)
        return self._still_new(pending)

    def _still_new(self, pending: list[Pending]) -> list[Pending]:
        standing = self.standing
        left: list[Pending] = []
        for one in pending:
            if one.at == _NO_RECORD:
                new = not standing.started
            elif self._by_content:
                new = one.digest not in standing.digests.values()
            elif (stands := standing.digests.get(one.at)) is None:
                new = True
            else:
                same = stands == one.digest
                new = one.replaces and not same
                if not new and not same:
                    self._report_changed(one.at)
            if new:
                left.append(one)
        return left


_Batch = list[tuple[OpenSession, list[Pending]]]


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
        id_derived: bool = False,
        version: int | None = None,
    ) -> OpenSession:
        """A session to be fed. If it comes a second time, the first is written before. `version`
        is the stream's where it was asked for already, `id_derived` whether its id was made of
        its first record. If cancelled, nothing is left open."""
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
        return OpenSession(
            self, report, mapper, standing, by_content=by_content, id_derived=id_derived
        )

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
            # The task begins now: it hands the batch to the store, and a turn of the loop later
            # the store's thread is woken, to work beside us.
            for _ in range(_TURNS_TO_BEGIN):
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

    async def _settle(self, session: OpenSession, pending: list[Pending]) -> None:
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
