"""From a page of events to the sink and the checkpoint, for one partition of one build.

Changes go to the sink first. Then one transaction of the store moves the checkpoint with all that
belongs to it: rows of views in the store, fold states, dead letters, counts. Nothing else moves
it, so that what was not acknowledged is done again, and a worker that wakes up late is refused by
its fencing token.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from eventstore import (
    Busy,
    Corrupt,
    EventStoreError,
    Lease,
    LeaseLost,
    LogDiverged,
    OutcomeUnknown,
    RecordedEvent,
    StorageFailed,
    StoreClosed,
)
from eventstore.calls import FORKED
from eventstore.errors import RowRefused
from eventstore.outbox import Advance, Head, Statement

from ..catalog import given_up, keep_folds
from ..errors import SinkEmptied, SinkUnavailable
from ..retrying import attempts
from ..sinks import Build, Change, Written
from ..view import View
from . import letters
from .commits import Commits
from .pages import Applied, Applier, Letter, Poison, reason_of
from .progress import note_progress, note_state

_log = logging.getLogger("eventstore")

_BACK_OFF_SECONDS_MAX = 5.0
"""Between two questions to a sink that does not answer."""

_TRY_SECONDS = 0.05
"""The first wait before an event is tried again; it doubles, with jitter."""

PATIENCE_SECONDS = 10.0
"""What all waiting for events that fail may come to, in a row: code that fails on every event
parks them at full pace after it, instead of a second for each. A page that is written renews it."""

_COMMIT_ATTEMPTS = 5
"""How often a commit is tried by itself: about three seconds. Then the worker begins anew, and
looks first whether there is still something to feed."""

_KEYS_NAMED_MAX = 5
"""Of a fork that the sink refuses, in the message that the view stopped: a line's worth."""

_FOR_ALL = (LeaseLost, SinkEmptied, StoreClosed, Corrupt, LogDiverged)
"""What says nothing of the event at hand."""

PASSING = (Busy, StorageFailed, OutcomeUnknown)
"""What the store may raise today and not tomorrow."""

_NOT_WRITTEN = Written()


class Stopped(Exception):
    """The view stops here: an event cannot be applied, and it was declared to stop."""


