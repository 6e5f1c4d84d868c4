"""The PostgreSQL engine: a writer, readers, and a look-out for other processes' appends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from ...calls import Call, Fork, Outcome, Written
from ...envelope import GENESIS
from ...events import RecordedEvent
from ...judge import StoredKey
from ...query import Query
from ..port import Damage, Head, LogPage, StreamRow
from ..rows import prefix_end
from .connections import Connections
from .keeping import Keeping
from .reader import Reader
from .statements import Statements
from .verifying import check_integrity
from .watch import Watch
from .writer import Writer

_decode = msgspec.json.Decoder(tuple[int, list[str], list[tuple[int, int, int]]]).decode


class PostgresEngine(Keeping):
    """One open database schema. See `Engine` for what each method promises."""

    dialect = "postgresql"

    def __init__(
        self,
        writing: Connections,
        reading: Connections,
        clock: Callable[[], int],
        appends_max: int,
        bytes_max: int,
        patience_seconds: float,
    ) -> None:
        address = reading.address
        self.url = address.shown
        self.schema: str | None = address.schema
        self._writing, self._reading = writing, reading
        statements = Statements(address.schema)
        super().__init__(Reader(reading, statements))
        self._watch = Watch(reading, self._reader)
        self._writer = Writer(
            writing,
            statements,
            clock,
            appends_max,
            bytes_max,
            patience_seconds,
            self._watch.committed,
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
        rows = await self._reader.fetch(tenant, self._sql.find_head, tenant)
        return Head(*rows[0]) if rows else Head(0, GENESIS, 0)

    async def hash_at(self, tenant: str, position: int) -> bytes | None:
        """See `Engine`."""
        rows = await self._reader.fetch(tenant, self._sql.hashes_at, tenant, [position])
        return rows[0][1] if rows else None

    async def stream_version(self, tenant: str, stream: str) -> int:
        """See `Engine`."""
        found = await self._reader.find_stream(tenant, stream)
        return 0 if found is None else found[1]

    async def find_fork(self, tenant: str, stream: str) -> Fork | None:
        """See `Engine`."""
        return await self._reader.find_fork(tenant, stream)

    async def streams_page(
        self, tenant: str, prefix: str, after: str, limit: int
    ) -> list[StreamRow]:
        """See `Engine`."""
        if "\0" in prefix:
            return []  # no name holds one, and PostgreSQL's text cannot
        args = (tenant, after, prefix, prefix_end(prefix), limit)
        rows = await self._reader.fetch(tenant, self._sql.list_streams, *args)
        return [StreamRow(*row) for row in rows]

    async def find_key(self, tenant: str, stream: str, key: str) -> StoredKey | None:
        """See `Engine`."""
        found = await self._reader.find_stream(tenant, stream)
        if found is None:
            return None
        args = (found[2], found[0], stream, key)
        rows = await self._reader.fetch(tenant, self._sql.judge_key, *args)
        if not rows or rows[0][0] is None:
            return None
        recorded_us, streams, parts = _decode(rows[0][0])
        return StoredKey(b"", Written(parts, recorded_us), tuple(streams))

    async def find_by_cause(
        self, tenant: str, event_id: str, after: int, limit: int
    ) -> list[RecordedEvent]:
        """See `Engine`."""
        return await self._reader.events(tenant, self._sql.read_caused, event_id, after, limit)

    async def find_by_id(self, tenant: str, event_id: str) -> RecordedEvent | None:
        """See `Engine`."""
        events = await self._reader.events(tenant, self._sql.find_event_by_id, event_id)
        return events[0] if events else None

    async def wait(self, tenant: str, after: int) -> None:
        """See `Engine`. Cancelled, it leaves no waiter behind."""
        await self._watch.wait(tenant, after)

    async def tenants(self) -> list[str]:
        """See `Engine`."""
        return [row[0] for row in await self._reader.fetch("", self._sql.list_tenants)]

    async def check_integrity(self, tenant: str) -> list[Damage]:
        """See `Engine`."""
        return await check_integrity(self._reader, self._reading.address.schema, tenant)

    def describe(self) -> dict[str, Any]:
        """See `Engine`."""
        address = self._reading.address
        return {
            "engine": "postgresql",
            "durable": True,
            "schema": address.schema,
            "notify": address.notify,
            "pooler": address.pooled,
            "tenant_isolation": address.isolated,
            **self._reading.settings,
        }

    async def close(self) -> None:
        """See `Engine`. A server that says nothing is waited for as long as it may take over a
        batch, and `CLOSE_SECONDS`."""
        await self._writer.close()
        await self._watch.close()
        await asyncio.gather(self._reading.close(), self._writing.close())
