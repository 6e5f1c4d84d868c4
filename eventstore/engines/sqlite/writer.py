"""The owner of the write connection: one thread, one queue, one transaction for all that wait.

Callers hand calls over from the event loop; the thread takes everything that waits (within
bounds), judges and writes it under one write lock, commits, and only then are callers answered,
all of one batch with one wake-up of their loop. Jobs (checkpoints, leases, snapshots) run behind
the appends, each in a transaction of its own. Group commit is old: DeWitt et al., "Implementation
Techniques for Main Memory Database Systems", SIGMOD 1984.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec

from ...calls import Call, Outcome
from ...errors import Busy, EventStoreError, OutcomeUnknown, StorageFailed, StoreClosed
from ...judge import judge
from ...limits import BATCH_BYTES_MAX, BATCH_EVENTS_MAX
from .connection import FIRST_SAFE_VERSION
from .errors import DRIVER_ERRORS, translate
from .ledger import SqliteLedger
from .turns import Turns, close_in_turn

_log = logging.getLogger("eventstore")

_warned: set[str] = set()
"""Files whose second writer was told of, once in this process."""


_NORMAL = 1
"""SQLite's number for synchronous=NORMAL: in WAL mode a commit is written and not waited for."""


class Job(msgspec.Struct, gc=False):
    """Other work for the owner, in a transaction of its own, with the bytes that it brings.

    What `is_derived` can be made again from the log, in one piece with how far it is: its commit
    does not wait for the disk. A process that is killed loses none of it; when the power fails,
    what came last is undone in the order in which it was committed, and is made again.
    """

    run: Callable[[sqlite3.Connection], Any]
    payload_bytes: int = 0
    is_derived: bool = False


_Answer = tuple["_Waiting", Any]


class _NotBegun(Exception):
    """No transaction was begun: the error is everybody's, and nothing was written."""

    def __init__(self, error: EventStoreError) -> None:
        super().__init__(str(error))
        self.error = error


class _Waiting(msgspec.Struct, gc=False):
    """A call or a job with the future that its caller awaits."""

    work: Call | Job
    future: asyncio.Future[Any]


