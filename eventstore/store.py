"""The store as its users see it: append, read, subscribe, and views of it for a tenant or actor.

The facade checks and shapes; `calls` is its door, an engine does the work, `answers` speaks.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from threading import get_ident
from types import TracebackType
from typing import Any

import msgspec

from . import canonical
from .answers import answer, first_answer, written
from .calls import NO_DEFAULTS, Defaults, prepare_many, prepare_one
from .checkpoints import Checkpoint, Checkpoints
from .clock import Clock, system_clock
from .engines.port import Engine
from .errors import InvalidEvent, Misuse, StoreClosed
from .events import Append, AppendResult, RecordedEvent, StreamInfo
from .forking import fork_stream
from .limits import (
    BUSY_TIMEOUT_SECONDS,
    INTEGER_MAX,
    PAGE_ROWS_MAX,
    QUEUE_APPENDS_MAX,
    QUEUE_BYTES_MAX,
)
from .names import check_name
from .opening import Options, open_engine
from .outbox import Outbox
from .points import Expected, from_microseconds
from .query import AppendCondition, Query, as_queries
from .reading import Events, live_pages, live_stream_pages, log_pages, stream_pages
from .snapshots import Snapshots
from .verify import KnownHead, VerifyReport, verify_log

DEFAULT_TENANT = "default"


class EventStore:
    """An open event store. Make one with `EventStore.open`; use it in that event loop only.

    `bind` and `tenant` give lighter views of the same store; closing any of them closes all.
    """

    def __init__(self, core: _Core, tenant: str, defaults: Defaults) -> None:
        self._core = core
        self._tenant = tenant
        self._defaults = defaults

    @staticmethod
    def open(
        url: str,
        *,
        clock: Clock = system_clock,
        ids: Callable[[], str] | None = None,
        synchronous: str = "FULL",
        busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
        queue_appends_max: int = QUEUE_APPENDS_MAX,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
    ) -> Opening:
        """Opens `memory://`, `sqlite:///PATH` (the file is made or migrated) or
        `postgresql://USER@HOST/DATABASE` (its options stand in the docs).

        Use it as ``async with EventStore.open(url) as store`` or ``store = await
        EventStore.open(url)`` and close it. `clock` gives an aware datetime or microseconds, `ids`
        event ids. `synchronous="NORMAL"` risks the last commits at a power failure.
        A file that may not be written is opened to be read; appends to it are refused.
        Raises `SchemaTooNew`, `Busy`, `StorageFailed`, and `InvalidEvent` for a gap in upcasters.
        If cancelled, nothing stays open.
        """
        return Opening(
            Options(
                url,
                clock,
                ids,
                synchronous,
                busy_timeout_seconds,
                queue_appends_max,
                queue_bytes_max,
            )
        )

    async def append(
        self,
        stream: str,
        events: Sequence[Any] | Any,
        *,
        expected: Expected | int = Expected.ANY,
        idempotency_key: str | None = None,
        condition: AppendCondition | None = None,
        actor: str | None = None,
        causation_id: str | None = None,
        correlation_id: str | None = None,
        context: dict[str, Any] | None = None,
    ) -> AppendResult:
        """Appends `events` (`NewEvent`s or instances of registered classes) to one stream.

        All are written, durably, or none. Without events it checks the expectations and writes
        nothing, the key neither. An `idempotency_key` belongs to this stream: the same key and
        content give the first answer again. Raises `Conflict`, `ConditionFailed`,
        `IdempotencyMismatch`, `InvalidEvent`, `Busy`, `StorageFailed`, `StoreClosed` (none of
        them written) and `OutcomeUnknown`. If cancelled, it may be written all the same; a retry
        with the same key writes once.
        """
        self._core.check()
        wanted = Append(
            stream, events, expected, condition, actor, causation_id, correlation_id, context
        )
        core = self._core
        call = prepare_one(self._tenant, wanted, idempotency_key, self._defaults, core.ids)
        outcome = await core.engine.commit(call)
        return (written(call, outcome) or await answer(core.engine, call, outcome))[0]

    async def append_many(
        self, appends: Sequence[Append], *, idempotency_key: str | None = None
    ) -> list[AppendResult]:
        """Appends to several streams: all of it is written, or nothing.

        One result for each `Append`, in order; the key belongs to the call. A stream may stand in
        it once. Raises as `append` does; `Conflict.index` names the append. Cancellation as there.
        """
        self._core.check()
        call = prepare_many(self._tenant, appends, idempotency_key, self._defaults, self._core.ids)
        engine = self._core.engine
        outcome = await engine.commit(call)
        return written(call, outcome) or await answer(engine, call, outcome)

    async def fork(
        self,
        stream: str,
        into: str,
        at_version: int,
        *,
        idempotency_key: str | None = None,
        actor: str | None = None,
        correlation_id: str | None = None,
        context: dict[str, Any] | None = None,
    ) -> AppendResult:
        """Makes `into` a stream that begins as `stream` at `at_version`, without copying events.

        Reads of `into` go through to those events, under its name; its own begin behind them with
        one of type ``$stream.forked``, which is what this returns. The key belongs to `into`.
        Raises as `append` does: `Conflict` where `into` exists, `InvalidEvent` where `stream` has
        no such version. Cancellation as there."""
        self._core.check()
        core, append = self._core, Append(into, (), Expected.NO_STREAM, None, actor)
        append = msgspec.structs.replace(append, correlation_id=correlation_id, context=context)
        name, own = _check_stream_name(stream), (idempotency_key, self._defaults, core.ids)
        return await fork_stream(core.engine, self._tenant, name, append, at_version, *own)

    async def lookup(self, stream: str, idempotency_key: str) -> AppendResult | None:
        """What an append to `stream` with this key wrote, or None: ask before acting again.
        If cancelled, nothing is left open."""
        self._core.check()
        check_name("stream", stream)
        check_name("idempotency key", idempotency_key)
        engine = self._core.engine
        stored = await engine.find_key(self._tenant, stream, idempotency_key)
        if stored is None:
            return None
        return (await first_answer(engine, self._tenant, stored.written, stored.streams))[0]

    def read(
        self, stream: str, *, after: int = 0, limit: int | None = None, backwards: bool = False
    ) -> Events:
        """A stream's events by version: those above `after`, or `backwards` those below it
        (from the end when it is 0). Iterate it, or ``await .list()``. A stream that does not
        exist has none. Raises `Corrupt` for damage, `LogDiverged` where the log has gone back
        since the page before. Nothing is held between pages; cancelled or abandoned, it leaves
        nothing open."""
        self._core.check()
        _check_stream_name(stream)
        _check_bounds(after, limit)
        engine, tenant = self._core.engine, self._tenant
        return Events(
            self._core.check,
            lambda: stream_pages(engine, tenant, stream, after, limit, backwards),
        )

    def read_all(
        self,
        *,
        after: int | Checkpoint = 0,
        types: Sequence[str] = (),
        tags: Sequence[str] = (),
        query: Query | Sequence[Query] | None = None,
        limit: int | None = None,
    ) -> Events:
        """The tenant's log by position, up to the head seen when the iteration starts.

        `types` (any of) and `tags` (all of) filter, or `query`. Raises `LogDiverged` when `after`
        lies beyond the log, `Corrupt` for damage. Nothing is held between pages; cancelled or
        abandoned, it leaves nothing open."""
        self._core.check()
        _check_bounds(0, limit)
        _check_after(after)
        queries = _queries(types, tags, query)
        engine, tenant = self._core.engine, self._tenant
        return Events(self._core.check, lambda: log_pages(engine, tenant, after, queries, limit))

    def subscribe(
        self,
        *,
        after: int | Checkpoint = 0,
        stream: str | None = None,
        query: Query | Sequence[Query] | None = None,
    ) -> Events:
        """Every event behind position `after`, in order, once: what is there, then what comes.

        It ends only by an error (`StoreClosed`, `LogDiverged`, `Corrupt`) or with its consumer;
        if cancelled or abandoned it leaves nothing open."""
        self._core.check()
        _check_after(after)
        queries = as_queries(query)
        check, engine, tenant = self._core.check, self._core.engine, self._tenant
        if stream is None:
            return Events(check, lambda: live_pages(engine, tenant, after, queries))
        name = _check_stream_name(stream)
        return Events(check, lambda: live_stream_pages(engine, tenant, name, after, queries))

    async def head(self) -> int:
        """The tenant's last position, 0 for an empty log. If cancelled, nothing is left open."""
        self._core.check()
        return (await self._core.engine.head(self._tenant)).position

    async def version(self, stream: str) -> int:
        """The stream's last version, 0 when there is none. If cancelled, nothing is left open."""
        self._core.check()
        return await self._core.engine.stream_version(self._tenant, _check_stream_name(stream))

    async def event(self, event_id: str) -> RecordedEvent | None:
        """The event with this id, or None. If cancelled, nothing is left open."""
        self._core.check()
        check_name("event id", event_id)
        return await self._core.engine.find_by_id(self._tenant, event_id)

    async def caused_by(self, event_id: str) -> AsyncIterator[RecordedEvent]:
        """Events that name `event_id` as their causation id or in `derived_from`, by position.
        Nothing is held between pages; cancelled or abandoned, it leaves nothing open."""
        self._core.check()
        check_name("event id", event_id)
        after = 0
        while page := await self._core.engine.find_by_cause(
            self._tenant, event_id, after, PAGE_ROWS_MAX
        ):
            for event in page:
                yield event
            after = page[-1].position

    async def streams(self, prefix: str = "") -> AsyncIterator[StreamInfo]:
        """Streams whose name begins with `prefix`, ordered by the bytes of their names.
        Nothing is held between pages; cancelled or abandoned, it leaves nothing open."""
        self._core.check()
        prefix, after = _check_prefix(prefix), ""
        while page := await self._core.engine.streams_page(
            self._tenant, prefix, after, PAGE_ROWS_MAX
        ):
            for row in page:
                first, last = from_microseconds(row.first_us), from_microseconds(row.last_us)
                yield StreamInfo(row.name, row.version, first, last)
            after = page[-1].name

    async def tenants(self) -> list[str]:
        """The names of all tenants that have events. If cancelled, nothing is left open."""
        self._core.check()
        return await self._core.engine.tenants()

    async def verify(
        self,
        *,
        head: KnownHead | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> VerifyReport:
        """Reads the tenant's whole log against what is promised of it; see `VerifyReport`.
        With `head`, kept elsewhere, the loss of the tail is seen too. If cancelled, nothing is
        left open."""
        check = self._core.check

        def report(done: int, total: int) -> None:
            check()  # a store that closes does not wait for the end of a long log
            if progress is not None:
                progress(done, total)

        check()
        return await verify_log(self._core.engine, self._tenant, head, report)

    @property
    def checkpoints(self) -> Checkpoints:
        """Readers' durable positions and leases, of this tenant."""
        self._core.check()
        return Checkpoints(self._core.usable_engine, self._tenant, self._core.clock)

    @property
    def outbox(self) -> Outbox:
        """What relays feed views with, of this tenant: pages, rows and checkpoints together."""
        self._core.check()
        core = self._core
        return Outbox(core.usable_engine, self._tenant, core.clock, core.ids, core.heads_known)

    @property
    def snapshots(self) -> Snapshots:
        """Stored states, of this tenant."""
        self._core.check()
        return Snapshots(self._core.usable_engine, self._tenant)

    @property
    def tenant_name(self) -> str:
        """The tenant that this view of the store reads and writes."""
        return self._tenant

    @property
    def url(self) -> str:
        """Where the store is, without a password."""
        return self._core.engine.url

    def describe(self) -> dict[str, Any]:
        """Engine, versions and settings, as `eventstore doctor` prints them."""
        return self._core.engine.describe()

    def bind(
        self,
        *,
        actor: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        context: dict[str, Any] | None = None,
    ) -> EventStore:
        """The same store with defaults for its appends; what an append says itself goes first."""
        old = self._defaults
        defaults = Defaults(
            actor if actor is not None else old.actor,
            correlation_id if correlation_id is not None else old.correlation_id,
            causation_id if causation_id is not None else old.causation_id,
            context if context is not None else old.context,
        )
        return self._view(self._tenant, defaults)

    def tenant(self, name: str) -> EventStore:
        """A log of its own in the same store: own positions, streams, keys and checkpoints."""
        return self._view(check_name("tenant", name), self._defaults)

    def _view(self, tenant: str, defaults: Defaults) -> EventStore:
        return EventStore(self._core, tenant, defaults)

    async def close(self) -> None:
        """Refuses new work, finishes the appends that wait, and frees everything. A PostgreSQL
        server that says nothing is waited for at most `busy_timeout_seconds` and 15 s; then the
        appends that wait are refused. Closing twice is allowed. If cancelled, closing goes on in
        the background."""
        await self._core.close()

    async def __aenter__(self) -> EventStore:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class Opening:
    """A store that is about to be opened: await it, or enter it with ``async with``."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._store: EventStore | None = None

    def __await__(self) -> Generator[Any, None, EventStore]:
        return self._open().__await__()

    async def __aenter__(self) -> EventStore:
        self._store = await self._open()
        return self._store

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._store is not None:
            await self._store.close()

    async def _open(self) -> EventStore:
        from .tracing import new_store  # which builds on this module

        engine, clock, ids = await open_engine(self._options)
        return new_store(_Core(engine, clock, ids), DEFAULT_TENANT, NO_DEFAULTS)


_forks = 0
"""How many forks lie between this process and the first one that imported this module. Counted,
because asking for the process id is a system call, and this is asked at every append."""


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class _Core:
    """What all views of one store share: the engine, and the loop and process it belongs to."""

    def __init__(self, engine: Engine, clock: Callable[[], int], ids: Callable[[], str]) -> None:
        self.engine = engine
        self.clock = clock
        self.ids = ids
        self.heads_known: dict[str, int] = {}
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._forks = _forks
        self._closing: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Raises `StoreClosed` or `Misuse` where the store may not be used."""
        if self._closing is not None:
            raise StoreClosed(f"{self.engine.url}: closed")
        if _forks != self._forks:
            raise Misuse(
                f"{self.engine.url}: opened in another process than this one ({os.getpid()});"
                " open a store in each process"
            )
        # Asked of the thread and the loop: `get_running_loop` costs a system call in Python 3.11.
        if get_ident() != self._thread or not self._loop.is_running():
            raise Misuse(
                f"{self.engine.url}: used outside the event loop it was opened in;"
                " open a store in each loop, or use eventstore.blocking"
            )

    def usable_engine(self) -> Engine:
        """The engine, for what outlives the call that made it. Raises as `check` does."""
        self.check()
        return self.engine

    async def close(self) -> None:
        """Closes the engine once; every caller waits for the same closing."""
        if self._closing is None:
            self.check()
            self._closing = self._loop.create_task(self.engine.close())
        await asyncio.shield(self._closing)


def _queries(
    types: Sequence[str], tags: Sequence[str], query: Query | Sequence[Query] | None
) -> tuple[Query, ...]:
    if not types and not tags:
        return as_queries(query)
    if query is not None:
        raise InvalidEvent("read_all: give types and tags, or a query, not both")
    return (Query(types=types, tags=tags),)  # type: ignore[arg-type]  # made tuples, or refused


def _check_bounds(after: object, limit: object) -> None:
    if not isinstance(after, int) or isinstance(after, bool) or not 0 <= after <= INTEGER_MAX:
        raise InvalidEvent("after: an int from 0 to 2**63 - 1")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        raise InvalidEvent("limit: an int from 0 on, or None")


def _check_after(after: object) -> None:
    if not isinstance(after, Checkpoint):
        _check_bounds(after, None)


def _check_prefix(prefix: object) -> str:
    # Not a name: it may be empty, and may end anywhere within one.
    if not isinstance(prefix, str) or not canonical.encodable(prefix):
        raise InvalidEvent("streams: the prefix is a str without lone surrogates")
    return prefix


def _check_stream_name(stream: object) -> str:
    # The store's own streams ($...) may be read, never written by callers.
    if isinstance(stream, str) and stream.startswith("$"):
        check_name("stream", stream[1:])
        return stream
    return check_name("stream", stream)
