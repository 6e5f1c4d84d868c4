"""Reads as iterators that hold nothing between two pages, and subscriptions on top of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from .envelope import GENESIS
from .errors import Corrupt, InvalidEvent, LogDiverged
from .events import RecordedEvent
from .limits import PAGE_BYTES_MAX, PAGE_ROWS_MAX
from .query import Query

if TYPE_CHECKING:
    from .checkpoints import Checkpoint
    from .engines.port import Engine, LogPage

_BEFORE_ALL = 2**62
"""A version above any that can exist: where reading backwards begins."""

_FIRST_PAGE_ROWS = 100
"""Rows of the first page; later ones are full. Short streams cost one small query."""


Page = list[RecordedEvent]


class Events:
    """A lazy read: iterate it with ``async for``, or take it whole with ``await .list()``.

    Each iteration starts anew. A page is one short transaction; between pages nothing is held,
    so an iterator may be abandoned or cancelled at any point and leaves nothing open.
    """

    def __init__(
        self,
        check: Callable[[], None],
        start: Callable[[], AsyncIterator[Page]],
    ) -> None:
        self._check = check
        self._start = start

    async def __aiter__(self) -> AsyncGenerator[RecordedEvent, None]:
        async for page in self._pages():
            for event in page:
                yield event

    async def pages(self) -> AsyncIterator[Page]:
        """The same events in lists of at most 1,000: the cheap way through a long log.
        Cancelled or abandoned, it leaves nothing open."""
        async for page in self._pages():
            if page:
                yield page

    async def list(self) -> Page:
        """All of them, in order. If cancelled, nothing is left open."""
        return [event async for page in self._pages() for event in page]

    async def _pages(self) -> AsyncIterator[Page]:
        # Checked here and not only where the read was asked for: an iterator outlives that call,
        # and may be carried to another loop or beyond the closing of the store.
        self._check()
        async for page in self._start():
            yield page
            self._check()


async def stream_pages(
    engine: Engine, tenant: str, stream: str, after: int, limit: int | None, backwards: bool
) -> AsyncIterator[Page]:
    """A stream's events by version; `limit` None is all up to the version seen last."""
    at = _BEFORE_ALL if backwards and after == 0 else after
    left = limit
    rows = _FIRST_PAGE_ROWS
    last: RecordedEvent | None = None
    while left is None or left > 0:
        want = rows if left is None else min(rows, left)
        if last is None:
            page = await engine.stream_page(tenant, stream, at, want, backwards)
            is_last = len(page) < want and not _is_full(page)
        else:
            page, is_last = await _page_behind(engine, tenant, last, want, backwards)
        if page:
            last = page[-1]
            yield page
        if is_last:
            return
        left = None if left is None else left - len(page)
        rows = PAGE_ROWS_MAX


async def _page_behind(
    engine: Engine, tenant: str, last: RecordedEvent, want: int, backwards: bool
) -> tuple[Page, bool]:
    """The page behind an event, and whether it ends the stream. The event is read once more, in the
    same page: where it does not stand any more, the log has gone back since, and what follows does
    not follow it. Raises `LogDiverged` then."""
    stream, step = last.stream, -1 if backwards else 1
    at = last.version - step
    if len(last.payload) <= PAGE_BYTES_MAX:
        found = await engine.stream_page(tenant, stream, at, want + 1, backwards)
        is_last = len(found) <= want and not _is_full(found)
        again, page = found[:1], found[1:]
    else:  # it would be a page alone; so it is looked at behind the page
        page = await engine.stream_page(tenant, stream, last.version, want, backwards)
        is_last = len(page) < want and not _is_full(page)
        again = await engine.stream_page(tenant, stream, at, 1, backwards)
    if again != [last]:
        raise LogDiverged(
            f"reader of stream {stream!r} at version {last.version}: that event does not stand"
            " there any more"
        )
    return page, is_last


def _is_full(page: Page) -> bool:
    # An engine ends a page early where its payloads exceed the page's bytes.
    return sum([len(event.payload) for event in page]) > PAGE_BYTES_MAX


async def log_pages(
    engine: Engine,
    tenant: str,
    after: int | Checkpoint,
    queries: Sequence[Query],
    limit: int | None,
) -> AsyncIterator[Page]:
    """The log by position up to the head seen at the start."""
    seen = await start(engine, tenant, after)
    head = await engine.head(tenant)
    at, left = seen.position, limit
    while at < head.position and (left is None or left > 0):
        rows = PAGE_ROWS_MAX if left is None or queries else min(PAGE_ROWS_MAX, left)
        page = await seen.page(at, head.position, queries, rows, head.hash)
        at = page.scanned_to
        events = page.events if left is None else page.events[:left]
        if left is not None:
            left -= len(events)
        yield events


async def live_pages(
    engine: Engine, tenant: str, after: int | Checkpoint, queries: Sequence[Query]
) -> AsyncIterator[Page]:
    """The log by position: what is there, then what comes, until the store is closed."""
    seen = await start(engine, tenant, after)
    at = seen.position
    while True:
        head = await engine.head(tenant)
        if head.position < at:
            raise LogDiverged(f"reader at position {at}: the log ends at {head.position}")
        if head.position == at and seen.hash not in (None, head.hash):
            await seen.check()
        while at < head.position:
            page = await seen.page(at, head.position, queries, PAGE_ROWS_MAX, head.hash)
            at = page.scanned_to
            yield page.events
        await engine.wait(tenant, at)


