"""Waking those who wait for events: at once for this process, soon for all others.

Polling is the truth: while someone waits, the heads of the awaited tenants are read every 50 ms,
one small query for all, and every 500 ms while a connection listens. NOTIFY is a hint that makes
another process's append seen sooner; it is sent behind the commit, never within (there it would
hold a lock of the whole server), and at most every 50 ms. Losing one costs those 500 ms, losing the
connection that listens 50.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from ...errors import EventStoreError, StoreClosed
from ...limits import POLL_SECONDS
from .connections import ANSWER_SECONDS, Connection, Connections
from .reader import Reader
from .statements import NOTIFY

_log = logging.getLogger("eventstore")

_NOTIFY_SECONDS = 0.05
"""Between two notifications: half of the promised 100 ms. With 4 processes that write without pause
50 a second from each took 4-5% of two cores."""

_POLL_LISTENING_SECONDS = 0.5
"""While hints come. A look costs about 1 ms of a core here: 20 a second would be 2% of it."""

_PROBE_SECONDS = 15.0
"""Between two looks whether the connection that listens, on which nothing is sent, still lives."""

_LISTEN_AGAIN_SECONDS = 1.0
"""Before a lost LISTEN connection is replaced: polling stands in meanwhile."""


class Watch:
    """Waiters of one store, and what wakes them."""

    def __init__(self, connections: Connections, reader: Reader) -> None:
        self._connections = connections
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        address = connections.address
        self._url = address.shown
        self._notifies = address.notify
        self._channel = f"eventstore_{address.schema}"[:63]
        self._waiters: dict[asyncio.Future[None], tuple[str, int]] = {}
        self._poller: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._listener: Connection | None = None
        self._hears = False
        self._notified_at = 0.0
        self._notifying: asyncio.Task[None] | None = None
        self._look = asyncio.Event()
        self._closing = False

    async def wait(self, tenant: str, after: int) -> None:
        """See `Engine`. Cancelled, it leaves no waiter behind."""
        if self._closing:
            raise StoreClosed(f"{self._url}: closed")
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters[waiter] = (tenant, after)
        try:
            if self._poller is None or self._poller.done():
                self._poller = self._loop.create_task(self._poll())
            if self._notifies and (self._listening is None or self._listening.done()):
                self._listening = self._loop.create_task(self._listen())
            self._look.set()  # it may have come between the caller's look and our place here
            await waiter
        finally:
            self._waiters.pop(waiter, None)
        if self._closing:
            raise StoreClosed(f"{self._url}: closed")

    def committed(self, tenant: str) -> None:
        """Called behind each batch of this process: wakes its own readers, and hints at others'."""
        for waiter, (awaited, _) in self._waiters.items():
            if awaited == tenant and not waiter.done():
                waiter.set_result(None)
        if self._notifies and not self._closing and self._notifying is None:
            # Now, or when the last one is 50 ms old: the last batch of a burst is told as well.
            self._notifying = self._loop.create_task(self._notify())

    async def close(self) -> None:
        """Wakes all, who then find the store closed, and frees the listening connection."""
        self._closing = True
        self.wake_all()
        for task in (self._poller, self._listening, self._notifying):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self._listener is not None:
            self._listener.terminate()

    def wake_all(self) -> None:
        """Lets everyone look for themselves."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _poll(self) -> None:
        """Looks at the awaited heads while someone waits, and at once where it is told to."""
        while self._waiters:
            self._look.clear()
            try:
                await self._look_at_heads()
            except EventStoreError:
                self.wake_all()  # they look for themselves, and are told what is wrong
                return
            with contextlib.suppress(TimeoutError):
                wait = _POLL_LISTENING_SECONDS if self._hears else POLL_SECONDS
                async with asyncio.timeout(wait):
                    await self._look.wait()

    async def _look_at_heads(self) -> None:
        asked_before = set(self._waiters)
        awaited = sorted({tenant for tenant, _ in self._waiters.values()})
        if not self._connections.address.isolated:
            heads = await self._heads(awaited)
        else:
            # Under another's name row-level security would hide a head.
            heads = {}
            for tenant in awaited:
                heads |= await self._heads([tenant])
        for waiter, (tenant, after) in self._waiters.items():
            head = heads.get(tenant, 0)
            # A head that went back is for them to see, too: seen behind their place, and not just
            # read before they came.
            is_moved = head > after or (head < after and waiter in asked_before)
            if not waiter.done() and is_moved:
                waiter.set_result(None)

    async def _heads(self, tenants: list[str]) -> dict[str, int]:
        heads_of = self._reader.sql.heads_of
        rows = await self._reader.run(
            tenants[0],
            lambda connection: connection.fetch(heads_of, tenants, timeout=ANSWER_SECONDS),
        )
        return {row[0]: row[1] for row in rows}

    async def _listen(self) -> None:
        """Listens, from the first wait on until the store closes, also while nobody waits. A
        connection that is lost is replaced while someone waits; else the next wait begins anew."""
        while self._waiters:
            lost = asyncio.Event()
            try:
                connection = self._listener = await self._connections.connect(ANSWER_SECONDS)
                connection.add_termination_listener(lambda *_, lost=lost: lost.set())
                await connection.add_listener(self._channel, self._heard)
            except Exception as exc:
                if self._listener is not None:
                    self._listener.terminate()  # it lives, and nobody else would ever end it
                # Not an error of anybody's: polling goes on.
                _log.debug("%s: cannot listen (%s)", self._url, type(exc).__name__)
            else:
                self._hears = True
                self._look.set()
                await _until_lost(connection, lost)
            self._hears, self._listener = False, None
            self._look.set()
            await asyncio.sleep(_LISTEN_AGAIN_SECONDS)

    def _heard(self, *_: Any) -> None:
        self._look.set()

    async def _notify(self) -> None:
        try:
            wait = self._notified_at + _NOTIFY_SECONDS - self._loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            self._notified_at = self._loop.time()
            self._notifying = None  # what is committed from here on is told by the next one
            await self._connections.run(
                lambda connection: connection.fetchval(NOTIFY, self._channel)
            )
        except EventStoreError as exc:
            _log.debug("%s: cannot notify (%s)", self._url, type(exc).__name__)


async def _until_lost(connection: Connection, lost: asyncio.Event) -> None:
    """Returns when the connection is gone; one that is silent is ended."""
    while not lost.is_set():
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await lost.wait()
        except TimeoutError:
            try:
                await connection.fetchval("SELECT 1")
            except Exception:
                connection.terminate()
                return
