"""Reads: a few connections of aiosqlite, each page one short transaction.

A connection is borrowed for one query and given back; an iterator holds none between pages.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import aiosqlite
import msgspec

from ...calls import Fork
from ...envelope import GENESIS
from ...errors import Busy, Corrupt, StoreClosed
from ...events import RecordedEvent
from ...query import Query
from ..filtering import matching_positions, scanned_with
from ..forked import check_fork, forked_page
from ..port import LogPage
from ..rows import Row, check_consecutive, check_stream_rows, hashes_wanted, is_full, to_events
from . import statements as sql
from .connection import READER_CACHE_KIB, ReadConnection, read_uri
from .errors import DRIVER_ERRORS, translate
from .rows import prefetch_names
from .unwritable import Still

_CONNECTIONS = 2
"""One for long scans and one for short questions on a machine with two cores; more contend for
the interpreter's lock."""

_NAMES_MAX = 100_000
"""Stream names remembered by id; beyond it all are forgotten at once."""

_encode = msgspec.json.Encoder().encode


class _Place(NamedTuple):
    """A tenant and a stream by their ids, None where there is none, and where a fork leaves its
    parent. `version` is the stream's, None where the ids were known."""

    tenant_id: int | None
    stream_id: int | None
    fork: Fork | None
    version: int | None