class Refused(Exception):
    """The changes of a run were refused by sink or store."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Failed(Exception):
    """One event failed once more, in code or (`is_refused`) at the sink."""

    def __init__(self, key: str, reason: str, *, is_refused: bool = False) -> None:
        super().__init__(reason)
        self.key, self.reason, self.is_refused = key, reason, is_refused


class Settings(msgspec.Struct, frozen=True):
    """What a relay gives all its workers."""

    holder: str
    lease_seconds: float
    page_events: int
    failpoint: Callable[[str], Any] | None = None


class Delivery:
    """Delivers to one partition under one lease. `position` is how far it is, `saved` how far its
    checkpoint is: pages without an event of the view need not be commits."""

    def __init__(
        self,
        view: View,
        build: Build,
        lease: Lease,
        applier: Applier,
        settings: Settings,
        commits: Commits,
    ) -> None:
        self.view, self.build, self.lease, self.applier = view, build, lease, applier
        self._settings, self._commits = settings, commits
        self._patience = PATIENCE_SECONDS
        self.position = self.saved = lease.position
        self.saved_at = 0.0
        self._end: Head | None = None

    async def take(
        self, events: Sequence[RecordedEvent], scanned_to: int, head: Head | None = None
    ) -> None:
        """Applies and writes events, as one run where it goes: what comes before an event that
        fails, that event alone, and what comes after it. `head` is the log's end, where its hash
        may be that of `scanned_to`; nothing is written once another event stands there. Raises
        `Stopped`, and what ends the worker."""
        self._end = head or self._end
        if len(events) > 1 and any(event.type == FORKED for event in events):
            # A fork alone: what it inherits may be more than the rest of the run.
            for run in _around_forks(events):
                await self.take(run, run[-1].position)
            await self.move(scanned_to, head=head)
            return
        rest, failed = list(events), None
        while rest:
            await self.applier.prepare(rest)
            try:
                applied = await self._apply(rest)
            except Poison as poison:
                self.applier.undo(poison.so_far)
                before = rest[: poison.index]
                if before:
                    await self.take(before, before[-1].position)
                failed = _Failed(poison.key, poison.reason)
                is_done = await self._take_alone(rest[poison.index], failed)
                rest = rest[poison.index + is_done :]
                continue
            try:
                await self.write(applied, scanned_to, head=head)
                self._patience = PATIENCE_SECONDS
                return
            except Refused as refused:
                self.applier.undo(applied)
                if len(rest) == 1:
                    key = self.applier.parked_as(rest[0])
                    refusal = _Failed(key, refused.reason, is_refused=True)
                    if not await self._take_alone(rest[0], refusal):
                        continue
                else:  # one of them is at fault, and the sink does not say which
                    half = len(rest) // 2
                    await self.take(rest[:half], rest[half - 1].position)
                    await self.take(rest[half:], scanned_to, head)
                rest = []
        await self.move(scanned_to, head=head)

    async def _apply(self, events: list[RecordedEvent]) -> Applied:
        """What a run comes to; those who share the loop have a turn after each page of it."""
        size, done = self._settings.page_events, Applied({}, [], {})
        for start in range(0, len(events), size):
            if start:
                await asyncio.sleep(0)
            await self.applier.add(done, events[start : start + size])
        self.applier.finish(done)
        return done

    async def _take_alone(self, event: RecordedEvent, failed: _Failed) -> bool:
        """One event that failed once, as often as it may be tried; then its key is parked, or the
        view stops. Whether it is done with: a fork is not as long as one of its keys may fail."""
        loop = asyncio.get_running_loop()
        begun, tries = loop.time(), 1
        if self.view.attempts > 1 and self._patience > 0:
            await asyncio.sleep(min(_TRY_SECONDS, self._patience))
            tried = attempts(
                _Failed,
                attempts_max=self.view.attempts - 1,
                timeout_seconds=max(self._patience, _TRY_SECONDS),
                wait_initial=2 * _TRY_SECONDS,
                wait_max=_BACK_OFF_SECONDS_MAX,
                wait_jitter=_TRY_SECONDS,
            )
            try:
                async for attempt in tried:
                    with attempt:
                        tries += 1
                        await self._try(event)
                return True
            except _Failed as again:
                failed = again
        self._patience -= loop.time() - begun
        dropped = (await given_up(self.build)).get(event.position, set())
        is_fork = event.type == FORKED  # of which each key is given up, and waits, by itself
        if failed.key in dropped and not failed.is_refused if is_fork else dropped:
            self.applier.dropped[event.position] = dropped
            return not is_fork
        keys, to = [failed.key], event.position
        if is_fork and failed.is_refused:  # the sink does not say for which key
            keys = [key for key in await self.applier.keys_of(event) if key not in dropped]
        elif is_fork:  # it is applied for its other keys then
            to = self.saved
        if not keys:  # all of them were given up since it was tried
            return True
        if self.view.on_error == "stop":
            raise Stopped(
                f"view {self.view.name!r} stopped at position {event.position}: {failed.reason}"
                f" ({_named(keys)})"
            ) from failed
        _log.warning(
            "view %s: key %r is parked at position %d: %s",
            self.view.name,
            failed.key,
            event.position,
            failed.reason,
        )
        held = [Letter(key, event.position, failed.reason, tries) for key in keys]
        await self.write(Applied({}, held, {}, 1, 0, event.recorded_us), to)
        for key in keys:
            self.applier.park(key, event.position)
        return to == event.position

    async def _try(self, event: RecordedEvent) -> None:
        await self.applier.prepare([event])
        try:
            applied = await self.applier.apply([event])
        except Poison as poison:
            self.applier.undo(poison.so_far)
            raise _Failed(poison.key, poison.reason) from poison
        try:
            await self.write(applied, event.position)
        except Refused as refused:
            self.applier.undo(applied)
            key = self.applier.parked_as(event)
            raise _Failed(key, refused.reason, is_refused=True) from refused

    async def write(
        self,
        applied: Applied,
        to: int,
        more: Sequence[Statement] = (),
        *,
        head: Head | None = None,
    ) -> None:
        """Hands the changes to the sink and moves the checkpoint. Raises `Refused` for changes
        that are not taken, `LeaseLost`, `SinkEmptied`."""
        self._reach("before sink")
        written = await self._send(list(applied.changes.values()))
        self._reach("after sink")
        statements = [*written.statements, *more]
        try:
            folds = self.applier.folds(applied)
        except Exception as exc:  # such as a state that cannot be encoded
            raise Refused(reason_of(exc)) from exc
        if folds:
            statements.append(keep_folds(self.build, folds))
        statements += letters.park(self.build, self.lease.partition, applied.letters)
        self._reach("before checkpoint")
        await self.move(to, statements, applied, written, head)
        self._reach("after checkpoint")

    async def _send(self, changes: list[Change]) -> Written:
        """What the sink says of the changes; one that does not answer is asked until it does."""
        if not changes:
            return _NOT_WRITTEN
        try:
            return await self._send_once(changes)
        except SinkUnavailable as exc:
            _log.warning("view %s: %s", self.view.name, exc)
            await self._tell_waiting(str(exc))
        written = _NOT_WRITTEN
        async for attempt in until_it_answers():
            with attempt:
                written = await self._send_once(changes)
        return written

    async def _send_once(self, changes: list[Change]) -> Written:
        try:
            return await self.view.sink.write(self.build, changes)
        except (SinkUnavailable, *_FOR_ALL, *PASSING):
            raise
        except Exception as exc:
            raise Refused(reason_of(exc)) from exc

    async def move(
        self,
        to: int,
        statements: Sequence[Statement] = (),
        applied: Applied | None = None,
        written: Written = _NOT_WRITTEN,
        head: Head | None = None,
    ) -> None:
        """Moves the checkpoint, with everything that belongs to it. Raises `LeaseLost` where it
        is not where it was left or another one holds it, `Refused` for rows that the database
        does not take."""
        if to == self.saved and not statements:
            self.position = to
            return
        progress = note_progress(
            self.build, self.lease.partition, to, applied or Applied({}, [], {}), written, self._end
        )
        known = head.hash if head is not None and head.position == to else None
        advance = Advance(self.lease, self.saved, to, known)
        if not await self._commit([*statements, progress], advance):
            # Another one holds the lease, our own answer was lost, or the log is another one:
            # begin where it stands.
            raise LeaseLost(f"view {self.view.name!r}: its checkpoint is not where it was left")
        self.position = self.saved = to
        self.saved_at = asyncio.get_running_loop().time()

    async def _commit(self, statements: Sequence[Statement], advance: Advance) -> bool:
        try:
            try:
                return await self._commits.change(self.build.outbox, statements, [advance])
            except PASSING:
                pass
            moved = False
            async for attempt in attempts(
                PASSING, attempts_max=_COMMIT_ATTEMPTS - 1, wait_max=_BACK_OFF_SECONDS_MAX
            ):
                with attempt:
                    moved = await self._commits.change(self.build.outbox, statements, [advance])
            return moved
        except RowRefused as exc:
            raise Refused(str(exc)) from exc

    async def _tell_waiting(self, error: str) -> None:
        try:
            state = note_state(self.build, self.lease.partition, "waiting", error)
            await self.build.outbox.change([state])
        except EventStoreError as exc:
            _log.warning("view %s: %s", self.view.name, type(exc).__name__)

    def _reach(self, place: str) -> None:
        if self._settings.failpoint is not None:
            self._settings.failpoint(place)


def _named(keys: Sequence[str]) -> str:
    """The keys as which an event may be given up: of many the first few, and how many there are."""
    if len(keys) == 1:
        return f"key {keys[0]!r}"
    more = ", ..." if len(keys) > _KEYS_NAMED_MAX else ""
    return f"one of {len(keys)} keys: {', '.join(map(repr, keys[:_KEYS_NAMED_MAX]))}{more}"


def until_it_answers() -> Any:
    """Attempts, as long as a sink does not answer."""
    return attempts(SinkUnavailable, wait_max=_BACK_OFF_SECONDS_MAX)


def _around_forks(events: Sequence[RecordedEvent]) -> list[list[RecordedEvent]]:
    """The events in their order, each that begins a fork by itself."""
    runs: list[list[RecordedEvent]] = []
    for event in events:
        if event.type == FORKED or not runs or runs[-1][-1].type == FORKED:
            runs.append([])
        runs[-1].append(event)
    return runs
