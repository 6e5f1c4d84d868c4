"""The log as an outbox: what a relay needs to feed views, beside what every reader has.

A relay reads pages, and writes rows, its own bookkeeping and the checkpoint in one transaction of
the store's database, guarded by its lease's fencing token. This is for those who write relays and
views; `projections` is built on it. SQL is in the dialect that `dialect` names, with positional
arguments (``?`` for sqlite, ``$1`` for postgresql).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .answers import answer
from .calls import FORKED, Fork, prepare_own
from .checkpoints import Lease
from .engines.forked import fork_said
from .engines.port import CheckpointRow, Engine, Head, LogPage, Move, Statement
from .envelope import GENESIS
from .errors import Corrupt, InvalidEvent, LogDiverged
from .events import RecordedEvent
from .limits import PAGE_ROWS_MAX
from .query import Query
from .reading import Seen

__all__ = ["Advance", "Head", "Inherited", "LogPage", "Outbox", "Statement"]


class Advance(msgspec.Struct, frozen=True):
    """A checkpoint that shall go from position `before` to `position`, for the holder of its lease.
    `hash` is that of the event there, where it is at hand; else it is looked up."""

    lease: Lease
    before: int
    position: int
    hash: bytes | None = None


class Inherited(msgspec.Struct, frozen=True, gc=False):
    """An event under the name of a fork that inherits it, and the stream that itself holds it."""

    event: RecordedEvent
    holder: str


class Outbox:
    """One tenant's log and views; `store.outbox` is this."""

    def __init__(
        self,
        engine: Callable[[], Engine],
        tenant: str,
        clock: Callable[[], int],
        ids: Callable[[], str],
        heads_known: dict[str, int],
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._ids = ids
        self._heads_known = heads_known  # by tenant, of all outboxes of a store
        self.tenant = tenant

    @property
    def dialect(self) -> str:
        """sqlite or postgresql: what statements are written in."""
        return self._engine().dialect

    @property
    def schema(self) -> str | None:
        """The database schema that tables stand in; None for sqlite, which has none."""
        return self._engine().schema

    def now(self) -> int:
        """The store's time, in microseconds since 1970, UTC."""
        return self._clock()

    async def tenant_id(self) -> int:
        """The tenant's number in the tables of views. If cancelled, nothing is left open."""
        return await self._engine().place_tenant(self.tenant)

    async def head(self) -> Head:
        """The log's end: position, hash, and when it was recorded in microseconds.
        If cancelled, nothing is left open."""
        head = await self._engine().head(self.tenant)
        self._heads_known[self.tenant] = head.position
        return head

    async def page(
        self,
        after: int,
        until: int,
        queries: Sequence[Query] = (),
        limit: int = PAGE_ROWS_MAX,
        digest: bytes | None = None,
    ) -> LogPage:
        """Events after position `after` up to `until`, or up to the head where that comes first,
        that match, and how far it looked; at most `limit` positions, and fewer where payloads are
        large. With `digest`, the `hash` of the page before, it goes on from that page.

        Raises `LogDiverged` where it does not, or where the log ends before `after`, `Corrupt` for
        damage. If cancelled, nothing is left open."""
        engine = self._engine()
        if until > self._heads_known.get(self.tenant, 0):  # a relay has asked for the head before
            head = (await self.head()).position
            if after > head:
                raise LogDiverged(f"reader at position {after}: the log ends at {head}")
            until = min(until, head)
        if digest is None:
            return await engine.log_page(self.tenant, after, until, queries, limit)
        return await Seen(engine, self.tenant, after, digest).page(after, until, queries, limit)

    async def inherited(
        self, forked: RecordedEvent, after: int = 0, limit: int = PAGE_ROWS_MAX
    ) -> list[Inherited]:
        """A page of what a fork begins with, by its event of type ``$stream.forked``: the events
        that it inherits behind version `after`, by version, at most `limit` and fewer where
        payloads are large; none behind the last. Raises `Corrupt` for damage. If cancelled,
        nothing is left open."""
        engine, fork = self._engine(), fork_said(forked)
        if fork is None:
            raise InvalidEvent(f"inherited: an event of type {FORKED}, not {forked.type!r}")
        limit = min(fork.version - after, limit)
        if limit <= 0:
            return []
        page = await engine.stream_page(self.tenant, forked.stream, after, limit, False)
        if not page:
            raise Corrupt(
                f"stream {forked.stream!r}: it does not hold what it inherits",
                kind="fork",
                stream=forked.stream,
                version=after + 1,
            )
        holders: list[tuple[int, str]] = []  # with the version behind which their own ones begin
        link: Fork | None = fork
        while link is not None and (not holders or page[0].version <= holders[-1][0]):
            name, link = link.parent, await engine.find_fork(self.tenant, link.parent)
            holders.append((0 if link is None else link.version, name))
        found = []
        for event in page:
            holder = next(name for low, name in holders if low < event.version)
            found.append(Inherited(event, holder))
        return found

    async def wait(self, after: int) -> None:
        """Returns when the head may be beyond `after`; it may wake without cause. Raises
        `StoreClosed` once the store is closed. If cancelled, nothing is left open."""
        await self._engine().wait(self.tenant, after)

    async def change(
        self, statements: Sequence[Statement], advances: Sequence[Advance] = ()
    ) -> bool:
        """Runs all statements in one transaction, and moves the checkpoints of `advances` in it.

        It is durable when this returns; but for one that moves a checkpoint in a file, which
        outlives its process and does not wait for the disk: when the power fails, the last ones
        are undone, whole and in their order, and whoever goes on from the checkpoint makes them
        again.

        False, and nothing is changed, where a lease's fencing token is not the newest, a
        checkpoint does not stand where it is said to, or a statement changes another number of
        rows than it expects; False as well, where there are `advances`, when the answer to the
        commit was lost: load the checkpoints, which say. Raises `RowRefused` for what the database
        refuses, `LogDiverged` for a position beyond the log, `Busy`, `StorageFailed`, and
        `OutcomeUnknown` where no connection came back. If cancelled, it may be written all the
        same.
        """
        moves = [Move(await self._row(each), each.before) for each in advances]
        return await self._engine().change_views(self.tenant, statements, moves)

    async def query(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of one question. If cancelled, nothing is left open."""
        return await self._engine().query_views(self.tenant, sql, args)

    async def tell(self, stream: str, type: str, data: dict[str, Any]) -> int:
        """Appends an event of the store's own (names with a leading ``$``) and gives its position.
        Raises as `EventStore.append`; if cancelled, it may be written all the same."""
        engine = self._engine()
        call = prepare_own(self.tenant, stream, type, data, self._ids)
        return (await answer(engine, call, await engine.commit(call)))[0].position

    async def _row(self, advance: Advance) -> CheckpointRow:
        lease, position, digest = advance.lease, advance.position, advance.hash
        if lease.tenant != self.tenant:
            raise InvalidEvent(f"lease {lease.name!r}: it is another tenant's")
        if digest is None:
            digest = await self._engine().hash_at(self.tenant, position) if position else GENESIS
        if digest is None:
            raise LogDiverged(f"checkpoint {lease.name!r}: no event at position {position}")
        return CheckpointRow(
            lease.name,
            lease.generation,
            lease.partition,
            position,
            digest,
            lease.holder,
            lease.fencing_token,
            0,
        )
