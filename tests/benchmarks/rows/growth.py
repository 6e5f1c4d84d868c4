"""What a million stored events change: the speed of keyed appends, the disk, the memory."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from eventstore import EventStore

from ..bench import Bench, fill_log, stream_names, url_of
from ..children import run_child
from ..measuring import Bar, Line, Section, Series, Timing, in_turns, rates, timing
from ..workload import Callers, random_keys, tagged_events

_MIB = 1024 * 1024


async def at_size(bench: Bench) -> Section:
    """Callers with random keys on the large log, against a small one."""
    sizes, path = bench.sizes, await bench.log()
    count = sizes.callers * sizes.appends_a_caller
    names, events = stream_names(sizes.callers), tagged_events(count)

    async def append(store: EventStore) -> Timing:
        work = Callers(names, sizes.appends_a_caller, events, random_keys(count))
        with timing() as time:
            await work.run(store)
        return time

    async with EventStore.open(url_of(path)) as large:
        cache = large.describe()["cache_size"]
        before = await large.head()

        async def at_small() -> Timing:
            small_path = bench.new_path()
            async with EventStore.open(url_of(small_path)) as small:
                await fill_log(small, sizes, sizes.small_log)
                time = await append(small)
            bench.remove(small_path)
            return time

        await append(large)
        taken = await in_turns(sizes.rounds, {"small": at_small, "large": lambda: append(large)})
    small, big = rates(taken["small"], count), rates(taken["large"], count)
    work = f"{sizes.callers} callers, random keys, at {sizes.log_events:,} stored events"
    return Section(
        "growth",
        [
            Line(
                work,
                big,
                "/s",
                small,
                f"the same at {sizes.small_log:,} stored events",
                small.over(big),
                "x its time",
                Bar(1.5, "x its time", at_most=True),
            )
        ],
        [
            f"Page cache of the writing connection: {_cache(cache)}. The large log held"
            f" {before:,} events, each with a random key of its own and one tag; one unmeasured"
            f" sample of {count:,} appends warmed its cache, as a service that has been running"
            " for a second would have it.",
        ],
    )


async def on_disk(bench: Bench) -> Section:
    """Bytes of the file for each event, everything included."""
    path = await bench.log()
    events, payload, pages = _measure_file(path)
    size = path.stat().st_size
    ratio = Series((size / payload,))
    bar = Bar(2.4, "x", at_most=True)
    return Section(
        "disk",
        [
            Line(
                "bytes on disk per event",
                Series((size / events,)),
                "bytes",
                Series((payload / events,)),
                "payload",
                ratio,
                "x",
                bar,
            )
        ],
        [
            f"The file after a checkpoint (the write-ahead log is empty), {events:,} events, each"
            " with a random UUID as its key and one tag of 1,000. By table and index, in bytes"
            f" for each event: {pages}.",
        ],
    )


async def memory(bench: Bench) -> Section:
    """Peak resident memory of a fresh process that reads the large log."""
    path, sizes = await bench.log(), bench.sizes
    grown: list[float] = []
    early: list[float] = []
    for _ in range(sizes.rounds):
        told = json.loads(run_child("memory", url_of(path)))
        early.append((told["peak_at_tenth"] - told["start"]) / _MIB)
        grown.append((told["peak"] - told["start"]) / _MIB)
    work = f"peak memory above start, reading {sizes.log_events:,} events"
    ours = Series(tuple(grown))
    bar = Bar(60, "MiB", at_most=True)
    return Section(
        "memory",
        [
            Line(work, ours, "MiB", judged=ours, judged_unit="MiB", bar=bar),
            Line("the same after a tenth of them", Series(tuple(early)), "MiB"),
        ],
        [
            "A fresh process for each sample: its high-water mark of resident memory (VmHWM)"
            " after `async for` over the log, less what was resident (VmRSS) once the store was"
            " open. Resident memory counts what the C libraries take as well.",
        ],
    )


def _cache(size: int) -> str:
    return f"{-size // 1024} MiB" if size < 0 else f"{size} pages"


def _measure_file(path: Path) -> tuple[int, int, str]:
    connection = sqlite3.connect(path)
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise RuntimeError("the file is in use; its size would not be final")
    events, payload = connection.execute(
        "SELECT count(*), sum(length(payload)) FROM events"
    ).fetchone()
    try:
        found = connection.execute(
            "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 9"
        ).fetchall()
        pages = ", ".join(f"`{name}` {size / events:.1f}" for name, size in found)
    except sqlite3.OperationalError:
        pages = "not known, this SQLite is built without dbstat"
    connection.close()
    return events, payload, pages
