"""The owner of the appends: callers queue, and what waits for one tenant goes as one batch.

A batch is one round trip of `append_batch`, which is one transaction. A tenant has at most one in
flight, so that its calls are judged in queue order; the next one gathers meanwhile. Tenants do not
wait for each other while there are connections. Everything here runs in the store's event loop.

A batch whose answer was lost with its connection is sent again: its events' ids then count as
given, so that what stands is found, and the new transaction strikes the earlier sending out, so
that it cannot be written later by a server that had only been slow. Whichever of the two comes
first, the other one writes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import msgspec

from ...calls import Call, Outcome, Written
from ...errors import Busy, EventStoreError, OutcomeUnknown, StorageFailed, StoreClosed
from ...limits import BATCH_BYTES_MAX, BATCH_EVENTS_MAX
from .batch import NO_PARENT, Columns, arguments_of, columns_of, is_refused, outcomes_of
from .connections import CLOSE_SECONDS, LOSSES_MAX, Connection, Connections, transaction
from .errors import SUPERSEDED, is_lost, is_retried, translate
from .known import KnownStreams
from .statements import Statements

_log = logging.getLogger("eventstore")

RETRIES_MAX = 20
"""Of a batch that others were in the way of: each means that another one was written, and a
head's lock leaves nothing to deadlock about but names that two tenants use first at once."""

_ALONE_SECONDS, _ALONE_SECONDS_MAX = 0.25, 8.0
"""Before a call that lost its connection alone is sent again; it doubles. A server that dies of it
serves others in between, and a failover may come to its end."""

_SPLIT_MIN = 32
"""Calls from which on two batches cost less time than one. A batch's own costs (round trip, plans
made ready, sync) are those of about 15 events, so smaller halves only pay them twice: four
processes of 16 callers wrote 1.6 times as much in batches of 16 as in batches of 8."""


class _Waiting(msgspec.Struct, gc=False):
    """A call with the future that its caller awaits."""

    call: Call
    future: asyncio.Future[Outcome]
    is_answered: bool = False


class _Batch(list[_Waiting]):
    """Calls that go together, and what they were laid out as, if they were."""

    columns: Columns | None = None


class _Lane(msgspec.Struct, gc=False):
    """The calls of one tenant that wait, and whether a batch of it is in flight."""

    waiting: deque[_Waiting]
    is_busy: bool = False
    ahead: _Batch | None = None  # the next one, laid out while the one before it is in flight


