"""A worker: feeds one partition of one build of a view, as long as it holds the lease.

It reads a page, applies it, hands the changes to the sink, and moves the checkpoint in one
transaction of the store with everything that belongs to it: rows of views in the store, fold
states, dead letters, counts. Nothing else moves it, so that what is not acknowledged is done
again, and a worker that wakes up late is refused by its fencing token.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import stamina

from eventstore import (
    Busy,
    EventStore,
    EventStoreError,
    Lease,
    LeaseLost,
    OutcomeUnknown,
    RecordedEvent,
    StorageFailed,
)
from eventstore.errors import RowRefused
from eventstore.outbox import Statement

from ..asking import checkpoint_name
from ..catalog import keep_folds
from ..errors import SinkEmptied, SinkUnavailable
from ..sinks import Build, Change, Written
from ..view import View
from . import letters
from .pages import Applied, Applier, Letter, Poison, reason_of
from .progress import incarnation_of, note_progress, note_state, reincarnate

_log = logging.getLogger("eventstore")

PAUSE_SECONDS = 0.025
"""Between two pages of a view that keeps up: 40 commits a second for each view at the most, and a
quarter of the promised lag of 100 ms."""

EMPTY_MOVE_SECONDS = 0.25
"""How long a checkpoint may lie behind where no event was the view's: a commit for nothing."""

LOOK_SECONDS = 0.5
"""How often somebody's wish to try a parked key again is looked for."""

_BACK_OFF_SECONDS_MAX = 5.0
_TRY_SECONDS = 0.05
"""The first wait before an event is tried again; it doubles, with jitter."""


_NOTHING = Applied({}, [], {})
_NOT_WRITTEN = Written()


class Stopped(Exception):
    """The view stops here: an event cannot be applied, and it was declared to stop."""


class _Again(EventStoreError):
    """Something that is tried again; its text holds no payload."""


