"""Reads: each page is one short transaction on a connection that is borrowed for it.

Ids of tenants, streams, types and tags never change, so what was once found is remembered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from ...envelope import GENESIS
from ...errors import Corrupt
from ...events import RecordedEvent
from ...query import Query
from ..port import LogPage
from ..rows import Row, check_consecutive, check_stream_rows, hashes_wanted, to_events
from .connections import Connection, Connections
from .statements import JOINED_MAX, SET_TENANT, Statements

_SCAN_POSITIONS = 20_000
"""Positions that one filtered page looks through at most (about 2 ms in the index)."""

_NAMES_MAX = 100_000
"""Names remembered by id; beyond it all are forgotten at once."""

T = TypeVar("T")


class Reader:
    """All reads of one store. Every method may be cancelled and leaves nothing open."""

    def __init__(self, connections: Connections, statements: Statements) -> None:
        self._connections = connections
        self._isolated = connections.address.isolated
        self.sql = statements
        self._tenants: dict[str, int] = {}
        self._streams: dict[int, str] = {}
        self._types: dict[int, str] = {}
        self._hash_at: tuple[int, int, bytes] = (0, 0, GENESIS)

    async def run(self, tenant: str, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` gives, with only the tenant's rows in sight where the store is isolated."""
        if not self._isolated:
            return await self._connections.run(work)

        async def isolated(connection: Connection) -> T:
            async with connection.transaction():
                await connection.fetchval(SET_TENANT, tenant)
                return await work(connection)

        return await self._connections.run(isolated)

    async def fetch(self, tenant: str, statement: str, *args: Any) -> list[Row]:
        """The rows of one query."""
        return await self.run(tenant, lambda connection: connection.fetch(statement, *args))

    async def find_tenant(self, tenant: str) -> int | None:
        """The tenant's id, or None where it is not known to the store."""
        tenant_id = self._tenants.get(tenant)
        if tenant_id is None:
            rows = await self.fetch(tenant, self.sql.find_tenant, tenant)
            if rows:
                tenant_id = self._tenants[tenant] = rows[0][0]
        return tenant_id

    async def find_stream(self, tenant: str, stream: str) -> tuple[int, int, int] | None:
        """(id, version, tenant's id) of a stream, or None."""
        tenant_id = await self.find_tenant(tenant)
        if tenant_id is None:
            return None
        rows = await self.fetch(tenant, self.sql.find_stream, tenant_id, stream)
        return (rows[0][0], rows[0][1], tenant_id) if rows else None

    async def stream_page(
        self, tenant: str, stream: str, after: int, limit: int, backwards: bool
    ) -> list[RecordedEvent]:
        """See `Engine`."""
        tenant_id = await self.find_tenant(tenant)
        if tenant_id is None:
            return []
        statement = self.sql.read_stream_backwards if backwards else self.sql.read_stream

        async def page(connection: Connection) -> list[RecordedEvent]:
            found = await connection.fetch(statement, tenant_id, stream, after, limit)
            if not found:
                return []
            version = found[0][18]
            rows = [row[:18] for row in found] if found[0][0] is not None else []
            check_stream_rows(rows, stream, version, after, limit, backwards)
            return await self._to_events(connection, tenant_id, rows)

        return await self.run(tenant, page)

    async def log_page(
        self, tenant: str, after: int, until: int, queries: Sequence[Query], limit: int
    ) -> LogPage:
        """See `Engine`."""
        tenant_id = await self.find_tenant(tenant)
        if tenant_id is None or until <= after:
            return LogPage([], until)
        if queries:
            return await self.run(
                tenant,
                lambda connection: self._filtered_page(
                    connection, tenant_id, after, until, queries, limit
                ),
            )

        async def page(connection: Connection) -> LogPage:
            rows = await connection.fetch(self.sql.read_log, tenant_id, after, until, limit)
            # A page ends early when it is full; what it holds must be without holes all the same.
            last = rows[-1][0] if rows else min(until, after + limit)
            check_consecutive(rows, after, last)
            return LogPage(await self._to_events(connection, tenant_id, rows), last)

        return await self.run(tenant, page)

    async def events(self, tenant: str, statement: str, *args: Any) -> list[RecordedEvent]:
        """The events of a query for a tenant's rows of `EVENT_COLUMNS`."""
        tenant_id = await self.find_tenant(tenant)
        if tenant_id is None:
            return []

        async def page(connection: Connection) -> list[RecordedEvent]:
            rows = await connection.fetch(statement, tenant_id, *args)
            return await self._to_events(connection, tenant_id, rows)

        return await self.run(tenant, page)

    async def _filtered_page(
        self,
        connection: Connection,
        tenant_id: int,
        after: int,
        until: int,
        queries: Sequence[Query],
        limit: int,
    ) -> LogPage:
        scanned_to = min(until, after + _SCAN_POSITIONS)
        found: set[int] = set()
        for query in queries:
            positions = await self._positions(
                connection, tenant_id, query, after, scanned_to, limit
            )
            if len(positions) == limit:
                scanned_to = min(scanned_to, positions[-1])
            found.update(positions)
        wanted = sorted(position for position in found if position <= scanned_to)
        if not wanted:
            return LogPage([], scanned_to)
        rows = await connection.fetch(self.sql.read_positions, tenant_id, wanted)
        if len(rows) < len(wanted):
            if not rows or rows[-1][0] != wanted[len(rows) - 1]:
                raise Corrupt("an index names events that are not in the log", kind="index")
            scanned_to = rows[-1][0]  # the page is full by its bytes
        return LogPage(await self._to_events(connection, tenant_id, rows), scanned_to)

    async def _positions(
        self,
        connection: Connection,
        tenant_id: int,
        query: Query,
        after: int,
        until: int,
        limit: int,
    ) -> list[int]:
        tags = await connection.fetch(self.sql.ids_of_tags, tenant_id, query.tags)
        if len(tags) < len(query.tags):
            return []
        types = await connection.fetch(self.sql.ids_of_types, query.types) if query.types else []
        if query.types and not types:
            return []
        statement = self.sql.positions_of(len(tags), len(types))
        ids = [row[0] for row in tags]
        args: list[Any] = [tenant_id, after, until, limit, *ids[:JOINED_MAX]]
        if len(ids) > JOINED_MAX:
            args.append(ids[JOINED_MAX:])
        if types:
            args.append([row[0] for row in types])
        return [row[0] for row in await connection.fetch(statement, *args)]

    async def _to_events(
        self, connection: Connection, tenant_id: int, rows: Sequence[Row]
    ) -> list[RecordedEvent]:
        """The rows' events, checked; asks for the names and hashes that the rows refer to."""
        if len(self._streams) > _NAMES_MAX:
            self._streams = {}  # not emptied: another page may be about to look into it
        streams, types = self._streams, self._types
        for statement, ids, known in (
            (self.sql.names_of_streams, {row[1] for row in rows}, streams),
            (self.sql.names_of_types, {row[4] for row in rows}, types),
        ):
            missing = [number for number in ids if number not in known]
            if missing:
                known.update([tuple(row) for row in await connection.fetch(statement, missing)])
        owner, last, digest = self._hash_at
        hashes = {0: GENESIS, last: digest} if owner == tenant_id else {0: GENESIS}
        wanted = [position for position in hashes_wanted(rows) if position not in hashes]
        if wanted:
            found = await connection.fetch(self.sql.hashes_at, tenant_id, wanted)
            hashes.update([tuple(row) for row in found])
        events = to_events(rows, streams, types, hashes)
        if rows:
            self._hash_at = (tenant_id, rows[-1][0], rows[-1][17])
        return events