class Reader:
    """All reads of one file. Every method may be cancelled and leaves nothing open."""

    def __init__(
        self,
        path: str,
        connections: list[aiosqlite.Connection],
        watch: sqlite3.Connection,
        still: Still | None,
    ) -> None:
        self._path = path
        self._watch = watch
        self._still = still
        self._connections = connections
        self._free: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        for connection in connections:
            self._free.put_nowait(connection)
        self._tenants: dict[str, int] = {}
        self._streams: dict[int, str] = {}
        self._types: dict[int, str] = {}
        self._stream_ids: dict[tuple[int | None, str], tuple[int, Fork | None]] = {}
        self._hashes: tuple[int, dict[int, bytes]] = 0, {}
        self._busy = 0
        self._idle: asyncio.Future[None] | None = None
        self._closed = False

    @classmethod
    async def open(
        cls, path: str, busy_timeout_seconds: float, *, immutable: bool = False
    ) -> Reader:
        """Opens the connections. If cancelled or failing, none stays open.

        `immutable`: of a file that does not change; every read fails when it has.
        """
        still = Still(path) if immutable else None  # before anything of it is read
        uri = read_uri(path, immutable=immutable)
        opened: list[asyncio.Future[aiosqlite.Connection]] = []
        watch: sqlite3.Connection | None = None
        try:
            watch = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0)
            for _ in range(_CONNECTIONS):
                connection = aiosqlite.connect(
                    uri,
                    uri=True,
                    isolation_level=None,
                    timeout=busy_timeout_seconds,
                    factory=ReadConnection,
                )
                # The interpreter waits at its end for threads that are not daemons: a program
                # that dies without closing its store would hang instead of ending.
                connection._thread.daemon = True
                opened.append(asyncio.ensure_future(_connect(connection)))
                # Shielded: a connection that nobody waits for any more would stay open.
                await asyncio.shield(opened[-1])
                await connection.execute_fetchall("PRAGMA query_only = ON")
                await connection.execute_fetchall(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
        except BaseException as exc:
            # Shielded: one who cancels again while we clean up must not leave some of them open.
            if watch is not None:
                watch.close()
            await asyncio.shield(_close_all(opened))
            if isinstance(exc, DRIVER_ERRORS):
                raise translate(exc, path) from exc
            raise
        return cls(path, [one.result() for one in opened], watch, still)

    async def close(self) -> None:
        """Waits for those who read, then frees all connections.

        An append that was accepted before the closing may still read what it tells its caller:
        the events that were missed, or the first answer. Iterators end at their next page.
        """
        while self._busy:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        self._closed = True
        self._watch.close()
        for connection in self._connections:
            await connection.close()

    async def fetch(self, statement: str, args: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
        """The rows of one query, which is one short transaction."""
        async with self._borrow() as connection:
            return await self._fetch(connection, statement, args)

    async def stream_page(
        self, tenant: str, stream: str, after: int, limit: int, backwards: bool
    ) -> list[RecordedEvent]:
        """See `Engine`."""
        place = await self._place(tenant, stream)
        if place.fork is None:
            return await self._own_page(place, stream, 0, after, limit, backwards)

        async def own(
            name: str, low: int, after: int, limit: int, backwards: bool
        ) -> list[RecordedEvent]:
            there = await self._place(tenant, name)
            return await self._own_page(there, name, low, after, limit, backwards)

        async def fork_of(name: str) -> Fork | None:
            return (await self._place(tenant, name)).fork

        return await forked_page(own, fork_of, stream, place.fork, after, limit, backwards)

    async def _own_page(
        self, place: _Place, stream: str, low: int, after: int, limit: int, backwards: bool
    ) -> list[RecordedEvent]:
        """Of the stream's own events, which begin behind version `low`."""
        tenant_id, stream_id, _, version = place
        if tenant_id is None or stream_id is None:
            return []
        statement = sql.READ_STREAM_BACKWARDS if backwards else sql.READ_STREAM
        args = (stream_id, after, limit)
        async with self._borrow() as connection:
            rows = await self._fetch_events(connection, statement, args)
            if version is None and (backwards or (len(rows) < limit and not is_full(rows))):
                # The page may be the last one: then the head says where it has to end, and it is
                # read again where the head was asked too late to say so.
                found = await self._fetch(connection, sql.FIND_STREAM, (tenant_id, stream))
                if not found:
                    raise Corrupt(
                        f"stream {stream!r}: its head is gone", kind="head", stream=stream
                    )
                version = found[0][1]
                if backwards:
                    is_whole = (rows[0][2] if rows else 0) == min(after - 1, version)
                else:
                    is_whole = (rows[-1][2] if rows else after) == version
                if not is_whole:
                    rows = await self._fetch_events(connection, statement, args)
            check_stream_rows(rows, stream, version or 0, after, limit, backwards, low)
            events = await self._to_events(connection, tenant_id, rows)
        if rows and not backwards:
            # Whoever reads on looks at the last event once more, which needs the one before it.
            self._hashes = tenant_id, {row[0]: row[17] for row in rows[-2:]}
        return events

    async def _place(self, tenant: str, stream: str) -> _Place:
        tenant_id = await self.find_tenant(tenant)
        known = self._stream_ids.get((tenant_id, stream))
        if known is not None:
            return _Place(tenant_id, *known, None)
        found = await self.find_stream(tenant, stream)
        if found is None:
            return _Place(tenant_id, None, None, None)
        stream_id, version, tenant_id, fork = found
        place = _Place(tenant_id, stream_id, fork, version)
        if fork is not None:
            low = fork.version
            check_fork(stream, fork, await self._own_page(place, stream, low, low, 1, False))
        if len(self._stream_ids) > _NAMES_MAX:
            self._stream_ids.clear()
        self._stream_ids[tenant_id, stream] = stream_id, fork
        return place

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
        tenant_id = await self.find_tenant(tenant)
        if tenant_id is None or until <= after:
            return LogPage([], until)
        if queries:
            return await self._filtered_page(tenant_id, after, until, queries, limit)
        async with self._borrow() as connection:
            args = (tenant_id, after, until, limit)
            rows = await self._fetch_events(connection, sql.READ_LOG, args)
            # A page ends early when it is full; what it holds must be without holes all the same.
            last = rows[-1][0] if rows else min(until, after + limit)
            check_consecutive(rows, after, last)
            known = None if digest is None else {after: digest}
            events = await self._to_events(connection, tenant_id, rows, known)
        self._hashes = tenant_id, {last: rows[-1][17]}
        return LogPage(events, last, rows[-1][17])

    async def events(
        self, statement: str, tenant_id: int, args: Sequence[Any]
    ) -> list[RecordedEvent]:
        """The events of a query for a tenant's rows of `EVENT_COLUMNS`."""
        async with self._borrow() as connection:
            rows = await self._fetch_events(connection, statement, (tenant_id, *args))
            return await self._to_events(connection, tenant_id, rows)

    async def find_tenant(self, tenant: str) -> int | None:
        """The tenant's id, or None where it has no events."""
        tenant_id = self._tenants.get(tenant)
        if tenant_id is None:
            rows = await self.fetch(sql.FIND_TENANT, (tenant,))
            if rows:
                tenant_id = self._tenants[tenant] = rows[0][0]
        return tenant_id

    async def find_stream(
        self, tenant: str, stream: str
    ) -> tuple[int, int, int, Fork | None] | None:
        """(id, version, tenant's id, where it leaves its parent) of a stream, or None."""
        tenant_id = await self.find_tenant(tenant)
        if tenant_id is None:
            return None
        rows = await self.fetch(sql.FIND_STREAM, (tenant_id, stream))
        if not rows:
            return None
        stream_id, version, low, parent = rows[0]
        fork = None if low is None else Fork(parent or "", low)
        return stream_id, version, tenant_id, fork

    def data_version(self) -> int | None:
        """A number that differs when another connection has committed since the last look; None
        when it cannot be told just now.

        Asked here and not in a thread, on a connection of its own: it takes 6 us in shared memory
        and waits for no lock and no query, where a hop would be half of what an idle subscription
        costs. Always the same connection, because each one counts for itself.
        """
        if self._still is not None:
            self._still.check()
        try:
            return int(self._watch.execute(sql.DATA_VERSION).fetchone()[0])
        except sqlite3.Error as exc:
            error = translate(exc, self._path)
            if isinstance(error, Busy):
                return None
            raise error from exc

    async def _filtered_page(
        self, tenant_id: int, after: int, until: int, queries: Sequence[Query], limit: int
    ) -> LogPage:
        async with self._borrow() as connection:
            wanted, scanned_to = await matching_positions(
                queries, after, until, limit, partial(self._positions, connection, tenant_id)
            )
            if not wanted:
                return LogPage([], scanned_to)
            args = (tenant_id, _encode(wanted).decode())
            rows = await self._fetch_events(connection, sql.READ_POSITIONS, args)
            scanned_to = scanned_with(rows, wanted, scanned_to)
            events = await self._to_events(connection, tenant_id, rows)
        return LogPage(events, scanned_to)

    async def _positions(
        self,
        connection: aiosqlite.Connection,
        tenant_id: int,
        query: Query,
        after: int,
        until: int,
        limit: int,
    ) -> list[int]:
        ids: list[int] = []
        for tag in query.tags:
            row = await self._fetch(connection, sql.FIND_TAG, (tenant_id, tag))
            if not row:
                return []
            ids.append(row[0][0])
        types = [
            row[0][0]
            for name in query.types
            if (row := await self._fetch(connection, sql.FIND_TYPE, (name,)))
        ]
        if query.types and not types:
            return []
        statement = sql.positions_of(len(ids), len(types))
        args = sql.numbered((*ids, *types, tenant_id, after, until, limit))
        return [row[0] for row in await self._fetch(connection, statement, args)]

    async def _to_events(
        self,
        connection: aiosqlite.Connection,
        tenant_id: int,
        rows: Sequence[Row],
        known: dict[int, bytes] | None = None,
    ) -> list[RecordedEvent]:
        """The rows' events, checked; asks for the names and hashes that the rows refer to, but for
        the hashes that are `known`."""
        names = await self._learn_names(connection, rows)
        owner, seen = self._hashes
        hashes = {0: GENESIS, **(seen if owner == tenant_id else {}), **(known or {})}
        missing = [position for position in hashes_wanted(rows) if position not in hashes]
        if missing:
            args = (tenant_id, _encode(missing).decode())
            hashes.update(await self._fetch(connection, sql.HASHES_AT, args))
        return to_events(rows, *names, hashes)

    async def _learn_names(
        self, connection: aiosqlite.Connection, rows: Sequence[Row]
    ) -> tuple[dict[int, str], dict[int, str]]:
        """The names of the rows' streams and types, by id."""
        wanted: list[tuple[str, tuple[str]]] = []

        def note(statement: str, args: tuple[str]) -> list[Row]:
            wanted.append((statement, args))
            return []

        if len(self._streams) > _NAMES_MAX:
            self._streams = {}  # not emptied: another page may be about to look into it
        streams, types = self._streams, self._types
        prefetch_names(note, rows, streams, types)
        for statement, args in wanted:
            known = streams if statement is sql.NAMES_OF_STREAMS else types
            known.update(await self._fetch_events(connection, statement, args))
        return streams, types

    @asynccontextmanager
    async def _borrow(self) -> AsyncIterator[aiosqlite.Connection]:
        if self._closed:
            raise StoreClosed(f"{self._path}: closed")
        self._busy += 1
        try:
            connection = await self._free.get()
            try:
                yield connection
            finally:
                self._free.put_nowait(connection)
        finally:
            self._busy -= 1
            if not self._busy and self._idle is not None and not self._idle.done():
                self._idle.set_result(None)

    async def _fetch_events(
        self, connection: aiosqlite.Connection, statement: str, args: Sequence[Any]
    ) -> list[Row]:
        """As `_fetch`, for events and their names. A text that is not UTF-8 cannot be fetched as
        it is: it comes with lone surrogates for the odd bytes, which match no hash, so that
        `to_events` names the event that has it."""
        try:
            return await self._fetch(connection, statement, args)
        except Corrupt as exc:
            if not isinstance(exc.__cause__, sqlite3.OperationalError):
                raise  # a damaged page
        connection.text_factory = _decode_any
        try:
            return await self._fetch(connection, statement, args)
        finally:
            connection.text_factory = str

    async def _fetch(
        self,
        connection: aiosqlite.Connection,
        statement: str,
        args: Sequence[Any] | dict[str, Any],
    ) -> list[Row]:
        # A cancelled query runs to its end in its thread; the connection serves the next query
        # behind it, because aiosqlite keeps them in order.
        try:
            rows = await connection.execute_fetchall(statement, args)
        except DRIVER_ERRORS as exc:
            if self._still is not None:
                self._still.check()  # a file that changes beneath us looks damaged
            raise translate(exc, self._path) from exc
        if self._still is not None:
            self._still.check()
        return cast("list[Row]", rows)  # which aiosqlite says less of than it gives


def _decode_any(text: bytes) -> str:
    return text.decode(errors="surrogateescape")


async def _connect(connection: aiosqlite.Connection) -> aiosqlite.Connection:
    return await connection


async def _close_all(opened: list[asyncio.Future[aiosqlite.Connection]]) -> None:
    """Closes connections that have been opened, or that still are being opened."""
    for one in await asyncio.gather(*opened, return_exceptions=True):
        if isinstance(one, aiosqlite.Connection):
            await one.close()
