"""Reads as iterators that hold nothing between two pages, and subscriptions on top of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from .errors import InvalidEvent, LogDiverged
from .events import RecordedEvent
from .limits import PAGE_BYTES_MAX, PAGE_ROWS_MAX
from .query import Query

if TYPE_CHECKING:
    from .checkpoints import Checkpoint
    from .engines.port import Engine

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

    async def __aiter__(self) -> AsyncIterator[RecordedEvent]:
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
    while left is None or left > 0:
        want = rows if left is None else min(rows, left)
        page = await engine.stream_page(tenant, stream, at, want, backwards)
        if page:
            at = page[-1].version
            yield page
        if len(page) < want and not _is_full(page):
            return
        left = None if left is None else left - len(page)
        rows = PAGE_ROWS_MAX


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
    at = await start_position(engine, tenant, after)
    head = (await engine.head(tenant)).position
    left = limit
    while at < head and (left is None or left > 0):
        rows = PAGE_ROWS_MAX if left is None or queries else min(PAGE_ROWS_MAX, left)
        page = await engine.log_page(tenant, at, head, queries, rows)
        at = page.scanned_to
        events = page.events if left is None else page.events[:left]
        if left is not None:
            left -= len(events)
        yield events


async def live_pages(
    engine: Engine, tenant: str, after: int | Checkpoint, queries: Sequence[Query]
) -> AsyncIterator[Page]:
    """The log by position: what is there, then what comes, until the store is closed."""
    at = await start_position(engine, tenant, after)
    while True:
        head = (await engine.head(tenant)).position
        if head < at:
            raise LogDiverged(f"reader at position {at}: the log ends at {head}")
        while at < head:
            page = await engine.log_page(tenant, at, head, queries, PAGE_ROWS_MAX)
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
    seen = await start_position(engine, tenant, after)
    version = await _version_at(engine, tenant, stream, seen)
    while True:
        head = (await engine.head(tenant)).position
        while page := await engine.stream_page(tenant, stream, version, PAGE_ROWS_MAX, False):
            version = page[-1].version
            head = max(head, page[-1].position)
            if queries:
                page = [e for e in page if any(q.matches(e.type, e.tags) for q in queries)]
            yield page
        await engine.wait(tenant, head)


async def start_position(engine: Engine, tenant: str, after: int | Checkpoint) -> int:
    """The position to read after. Raises `LogDiverged` when it does not lie in this log."""
    digest: bytes | None = None
    if isinstance(after, int):
        position = int(after)
    else:
        position, digest = after.position, after.hash
    if position < 0:
        raise InvalidEvent("after: a position, an int from 0 on")
    if position == 0:
        return 0
    head = await engine.head(tenant)
    if position > head.position:
        raise LogDiverged(f"reader at position {position}: the log ends at {head.position}")
    if digest is not None and await engine.hash_at(tenant, position) != digest:
        raise LogDiverged(f"reader at position {position}: another event stands there")
    return position


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
