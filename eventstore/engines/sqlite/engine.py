"""The SQLite engine: a writer, readers, and a look-out for other processes' appends."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ...calls import Call, Fork, Outcome
from ...envelope import GENESIS
from ...errors import Corrupt, EventStoreError, StoreClosed
from ...events import RecordedEvent
from ...judge import StoredKey
from ...limits import POLL_SECONDS
from ...query import Query
from ...thinning import too_close
from ..indexes import TOLD_MAX, missing_rows, surplus_rows
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
from ..rows import prefix_end, stored_key
from . import statements as sql
from . import views
from .reader import Reader
from .siblings import join
from .turns import Turns
from .writer import Writer

_log = logging.getLogger("eventstore")


class SqliteEngine:
    """One open file. See `Engine` for what each method promises."""

    dialect = "sqlite"
    schema: str | None = None

    def __init__(
        self,
        path: str,
        connection: sqlite3.Connection,
        turns: Turns,
        reader: Reader,
        settings: dict[str, Any],
        clock: Callable[[], int],
        appends_max: int,
        bytes_max: int,
    ) -> None:
        self.url = f"sqlite:///{path}"
        self._settings = settings
        self._reader = reader
        self._waiters: set[asyncio.Future[None]] = set()
        self._poller: asyncio.Task[None] | None = None
        self._closing = False
        self._sibling = join(path, self._wake)
        self._writer = Writer(
            connection, turns, path, clock, appends_max, bytes_max, self._committed
        )

    def commit(self, call: Call) -> Awaitable[Outcome]:
        """See `Engine`."""
        return self._writer.commit(call)

    async def stream_page(
        self, tenant: str, stream: str, after: int, limit: int, backwards: bool
    ) -> list[RecordedEvent]:
        """See `Engine`."""
        return await self._reader.stream_page(tenant, stream, after, limit, backwards)

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
        return await self._reader.log_page(tenant, after, until, queries, limit, digest)

    async def head(self, tenant: str) -> Head:
        """See `Engine`."""
        tenant_id = await self._reader.find_tenant(tenant)
        if tenant_id is None:
            return Head(0, GENESIS, 0)
        rows = await self._reader.fetch(sql.FIND_HEAD, (tenant_id,))
        return Head(*rows[0]) if rows else Head(0, GENESIS, 0)

    async def hash_at(self, tenant: str, position: int) -> bytes | None:
        """See `Engine`."""
        tenant_id = await self._reader.find_tenant(tenant)
        rows = await self._reader.fetch(sql.HASH_AT, (tenant_id, position))
        return rows[0][0] if rows else None

    async def stream_version(self, tenant: str, stream: str) -> int:
        """See `Engine`."""
        found = await self._reader.find_stream(tenant, stream)
        return 0 if found is None else found[1]

    async def find_fork(self, tenant: str, stream: str) -> Fork | None:
        """See `Engine`."""
        found = await self._reader.find_stream(tenant, stream)
        return None if found is None else found[3]

    async def streams_page(
        self, tenant: str, prefix: str, after: str, limit: int
    ) -> list[StreamRow]:
        """See `Engine`."""
        tenant_id = await self._reader.find_tenant(tenant)
        end = prefix_end(prefix)
        args = (tenant_id, after, prefix, end, end, limit)
        return [StreamRow(*row) for row in await self._reader.fetch(sql.LIST_STREAMS, args)]

    async def find_key(self, tenant: str, stream: str, key: str) -> StoredKey | None:
        """See `Engine`."""
        tenant_id = await self._reader.find_tenant(tenant)
        found = await self._reader.find_stream(tenant, stream)
        if tenant_id is None or found is None:
            return None
        rows = await self._reader.fetch(sql.FIND_KEY, (tenant_id, found[0], key))
        if not rows:
            return None
        first = await self._reader.fetch(sql.FIND_FIRST_OF_KEY, (tenant_id, rows[0][1]))
        return stored_key(stream, rows[0], first[0] if first else None)

    async def find_by_cause(
        self, tenant: str, event_id: str, after: int, limit: int
    ) -> list[RecordedEvent]:
        """See `Engine`."""
        tenant_id = await self._reader.find_tenant(tenant)
        if tenant_id is None:
            return []
        return await self._reader.events(sql.READ_CAUSED, tenant_id, (event_id, after, limit))

    async def find_by_id(self, tenant: str, event_id: str) -> RecordedEvent | None:
        """See `Engine`."""
        tenant_id = await self._reader.find_tenant(tenant)
        if tenant_id is None:
            return None
        events = await self._reader.events(sql.FIND_EVENT_BY_ID, tenant_id, (event_id,))
        return events[0] if events else None

    async def wait(self, tenant: str, after: int) -> None:
        """See `Engine`. Cancelled, it leaves no waiter behind."""
        if self._closing:
            raise StoreClosed(f"{self.url}: closed")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            if self._poller is None or self._poller.done():
                self._poller = asyncio.get_running_loop().create_task(self._poll())
            # It may have come between the caller's look and our place among the waiters.
            if (await self.head(tenant)).position <= after:
                await waiter
        finally:
            self._waiters.discard(waiter)
        if self._closing:
            raise StoreClosed(f"{self.url}: closed")

    async def load_checkpoint(
        self, tenant: str, name: str, generation: int, partition: int
    ) -> CheckpointRow | None:
        """See `Engine`."""
        tenant_id = await self._reader.find_tenant(tenant)
        args = (tenant_id, name, generation, partition)
        rows = await self._reader.fetch(sql.LOAD_CHECKPOINT, args)
        return CheckpointRow(name, generation, partition, *rows[0]) if rows else None

    async def save_checkpoint(self, tenant: str, row: CheckpointRow) -> bool:
        """See `Engine`."""

        def job(connection: sqlite3.Connection) -> bool:
            args = {
                **_place(connection, tenant, row),
                "position": row.position,
                "hash": row.hash,
                "token": row.fencing_token,
                "holder": row.holder,
            }
            return connection.execute(sql.SAVE_CHECKPOINT, args).rowcount == 1

        return bool(await self._writer.run(job))

    async def take_lease(
        self, tenant: str, row: CheckpointRow, now_us: int
    ) -> CheckpointRow | None:
        """See `Engine`."""

        def job(connection: sqlite3.Connection) -> CheckpointRow | None:
            place = _place(connection, tenant, row)
            args = {
                **place,
                "hash": row.hash,
                "holder": row.holder,
                "now": now_us,
                "token": row.fencing_token,
                "until": row.lease_until_us,
            }
            if connection.execute(sql.TAKE_LEASE, args).rowcount != 1:
                return None
            found = connection.execute(sql.LOAD_CHECKPOINT, tuple(place.values())).fetchone()
            return CheckpointRow(row.name, row.generation, row.partition, *found)

        taken: CheckpointRow | None = await self._writer.run(job)
        return taken

    async def end_lease(self, tenant: str, row: CheckpointRow) -> None:
        """See `Engine`."""

        def job(connection: sqlite3.Connection) -> None:
            place = _place(connection, tenant, row)
            args = (*place.values(), row.fencing_token, row.holder)
            connection.execute(sql.END_LEASE, args)

        await self._writer.run(job)

    async def tenants_beyond(
        self, name: str, generation: int, limit: int
    ) -> list[tuple[str, int, int]]:
        """See `Engine`."""
        rows = await self._reader.fetch(sql.TENANTS_BEYOND, (name, generation, limit))
        return [(row[0], row[1], row[2]) for row in rows]

    async def place_tenant(self, tenant: str) -> int:
        """See `Engine`."""
        found = await self._reader.find_tenant(tenant)
        if found is not None:
            return found
        return int(await self._writer.run(lambda connection: _place_tenant(connection, tenant)))

    async def change_views(
        self, tenant: str, statements: Sequence[Statement], moves: Sequence[Move]
    ) -> bool:
        """See `Engine`."""
        tenant_id = await self.place_tenant(tenant)
        try:
            job = views.change(tenant_id, statements, moves)
            await self._writer.run(job, is_derived=bool(moves))
        except views.Missed:
            return False
        return True

    async def query_views(
        self, tenant: str, sql: str, args: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        """See `Engine`."""
        return [tuple(row) for row in await self._reader.fetch(sql, tuple(args))]

    async def save_snapshot(
        self, tenant: str, stream: str, reducer: str, fingerprint: str, row: SnapshotRow
    ) -> bool:
        """See `Engine`."""
        found = await self._reader.find_stream(tenant, stream)
        if found is None:
            return False

        kind = (found[0], reducer, fingerprint)
        kept = (*kind, row.version, row.position, row.state, row.state_hash)

        def job(connection: sqlite3.Connection) -> None:
            connection.execute(sql.SAVE_SNAPSHOT, kept)
            dropped = too_close(connection.execute(sql.KEPT_SNAPSHOTS, kind))
            connection.executemany(sql.DROP_SNAPSHOT, [(*kind, each) for each in dropped])

        await self._writer.run(job, len(row.state))
        return True

    async def find_snapshot(
        self, tenant: str, stream: str, reducer: str, fingerprint: str, until: int
    ) -> SnapshotRow | None:
        """See `Engine`."""
        found = await self._reader.find_stream(tenant, stream)
        if found is None:
            return None
        args = (found[0], reducer, fingerprint, until)
        rows = await self._reader.fetch(sql.FIND_SNAPSHOT, args)
        return SnapshotRow(*rows[0]) if rows else None

    async def list_snapshots(self, tenant: str, stream: str) -> list[SnapshotEntry]:
        """See `Engine`."""
        found = await self._reader.find_stream(tenant, stream)
        rows = [] if found is None else await self._reader.fetch(sql.LIST_SNAPSHOTS, (found[0],))
        return [SnapshotEntry(*row) for row in rows]

    async def drop_snapshots(self, tenant: str, stream: str | None) -> int:
        """See `Engine`."""
        tenant_id = await self._reader.find_tenant(tenant)

        def job(connection: sqlite3.Connection) -> int:
            return connection.execute(sql.DROP_SNAPSHOTS, (tenant_id, stream, stream)).rowcount

        return int(await self._writer.run(job))

    async def tenants(self) -> list[str]:
        """See `Engine`."""
        return [row[0] for row in await self._reader.fetch(sql.LIST_TENANTS)]

    async def check_integrity(self, tenant: str) -> list[Damage]:
        """See `Engine`."""
        damages: list[Damage] = []
        try:
            tenant_id = await self._reader.find_tenant(tenant)
            lines = [str(row[0]) for row in await self._reader.fetch(sql.CHECK_PAGES)]
            if lines != ["ok"]:
                return [Damage("index", line) for line in lines]
            args = {"tenant": tenant_id, "limit": TOLD_MAX + 1}
            for index, missing, surplus in (
                ("tags", sql.MISSING_TAGS, sql.SURPLUS_TAGS),
                ("causes", sql.MISSING_CAUSES, sql.SURPLUS_CAUSES),
            ):
                damages += missing_rows(index, await self._reader.fetch(missing, args))
                damages += surplus_rows(index, await self._reader.fetch(surplus, args))
            ((beyond,),) = await self._reader.fetch(sql.COUNT_BEYOND_HEAD, args)
            ((keys,),) = await self._reader.fetch(sql.COUNT_LOST_KEYS, args)
        except Corrupt as exc:  # so damaged that SQLite gives up
            return [*damages, Damage("index", str(exc))]
        counted = (
            (beyond, f"the log goes on for {beyond} positions beyond its head"),
            (keys, f"{keys} idempotency keys stand for events that are not in the log"),
        )
        return damages + [Damage("index", line) for count, line in counted if count > 0]

    def describe(self) -> dict[str, Any]:
        """See `Engine`."""
        return {
            "engine": "sqlite",
            "durable": True,
            "sqlite_version": sqlite3.sqlite_version,
            **self._settings,
        }

    async def close(self) -> None:
        """See `Engine`."""
        self._closing = True
        if self._poller is not None:
            self._poller.cancel()
        await self._writer.close()
        self._sibling.leave()
        self._wake()
        await self._reader.close()
        await self._writer.disconnect()

    def _committed(self) -> None:
        self._wake()
        self._sibling.wake_others()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _poll(self) -> None:
        """Wakes the waiters when another process has committed; runs while someone waits."""
        # The first look wakes as well: a commit may lie between a waiter's look and this one.
        seen = None
        while self._waiters:
            try:
                version = self._reader.data_version()
            except EventStoreError:
                self._wake()  # they look for themselves, and are told what is wrong
                return
            if version is None or version != seen:
                self._wake()
            seen = version
            await asyncio.sleep(POLL_SECONDS)


def _place(connection: sqlite3.Connection, tenant: str, row: CheckpointRow) -> dict[str, Any]:
    """Tenant, name, generation and partition; the tenant is made where it is new."""
    return {
        "tenant": _place_tenant(connection, tenant),
        "name": row.name,
        "generation": row.generation,
        "partition": row.partition,
    }


def _place_tenant(connection: sqlite3.Connection, tenant: str) -> int:
    found = connection.execute(sql.FIND_TENANT, (tenant,)).fetchone()
    if found is None:
        found = (connection.execute(sql.INSERT_TENANT, (tenant,)).lastrowid,)
    return int(found[0])
