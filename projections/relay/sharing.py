"""Pages that the workers of a relay share.

Workers that keep up want the same few events at the same moment: these are read and decoded once,
and each view picks its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from eventstore import Query
from eventstore.outbox import LogPage, Outbox
from eventstore.registry import registry

SHARED_EVENTS_MAX = 500
"""Positions that are read once for all. Who has more before him asks the log for what is his, which
costs less where that is little."""

_KEPT = 4
"""Pages at hand: of the last beats, for workers that are a little behind the others."""


class _Read(msgspec.Struct, frozen=True):
    """A page, and how many were read before it."""

    number: int
    task: asyncio.Task[LogPage]

    def has_failed(self) -> bool:
        """Whether it has to be read again."""
        task = self.task
        return task.done() and (task.cancelled() or task.exception() is not None)


class SharedPages:
    """See the module. Close it."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, int, int, bytes | None], _Read] = {}
        self._unfinished: set[asyncio.Task[LogPage]] = set()
        self.count = 0
        """How many pages were read so far."""

    async def page(
        self,
        outbox: Outbox,
        after: int,
        until: int,
        queries: Sequence[Query],
        *,
        since: int,
        end: bytes | None,
    ) -> LogPage:
        """What `Outbox.page` gives without a limit, read when `count` was `since` or later, and for
        somebody who knew the log to end with the same hash: nobody gets what the log was before it
        went back. Raises as `Outbox.page`, also for events that no query is about. If cancelled, it
        is read on for the others."""
        place = (outbox.tenant, after, until, end)
        known = self._read.get(place)
        if known is None or known.number < since or known.has_failed():
            self._read.pop(place, None)
            while len(self._read) >= _KEPT:
                del self._read[next(iter(self._read))]
            reading = asyncio.get_running_loop().create_task(outbox.page(after, until))
            self._unfinished.add(reading)
            reading.add_done_callback(self._heard)
            known = self._read[place] = _Read(self.count, reading)
            self.count += 1
        page = await asyncio.shield(known.task)
        events = [
            # A model may be changed by who is given it: each has its own.
            msgspec.structs.replace(e, _data=msgspec.UNSET) if e.type in registry.by_name else e
            for e in page.events
            if not queries or any(q.matches(e.type, e.tags) for q in queries)
        ]
        return LogPage(events, page.scanned_to, page.hash)

    async def close(self) -> None:
        """Gives up what is being read."""
        reading = list(self._unfinished)
        self._read.clear()
        for each in reading:
            each.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    def _heard(self, reading: asyncio.Task[LogPage]) -> None:
        self._unfinished.discard(reading)
        if not reading.cancelled():
            reading.exception()  # each of those who wait is told by itself