async def live_stream_pages(
    engine: Engine,
    tenant: str,
    stream: str,
    after: int | Checkpoint,
    queries: Sequence[Query],
) -> AsyncIterator[Page]:
    """One stream's events behind a position: what is there, then what comes."""
    seen = await start(engine, tenant, after)
    version = await _version_at(engine, tenant, stream, seen.position)
    while True:
        head = await engine.head(tenant)
        if head.position < seen.position:
            raise LogDiverged(
                f"reader at position {seen.position}: the log ends at {head.position}"
            )
        is_more = True
        while is_more:
            page = await engine.stream_page(tenant, stream, version, PAGE_ROWS_MAX, False)
            await seen.check()  # also behind an empty one: what we know is about to be forgotten
            # What came behind the head that we know is read again behind the next one, so that a
            # log that goes back in between takes nothing with it that we have given.
            known = [event for event in page if event.position <= head.position]
            is_more = len(known) == PAGE_ROWS_MAX or _is_full(known)
            version = known[-1].version if known else version
            if queries:
                known = [e for e in known if any(q.matches(e.type, e.tags) for q in queries)]
            yield known
        seen.position, seen.hash = head.position, head.hash
        await engine.wait(tenant, head.position)


class Seen:
    """An event that a reader has seen in a log. A log only grows, so whoever goes on from there
    goes on in the same log only while that event still stands in it.

    It does not when a server that had not all of the log takes over behind our back, or when one
    crashes that answers before it syncs; others may have appended to it again by then, so that
    its length says nothing.
    """

    def __init__(self, engine: Engine, tenant: str, position: int, digest: bytes | None) -> None:
        self._engine = engine
        self._tenant = tenant
        self.position = position
        self.hash = digest
        """None where only the position is known, as at the beginning."""

    async def page(
        self,
        after: int,
        until: int,
        queries: Sequence[Query],
        limit: int,
        last: bytes | None = None,
    ) -> LogPage:
        """The events behind `after` up to `until`, which the head has reached, if they go on from
        what was seen. Without a filter the first event's hash says so, at no cost; with one it is
        asked, behind the page, so that nothing can have changed in between, and from then on the
        hash at `until`, which is `last`, is what was seen.

        Raises `LogDiverged` where the log is another one, `Corrupt` where it is damaged. If
        cancelled, nothing is left open."""
        engine, tenant = self._engine, self._tenant
        try:
            if queries:
                page = await engine.log_page(tenant, after, until, queries, limit)
                await self.check()
                if last is not None:
                    self.position, self.hash = until, last
            else:
                page = await engine.log_page(tenant, after, until, (), limit, self.hash)
                self.position, self.hash = page.scanned_to, page.hash
        except Corrupt as exc:
            now = await engine.head(tenant)
            if now.position < until:
                raise LogDiverged(
                    f"reader at position {after}: the log ended at {until}, and ends at"
                    f" {now.position} now"
                ) from exc
            with contextlib.suppress(Corrupt):  # what was seen first is told
                await self.check()
            raise
        return page

    async def check(self) -> None:
        """Raises `LogDiverged` unless the event still stands where it was seen. If cancelled,
        nothing is left open."""
        position = self.position
        if position == 0 or self.hash is None:
            return
        if await self._engine.hash_at(self._tenant, position) == self.hash:
            return
        head = await self._engine.head(self._tenant)
        if head.position < position:
            raise LogDiverged(f"reader at position {position}: the log ends at {head.position}")
        # If the event is damaged, that is what is wrong.
        await self._engine.log_page(self._tenant, position - 1, position, (), 1)
        raise LogDiverged(f"reader at position {position}: another event stands there")


async def start(engine: Engine, tenant: str, after: int | Checkpoint) -> Seen:
    """Where to read on. Raises `LogDiverged` when it does not lie in this log. If cancelled,
    nothing is left open."""
    digest: bytes | None = None
    if isinstance(after, int):
        position = int(after)
    else:
        position, digest = after.position, after.hash
    if position < 0:
        raise InvalidEvent("after: a position, an int from 0 on")
    if position == 0:
        return Seen(engine, tenant, 0, GENESIS)
    head = await engine.head(tenant)
    if position > head.position:
        raise LogDiverged(f"reader at position {position}: the log ends at {head.position}")
    if position == head.position and digest is None:
        digest = head.hash
    seen = Seen(engine, tenant, position, digest)
    await seen.check()
    return seen


async def _version_at(engine: Engine, tenant: str, stream: str, position: int) -> int:
    """The stream's version at a position, by bisection: positions ascend with versions."""
    low, high = 0, await engine.stream_version(tenant, stream)
    while low < high:
        middle = (low + high + 1) // 2
        (event,) = await engine.stream_page(tenant, stream, middle - 1, 1, False)
        if event.position <= position:
            low = middle
        else:
            high = middle - 1
    return low
