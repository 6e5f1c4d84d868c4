"""Where the logs end: looked at once for all workers of a relay, in one beat.

Workers that keep up wake together, so that what they make of the same appends is one commit.
"""

from __future__ import annotations

import asyncio
import logging

from eventstore import Busy, OutcomeUnknown, StorageFailed
from eventstore.outbox import Head, Outbox

_log = logging.getLogger("eventstore")

BEAT_SECONDS = 0.04
"""Between two looks at a log that grows: 25 commits a second for all views that keep up, and less
than half of the promised lag of 100 ms."""

TRY_AGAIN_SECONDS = 0.5
"""Before a log is looked at again that could not be read."""


class Heads:
    """The ends of the tenants' logs, followed as long as somebody waits for one."""

    def __init__(self) -> None:
        self._followed: dict[str, _Followed] = {}

    async def beyond(self, outbox: Outbox, position: int) -> Head:
        """The log's end once it is beyond `position`. Raises what ends the following, such as
        `StoreClosed`. If cancelled, nothing is left open."""
        followed = self._followed.get(outbox.tenant)
        if followed is None or followed.task.done():
            followed = self._followed[outbox.tenant] = _Followed(outbox)
        return await followed.beyond(position)

    async def close(self) -> None:
        """Ends the following. Cancelled, it has asked for it."""
        tasks = [each.task for each in self._followed.values()]
        for task in tasks:
            task.cancel()
        self._followed.clear()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Followed:
    """One tenant's log."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._head: Head | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self.task = asyncio.get_running_loop().create_task(self._follow())
        self.task.add_done_callback(self._ended)

    async def beyond(self, position: int) -> Head:
        """See `Heads`."""
        while self._head is None or self._head.position <= position:
            if self.task.done():
                self.task.result()  # raises what ended it
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        return self._head

    async def _follow(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            try:
                self._head = await self._outbox.head()
                self._wake()
                looked_at = clock()
                await self._outbox.wait(self._head.position)
            except (Busy, StorageFailed, OutcomeUnknown) as exc:
                _log.warning("relay: the log cannot be read (%s)", type(exc).__name__)
                await asyncio.sleep(TRY_AGAIN_SECONDS)
            else:
                await asyncio.sleep(max(looked_at + BEAT_SECONDS - clock(), 0))

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # each of those who wait is told by itself
        self._wake()