class Writer:
    """Owns the write connection of one file in this process."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        turns: Turns,
        path: str,
        clock: Callable[[], int],
        appends_max: int,
        bytes_max: int,
        committed: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._turns = turns
        self._path = path
        self._ledger = SqliteLedger(connection, clock)
        (self._synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
        self._synchronous_now = self._synchronous
        self._loop = asyncio.get_running_loop()
        # Both threads touch these, under the lock; `_go` wakes the owner when it is idle.
        self._lock = threading.Lock()
        self._go = threading.Semaphore(0)
        self._incoming: list[_Waiting] = []
        self._idle = False
        self._ending = False
        self._committed = committed
        self._appends_max, self._bytes_max = appends_max, bytes_max
        self._appends_waiting = self._bytes_waiting = 0
        self._room: deque[_Waiting] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"eventstore {path}", daemon=True)
        self._thread.start()

    def commit(self, call: Call | Job) -> Awaitable[Any]:
        """Hands the call to the owner; what it returns is awaited for the outcome. Cancelled while
        it waits for room, nothing is written; after that the commit goes on without its caller."""
        item = _Waiting(call, self._loop.create_future())
        if not self._closed and (self._room or self._is_full(call.payload_bytes)):
            self._room.append(item)  # behind those who wait already: nobody is overtaken for ever
            return item.future
        return self._hand_over(item)

    def _hand_over(self, item: _Waiting) -> asyncio.Future[Any]:
        if self._closed:
            raise StoreClosed(f"{self._path}: closed")
        self._appends_waiting += 1
        self._bytes_waiting += item.work.payload_bytes
        with self._lock:
            self._incoming.append(item)
            if self._idle:
                # At the end of this turn of the loop: what else becomes ready in it comes along.
                self._idle = False
                self._loop.call_soon(self._go.release)
        return item.future

    async def run(
        self,
        job: Callable[[sqlite3.Connection], Any],
        payload_bytes: int = 0,
        *,
        is_derived: bool = False,
    ) -> Any:
        """Runs a job in a transaction of its own, behind the appends that wait; it counts among
        them for the bounds of the queue. `is_derived` as in `Job`. Cancellation as in `commit`."""
        return await self.commit(Job(job, payload_bytes, is_derived))

    async def close(self) -> None:
        """Refuses new work, finishes what was accepted, ends the thread."""
        self._closed = True
        while self._room:
            waiting = self._room.popleft().future
            if not waiting.done():
                waiting.set_exception(StoreClosed(f"{self._path}: closed"))
        with self._lock:
            self._ending = True
            self._idle = False
        self._go.release()
        await self._loop.run_in_executor(None, self._thread.join)

    async def disconnect(self) -> None:
        """Closes the connection, after `close` and after every reader. The last connection that
        may write folds the write-ahead log into the file and removes it; a read-only one cannot,
        and a copy of the file alone would lack what stands there."""
        await self._loop.run_in_executor(None, close_in_turn, self._connection, self._turns)

    def _is_full(self, size: int) -> bool:
        # A call larger than the whole bound goes through when it is alone.
        return self._appends_waiting > 0 and (
            self._appends_waiting >= self._appends_max
            or self._bytes_waiting + size > self._bytes_max
        )

    def _let_in(self) -> None:
        """Hands over those who wait for room, in their order, as far as there is room."""
        while self._room:
            work, future = self._room[0].work, self._room[0].future
            if not future.done() and self._is_full(work.payload_bytes):
                return
            item = self._room.popleft()
            if not future.done():  # else its caller was cancelled
                self._hand_over(item)

    # --- in the owner's thread

    def _work(self) -> None:
        while True:
            batch = self._take()
            if not batch:
                return
            calls = [item for item in batch if isinstance(item.work, Call)]
            if calls:
                self._commit_batch(calls)
            for item in batch:
                if isinstance(item.work, Job):
                    self._answer([(item, self._run_job(item.work))])

    def _take(self) -> list[_Waiting]:
        """What waits, within the bounds of a batch; blocks while nothing does. Empty at the end."""
        while True:
            with self._lock:
                batch = self._cut_batch()
                if batch or self._ending:
                    return batch
                self._idle = True
            self._go.acquire()

    def _cut_batch(self) -> list[_Waiting]:
        incoming = self._incoming
        events = size = count = 0
        for item in incoming:
            if isinstance(item.work, Call):
                events += item.work.event_count
                size += item.work.payload_bytes
                if count and (events > BATCH_EVENTS_MAX or size > BATCH_BYTES_MAX):
                    break
            count += 1
        self._incoming = incoming[count:]
        return incoming[:count]

    def _commit_batch(self, calls: list[_Waiting]) -> None:
        try:
            outcomes = self._transact(calls)
        except _NotBegun as exc:
            # Nobody is the culprit, and waiting again for each would be long.
            self._answer([(item, copy.copy(exc.error)) for item in calls])
        except Exception as exc:
            if len(calls) == 1:
                self._commit_again(calls[0], exc)
                return
            # One of them is at fault: each alone, so that only the culprit fails.
            for item in calls:
                self._commit_batch([item])
        else:
            self._answer(list(zip(calls, outcomes, strict=True)), committed=True)

    def _commit_again(self, item: _Waiting, error: Exception) -> None:
        """Answers a call that failed alone; where its outcome is not known, it is sent once more
        with its ids, so that it is written once whichever of the two stands."""
        call = item.work
        if isinstance(error, OutcomeUnknown) and isinstance(call, Call):
            call.given_ids = tuple(event.id for part in call.appends for event in part.events)
            try:
                outcomes = self._transact([item])
            except _NotBegun:
                pass  # still unknown: that is what the caller is told
            except Exception as exc:
                error = exc if isinstance(exc, OutcomeUnknown) else error
            else:
                self._answer([(item, outcomes[0])], committed=True)
                return
        if isinstance(error, DRIVER_ERRORS):
            error = translate(error, self._path)
        elif not isinstance(error, EventStoreError):
            _log.error("%s: the writer failed with a %s", self._path, type(error).__name__)
        self._answer([(item, error)])

    def _transact(self, calls: list[_Waiting]) -> list[Outcome]:
        """One transaction for all: judged in order, written in bulk, durable when this returns."""
        ledger = self._ledger
        with self._turn(self._synchronous):
            try:
                ledger.begin()
                work = [item.work for item in calls if isinstance(item.work, Call)]
                ledger.look_up_keys(work)
                outcomes = [judge(call, ledger) for call in work]
                ledger.flush()
            except BaseException:
                self._roll_back()
                raise
            self._commit()
        if ledger.written_elsewhere:
            self._warn_of_defect()
        return outcomes

    @contextlib.contextmanager
    def _turn(self, synchronous: int) -> Iterator[None]:
        """Holds the turn with a transaction begun, whose commit waits for the disk or does not.
        Raises `_NotBegun` where that cannot be."""
        try:
            self._turns.__enter__()
        except (Busy, StorageFailed) as exc:
            raise _NotBegun(exc) from exc
        try:
            try:
                if self._connection.in_transaction:
                    self._roll_back()
                self._set_synchronous(synchronous)
                self._turns.begin(self._connection)
            except sqlite3.Error as exc:
                raise _NotBegun(translate(exc, self._path)) from exc
            yield
        finally:
            self._turns.__exit__(None, None, None)

    def _set_synchronous(self, wanted: int) -> None:
        if self._synchronous_now != wanted:
            self._synchronous_now = -1  # unknown until it is set
            self._connection.execute(f"PRAGMA synchronous = {wanted}")
            self._synchronous_now = wanted

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as exc:
            self._roll_back()
            primary = getattr(exc, "sqlite_errorcode", 0) & 0xFF
            if primary == sqlite3.SQLITE_IOERR:
                # The frames may have reached the disk before the sync failed; a later recovery
                # may find them. We cannot know, and say so.
                raise OutcomeUnknown(
                    f"{self._path}: I/O error while committing; it may be written"
                ) from exc
            raise

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self._ledger.rolled_back()

    def _run_job(self, job: Job) -> Any:
        level = min(self._synchronous, _NORMAL) if job.is_derived else self._synchronous
        try:
            with self._turn(level):
                try:
                    self._ledger.begin()
                    result = job.run(self._connection)
                except BaseException:
                    self._roll_back()
                    raise
                self._commit()
        except _NotBegun as exc:
            return exc.error
        except sqlite3.Error as exc:
            return translate(exc, self._path)
        except Exception as exc:
            return exc
        return result

    def _answer(self, answers: list[_Answer], committed: bool = False) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and its callers with it
            self._loop.call_soon_threadsafe(self._deliver, answers, committed)

    def _warn_of_defect(self) -> None:
        file = os.path.realpath(self._path)
        if file not in _warned and sqlite3.sqlite_version_info < FIRST_SAFE_VERSION:
            _warned.add(file)
            _log.warning(
                "%s: more than one connection writes to and checkpoints this file, and SQLite %s"
                " has the WAL-reset defect (3.7.0 to 3.51.2); stores of this library take turns,"
                " other programs do not: use SQLite %s or newer for those",
                self._path,
                sqlite3.sqlite_version,
                ".".join(map(str, FIRST_SAFE_VERSION)),
            )

    # --- in the event loop again

    def _deliver(self, answers: list[_Answer], committed: bool) -> None:
        for item, outcome in answers:
            self._appends_waiting -= 1
            self._bytes_waiting -= item.work.payload_bytes
            future = item.future
            if not future.done():
                if isinstance(outcome, BaseException):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)
        self._let_in()
        if committed:
            self._committed()
