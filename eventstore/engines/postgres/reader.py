"""Reads: each page is one short transaction on a connection that is borrowed for it.

A tenant is named in each question, and its id is remembered nowhere: a server that had not all of
the log may have taken over since (behind a pooler nobody is told), and have given the id to another
tenant. Names of streams and types are remembered by their ids, because an event's hash tells when
one of them is not its own; then they are asked for again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from ...calls import Fork
from ...envelope import GENESIS
from ...errors import Corrupt, EventStoreError
from ...events import RecordedEvent
from ...query import Query
from ..filtering import matching_positions, scanned_with
from ..forked import check_fork, forked_page
from ..port import LogPage
from ..rows import Row, check_consecutive, check_stream_rows, hashes_wanted, to_events
from .connections import Connection, Connections, set_tenant, transaction
from .statements import JOINED_MAX, Statements

_TURNS_TO_SEND = 4
"""Turns of the loop until a query that was begun is on its way: two tasks, a connection, a send."""

_AHEAD_SECONDS = 5.0
"""How long a page that was asked for ahead is kept. Who takes longer over the page before it does
not notice that it is asked for again."""

_NAMES_MAX = 100_000
"""Names remembered by id; beyond it all are forgotten at once."""

T = TypeVar("T")
_Place = tuple[str, int, int, int]
"""Of a page: tenant, after, until, limit."""


class Reader:
    """All reads of one store. Every method may be cancelled and leaves nothing open."""

    def __init__(self, connections: Connections, statements: Statements) -> None:
        self._connections = connections
        self._isolated = connections.address.isolated
        self.sql = statements
        self._streams: dict[int, str] = {}
        self._types: dict[int, str] = {}
        self._ahead: tuple[_Place, asyncio.Future[list[Row]]] | None = None

    async def run(
        self, tenant: str, work: Callable[[Connection], Awaitable[T]], *, is_long: bool = False
    ) -> T:
        """What `work` gives, with only the tenant's rows in sight where the store is isolated.
        `is_long`: see `Connections.run`."""
        if not self._isolated:
            return await self._connections.run(work, is_long=is_long)

        async def isolated(connection: Connection) -> T:
            async with transaction(connection):
                await set_tenant(connection, tenant)
                return await work(connection)

        return await self._connections.run(isolated, is_long=is_long)

    async def fetch(self, tenant: str, statement: str, *args: Any) -> list[Row]:
        """The rows of one query."""
        return await self.run(tenant, lambda connection: connection.fetch(statement, *args))

    async def find_tenant(self, tenant: str) -> int | None:
        """The tenant's id, or None where it is not known to the store."""
        rows = await self.fetch(tenant, self.sql.find_tenant, tenant)
        return int(rows[0][0]) if rows else None

    async def find_stream(self, tenant: str, stream: str) -> tuple[int, int, int] | None:
        """(id, version, tenant's id) of a stream, or None."""
        rows = await self.fetch(tenant, self.sql.find_stream, tenant, stream)
        return (rows[0][0], rows[0][1], rows[0][2]) if rows else None

    async def stream_page(
        self, tenant: str, stream: str, after: int, limit: int, backwards: bool
    ) -> list[RecordedEvent]:
        """See `Engine`."""
        page = await self._own_page(tenant, stream, None, after, limit, backwards)
        if page is not None:
            return page

        async def own(
            name: str, low: int, after: int, limit: int, backwards: bool
        ) -> list[RecordedEvent]:
            return await self._own_page(tenant, name, low, after, limit, backwards) or []

        async def fork_of(name: str) -> Fork | None:
            fork = await self.find_fork(tenant, name)
            if fork is not None:
                check_fork(name, fork, await own(name, fork.version, fork.version, 1, False))
            return fork

        fork = await fork_of(stream)
        if fork is None:  # it was one a moment ago: a server took over that has not all of the log
            return []
        return await forked_page(own, fork_of, stream, fork, after, limit, backwards)

    async def find_fork(self, tenant: str, stream: str) -> Fork | None:
        """Where a fork leaves its parent, as its row says; None for any other stream."""
        rows = await self.fetch(tenant, self.sql.find_fork, tenant, stream)
        return Fork(rows[0][0] or "", rows[0][1]) if rows else None

    async def _own_page(
        self, tenant: str, stream: str, low: int | None, after: int, limit: int, backwards: bool
    ) -> list[RecordedEvent] | None:
        """Of a stream's own events, which begin behind version `low`; None for a fork whose own
        ones begin elsewhere. Without `low` None is for a fork's page that may inherit."""
        statement = self.sql.read_stream_backwards if backwards else self.sql.read_stream

        async def page(connection: Connection) -> list[RecordedEvent] | None:
            found = await connection.fetch(statement, tenant, stream, after, limit)
            if not found:
                return []
            version, begins = found[0][18], found[0][19] or 0
            if begins != low and (low is not None or (begins and (backwards or after < begins))):
                return None
            rows = [row[:18] for row in found] if found[0][0] is not None else []
            check_stream_rows(rows, stream, version, after, limit, backwards, begins)
            return await self._to_events(connection, tenant, rows)

        return await self.run(tenant, page)

    async def log_page(
        self,
        tenant: str,
        after: int,
        until: int,
        queries: Sequence[Query],
        limit: int,
        digest: bytes | None,
    ) -> LogPage:
        """See `Engine`."""
        if until <= after:
            return LogPage([], until)
        if queries:
            return await self.run(
                tenant,
                lambda connection: self._filtered_page(
                    connection, tenant, after, until, queries, limit
                ),
            )

        place = (tenant, after, until, limit)
        rows = await self._rows_ahead(place)
        if rows is None:
            rows = await self._log_rows(place)
        # A page ends early when it is full; what it holds must be without holes all the same.
        last = rows[-1][0] if rows else min(until, after + limit)
        check_consecutive(rows, after, last)
        if after and digest is not None and last < until:
            # Somebody goes through the log: the server works on the next page while this one is
            # made into events. Whoever gives up leaves a page that nobody fetches, for a while.
            place = (tenant, last, until, limit)
            self._ahead = place, asyncio.ensure_future(self._log_rows(place))
            self._ahead[1].add_done_callback(_look_at)
            loop = asyncio.get_running_loop()
            loop.call_later(_AHEAD_SECONDS, self._forget_ahead, self._ahead)
            for _ in range(_TURNS_TO_SEND):
                await asyncio.sleep(0)
        return LogPage(await self._events_of(tenant, rows, {after: digest}), last, rows[-1][17])

    async def _rows_ahead(self, place: _Place) -> list[Row] | None:
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

    async def _log_rows(self, place: _Place) -> list[Row]:
        return await self.fetch(place[0], self.sql.read_log, *place)

    async def _events_of(
        self, tenant: str, rows: Sequence[Row], before: dict[int, bytes | None]
    ) -> list[RecordedEvent]:
        """The events of rows whose connection was given back; most need no other one. `before` is
        the hash in front of them, None where it is not known."""
        hashes = {position: digest for position, digest in before.items() if digest is not None}
        known = {row[1] for row in rows} <= self._streams.keys()
        known = known and {row[4] for row in rows} <= self._types.keys()
        if known and hashes:
            with contextlib.suppress(Corrupt):  # a name may be another one's by now
                return to_events(rows, self._streams, self._types, hashes)
        return await self.run(
            tenant, lambda connection: self._to_events(connection, tenant, rows, hashes)
        )

    async def events(self, tenant: str, statement: str, *args: Any) -> list[RecordedEvent]:
        """The events of a query for a tenant's rows of `EVENT_COLUMNS`."""

        async def page(connection: Connection) -> list[RecordedEvent]:
            rows = await connection.fetch(statement, tenant, *args)
            return await self._to_events(connection, tenant, rows)

        return await self.run(tenant, page)

    async def _filtered_page(
        self,
        connection: Connection,
        tenant: str,
        after: int,
        until: int,
        queries: Sequence[Query],
        limit: int,
    ) -> LogPage:
        wanted, scanned_to = await matching_positions(
            queries, after, until, limit, partial(self._positions, connection, tenant)
        )
        if not wanted:
            return LogPage([], scanned_to)
        rows = await connection.fetch(self.sql.read_positions, tenant, wanted)
        scanned_to = scanned_with(rows, wanted, scanned_to)
        return LogPage(await self._to_events(connection, tenant, rows), scanned_to)

    async def _positions(
        self,
        connection: Connection,
        tenant: str,
        query: Query,
        after: int,
        until: int,
        limit: int,
    ) -> list[int]:
        tags = await connection.fetch(self.sql.ids_of_tags, tenant, query.tags)
        if len(tags) < len(query.tags):
            return []
        types = await connection.fetch(self.sql.ids_of_types, query.types) if query.types else []
        if query.types and not types:
            return []
        statement = self.sql.positions_of(len(tags), len(types))
        ids = [row[0] for row in tags]
        args: list[Any] = [tenant, after, until, limit, *ids[:JOINED_MAX]]
        if len(ids) > JOINED_MAX:
            args.append(ids[JOINED_MAX:])
        if types:
            args.append([row[0] for row in types])
        return [row[0] for row in await connection.fetch(statement, *args)]

    async def _to_events(
        self,
        connection: Connection,
        tenant: str,
        rows: Sequence[Row],
        known: dict[int, bytes] | None = None,
    ) -> list[RecordedEvent]:
        """The rows' events, checked; asks for the names and hashes that the rows refer to, but for
        the hashes that are `known`."""
        hashes = {0: GENESIS, **(known or {})}
        wanted = [position for position in hashes_wanted(rows) if position not in hashes]
        if wanted:
            found = await connection.fetch(self.sql.hashes_at, tenant, wanted)
            hashes.update([tuple(row) for row in found])
        try:
            return to_events(rows, *await self._names(connection, rows), hashes)
        except Corrupt:
            # An id may have another name since, if a server took over that had not all of the log.
            self._streams, self._types = {}, {}
            return to_events(rows, *await self._names(connection, rows), hashes)

    async def _names(
        self, connection: Connection, rows: Sequence[Row]
    ) -> tuple[dict[int, str], dict[int, str]]:
        """The names of the rows' streams and types, by id."""
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
        return streams, types


def _look_at(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()  # whoever awaits it is told; often nobody does
