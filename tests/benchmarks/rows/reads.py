"""Reading: a stream through a reducer, the whole log, and a long stream behind its snapshot."""

from __future__ import annotations

from eventstore import EventStore
from eventstore.engines.sqlite.connection import READER_CACHE_KIB
from eventstore.limits import PAGE_ROWS_MAX
from reducers import take_snapshot

from ..bench import Bench, url_of
from ..measuring import Bar, Line, Section, Series, Timing, in_turns, rates, seconds, timing
from ..raw import RawReader
from ..workload import (
    TOPICS,
    fill_stream,
    topics_kept,
    topics_whole,
    totals,
    typed_events,
)

_FETCH = "stdlib sqlite3 fetch of the same rows"
_READER_CACHE = -READER_CACHE_KIB
"""Page cache of the raw reader, as the store's readers have it; SQLite takes KiB as negative."""


async def typed_load(bench: Bench) -> Section:
    """A stream through a typed reducer, without a snapshot."""
    sizes, path, name = bench.sizes, bench.new_path(), "session/typed"
    count = sizes.stream_events * sizes.loads
    async with EventStore.open(url_of(path)) as store:
        await fill_stream(store, name, typed_events(sizes.stream_events))
        raw = RawReader(path, _READER_CACHE)

        async def fetch() -> Timing:
            time, rows = raw.fetch_stream(name, sizes.loads)
            _expect(rows, sizes.stream_events)
            return time

        async def load() -> Timing:
            with timing() as time:
                for _ in range(sizes.loads):
                    loaded = await totals.load(store, name)
            _expect(loaded.state.count, sizes.stream_events)
            return time

        taken = await in_turns(sizes.rounds, {"raw": fetch, "ours": load})
        raw.close()
    bench.remove(path)
    fetched, ours = rates(taken["raw"], count), rates(taken["ours"], count)
    work = f"load a stream of {sizes.stream_events:,} typed events, no snapshot"
    bar = Bar(0.35, "x")
    return Section(
        "load",
        [Line(work, ours, "/s", fetched, _FETCH, ours.over(fetched), "x", bar)],
        [
            "Raw side: `fetchmany(1000)` of the same columns in the same order on an open"
            " connection; nothing is decoded. Ours checks each event's hash, decodes it into a"
            f" frozen msgspec.Struct and folds it; {sizes.loads} loads for each sample.",
        ],
    )


async def whole_log(bench: Bench) -> Section:
    """`read_all` of the large log, event by event and page by page."""
    sizes, path = bench.sizes, await bench.log()
    async with EventStore.open(url_of(path)) as store:
        head = await store.head()
        raw = RawReader(path, _READER_CACHE)

        async def fetch() -> Timing:
            time, rows = raw.fetch_log()
            _expect(rows, head)
            return time

        async def by_event() -> Timing:
            count = 0
            with timing() as time:
                async for _ in store.read_all():
                    count += 1
            _expect(count, head)
            return time

        async def by_page() -> Timing:
            count = 0
            with timing() as time:
                async for page in store.read_all().pages():
                    count += len(page)
            _expect(count, head)
            return time

        taken = await in_turns(sizes.rounds, {"raw": fetch, "events": by_event, "pages": by_page})
        raw.close()
    fetched = rates(taken["raw"], head)
    events, pages = rates(taken["events"], head), rates(taken["pages"], head)
    work, bar = f"read_all of {sizes.log_events:,} events", Bar(0.40, "x")
    return Section(
        "read_all",
        [
            Line(
                f"{work}, `async for`",
                events,
                "/s",
                fetched,
                _FETCH,
                events.over(fetched),
                "x",
                bar,
            ),
            Line(f"{work}, `pages()`", pages, "/s", fetched, _FETCH, pages.over(fetched)),
        ],
        [
            "Every event's hash is checked on the way; payloads are handed over as bytes, and"
            " decoded when they are asked for, which is not in the figure. The file was written"
            " just before, so both sides read it from the operating system's cache. The bar is"
            f" held against `async for`, the slower way; a page has {PAGE_ROWS_MAX:,} events.",
        ],
    )


async def behind_snapshot(bench: Bench) -> Section:
    """A long stream with snapshots against a short one folded whole; both states as large."""
    sizes, path = bench.sizes, bench.new_path()
    long, short, every = "session/long", "session/short", topics_kept.snapshot_every or 0
    tail = min(every, sizes.long_stream // 2) - 1
    repeats = 20 if not sizes.quick else 1
    async with EventStore.open(url_of(path)) as store:
        await fill_stream(store, short, typed_events(sizes.short_stream))
        await fill_stream(store, long, typed_events(sizes.long_stream - tail))
        await take_snapshot(topics_kept, store, long)
        await fill_stream(store, long, typed_events(tail))

        async def whole() -> Timing:
            with timing() as time:
                for _ in range(repeats):
                    loaded = await topics_whole.load(store, short)
            _expect(loaded.state.count, sizes.short_stream)
            return time

        async def kept() -> Timing:
            with timing() as time:
                for _ in range(repeats):
                    loaded = await topics_kept.load(store, long)
            _expect(loaded.state.count, sizes.long_stream)
            return time

        taken = await in_turns(sizes.rounds, {"short": whole, "long": kept})
        kept_now = await store.snapshots.list(long)
        _expect(max(one.version for one in kept_now), sizes.long_stream - tail)
    bench.remove(path)
    short_ms, long_ms = (
        _milliseconds(taken["short"], repeats),
        _milliseconds(taken["long"], repeats),
    )
    work = f"load {sizes.long_stream:,} events with snapshots"
    against = f"{sizes.short_stream:,} events folded whole"
    return Section(
        "snapshot",
        [
            Line(
                work,
                long_ms,
                "ms",
                short_ms,
                against,
                long_ms.over(short_ms),
                "x",
                Bar(1.5, "x", at_most=True),
            )
        ],
        [
            f"The same fold to a state of {TOPICS} entries on both sides. The snapshot lies {tail}"
            f" events behind the head: one event less than makes `load` keep a new one"
            f" (`snapshot_every` {every}), the worst place it can have.",
        ],
    )


def _milliseconds(timings: list[Timing], repeats: int) -> Series:
    return Series(tuple(1e3 * value / repeats for value in seconds(timings).values))


def _expect(found: int, wanted: int) -> None:
    if found != wanted:
        raise RuntimeError(f"read {found} events, {wanted} were written")