class Writer:
    """See the module. `committed` is called with a tenant's name after each batch that wrote."""

    def __init__(
        self,
        connections: Connections,
        statements: Statements,
        clock: Callable[[], int],
        appends_max: int,
        bytes_max: int,
        patience_seconds: float,
        committed: Callable[[str], None],
    ) -> None:
        self._connections = connections
        self._append = statements.append_batch
        self._fork_stream = statements.fork_stream
        self._clock = clock
        self._url = connections.address.shown
        self._patience = patience_seconds
        self._committed = committed
        self._appends_max, self._bytes_max = appends_max, bytes_max
        self._appends_waiting = self._bytes_waiting = 0
        self._room: deque[_Waiting] = deque()
        self._lanes: dict[str, _Lane] = {}
        self._senders: set[asyncio.Task[None]] = set()
        self._closed = False
        self._is_silent = False
        """While it closes, the server left a batch without an answer: no other one is sent."""
        self._loop = asyncio.get_running_loop()
        self._name = uuid.uuid4().hex
        self._sent = 0
        self._answered = 0
        """Batches that the server has answered."""
        self._known = KnownStreams()

    def commit(self, call: Call) -> Awaitable[Outcome]:
        """Hands the call over; what it returns is awaited for the outcome. Cancelled while it
        waits for room, nothing is written; after that the commit goes on without its caller."""
        item = _Waiting(call, self._loop.create_future())
        if not self._closed and (self._room or self._is_full(call.payload_bytes)):
            self._room.append(item)  # behind those who wait already: nobody is overtaken for ever
            return item.future
        self._hand_over(item)
        return item.future

    async def close(self) -> None:
        """Refuses new work and finishes what was accepted, as long as the server answers. What it
        leaves without an answer for as long as a batch may take is given up."""
        self._closed = True
        while self._room:
            waiting = self._room.popleft().future
            if not waiting.done():
                waiting.set_exception(StoreClosed(f"{self._url}: closed"))
        self._connections.closing = True
        while self._senders:
            answered = self._answered
            # Not less: what was sent before is with the server, which may be working on it.
            within = max(self._patience + CLOSE_SECONDS, self._connections.answer_seconds)
            await asyncio.wait(self._senders, timeout=within)
            if answered == self._answered:
                for sender in self._senders:
                    sender.cancel()

    def _hand_over(self, item: _Waiting) -> None:
        if self._closed:
            raise StoreClosed(f"{self._url}: closed")
        self._appends_waiting += 1
        self._bytes_waiting += item.call.payload_bytes
        lane = self._lanes.get(item.call.tenant)
        if lane is None:
            lane = self._lanes[item.call.tenant] = _Lane(deque())
        lane.waiting.append(item)
        if not lane.is_busy:
            lane.is_busy = True
            sender = self._loop.create_task(self._send(item.call.tenant, lane))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)

    def _is_full(self, size: int) -> bool:
        # A call larger than the whole bound goes through when it is alone.
        return self._appends_waiting > 0 and (
            self._appends_waiting >= self._appends_max
            or self._bytes_waiting + size > self._bytes_max
        )

    def _let_in(self) -> None:
        """Hands over those who wait for room, in their order, as far as there is room."""
        while self._room:
            item = self._room[0]
            if not item.future.done() and self._is_full(item.call.payload_bytes):
                return
            self._room.popleft()
            if not item.future.done():  # else its caller was cancelled
                self._hand_over(item)

    async def _send(self, tenant: str, lane: _Lane) -> None:
        """Sends what waits for a tenant, batch after batch, until nothing does."""
        # Of many who come at once, half goes first: then one half is prepared and answered by this
        # process while the server works on the other, instead of each waiting for the other.
        calls_max = len(lane.waiting) // 2 if len(lane.waiting) >= _SPLIT_MIN else None
        while lane.waiting or lane.ahead:
            batch = lane.ahead or self._cut_batch(lane, calls_max)
            lane.ahead = None
            if calls_max is not None:
                calls_max = None
                self._loop.call_soon(self._look_ahead, lane)
            try:
                await self._commit(batch, [])
            except BaseException as exc:
                # Nobody is left waiting for an answer that never comes.
                why = "closed while the server said nothing"
                if not (self._closed and isinstance(exc, asyncio.CancelledError)):  # not foreseen
                    why = "the writer failed"
                    _log.error("%s: the writer failed with a %s", self._url, type(exc).__name__)
                for item in batch:
                    self._answer(item, OutcomeUnknown(f"{self._url}: {why}; it may be written"))
                if not isinstance(exc, Exception):
                    self._give_up(tenant, lane)
                    raise
                self._let_in()
            if self._is_silent:
                self._give_up(tenant, lane)
                return
        lane.is_busy = False
        del self._lanes[tenant]

    def _give_up(self, tenant: str, lane: _Lane) -> None:
        """The sender was ended from outside, or by a silence: what it has not sent is answered, and
        whoever comes next has a new one."""
        del self._lanes[tenant]
        for item in (*(lane.ahead or ()), *lane.waiting):
            ended = StorageFailed(f"{self._url}: the writer was ended; nothing was written")
            self._answer(item, ended)
        lane.ahead = None
        lane.waiting.clear()
        self._let_in()

    def _look_ahead(self, lane: _Lane) -> None:
        """Lays out what waits behind the batch that is in flight, so that it can go at once."""
        if lane.is_busy and lane.waiting and lane.ahead is None:
            lane.ahead = self._cut_batch(lane, None)
            lane.ahead.columns = columns_of([item.call for item in lane.ahead])

    def _cut_batch(self, lane: _Lane, calls_max: int | None) -> _Batch:
        waiting, batch = lane.waiting, _Batch([lane.waiting.popleft()])
        events, size = batch[0].call.event_count, batch[0].call.payload_bytes
        if batch[0].call.appends[0].fork is not None:  # it goes alone
            return batch
        while waiting and len(batch) != calls_max:
            call = waiting[0].call
            if call.appends[0].fork is not None:
                break
            events += call.event_count
            size += call.payload_bytes
            if events > BATCH_EVENTS_MAX or size > BATCH_BYTES_MAX:
                break
            batch.append(waiting.popleft())
        return batch

    async def _commit(
        self, batch: Sequence[_Waiting], lost: list[str], deadline: float | None = None
    ) -> None:
        """Sends a batch until its outcomes are known, and answers. `lost` names the sendings of
        these calls whose end is not known, `deadline` counts from the first trouble on."""
        retries = losses = 0
        while True:
            attempt, sent_at = self._next_attempt(), self._loop.time()
            try:
                row = await self._transact(batch, attempt, lost, deadline)
            except Exception as exc:
                is_silent = isinstance(exc, TimeoutError)  # whose beginning counts
                self._is_silent = self._is_silent or (is_silent and self._closed)
                deadline = (
                    deadline or (sent_at if is_silent else self._loop.time()) + self._patience
                )
                self._known.forget()  # what was damaged is still
                if isinstance(exc, _NotSent):
                    self._refuse(batch, exc.error, lost)
                    return
                if is_retried(exc) and retries < RETRIES_MAX:
                    retries += 1
                elif is_lost(exc):
                    lost.append(attempt)
                    losses += 1
                    _take_as_given(batch)
                    self._connections.drop_free()  # a server that was started anew has ended them
                    if self._loop.time() >= deadline:
                        is_deadly = losses >= LOSSES_MAX and len(batch) == 1
                        told = (_deadly if is_deadly else _caused)(exc, self._url)
                        self._refuse(batch, told, lost)
                        return
                    if losses == LOSSES_MAX and len(batch) > 1:
                        await self._commit_alone(batch, lost, deadline)
                        return
                    if losses > 1 and len(batch) == 1:
                        pause = min(_ALONE_SECONDS * 2 ** (losses - 2), _ALONE_SECONDS_MAX)
                        await asyncio.sleep(min(pause, deadline - self._loop.time()))
                elif lost and self._is_passing(exc) and self._loop.time() < deadline:
                    await asyncio.sleep(0.05)
                elif len(batch) > 1 and not self._is_passing(exc):
                    await self._commit_alone(batch, lost)
                    return
                else:
                    self._refuse(batch, _caused(exc, self._url), lost)
                    return
            else:
                self._answered += 1
                outcomes = outcomes_of([item.call for item in batch], row)
                lane = self._lanes.get(batch[0].call.tenant)
                if lane is not None and (lane.ahead or lane.waiting):
                    # The next batch is sent before those of this one hear their answers: what they
                    # do then, this process does while the server works.
                    self._loop.call_soon(self._deliver, batch, outcomes, bool(lost))
                else:
                    self._deliver(batch, outcomes, bool(lost))
                return

    async def _commit_alone(
        self, batch: Sequence[_Waiting], lost: Sequence[str], deadline: float | None = None
    ) -> None:
        """One of the calls is at fault: each is sent alone, so that only the culprit fails. Behind
        a `deadline` a connection that is lost is lost for the last time."""
        for item in batch:
            await self._commit([item], list(lost), deadline)

    async def _transact(
        self, batch: Sequence[_Waiting], attempt: str, lost: list[str], deadline: float | None
    ) -> Sequence[Any]:
        """One transaction for all: durable when this returns. Raises what the driver raises, and
        `_NotSent` where there is no connection."""
        calls = [item.call for item in batch]
        deadline = deadline or self._loop.time() + self._patience
        async with contextlib.AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._connections.borrow(deadline))
            except EventStoreError as exc:
                raise _NotSent(exc) from exc
            if calls[0].appends[0].fork is not None:
                return await self._fork(connection, calls[0], attempt, lost)
            columns = batch.columns if isinstance(batch, _Batch) else None
            columns = columns or columns_of(calls)
            check, ids = self._known.look(calls[0].tenant, columns.streams)
            now = self._clock()
            arguments = arguments_of(calls, attempt, lost, now, check, columns, ids)
            bound = self._connections.answer_seconds
            try:
                row = await connection.fetchrow(self._append, *arguments, timeout=bound)
            except asyncpg.PostgresError as exc:
                if exc.sqlstate == SUPERSEDED:
                    raise AssertionError("a sending strikes out only earlier ones") from None
                raise
        assert row is not None
        answer: Sequence[Any] = row
        if ids is None:
            self._known.learn(calls[0].tenant, columns.streams, answer[-1])
        return answer

    async def _fork(
        self, connection: Connection, call: Call, attempt: str, lost: list[str]
    ) -> Sequence[Any]:
        """One transaction of two statements: the stream begins where it leaves its parent, and the
        event goes behind that as any other. Where the event may not be, both are taken back."""
        part, bound = call.appends[0], self._connections.answer_seconds
        assert part.fork is not None
        place = (call.tenant, part.stream, part.fork.parent, part.fork.version)
        try:
            async with transaction(connection):
                begins = await connection.fetchval(self._fork_stream, *place, timeout=bound)
                if begins is None:
                    return NO_PARENT
                if begins:
                    part = msgspec.structs.replace(part, expected=part.fork.version)
                    call = msgspec.structs.replace(call, appends=[part])
                # A stream that has only just begun has no events to be held against.
                arguments = arguments_of([call], attempt, lost, self._clock(), not begins)
                row = await connection.fetchrow(self._append, *arguments, timeout=bound)
                assert row is not None
                answer: Sequence[Any] = row
                if begins and is_refused(answer):
                    raise _TakenBack(answer)
        except _TakenBack as taken_back:
            return taken_back.answer
        return answer

    def _refuse(
        self, batch: Sequence[_Waiting], error: EventStoreError, lost: Sequence[str]
    ) -> None:
        """Answers all with an error; where an earlier sending may stand, that is what they hear."""
        for item in batch:
            answer: EventStoreError
            if lost:
                answer = OutcomeUnknown(
                    f"{self._url}: the connection was lost after sending; it may be written"
                )
                answer.__cause__ = error
            else:
                answer = copy.copy(error)
                answer.__cause__ = error.__cause__
            self._answer(item, answer)
        self._let_in()

    def _deliver(
        self, batch: Sequence[_Waiting], outcomes: Sequence[Outcome], was_sent_before: bool
    ) -> None:
        has_written = False
        for item, outcome in zip(batch, outcomes, strict=True):
            if type(outcome) is Written and item.call.event_count:
                outcome.was_sent_before = was_sent_before
                # What a lost sending wrote nobody has been told of.
                has_written = has_written or was_sent_before or not outcome.duplicate
            self._answer(item, outcome)
        self._let_in()
        tenant = batch[0].call.tenant
        if has_written:
            self._committed(tenant)
        lane = self._lanes.get(tenant)
        if lane is not None:  # behind the callers who now have their answers, and may come again
            self._loop.call_soon(self._look_ahead, lane)

    def _answer(self, item: _Waiting, outcome: Outcome | EventStoreError) -> None:
        if item.is_answered:
            return
        item.is_answered = True
        self._appends_waiting -= 1
        self._bytes_waiting -= item.call.payload_bytes
        if not item.future.done():
            if isinstance(outcome, BaseException):
                item.future.set_exception(outcome)
            else:
                item.future.set_result(outcome)

    def _is_passing(self, error: BaseException) -> bool:
        """Whether an error may be gone when the same is sent again."""
        return isinstance(translate(error, self._url), Busy)

    def _next_attempt(self) -> str:
        self._sent += 1
        return f"{self._name}/{self._sent}"


class _TakenBack(Exception):
    """A fork was refused: its transaction is undone, and this is what it answered."""

    def __init__(self, answer: Sequence[Any]) -> None:
        super().__init__()
        self.answer = answer


class _NotSent(Exception):
    """No connection was there: nothing was sent this time."""

    def __init__(self, error: EventStoreError) -> None:
        super().__init__(str(error))
        self.error = error


def _caused(error: BaseException, url: str) -> EventStoreError:
    """The store's error, with the driver's as its cause."""
    told = translate(error, url)
    told.__cause__ = error
    return told


def _deadly(error: BaseException, url: str) -> EventStoreError:
    translate(error, url)  # which takes out of it what may hold data
    told = StorageFailed(
        f"{url}: the connection was lost again and again over this append alone; the server may"
        " die of it: read its log"
    )
    told.__cause__ = error
    return told


def _take_as_given(batch: Sequence[_Waiting]) -> None:
    """From now on the ids of these events count as their callers' own: those that stand were
    written by an earlier sending. The caller's own call keeps what was given with it."""
    if isinstance(batch, _Batch):
        batch.columns = None
    for item in batch:
        ids = tuple(event.id for part in item.call.appends for event in part.events)
        item.call = msgspec.structs.replace(item.call, given_ids=ids)
