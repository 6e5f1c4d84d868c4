"""PostgreSQL: many callers in one process and in four, thousands, one by one, and the whole log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from eventstore import EventStore, NewEvent

from ..bench import Bench, fill_log, stream_names
from ..children import Child
from ..measuring import Bar, Line, Section, Series, Timing, cpu_us, in_turns, rates, timing
from ..postgres import Postgres
from ..workload import Callers, plain_events

_PGBENCH = "pgbench, one-row insert, 64 clients"
_UNNEST = "asyncpg insert from unnest, 1,000 a statement, same columns and indexes"
_ONE = "asyncpg BEGIN + head read + insert + COMMIT"
_CURSOR = "asyncpg cursor"
_PROCESSES = 4
_CALLERS_EACH = 16


async def pg_callers(bench: Bench) -> Section:
    """64 callers of one process with one event each, and with ten."""
    postgres, sizes = await bench.postgres(), bench.sizes
    count = sizes.callers * sizes.appends_a_caller
    tens = sizes.callers * sizes.pg_appends_of_ten * 10
    own = Callers(stream_names(sizes.callers), sizes.appends_a_caller, plain_events(count))
    taken = await in_turns(
        sizes.rounds,
        {
            "pgbench": lambda: postgres.pgbench(sizes.callers, sizes.pg_raw_a_client),
            "ones": lambda: in_a_fresh_store(postgres, own.run),
            "unnest": lambda: postgres.insert_unnested(_bulk(bench)),
            "tens": lambda: in_a_fresh_store(postgres, lambda store: _tens(store, bench)),
        },
    )
    each = rates(taken["pgbench"], sizes.callers * sizes.pg_raw_a_client)
    bulk = rates(taken["unnest"], _bulk(bench))
    ones, ten = rates(taken["ones"], count), rates(taken["tens"], tens)
    work = f"PostgreSQL: {sizes.callers} callers"
    return Section(
        "pg_callers",
        [
            _line(f"{work}, 1 event each, one process", ones, each, _PGBENCH, Bar(2, "x")),
            Line(
                f"{work}, 1 event each: CPU of the client", cpu_us(taken["ones"], count), "us/event"
            ),
            _line(f"{work}, 10 events each", ten, bulk, _UNNEST, Bar(0.70, "x")),
        ],
        [
            f"Server: PostgreSQL {postgres.version}, the one that the tests bring, on this machine"
            " over loopback, with its default durability (`fsync`, `full_page_writes` and"
            " `synchronous_commit` on); its processes and ours share the cores. Each sample has a"
            " database of its own, and begins behind a first append and a CHECKPOINT.",
            "pgbench: `-M prepared`, one row of ours as a literal, positions from a sequence, into"
            " a copy of the table with nothing but its primary key.",
            "unnest: one connection, one prepared statement of 1,000 rows a transaction, into a"
            " copy of the table with all its indexes and without its triggers; rows prepared"
            " beforehand.",
        ],
    )


async def pg_processes(bench: Bench) -> Section:
    """Four processes with sixteen callers each, on one database."""
    postgres, sizes = await bench.postgres(), bench.sizes
    appends = sizes.appends_a_caller
    count = _PROCESSES * _CALLERS_EACH * appends
    taken = await in_turns(
        sizes.rounds,
        {
            "pgbench": lambda: postgres.pgbench(sizes.callers, sizes.pg_raw_a_client),
            "ours": lambda: _from_processes(postgres, appends),
        },
    )
    each = rates(taken["pgbench"], sizes.callers * sizes.pg_raw_a_client)
    return Section(
        "pg_processes",
        [
            _line(
                f"PostgreSQL: {_PROCESSES} processes x {_CALLERS_EACH} callers, 1 event each",
                rates(taken["ours"], count),
                each,
                _PGBENCH,
                Bar(1.5, "x"),
            )
        ],
        ["From the word to all of them until the last one has its last answer."],
    )


async def pg_bulk(bench: Bench) -> Section:
    """One caller, a thousand events for each append."""
    postgres, sizes = await bench.postgres(), bench.sizes
    parts = [plain_events(sizes.bulk_events) for _ in range(sizes.bulk_appends)]

    async def run(store: EventStore) -> None:
        for part in parts:
            await store.append("session/bulk", part)

    taken = await in_turns(
        sizes.rounds,
        {
            "raw": lambda: postgres.insert_unnested(_bulk(bench)),
            "ours": lambda: in_a_fresh_store(postgres, run),
        },
    )
    raw, ours = rates(taken["raw"], _bulk(bench)), rates(taken["ours"], _bulk(bench))
    work = f"PostgreSQL: 1 caller, {sizes.bulk_events:,} events per append"
    return Section("pg_bulk", [_line(work, ours, raw, _UNNEST, Bar(0.60, "x"))])


async def pg_single(bench: Bench) -> Section:
    """One caller who awaits each event before the next."""
    postgres, sizes = await bench.postgres(), bench.sizes
    events = plain_events(sizes.pg_single_appends)

    async def run(store: EventStore) -> None:
        for event in events:
            await store.append("session/single", [event])

    taken = await in_turns(
        sizes.rounds,
        {
            "raw": lambda: postgres.insert_each(len(events)),
            "ours": lambda: in_a_fresh_store(postgres, run),
        },
    )
    raw, ours = rates(taken["raw"], len(events)), rates(taken["ours"], len(events))
    work = "PostgreSQL: 1 caller, 1 event, awaited one by one"
    return Section("pg_single", [_line(work, ours, raw, _ONE, Bar(1.0, "x"))])


async def pg_read_all(bench: Bench) -> Section:
    """`read_all` of the large log against a server-side cursor."""
    postgres, sizes = await bench.postgres(), bench.sizes
    url = postgres.new_url()
    async with EventStore.open(url) as store:
        await fill_log(store, sizes)
        head = await store.head()

        async def fetch() -> Timing:
            taken, rows = await postgres.fetch_log(url)
            _expect(rows, head)
            return taken

        async def by_event() -> Timing:
            count = 0
            with timing() as taken:
                async for _ in store.read_all():
                    count += 1
            _expect(count, head)
            return taken

        taken = await in_turns(sizes.rounds, {"raw": fetch, "ours": by_event})
    postgres.drop(url)
    raw, ours = rates(taken["raw"], head), rates(taken["ours"], head)
    work = f"PostgreSQL: read_all of {sizes.log_events:,} events, `async for`"
    return Section(
        "pg_read_all",
        [_line(work, ours, raw, _CURSOR, Bar(0.40, "x"))],
        [
            "The cursor fetches 1,000 rows of the same columns at a time in one transaction;"
            " nothing is decoded or checked. Ours reads pages, each a transaction, and checks"
            " every hash."
        ],
    )


async def _tens(store: EventStore, bench: Bench) -> None:
    sizes = bench.sizes
    ten = plain_events(10)

    async def call(stream: str) -> None:
        for _ in range(sizes.pg_appends_of_ten):
            await store.append(stream, ten)

    await asyncio.gather(*(call(name) for name in stream_names(sizes.callers)))


async def _from_processes(postgres: Postgres, appends: int) -> Timing:
    url = postgres.new_url()
    async with EventStore.open(url) as store:
        await store.append("bench/opened", [NewEvent("bench.opened", {})])
    children = [
        Child("callers", url, f"process/{number}", str(_CALLERS_EACH), str(appends))
        for number in range(_PROCESSES)
    ]
    postgres.settle()
    began = time.perf_counter()
    for child in children:
        child.go()
    for child in children:
        child.wait_for("done")
    took = time.perf_counter() - began
    for child in children:
        child.end()
    postgres.drop(url)
    return Timing(took)


async def in_a_fresh_store(
    postgres: Postgres, run: Callable[[EventStore], Awaitable[None]]
) -> Timing:
    """Times what is done with a store in a database of its own."""
    url = postgres.new_url()
    async with EventStore.open(url) as store:
        # A connection's first batch compiles the server's function: 20 ms, once.
        await store.append("bench/opened", [NewEvent("bench.opened", {})])
        postgres.settle()
        with timing() as taken:
            await run(store)
    postgres.drop(url)
    return taken


def _line(work: str, ours: Series, raw: Series, raw_name: str, bar: Bar) -> Line:
    return Line(work, ours, "/s", raw, raw_name, ours.over(raw), "x", bar)


def _bulk(bench: Bench) -> int:
    return bench.sizes.bulk_appends * bench.sizes.bulk_events


def _expect(found: int, wanted: int) -> None:
    if found != wanted:
        raise RuntimeError(f"read {found} events, {wanted} were written")
