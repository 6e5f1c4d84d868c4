"""Connections to one database: made when needed, checked, and replaced when they are lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

import asyncpg

from ...errors import Busy, EventStoreError, StorageFailed, StoreClosed
from . import statements as sql
from .address import ISOLATION, STATEMENT_MS, Address, session_settings
from .errors import is_lost, translate

Connection: TypeAlias = Any  # asyncpg ships no types
T = TypeVar("T")

SERVER_VERSION_MIN = 140_000
"""PostgreSQL 14: the oldest one that its makers still mend."""

CONNECT_SECONDS = 10.0
"""For one attempt; a machine that is gone does not answer at all."""

GRACE_SECONDS = 10.0
"""Beyond the server's own bound for a lock, and for a long statement, before a connection counts as
lost: the largest append takes about 3 s on a slow disk, a page some milliseconds."""

_GONE_SECONDS = 10
"""A machine that is gone acknowledges nothing: the kernel tells after that long, where it can. It
is longer than a short cut of a network, and leaves patience for a server that takes over."""

_SOCKET_OPTIONS = {
    "TCP_KEEPIDLE": _GONE_SECONDS // 2,
    "TCP_KEEPINTVL": 1,
    "TCP_KEEPCNT": _GONE_SECONDS // 2,
    "TCP_USER_TIMEOUT": _GONE_SECONDS * 1_000,
}
"""By name, because not every system has all of them. The first three are for a connection on which
an answer is awaited, the last one for what was sent."""

ANSWER_SECONDS = 5.0
"""For what takes the server a millisecond: later, its connection counts as lost."""

CLOSE_SECONDS = 5.0
"""For what has to be ended at closing, beyond `busy_timeout_seconds`: an answer that is on its way
comes within it from a server that works."""

SECOND_SECONDS = 2.0
"""For the question on a new connection, after one that left it without an answer: one that works
answers within milliseconds."""

_BACK_OFF_SECONDS = 0.05
_BACK_OFF_SECONDS_MAX = 1.0
"""A server that restarts is back within a second or two; it must not be asked in a tight loop."""

_WEAKNESSES = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


LOSSES_MAX = 3
"""How often one question may lose its connection. A row so damaged that the server dies of reading
it would end every session of that server, for some seconds, each time that we ask again."""


class Connections:
    """At most `count_max` connections. Who finds none free waits in order."""

    def __init__(self, address: Address, count_max: int, patience_seconds: float) -> None:
        self.address = address
        self.settings: dict[str, Any] = {}
        self.store_id: str | None = None
        """Of the store that was opened: whoever answers later has to be the same one."""
        self._patience = patience_seconds
        self._asked = session_settings(address, patience_seconds)
        # The server ends a wait for a lock, and a statement, before that: silence for longer is a
        # lost connection.
        self.answer_seconds = max(patience_seconds, 1.0) + GRACE_SECONDS
        self._statement_seconds = self.answer_seconds + STATEMENT_MS / 1_000
        self._slots = asyncio.Semaphore(count_max)
        self._free: list[Connection] = []
        self._running: set[asyncio.Future[Any]] = set()
        self.closing = False
        self._closed = False

    async def run(self, work: Callable[[Connection], Awaitable[T]], *, is_long: bool = False) -> T:
        """What `work`, which may be done twice, gives for a connection. A lost connection is
        replaced and `work` is begun anew, until patience runs out; a silence counts from its
        beginning. `is_long`: each of its statements may take as long as the server lets it, not
        `answer_seconds` in all. If cancelled, it goes on to its end without its caller, because a
        connection can be used again only then."""
        if self._closed:
            raise StoreClosed(f"{self.address.shown}: closed")
        within = None if is_long else self.answer_seconds
        task = asyncio.ensure_future(self._run(work, within))
        self._running.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # by `close`; its caller was not
                raise StoreClosed(f"{self.address.shown}: closed") from None
            raise

    async def _run(self, work: Callable[[Connection], Awaitable[T]], within: float | None) -> T:
        loop = asyncio.get_running_loop()
        deadline: float | None = None  # from the first trouble on
        losses, is_second = 0, False
        while True:
            is_asked = False
            try:
                async with (
                    asyncio.timeout(SECOND_SECONDS if is_second else None),
                    self.borrow(deadline or loop.time() + self._patience) as connection,
                ):
                    is_asked = True
                    async with asyncio.timeout(within):
                        return await work(connection)
            except EventStoreError:
                raise
            except Exception as exc:
                if isinstance(exc, TimeoutError) and deadline is None:
                    # The silence took the whole patience. Often only this connection is dead,
                    # forgotten by a router in between: a new one is asked, for a short time.
                    deadline, is_second = loop.time() + SECOND_SECONDS, within is not None
                deadline = deadline or loop.time() + self._patience
                if not is_lost(exc) or self.closing or loop.time() >= deadline:
                    raise translate(exc, self.address.shown) from exc
                losses += is_asked
                self.drop_free()  # a server that was started anew has ended them, too
                if losses >= LOSSES_MAX:
                    raise _deadly(exc, self.address.shown) from exc

    @asynccontextmanager
    async def borrow(self, deadline: float) -> AsyncIterator[Connection]:
        """A connection that is open, for one use. Raises the store's errors where there is none
        by `deadline`, and what the driver raises inside the block."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(max(deadline, loop.time() + 1.0)):
                await self._slots.acquire()
        except TimeoutError as exc:
            busy = f"{self.address.shown}: all connections are in use; try again"
            raise Busy(busy) from exc
        try:
            connection = await self._take(deadline)
            is_whole = False
            try:
                yield connection
                is_whole = True
            except (asyncpg.PostgresError, EventStoreError) as exc:
                is_whole = not is_lost(exc)
                raise
            finally:
                if is_whole and not connection.is_closed() and not connection.is_in_transaction():
                    self._free.append(connection)
                else:
                    connection.terminate()
        finally:
            self._slots.release()

    async def _take(self, deadline: float) -> Connection:
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
        wait = _BACK_OFF_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await self.connect(self._statement_seconds)
            except Exception as exc:
                left = deadline - loop.time()
                if not is_lost(exc) or left <= 0 or self.closing:
                    raise translate(exc, self.address.shown) from exc
                await asyncio.sleep(min(wait, max(left, 0)))
                wait = min(wait * 2, _BACK_OFF_SECONDS_MAX)

    async def connect(self, answer_seconds: float | None = None) -> Connection:
        """A new connection, whose settings are read back; one that leaves a request without an
        answer for longer than `answer_seconds` raises TimeoutError. Raises what the driver
        raises, and `StorageFailed` where the server is weaker or older than it has to be."""
        address = self.address
        connection = await asyncpg.connect(
            address.dsn,
            timeout=CONNECT_SECONDS,
            command_timeout=answer_seconds,
            statement_cache_size=0 if address.pooled else 100,
            server_settings=self._asked,
        )
        try:
            _tell_when_gone(connection)
            found = await connection.fetchrow(sql.SETTINGS, timeout=CONNECT_SECONDS)
            assert found is not None
            self.settings = check_settings(address, dict(found))
            if self.store_id is not None:
                await self._check_store(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def learn_store(self) -> str:
        """Notes which store this is, and gives its id."""
        found = await self.run(lambda asked: asked.fetchval(sql.find_store(self.address.schema)))
        self.store_id = str(found)
        return self.store_id

    async def _check_store(self, connection: Connection) -> None:
        found = await connection.fetchval(
            sql.find_store(self.address.schema), timeout=ANSWER_SECONDS
        )
        if str(found) != self.store_id:
            raise StorageFailed(
                f"{self.address.shown}: another store stands there than the one that was opened;"
                " nothing was read or written; open it anew"
            )

    async def abort(self) -> None:
        """Ends those who use a connection at once, whatever they wait for, then frees all."""
        for task in self._running:
            task.cancel()
        await self.close()

    async def close(self) -> None:
        """Waits for those who use a connection, though not for a server that is silent, then
        frees all: within `CLOSE_SECONDS`."""
        self.closing = self._closed = True
        if self._running:
            _, silent = await asyncio.wait(self._running, timeout=CLOSE_SECONDS / 2)
            for task in silent:
                task.cancel()
            await asyncio.gather(*silent, return_exceptions=True)
        # One may be lost, and is not needed any more: whatever it says is of no use.
        await asyncio.gather(
            *(connection.close(timeout=CLOSE_SECONDS / 2) for connection in self._free),
            return_exceptions=True,
        )
        self._free.clear()

    def drop_free(self) -> None:
        """Ends the connections that nobody uses just now."""
        while self._free:
            self._free.pop().terminate()

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have gone: then nobody else asks


def _tell_when_gone(connection: Connection) -> None:
    """Lets the kernel end a connection to a machine that is gone, which nobody else can tell from
    one that is slow. asyncpg hands its socket to nobody, so it is taken from the transport."""
    opened = connection._transport.get_extra_info("socket")
    if opened is None or opened.family not in (socket.AF_INET, socket.AF_INET6):
        return
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _SOCKET_OPTIONS.items():
        if hasattr(socket, name):
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _deadly(error: BaseException, where: str) -> StorageFailed:
    translate(error, where)  # which takes out of it what may hold data
    return StorageFailed(
        f"{where}: the connection was lost {LOSSES_MAX} times over the same question; nothing was"
        " written; the server may die of damaged data: read its log, and run 'eventstore verify'"
    )


@asynccontextmanager
async def transaction(connection: Connection) -> AsyncIterator[None]:
    """A transaction, or a savepoint in one. Whoever is cancelled, or lost the connection, does not
    wait for an answer to ROLLBACK: such a connection is ended by who borrowed it."""
    opened = connection.transaction()
    async with asyncio.timeout(ANSWER_SECONDS):
        await opened.start()
    try:
        yield
    except Exception as exc:
        if not is_lost(exc):
            async with asyncio.timeout(ANSWER_SECONDS):
                await opened.rollback()
        raise
    await opened.commit()


async def set_tenant(connection: Connection, tenant: str) -> None:
    """For row-level security, in the transaction that is open."""
    await connection.fetchval(sql.SET_TENANT, tenant, timeout=ANSWER_SECONDS)


def check_settings(address: Address, found: dict[str, Any]) -> dict[str, Any]:
    """The settings that were read back. Raises `StorageFailed` where one is too weak."""
    where = address.shown
    if found["server_version_num"] < SERVER_VERSION_MIN:
        raise StorageFailed(
            f"{where}: PostgreSQL {found['server_version']}; the oldest that will do is 14"
        )
    if found["server_encoding"] != "UTF8":
        raise StorageFailed(f"{where}: the database's encoding is {found['server_encoding']}")
    allowed = set(address.allowed)
    if address.synchronous == "NORMAL":
        allowed.add("synchronous_commit")
    isolation = found["default_transaction_isolation"]
    if isolation != ISOLATION:  # behind a pooler, where we cannot ask for it
        raise StorageFailed(
            f"{where}: sessions begin with default_transaction_isolation={isolation}; the store"
            f" needs {ISOLATION}: ALTER ROLE ... SET default_transaction_isolation = '{ISOLATION}'"
        )
    for name, weak in _WEAKNESSES.items():
        if found[name] == weak and name not in allowed:
            raise StorageFailed(
                f"{where}: the server runs with {name}={weak}, which loses answered appends;"
                f" switch it on, or say allow={name} in the URL"
            )
    return found