class _Refused(Exception):
    """The changes of a run were refused by sink or store."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Settings(msgspec.Struct, frozen=True):
    """What a relay gives all its workers."""

    holder: str
    lease_seconds: float
    page_events: int
    failpoint: Callable[[str], Any] | None = None


class Worker:
    """See the module. Cancelled, it leaves nothing half-way: the lease is given back, or runs
    out."""

    def __init__(
        self,
        view: View,
        store: EventStore,
        build: Build,
        partition: int,
        partitions: int,
        settings: Settings,
    ) -> None:
        self.view, self.build, self.partition = view, build, partition
        self._store, self._outbox = store, build.outbox
        self._settings = settings
        self._partitions = partitions
        self._queries = view.projection.queries()
        self._applier = Applier(view.projection, build, partition, partitions)
        self._position = 0
        self._saved = 0
        self._saved_at = 0.0
        self._looked_at = 0.0
        self._lease: Lease | None = None
        self.caught_up = asyncio.Event()

    @property
    def position(self) -> int:
        """How far it is; durable up to `EMPTY_MOVE_SECONDS` ago."""
        return self._position

    async def run(self, *, once: bool = False) -> None:
        """Feeds the partition until it is cancelled, or `once`: up to the head seen. Raises
        `Stopped`, `Corrupt`, `LogDiverged` and `StoreClosed`."""
        while True:
            lease = await self._acquire()
            renewing = asyncio.create_task(self._keep(lease))
            try:
                await self._begin(lease)
                await self._feed(once)
                if once:
                    return
            except LeaseLost:
                _log.info("view %s: partition %d went on", self.view.name, self.partition)
            except SinkEmptied:
                _log.warning("view %s: its sink was emptied, filling it again", self.view.name)
                with contextlib.suppress(LeaseLost):
                    await self._refill()
            finally:
                renewing.cancel()
                self._lease = None
                with contextlib.suppress(EventStoreError):
                    await asyncio.shield(self._store.checkpoints.release(lease))

    async def _acquire(self) -> Lease:
        settings = self._settings
        while True:
            with contextlib.suppress(Busy, StorageFailed, OutcomeUnknown):
                lease = await self._store.checkpoints.acquire(
                    checkpoint_name(self.view.name),
                    settings.holder,
                    seconds=settings.lease_seconds,
                    generation=self.build.generation,
                    partition=self.partition,
                )
                if lease is not None:
                    return lease
            await asyncio.sleep(min(settings.lease_seconds / 4, 1.0))

    async def _keep(self, lease: Lease) -> None:
        """Renews the lease; when it is lost, the next write is refused, and that ends the work."""
        while True:
            await asyncio.sleep(self._settings.lease_seconds / 3)
            try:
                await self._store.checkpoints.renew(lease, seconds=self._settings.lease_seconds)
            except (Busy, StorageFailed, OutcomeUnknown):
                continue  # the next renewal may succeed in time
            except LeaseLost:
                return

    async def _begin(self, lease: Lease) -> None:
        self._lease = lease
        # Raises LogDiverged where the log was restored to before the checkpoint.
        await self._store.checkpoints.load(
            lease.name, generation=lease.generation, partition=lease.partition
        )
        self._position = self._saved = lease.position
        self._applier = Applier(self.view.projection, self.build, self.partition, self._partitions)
        await self._load_letters()
        known = await incarnation_of(self.build, self.partition)
        if known is not None and known != self.build.incarnation and self._position:
            await self._move(0)  # another partition's worker saw that the sink was emptied
        await self._check_sink()

    async def _load_letters(self) -> None:
        found = await letters.load(self.build)
        mine = [each for each in found if each.partition == self.partition]
        applier = self._applier
        applier.parked = {each.key for each in mine if each.dropped_reason is None}
        applier.dropped = {
            (each.key, each.position) for each in found if each.dropped_reason is not None
        }

    async def _check_sink(self) -> None:
        """A sink that can say how far it is, and is behind the checkpoint, has lost writes."""
        ask = getattr(self.view.sink, "position", None)
        if ask is None or self._position == 0:
            return
        async for attempt in _until_it_answers():
            with attempt:
                reached = await ask(self.build)
        if reached is not None and reached < self._position:
            raise SinkEmptied(f"view {self.view.name!r}: the sink is behind its checkpoint")

    async def _feed(self, once: bool) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            if self._applier.parked and begun - self._looked_at > LOOK_SECONDS:
                self._looked_at = begun
                await self._retry_asked()
            head = await self._outbox.head()
            if head.position <= self._position:
                await self._save_place()
                self.caught_up.set()
                if once:
                    return
                await self._idle()
                continue
            page = await self._outbox.page(
                self._position, head.position, self._queries, self._settings.page_events
            )
            if page.events:
                await self._take(page.events, page.scanned_to)
            else:
                self._position = page.scanned_to
                if loop.time() - self._saved_at > EMPTY_MOVE_SECONDS:
                    await self._save_place()
            if self._position >= head.position:
                # It keeps up: pages come as fast as events do, and need not be commits as often.
                self.caught_up.set()
                await asyncio.sleep(max(begun + PAUSE_SECONDS - loop.time(), 0))

    async def _idle(self) -> None:
        """Waits for an append; not for ever where keys are parked."""
        waiting = self._outbox.wait(self._position)
        if not self._applier.parked:
            await waiting
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(waiting, LOOK_SECONDS)

    async def _take(self, events: Sequence[RecordedEvent], scanned_to: int) -> None:
        """Applies and writes a page; where something in it fails, event by event."""
        await self._applier.prepare(events)
        try:
            applied = self._applier.apply(events)
        except Poison as poison:
            self._applier.undo(poison.so_far)
        else:
            try:
                await self._write(applied, scanned_to)
                return
            except _Refused:
                self._applier.undo(applied)
        for event in events:
            await self._take_alone(event)
        await self._move(scanned_to)

    async def _take_alone(self, event: RecordedEvent) -> None:
        """One event, as often as it may be tried; then its key is parked, or the view stops."""
        key, reason = event.stream, ""
        for attempt in range(1, self.view.attempts + 1):
            if attempt > 1:
                await _pause(attempt)
            await self._applier.prepare([event])
            try:
                applied = self._applier.apply([event])
            except Poison as poison:
                self._applier.undo(poison.so_far)
                key, reason = poison.key, poison.reason
                continue
            try:
                await self._write(applied, event.position)
                return
            except _Refused as refused:
                self._applier.undo(applied)
                key = self.view.projection.key(event) or event.stream
                reason = refused.reason
        if self.view.on_error == "stop":
            said = f"position {event.position}: {reason}"
            await self._outbox.change([note_state(self.build, self.partition, "stopped", said)])
            raise Stopped(f"view {self.view.name!r} stopped at {said}")
        _log.warning(
            "view %s: key %r is parked at position %d: %s",
            self.view.name,
            key,
            event.position,
            reason,
        )
        letter = Letter(key, event.position, reason, self.view.attempts)
        await self._write(Applied({}, [letter], {}, 1, 0, event.recorded_us), event.position)
        self._applier.parked.add(key)

    async def _write(self, applied: Applied, to: int, more: Sequence[Statement] = ()) -> None:
        """Hands the changes to the sink and moves the checkpoint. Raises `_Refused` for changes
        that are not taken, `LeaseLost`, `SinkEmptied`."""
        self._reach("before sink")
        written = await self._send(list(applied.changes.values()))
        self._reach("after sink")
        try:
            statements = [*written.statements, *more]
            folds = self._applier.folds(applied)
            if folds:
                statements.append(keep_folds(self.build, folds))
            statements += letters.park(self.build, self.partition, applied.letters)
        except LeaseLost:
            raise
        except EventStoreError as exc:  # such as a state that cannot be encoded
            raise _Refused(reason_of(exc)) from exc
        self._reach("before checkpoint")
        await self._move(to, statements, applied, written)
        self._reach("after checkpoint")

    async def _send(self, changes: list[Change]) -> Written:
        """What the sink says of the changes; one that does not answer is asked until it does."""
        if not changes:
            return Written()
        told = False
        async for attempt in _until_it_answers():
            with attempt:
                try:
                    written = await self.view.sink.write(self.build, changes)
                except SinkUnavailable as exc:
                    if not told:
                        told = True
                        _log.warning("view %s: %s", self.view.name, exc)
                        await self._tell_state("waiting", str(exc))
                    raise
                except (LeaseLost, SinkEmptied):
                    raise
                except Exception as exc:
                    raise _Refused(reason_of(exc)) from exc
        return written

    async def _move(
        self,
        to: int,
        statements: Sequence[Statement] = (),
        applied: Applied = _NOTHING,
        written: Written = _NOT_WRITTEN,
    ) -> None:
        lease = self._lease
        if lease is None:
            raise LeaseLost(f"view {self.view.name!r}: no lease")
        if to == self._saved and not statements:
            return
        progress = note_progress(self.build, self.partition, to, applied, written)
        statements = [*statements, progress]
        async for attempt in stamina.retry_context(
            on=_Again, attempts=None, timeout=None, wait_max=_BACK_OFF_SECONDS_MAX
        ):
            with attempt:
                try:
                    moved = await self._outbox.change(
                        statements, lease=lease, before=self._saved, position=to
                    )
                except (Busy, StorageFailed, OutcomeUnknown) as exc:
                    raise _Again(f"view {self.view.name!r}: {type(exc).__name__}") from exc
                except RowRefused as exc:
                    raise _Refused(str(exc)) from exc
        if not moved:
            # Another one holds the lease, or our own answer was lost: begin where it stands.
            raise LeaseLost(f"view {self.view.name!r}: its checkpoint is not where it was left")
        self._position = self._saved = to
        self._saved_at = asyncio.get_running_loop().time()

    async def _save_place(self) -> None:
        if self._position != self._saved:
            await self._move(self._position)

    async def _retry_asked(self) -> None:
        """Tries the keys that somebody asked for, in order, until one of their events fails."""
        found = await letters.load(self.build)
        mine = [each for each in found if each.partition == self.partition]
        asked = {each.key for each in mine if each.retry_asked is not None}
        standing = {each.key for each in mine if each.dropped_reason is None}
        if asked or standing != self._applier.parked:
            await self._load_letters()
        for key in sorted(asked & standing):
            waiting = [e for e in mine if e.key == key and e.dropped_reason is None]
            for letter in waiting:
                if not await self._retry(letter):
                    break
            else:
                self._applier.parked.discard(key)

    async def _retry(self, letter: letters.DeadLetter) -> bool:
        page = await self._outbox.page(letter.position - 1, letter.position, (), 1)
        await self._applier.prepare(page.events)
        try:
            applied = self._applier.apply(page.events, unpark=True)
        except Poison as poison:
            self._applier.undo(poison.so_far)
            reason = poison.reason
        else:
            try:
                gone = letters.deliver(self.build, letter.key, letter.position)
                await self._write(applied, self._saved, [gone])
                return True
            except _Refused as refused:
                self._applier.undo(applied)
                reason = refused.reason
        await self._move(
            self._saved, letters.fail_again(self.build, letter.key, letter.position, reason)
        )
        return False

    async def _refill(self) -> None:
        """Gives the build a new incarnation, unless another worker did, and begins at the start
        of the log; the workers of other partitions see it by the incarnation."""
        self.build = await reincarnate(self.build)
        async for attempt in _until_it_answers():
            with attempt:
                await self.view.sink.create(self.build)
        if self._saved:
            await self._move(0)

    async def _tell_state(self, state: str, error: str) -> None:
        with contextlib.suppress(EventStoreError):
            await self._outbox.change([note_state(self.build, self.partition, state, error)])

    def _reach(self, place: str) -> None:
        if self._settings.failpoint is not None:
            self._settings.failpoint(place)


def _until_it_answers() -> Any:
    return stamina.retry_context(
        on=SinkUnavailable, attempts=None, timeout=None, wait_max=_BACK_OFF_SECONDS_MAX
    )


async def _pause(attempt: int) -> None:
    """Exponential back-off with jitter, from the library's own schedule."""
    from tenacity import wait_exponential_jitter

    wait = wait_exponential_jitter(initial=_TRY_SECONDS, max=_BACK_OFF_SECONDS_MAX, jitter=0.05)
    await asyncio.sleep(wait(_State(attempt - 1)))  # type: ignore[arg-type]  # asks for no more


class _State:
    """What tenacity's schedule looks at."""

    def __init__(self, attempt_number: int) -> None:
        self.attempt_number = attempt_number
