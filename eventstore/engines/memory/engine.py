"""The in-memory engine: a commit is a function call, and nothing outlives the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from ...calls import Call, Fork, Outcome, Written
from ...errors import Corrupt, StoreClosed
from ...events import RecordedEvent
from ...judge import StoredKey, judge
from ...query import Query
from ...thinning import too_close
from ..forked import forked_page
from ..port import (
    CheckpointRow,
    Damage,
    Head,
    LogPage,
    Move,
    SnapshotEntry,
    SnapshotRow,
    Statement,
    StreamRow,
)
from ..rows import check_consecutive
from .ledger import MemoryLedger
from .views import MemoryViews

_CheckpointKey = tuple[str, str, int, int]
_SnapshotKind = tuple[str, str]
"""A reducer and a fingerprint."""


class MemoryEngine:
    """A log in this process's memory, judged by the same judge as every embedded engine."""

    url = "memory://"
    dialect = "sqlite"
    schema: str | None = None

    def __init__(self, clock: Callable[[], int]) -> None:
        self._ledger = MemoryLedger(clock)
        self._waiters: set[asyncio.Future[None]] = set()
        self._checkpoints: dict[_CheckpointKey, CheckpointRow] = {}
        self._snapshots: dict[tuple[str, str], dict[_SnapshotKind, dict[int, SnapshotRow]]] = {}
        self._views = MemoryViews()
        self._closed = False

    async def commit(self, call: Call) -> Outcome:
        """See `Engine`. There is no await inside, so nothing can be cancelled half-way."""
        if self._closed:
            raise StoreClosed("memory store: closed")
        outcome = judge(call, self._ledger)
        if isinstance(outcome, Written) and call.event_count:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
        return outcome

    async def stream_page(
        self, tenant: str, stream: str, after: int, limit: int, backwards: bool
    ) -> list[RecordedEvent]:
        """See `Engine`."""
        log = self._ledger.log(tenant)

        async def own(
            name: str, low: int, after: int, limit: int, backwards: bool
        ) -> list[RecordedEvent]:
            events = log.streams.get(name, [])
            if backwards:
                return _fresh(events[: max(after - 1 - low, 0)][::-1][:limit])
            return _fresh(events[after - low : after - low + limit])

        async def fork_of(name: str) -> Fork | None:
            return log.forks.get(name)

        fork = log.forks.get(stream)
        if fork is None:
            return await own(stream, 0, after, limit, backwards)
        return await forked_page(own, fork_of, stream, fork, after, limit, backwards)

    async def log_page(
        self,
        tenant: str,
        after: int,
        until: int,
        queries: Sequence[Query],
        limit: int,
        digest: bytes | None = None,
    ) -> LogPage:
        """See `Engine`."""
        stop = min(until, after + limit)
        if stop <= after:
            return LogPage([], until)
        log = self._ledger.log(tenant)
        rows = log.events[after:stop]
        if queries:
            rows = [row for row in rows if any(q.matches(row.type, row.tags) for q in queries)]
            return LogPage(_fresh(rows), stop)
        check_consecutive([(row.position,) for row in rows], after, stop)
        if digest is not None and after and log.hashes[after - 1] != digest:
            raise Corrupt(
                f"position {after + 1}: it does not follow the event that was there before it",
                kind="hash",
                position=after + 1,
            )
        return LogPage(_fresh(rows), stop, log.hashes[stop - 1])

    async def head(self, tenant: str) -> Head:
        """See `Engine`."""
        return self._ledger.log(tenant).head()

    async def hash_at(self, tenant: str, position: int) -> bytes | None:
        """See `Engine`."""
        hashes = self._ledger.log(tenant).hashes
        return hashes[position - 1] if 0 < position <= len(hashes) else None

    async def stream_version(self, tenant: str, stream: str) -> int:
        """See `Engine`."""
        return self._ledger.version(tenant, stream)

    async def find_fork(self, tenant: str, stream: str) -> Fork | None:
        """See `Engine`."""
        return self._ledger.log(tenant).forks.get(stream)

    async def streams_page(
        self, tenant: str, prefix: str, after: str, limit: int
    ) -> list[StreamRow]:
        """See `Engine`."""
        log = self._ledger.log(tenant)
        streams = log.streams
        names = sorted(
            (
                name
                for name in streams
                if name.startswith(prefix) and name.encode() > after.encode()
            ),
            key=str.encode,
        )
        return [
            StreamRow(
                name,
                log.version(name),
                log.first_us(name),
                streams[name][-1].recorded_us,
                log.forks[name].parent if name in log.forks else None,
                log.low(name) or None,
            )
            for name in names[:limit]
        ]

    async def find_key(self, tenant: str, stream: str, key: str) -> StoredKey | None:
        """See `Engine`."""
        return self._ledger.find_key(tenant, stream, key)

    async def find_by_cause(
        self, tenant: str, event_id: str, after: int, limit: int
    ) -> list[RecordedEvent]:
        """See `Engine`."""
        log = self._ledger.log(tenant)
        positions = (p for p in log.caused.get(event_id, ()) if p > after)
        return _fresh(log.events[position - 1] for position in islice(positions, limit))

    async def find_by_id(self, tenant: str, event_id: str) -> RecordedEvent | None:
        """See `Engine`."""
        log = self._ledger.log(tenant)
        position = log.ids.get(event_id)
        return None if position is None else _fresh([log.events[position - 1]])[0]

    async def wait(self, tenant: str, after: int) -> None:
        """See `Engine`. Cancelled, it leaves no waiter behind."""
        if self._closed:
            raise StoreClosed("memory store: closed")
        if self._ledger.head_position(tenant) > after:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def load_checkpoint(
        self, tenant: str, name: str, generation: int, partition: int
    ) -> CheckpointRow | None:
        """See `Engine`."""
        return self._checkpoints.get((tenant, name, generation, partition))

    async def save_checkpoint(self, tenant: str, row: CheckpointRow) -> bool:
        """See `Engine`."""
        key = (tenant, row.name, row.generation, row.partition)
        stands = self._checkpoints.get(key)
        if stands is None:
            if row.fencing_token:
                return False
            self._checkpoints[key] = row
            return True
        if stands.fencing_token != row.fencing_token:
            return False
        if row.fencing_token and stands.holder != row.holder:
            return False
        self._checkpoints[key] = msgspec.structs.replace(
            stands, position=row.position, hash=row.hash
        )
        return True

    async def take_lease(
        self, tenant: str, row: CheckpointRow, now_us: int
    ) -> CheckpointRow | None:
        """See `Engine`."""
        key = (tenant, row.name, row.generation, row.partition)
        stands = self._checkpoints.get(key)
        if stands is None:
            stands = msgspec.structs.replace(row, holder=None, lease_until_us=0, fencing_token=0)
        own = stands.holder == row.holder and stands.fencing_token == row.fencing_token
        if own and stands.lease_until_us > now_us:
            stands = msgspec.structs.replace(stands, lease_until_us=row.lease_until_us)
        elif stands.holder is None or stands.lease_until_us <= now_us:
            stands = msgspec.structs.replace(
                stands,
                holder=row.holder,
                lease_until_us=row.lease_until_us,
                fencing_token=stands.fencing_token + 1,
            )
        else:
            return None
        self._checkpoints[key] = stands
        return stands

    async def end_lease(self, tenant: str, row: CheckpointRow) -> None:
        """See `Engine`."""
        key = (tenant, row.name, row.generation, row.partition)
        stands = self._checkpoints.get(key)
        if stands is None or stands.holder != row.holder:
            return
        if stands.fencing_token == row.fencing_token:
            self._checkpoints[key] = msgspec.structs.replace(stands, holder=None, lease_until_us=0)

    async def tenants_beyond(
        self, name: str, generation: int, limit: int
    ) -> list[tuple[str, int, int]]:
        """See `Engine`."""
        found = []
        for tenant in await self.tenants():
            head = self._ledger.head_position(tenant)
            places = [
                row.position
                for (owner, reader, build, _), row in self._checkpoints.items()
                if (owner, reader, build) == (tenant, name, generation)
            ]
            place = min(places, default=0)
            if head > place:
                found.append((tenant, head, place))
        return found[:limit]

    async def place_tenant(self, tenant: str) -> int:
        """See `Engine`."""
        return self._views.place_tenant(tenant)

    async def change_views(
        self, tenant: str, statements: Sequence[Statement], moves: Sequence[Move]
    ) -> bool:
        """See `Engine`. There is no await inside, so nothing can be cancelled half-way."""
        made = {}
        for move in moves:
            row = move.row
            key = (tenant, row.name, row.generation, row.partition)
            stands = self._checkpoints.get(key)
            if stands is None or stands.position != move.before or stands.holder != row.holder:
                return False
            if stands.fencing_token != row.fencing_token:
                return False
            made[key] = msgspec.structs.replace(stands, position=row.position, hash=row.hash)
        if statements and not self._views.change(statements):
            return False
        self._checkpoints.update(made)
        return True

    async def query_views(
        self, tenant: str, sql: str, args: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        """See `Engine`."""
        return self._views.query(sql, args)

    async def save_snapshot(
        self, tenant: str, stream: str, reducer: str, fingerprint: str, row: SnapshotRow
    ) -> bool:
        """See `Engine`."""
        if not self._ledger.version(tenant, stream):
            return False
        rows = self._snapshots.setdefault((tenant, stream), {})
        kept = rows.setdefault((reducer, fingerprint), {})
        kept[row.version] = row
        for version in too_close((each.version, len(each.state)) for each in kept.values()):
            del kept[version]
        return True

    async def find_snapshot(
        self, tenant: str, stream: str, reducer: str, fingerprint: str, until: int
    ) -> SnapshotRow | None:
        """See `Engine`."""
        kept = self._snapshots.get((tenant, stream), {}).get((reducer, fingerprint), {})
        version = max((each for each in kept if each <= until), default=None)
        return None if version is None else kept[version]

    async def list_snapshots(self, tenant: str, stream: str) -> list[SnapshotEntry]:
        """See `Engine`."""
        return [
            SnapshotEntry(*kind, row.version, row.position, len(row.state), row.state_hash)
            for kind, rows in sorted(self._snapshots.get((tenant, stream), {}).items())
            for _, row in sorted(rows.items())
        ]

    async def drop_snapshots(self, tenant: str, stream: str | None) -> int:
        """See `Engine`."""
        dropped = 0
        for owner, name in list(self._snapshots):
            if owner == tenant and stream in (None, name):
                dropped += sum(map(len, self._snapshots.pop((owner, name)).values()))
        return dropped

    async def tenants(self) -> list[str]:
        """See `Engine`."""
        return sorted(self._ledger.tenants, key=str.encode)

    async def check_integrity(self, tenant: str) -> list[Damage]:
        """See `Engine`. Memory has no pages and no indexes that could be damaged."""
        return []

    def describe(self) -> dict[str, Any]:
        """See `Engine`."""
        return {"engine": "memory", "durable": False}

    async def close(self) -> None:
        """See `Engine`."""
        self._closed = True
        self._views.close()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


def _fresh(events: Iterable[RecordedEvent]) -> list[RecordedEvent]:
    """Events of the reader's own: an instance of a registered class may hold lists that a reader
    could change, and what is decoded is kept on the event."""
    return [msgspec.structs.replace(event, _data=msgspec.UNSET) for event in events]
