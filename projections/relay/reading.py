"""Pages of the log for one worker: the next one is read while the last one is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from eventstore import Corrupt, Query, RecordedEvent
from eventstore.outbox import LogPage, Outbox

from .sharing import SHARED_EVENTS_MAX, SharedPages

RUN_EVENTS_MAX, RUN_BYTES_MAX = 20_000, 8 * 1024 * 1024
"""Events, and bytes of their payloads, that a fold which is far behind takes at once: only the last
state of a key is written, so that of 1,000 keys a twentieth is left. In memory about 20 MiB."""

RUN_KEYS_MAX = 2_500
"""Keys of such a run, beyond which no page is added: with their states 5,000 rows, about 20 ms in
which nobody else may write to the file."""


class Pages:
    """The pages that a worker reads, one after the other. Close it."""

    def __init__(
        self,
        outbox: Outbox,
        queries: Sequence[Query],
        page_events: int,
        shared: SharedPages | None = None,
    ) -> None:
        self._outbox, self._queries, self._page_events = outbox, queries, page_events
        self._shared = shared
        self._since = 0 if shared is None else shared.count
        self._ahead: tuple[int, asyncio.Task[LogPage]] | None = None

    async def take(self, after: int, until: int, end: bytes | None = None) -> LogPage:
        """The page behind `after`, as `Outbox.page`; where it does not reach `until`, the one
        behind it is begun to be read. `end` is the hash at `until`, where it is known. If
        cancelled, close it."""
        if self._ahead is not None and self._ahead[0] == after:
            page = await self._ahead[1]
            self._ahead = None
        else:
            await self.close()
            page = await self._read(after, until, end=end)
        if page.scanned_to < until:
            next_page = self._read(page.scanned_to, until, page.hash)
            reading = asyncio.get_running_loop().create_task(next_page)
            self._ahead = page.scanned_to, reading
        return page

    async def take_run(
        self,
        after: int,
        until: int,
        key_of: Callable[[RecordedEvent], str | None],
        end: bytes | None = None,
    ) -> LogPage:
        """As many pages as are worth writing at once, as one: for folds. If cancelled, close it."""
        page = await self.take(after, until, end)
        events = list(page.events)
        keys = {key_of(event) for event in events}
        size = sum([len(event.payload) for event in events])
        while (
            page.scanned_to < until
            and len(keys) <= RUN_KEYS_MAX
            and len(events) + self._page_events <= RUN_EVENTS_MAX
            and size <= RUN_BYTES_MAX
        ):
            page = await self.take(page.scanned_to, until)
            events += page.events
            keys.update([key_of(event) for event in page.events])
            size += sum([len(event.payload) for event in page.events])
        return LogPage(events, page.scanned_to, page.hash)

    async def close(self) -> None:
        """Gives up what is being read ahead."""
        if self._ahead is not None:
            _, reading = self._ahead
            self._ahead = None
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(
        self, after: int, until: int, digest: bytes | None = None, *, end: bytes | None = None
    ) -> LogPage:
        near = until - after <= min(SHARED_EVENTS_MAX, self._page_events)
        if self._shared is not None and digest is None and near:
            try:
                return await self._shared.page(
                    self._outbox, after, until, self._queries, since=self._since, end=end
                )
            except Corrupt:
                pass  # perhaps an event that is not this view's
        return await self._outbox.page(after, until, self._queries, self._page_events, digest)
