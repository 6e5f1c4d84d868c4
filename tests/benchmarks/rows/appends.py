"""Appending: many callers, with keys and tags, in thousands, and one by one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from eventstore import EventStore

from ..bench import Bench, stream_names, url_of
from ..measuring import Bar, Line, Section, Series, Timing, cpu_us, in_turns, rates, timing
from ..raw import commit_each, commit_thousands
from ..workload import Callers, plain_events, random_keys, tagged_events

_EACH = "stdlib sqlite3, one commit per event"
_THOUSANDS = "stdlib sqlite3 executemany, same columns and indexes, 1,000 per commit"

_RAW_NOTES = [
    "Raw side: the standard library's `sqlite3` on a fresh file of the same folder, WAL,"
    " `synchronous=FULL`, the store's own pragmas, and the very rows that the store writes,"
    " prepared beforehand. One commit per event goes into the bare table with nothing but its"
    " primary key, so that the bar is not softened by indexes.",
    "Our side: a fresh file for each sample, opened before the clock starts; the making of the"
    " streams counts.",
]


async def many_callers(bench: Bench) -> Section:
    """64 callers with one event each, on streams of their own and on one."""
    sizes = bench.sizes
    count = sizes.callers * sizes.appends_a_caller
    own = Callers(stream_names(sizes.callers), sizes.appends_a_caller, plain_events(count))
    one = Callers(["session/shared"] * sizes.callers, sizes.appends_a_caller, plain_events(count))
    taken = await in_turns(
        sizes.rounds,
        {
            "each": lambda: _raw_each(bench),
            "own": lambda: _ours(bench, own.run),
            "thousands": lambda: _raw_thousands(bench),
            "one": lambda: _ours(bench, one.run),
        },
    )
    each, bulk = rates(taken["each"], sizes.raw_commits), rates(taken["thousands"], _bulk(bench))
    ours, shared = rates(taken["own"], count), rates(taken["one"], count)
    work = f"{sizes.callers} callers, 1 event each"
    return Section(
        "callers",
        [
            _line(work, ours, each, _EACH, Bar(7, "x")),
            _line(work, ours, bulk, _THOUSANDS, Bar(0.30, "x")),
            _line(f"{work}, all into one stream", shared, each, _EACH, None),
            Line(f"{work}: CPU", cpu_us(taken["own"], count), "us/event"),
        ],
        [
            *_RAW_NOTES,
            'The 30% are held against the raw limit of bulk inserts (the "next raw" of the'
            " requirement that is a rate of bulk writes), with all indexes.",
            f"Each sample: {count:,} events from {sizes.callers} tasks of one event loop, each of"
            " which awaits its append before it makes the next.",
        ],
    )


async def keyed_callers(bench: Bench) -> Section:
    """The same with a random idempotency key and one tag for each event."""
    sizes = bench.sizes
    count = sizes.callers * sizes.appends_a_caller
    names, events = stream_names(sizes.callers), tagged_events(count)

    def ours() -> Awaitable[Timing]:
        work = Callers(names, sizes.appends_a_caller, events, random_keys(count))
        return _ours(bench, work.run)

    taken = await in_turns(sizes.rounds, {"each": lambda: _raw_each(bench), "ours": ours})
    each = rates(taken["each"], sizes.raw_commits)
    work = f"{sizes.callers} callers, 1 event each, random key and one tag"
    return Section(
        "keys",
        [
            _line(work, rates(taken["ours"], count), each, _EACH, Bar(4.5, "x")),
            Line(
                f"{work}: CPU",
                cpu_us(taken["ours"], count),
                "us/event",
                cpu_us(taken["each"], sizes.raw_commits),
                _EACH,
            ),
        ],
        [
            "Keys are random UUIDs made before the clock starts; tags are of 1,000 different ones."
            " The raw side writes neither keys nor tags. CPU is that of the whole process, the"
            " callers' tasks and the loop among it.",
        ],
    )


async def in_thousands(bench: Bench) -> Section:
    """One caller, a thousand events for each append."""
    sizes = bench.sizes
    events = [plain_events(sizes.bulk_events) for _ in range(sizes.bulk_appends)]

    async def run(store: EventStore) -> None:
        for part in events:
            await store.append("session/bulk", part)

    taken = await in_turns(
        sizes.rounds,
        {"raw": lambda: _raw_thousands(bench), "ours": lambda: _ours(bench, run)},
    )
    raw, ours = rates(taken["raw"], _bulk(bench)), rates(taken["ours"], _bulk(bench))
    work = f"1 caller, {sizes.bulk_events:,} events per append"
    return Section(
        "bulk",
        [
            _line(work, ours, raw, _THOUSANDS, Bar(0.55, "x")),
            Line(f"{work}: CPU", cpu_us(taken["ours"], _bulk(bench)), "us/event"),
        ],
        [
            "Raw side: `executemany` into the table with all of its indexes as they stand in a"
            " file of this store, without its triggers; rows prepared beforehand. Our side"
            " encodes, checks, hashes and writes through the triggers.",
        ],
    )


async def one_by_one(bench: Bench) -> Section:
    """One caller who awaits each event before the next."""
    sizes = bench.sizes
    events = plain_events(sizes.single_appends)

    async def run(store: EventStore) -> None:
        for event in events:
            await store.append("session/single", [event])

    taken = await in_turns(
        sizes.rounds, {"raw": lambda: _raw_each(bench), "ours": lambda: _ours(bench, run)}
    )
    raw = rates(taken["raw"], sizes.raw_commits)
    ours = rates(taken["ours"], sizes.single_appends)
    return Section(
        "single",
        [_line("1 caller, 1 event, awaited one by one", ours, raw, _EACH, Bar(0.45, "x"))],
        [
            f"{sizes.single_appends:,} appends a sample. Ours pays two hand-overs between threads"
            " for each commit, and all indexes.",
        ],
    )


def _line(work: str, ours: Series, raw: Series, raw_name: str, bar: Bar | None) -> Line:
    return Line(work, ours, "/s", raw, raw_name, ours.over(raw), "x", bar)


def _bulk(bench: Bench) -> int:
    return bench.sizes.bulk_appends * bench.sizes.bulk_events


async def _ours(bench: Bench, run: Callable[[EventStore], Awaitable[None]]) -> Timing:
    path = bench.new_path()
    async with EventStore.open(url_of(path)) as store:
        with timing() as time:
            await run(store)
    bench.remove(path)
    return time


async def _raw_each(bench: Bench) -> Timing:
    path = bench.new_path()
    time = commit_each(
        path, await bench.template(), bench.sizes.raw_commits, await bench.settings()
    )
    bench.remove(path)
    return time


async def _raw_thousands(bench: Bench) -> Timing:
    path = bench.new_path()
    template, settings = await bench.template(), await bench.settings()
    time = commit_thousands(path, template, _bulk(bench), settings)
    bench.remove(path)
    return time
