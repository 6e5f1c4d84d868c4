"""Views that are filled from a log that stands already: rebuilt whole, and catching up."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from eventstore import EventStore, RecordedEvent
from eventstore.limits import PAGE_ROWS_MAX
from projections import Projection, RelationalView, Relay, Upsert
from projections.relational.tables import table_name
from projections.status import status
from projections.stock.messages import messages
from projections.view import View
from reducers import Reducer

from ..bench import Bench, fill_log, url_of
from ..measuring import Bar, Line, Section, Series, Timing, in_turns, rates, timing
from ..raw import new_file

_RAW = "stdlib sqlite3 executemany, same table, indexes and rows, 1,000 per commit"
_COMMITTED = PAGE_ROWS_MAX
"""Rows of a raw transaction: as many as a page of the relay has events."""

_said_table = sa.Table(
    "said",
    sa.MetaData(),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Index("said_in_a_stream", "stream", "version"),
)
_said_projection = Projection("said")


@_said_projection.on("message.added")
def _say(event: RecordedEvent) -> Upsert:
    data = event.data
    row = {"stream": event.stream, "version": event.version}
    return Upsert(event.id, {**row, "role": data["role"], "content": data["content"]})


_count: Reducer[dict[str, Any]] = Reducer("bench.count", {"messages": 0, "characters": 0})


@_count.on("message.added")
def _add(state: dict[str, Any], event: RecordedEvent) -> dict[str, Any]:
    characters = state["characters"] + len(event.data["content"])
    return {"messages": state["messages"] + 1, "characters": characters}


_counts_table = sa.Table(
    "counts",
    sa.MetaData(),
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("messages", sa.BigInteger, nullable=False),
    sa.Column("characters", sa.BigInteger, nullable=False),
)


def _said() -> RelationalView:
    return RelationalView(_said_projection, _said_table)


async def rebuilding(bench: Bench) -> Section:
    """A relational map of the large log, built again and again, beside `executemany`."""
    path, settings = await bench.log(), await bench.settings()
    view, raw_path = _said(), bench.new_path()
    built = 0

    async with EventStore.open(url_of(path)) as store:
        head = await store.head()

        async def ours() -> Timing:
            nonlocal built
            async with Relay(store, [view]) as relay:
                with timing() as spent:
                    # The first generation is filled as those that replace it are.
                    await (relay.rebuild("said") if built else relay.caught_up())
            built += 1
            return spent

        async def raw() -> Timing:
            bench.remove(raw_path)
            return _insert(path, raw_path, table_name("said", built), settings)

        taken = await in_turns(bench.sizes.rounds, {"ours": ours, "raw": raw})
        rows = await view.bind(store).query(sa.select(sa.func.count()).select_from(_said_table))
    if rows[0]["count"] != head:
        raise RuntimeError(f"the view has {rows[0]['count']} rows, the log {head} events")
    bench.remove(raw_path)
    mine, bare = rates(taken["ours"], head), rates(taken["raw"], head)
    return Section(
        "views_rebuild",
        [
            Line(
                f"relational view, map, rebuilt from {head:,} events",
                mine,
                "/s",
                bare,
                _RAW,
                mine.over(bare),
                "x",
                Bar(0.40, "x"),
            ),
            Line(
                f"relational view, map, rebuilt from {head:,} events: CPU",
                Series(tuple(one.cpu_us(head) for one in taken["ours"])),
                "us/event",
                Series(tuple(one.cpu_us(head) for one in taken["raw"])),
                _RAW,
            ),
        ],
        [
            "Ours: from the word to a relay in this process until the new generation serves. It"
            " reads and checks every event, decodes it, asks the projection, and writes rows and"
            f" checkpoint, {PAGE_ROWS_MAX:,} events a page. The first sample fills the first"
            " generation, the others each a new one beside the one that serves.",
            "Raw: the rows that our view then holds, fetched from it outside the clock, into the"
            " very same table with its index in a fresh file of the same folder, by `executemany`"
            f" of plain INSERTs, {_COMMITTED:,} rows a transaction, WAL, `synchronous=FULL`, the"
            " store's own pragmas. What is in the clock is BEGIN, `executemany` and COMMIT alone:"
            " nothing is read, decoded, checked or made.",
        ],
    )


async def catching_up(bench: Bench) -> Section:
    """A fold that has a log to catch up with: what coalescing leaves of its writes."""
    sizes, path = bench.sizes, bench.new_path()
    events, keys = sizes.fold_events, sizes.log_streams
    fold: list[Timing] = []
    stock: list[Timing] = []
    writes: list[float] = []
    async with EventStore.open(url_of(path)) as store:
        await fill_log(store, sizes, events)
    for _ in range(sizes.rounds):
        counts = RelationalView(
            Projection("counts", fold=_count, row=lambda key, state: state), _counts_table
        )
        spent, sent = await _fill_once(bench, path, counts)
        fold.append(spent)
        writes.append(sent)
        stock.append((await _fill_once(bench, path, messages))[0])
    bench.remove(path)
    work = f"fold view, catching up {events:,} events over {keys:,} keys"
    judged = Series(tuple(writes))
    return Section(
        "views_fold",
        [
            Line(
                f"{work}: sink writes per event",
                judged,
                "writes/event",
                judged=judged,
                judged_unit="writes/event",
                bar=Bar(0.1, "writes/event", at_most=True),
            ),
            Line(work, rates(fold, events), "/s"),
            Line(f"stock view `messages`, filled from {events:,}", rates(stock, events), "/s"),
        ],
        [
            f"A page is {PAGE_ROWS_MAX:,} events; a fold that is far behind takes several at once."
            f" The keys are the streams, whose events lie one by one among those of the others"
            f" ({sizes.log_callers:,} callers made them), so that a page alone has hardly two of"
            " one key. Writes are rows that the sink was sent, as the relay counts and shows them.",
        ],
    )


async def _fill_once(bench: Bench, path: Path, view: View) -> tuple[Timing, float]:
    """Fills a view in a copy of the log; the time and the writes for each event."""
    copy = bench.new_path()
    copy.write_bytes(path.read_bytes())
    async with EventStore.open(url_of(copy)) as store:
        with timing() as spent:
            await Relay(store, [view]).run_once()
        (found,) = await status(store, [view])
    bench.remove(copy)
    if found.lag_events or found.parked_events:
        raise RuntimeError(f"view {view.name}: {found.lag_events} events behind after a run")
    return spent, found.writes / found.events


def _insert(source: Path, target: Path, table: str, settings: dict[str, Any]) -> Timing:
    """Puts a table's rows into a new file; the clock runs while SQLite inserts and commits."""
    read = sqlite3.connect(source)
    write = new_file(target, settings)
    for (statement,) in read.execute(
        "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type IN ('table', 'index')"
        " AND sql IS NOT NULL ORDER BY type DESC",
        (table,),
    ).fetchall():
        write.execute(statement)
    spent, insert = Timing(), ""
    for rows in _pages(read, table):
        insert = insert or f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})"
        cpu, wall = time.process_time(), time.perf_counter()
        write.execute("BEGIN IMMEDIATE")
        write.executemany(insert, rows)
        write.execute("COMMIT")
        spent.seconds += time.perf_counter() - wall
        spent.cpu_seconds += time.process_time() - cpu
    read.close()
    write.close()
    return spent


def _pages(read: sqlite3.Connection, table: str) -> Iterator[list[tuple[Any, ...]]]:
    """The rows in the order of their events, as the relay wrote them."""
    found = read.execute(f"SELECT * FROM {table} ORDER BY rowid")
    while rows := found.fetchmany(_COMMITTED):
        yield rows
