"""Reads: each page is one short transaction on a connection that is borrowed for it.

Ids of tenants, streams, types and tags never change, so what was once found is remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from ...envelope import GENESIS
from ...errors import Corrupt, EventStoreError
from ...events import RecordedEvent
from ...query import Query
from ..port import LogPage
from ..rows import Row, check_consecutive, check_stream_rows, hashes_wanted, to_events
from .connections import Connection, Connections, set_tenant, transaction
from .statements import JOINED_MAX, Statements

_SCAN_POSITIONS = 20_000
"""Positions that one filtered page looks through at most (about 2 ms in the index)."""

_TURNS_TO_SEND = 4
"""Turns of the loop until a query that was begun is on its way: two tasks, a connection, a send."""

_AHEAD_SECONDS = 5.0
"""How long a page that was asked for ahead is kept. Who takes longer over the page before it does
not notice that it is asked for again."""

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
        self._ahead: tuple[tuple[int, int, int, int], asyncio.Future[list[Row]]] | None = None

    async def run(self, tenant: str, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What `work` gives, with only the tenant's rows in sight where the store is isolated."""
        if not self._isolated:
            return await self._connections.run(work)

        async def isolated(connection: Connection) -> T:
            async with transaction(connection):
                await set_tenant(connection, tenant)
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

        place = (tenant_id, after, until, limit)
        rows = await self._rows_ahead(place)
        if rows is None:
            rows = await self._log_rows(tenant, place)
        # A page ends early when it is full; what it holds must be without holes all the same.
        last = rows[-1][0] if rows else min(until, after + limit)
        check_consecutive(rows, after, last)
        if self._hash_at[:2] == (tenant_id, after) and after < last < until:
            # Somebody goes through the log: the server works on the next page while this one is
            # made into events. Whoever gives up leaves a page that nobody fetches, for a while.
            place = (tenant_id, last, until, limit)
            self._ahead = place, asyncio.ensure_future(self._log_rows(tenant, place))
            self._ahead[1].add_done_callback(_look_at)
            loop = asyncio.get_running_loop()
            loop.call_later(_AHEAD_SECONDS, self._forget_ahead, self._ahead)
            for _ in range(_TURNS_TO_SEND):
                await asyncio.sleep(0)
        return LogPage(await self._events_of(tenant, tenant_id, rows), last)

    async def _rows_ahead(self, place: tuple[int, int, int, int]) -> list[Row] | None:
        """The rows that were asked for ahead, where they are those of `place`."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] != place:
            return None
        try:
            return await asyncio.shield(ahead[1])
        except EventStoreError:
            return None  # it may be an old one: whoever comes now is told what is wrong now

    def _forget_ahead(self, ahead: object) -> None:
        if self._ahead is ahead:
            self._ahead = None

    async def _log_rows(self, tenant: str, place: tuple[int, int, int, int]) -> list[Row]:
        return await self.fetch(tenant, self.sql.read_log, *place)

    async def _events_of(
        self, tenant: str, tenant_id: int, rows: Sequence[Row]
    ) -> list[RecordedEvent]:
        """The events of rows whose connection was given back; most need no other one."""
        owner, last, digest = self._hash_at
        known = {row[1] for row in rows} <= self._streams.keys()
        known = known and {row[4] for row in rows} <= self._types.keys()
        if known and rows and (owner, last) == (tenant_id, rows[0][0] - 1):
            return self._made(tenant_id, rows, {last: digest}, self._streams, self._types)
        return await self.run(
            tenant, lambda connection: self._to_events(connection, tenant_id, rows)
        )

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
        if len(wanted) > limit:  # each query alone kept to it
            wanted = wanted[:limit]
            scanned_to = wanted[-1]
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
        return self._made(tenant_id, rows, hashes, streams, types)

    def _made(
        self,
        tenant_id: int,
        rows: Sequence[Row],
        hashes: dict[int, bytes],
        streams: dict[int, str],
        types: dict[int, str],
    ) -> list[RecordedEvent]:
        events = to_events(rows, streams, types, hashes)
        if rows:
            self._hash_at = (tenant_id, rows[-1][0], rows[-1][17])
        return events


def _look_at(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()  # whoever awaits it is told; often nobody does
