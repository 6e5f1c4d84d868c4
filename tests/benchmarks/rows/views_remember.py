"""Remembering in six stores: one append that five views follow, and each store written at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable

import msgspec

from eventstore import EventStore, NewEvent, RecordedEvent
from projections.catalog import SERVING
from projections.relay.generations import begin
from projections.relay.pages import Applier
from projections.sinks import Build
from projections.status import status
from projections.view import View

from ..bench import Bench, stream_names, url_of
from ..children import Child
from ..measuring import Bar, Line, Section, Series, percentile
from ..viewing import filled, five_stores, memory_events, written_bytes

Remember = Callable[[str, NewEvent], Awaitable[None]]


class _Sample(msgspec.Struct):
    """One side's sample. Calls and bytes are those of all its processes; `seconds` last until all
    six stores have everything."""

    milliseconds: list[float]
    rows: float
    calls: int
    bytes: int
    seconds: float


class _Stores:
    """The five other stores as a program without a log would write them: each in a file of its
    own, each event in a transaction of its own."""

    def __init__(self, views: list[View], builds: list[Build]) -> None:
        self._parts = [
            (view, build, Applier(view.projection, build, 0, 1))
            for view, build in zip(views, builds, strict=True)
        ]

    async def write(self, event: RecordedEvent) -> None:
        """The event into one store after the other."""
        for view, build, applier in self._parts:
            changes = list((await applier.apply([event])).changes.values())
            written = await view.sink.write(build, changes)
            if not written.writes or not await build.outbox.change(written.statements):
                raise RuntimeError(f"store {view.name}: the event was not written")


async def remembering(bench: Bench) -> Section:
    """64 callers remember something: one append, against six stores written one by one."""
    each: list[_Sample] = []
    ours: list[_Sample] = []
    for _ in range(bench.sizes.rounds):
        each.append(await _synchronously(bench))
        ours.append(await _by_appending(bench))
    callers, count = bench.sizes.callers, _count(bench)
    work = f'"remember" in six stores, {callers} callers'
    raw = "each store written at once, one transaction for each event"

    def line(name: str, unit: str, of: Callable[[_Sample], float], bar: float | None) -> Line:
        bare = Series(tuple(of(sample) for sample in each))
        mine = Series(tuple(of(sample) for sample in ours))
        limit = None if bar is None else Bar(bar, "x", at_most=True)
        return Line(f"{work}: {name}", mine, unit, bare, raw, mine.over(bare), "x", limit)

    return Section(
        "views_remember",
        [
            line("latency, p50", "ms", lambda one: percentile(one.milliseconds, 0.5), 0.35),
            line("latency, p99", "ms", lambda one: percentile(one.milliseconds, 0.99), None),
            line("writes to files", "calls/event", lambda one: one.calls / count, 0.5),
            line("bytes to files", "bytes/event", lambda one: one.bytes / count, None),
            line("rows", "rows/event", lambda one: one.rows / count, None),
            line("until all six have all", "/s", lambda one: count / one.seconds, None),
        ],
        [
            f"Six stores: the log, an audit trail, the memories as a table, a cache of each"
            " session, a vector index with words (embedded model, 256 dimensions), the context of"
            f" each session (its last ten memories). {callers} callers, each with a session of its"
            f" own, {bench.sizes.remembered_a_caller} memories of about 400 bytes each, one after"
            " the other, all different.",
            "Ours: one append; a relay in another process feeds five views in the same file."
            " Latency is the append's.",
            "The other side: six SQLite files, each with its own writer and `synchronous=FULL`. The"
            " event is appended to the log (ours: its commits are shared by the callers), then the"
            " five others are written one after the other with the same projections, tables,"
            " indexes and embedder, each in a transaction of its own; what a fold has to read is at"
            " hand, and no state of it is kept. Latency is that of all six.",
            "Writes and bytes are what the kernel counts for the processes (`syscw` and `wchar` of"
            " /proc/self/io): what SQLite writes to logs and files, and nothing of sockets. Rows"
            " are the log's events and what the sinks were sent; audit, table and vectors need one"
            " for each memory on either side, so that coalescing can only save cache and context.",
        ],
    )


async def _synchronously(bench: Bench) -> _Sample:
    views = five_stores()
    paths = [bench.new_path() for _ in range(1 + len(views))]
    async with contextlib.AsyncExitStack() as open_:
        log, *others = [
            await open_.enter_async_context(EventStore.open(url_of(path))) for path in paths
        ]
        bound = zip(views, others, strict=True)
        builds = [await begin(view, store.outbox, SERVING) for view, store in bound]
        stores = _Stores(views, builds)

        async def remember(stream: str, event: NewEvent) -> None:
            result = await log.append(stream, [event])
            await stores.write(result.events[0])

        await _call(bench, remember, first=True)
        before, began = written_bytes(), time.perf_counter()
        milliseconds = await _call(bench, remember)
        seconds, after = time.perf_counter() - began, written_bytes()
        for view in views:
            await view.close()
    for path in paths:
        bench.remove(path)
    rows = (1 + len(views)) * _count(bench)
    return _Sample(milliseconds, rows, after[0] - before[0], after[1] - before[1], seconds)


async def _by_appending(bench: Bench) -> _Sample:
    path, views = bench.new_path(), five_stores()
    async with EventStore.open(url_of(path)) as store:

        async def remember(stream: str, event: NewEvent) -> None:
            await store.append(stream, [event])

        await _call(bench, remember, first=True)
        relay = await asyncio.to_thread(Child, "relay-five", url_of(path))
        await filled(views, store, await store.head())
        sent = await _rows(store, views)
        before, began = written_bytes(), time.perf_counter()
        milliseconds = await _call(bench, remember)
        await filled(views, store, await store.head())
        seconds, after = time.perf_counter() - began, written_bytes()
        rows = _count(bench) + await _rows(store, views) - sent
        relay.go()
        calls, size = json.loads(await asyncio.to_thread(relay.end))
    bench.remove(path)
    calls, size = calls + after[0] - before[0], size + after[1] - before[1]
    return _Sample(milliseconds, rows, calls, size, seconds)


async def _rows(store: EventStore, views: list[View]) -> int:
    found = await status(store, views)
    parked = [one.view for one in found if one.parked_events]
    if parked:
        raise RuntimeError(f"events of {', '.join(parked)} wait in the dead letters")
    return sum([one.writes for one in found])


async def _call(bench: Bench, remember: Remember, first: bool = False) -> list[float]:
    """All callers at once; how long each call took. The `first` calls, one a caller, make the
    streams, load the model and prepare every statement."""
    milliseconds: list[float] = []
    count = bench.sizes.remembered_a_caller

    async def call(number: int, stream: str) -> None:
        events = memory_events(number, count + 1)
        for event in events[:1] if first else events[1:]:
            began = time.perf_counter()
            await remember(stream, event)
            milliseconds.append((time.perf_counter() - began) * 1e3)

    streams = stream_names(bench.sizes.callers)
    await asyncio.gather(*(call(number, stream) for number, stream in enumerate(streams)))
    return milliseconds


def _count(bench: Bench) -> int:
    return bench.sizes.callers * bench.sizes.remembered_a_caller
