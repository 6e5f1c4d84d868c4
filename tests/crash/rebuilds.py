"""A view that is built again while another process appends at a steady rate and readers wait for
what they wrote themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import count
from typing import Any
from zlib import crc32

import sqlalchemy as sa

from eventstore import EventStore, NewEvent, RecordedEvent
from projections import Projection, RelationalView, Relay, Upsert, ViewStale
from projections.asking import serving
from projections.catalog import SERVING, ask, generations, own, tables
from projections.sinks import Build
from projections.view import View

from .faults import Fault, Outcome, Run
from .feeding import counts_view
from .processes import TRIAL_SECONDS_MAX, Worker, new_store

BEFORE = 60_000
"""Events that stand in the log before, so that building it again takes a while."""

REBUILDS = 4
"""Of each of the two views."""

RATE, TICK_SECONDS = 1_000, 0.02
"""Appends a second that are offered, whatever becomes of them, and how often some of them are."""

UNDER_WAY_MAX = 400
"""Appends without an answer, beyond which none is offered: the machine gives no more."""

STREAMS, READERS = 50, 3
WAIT_SECONDS = 30.0
"""How long a reader waits for its own write."""

PAUSE_SECONDS = 0.01
"""Between two looks of a reader."""


def latest_view() -> RelationalView:
    """A map: the last note of each stream, and its version."""
    table = sa.Table(
        "latest",
        sa.MetaData(),
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("n", sa.Integer),
        sa.Column("version", sa.Integer),
    )
    made = Projection("latest")

    @made.on("note.added")
    def added(event: RecordedEvent) -> Upsert:
        return Upsert(event.stream, {"n": event.data["n"], "version": event.version})

    return RelationalView(made, table)


async def offer(url: str) -> None:
    """Offers appends at the rate, until its process is killed."""
    under_way: set[asyncio.Task[Any]] = set()
    numbers, loop = count(), asyncio.get_running_loop()
    async with EventStore.open(url) as store:
        begun, offered = loop.time(), 0
        while True:
            due = int((loop.time() - begun) * RATE)
            for _ in range(due - offered):
                if len(under_way) < UNDER_WAY_MAX:
                    n = next(numbers)
                    event = NewEvent("note.added", {"n": n})
                    task = asyncio.ensure_future(store.append(f"s{n % STREAMS}", event))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
            offered = due
            await asyncio.sleep(TICK_SECONDS)


async def rebuild_under_load(run: Run) -> Outcome:
    """One process offers appends; the other feeds, reads and rebuilds, and may have a defect."""
    url = await new_store(run)
    async with EventStore.open(url) as store:
        await _fill(store, run.times(BEFORE))
    async with Worker(run, url) as writer, Worker(run, url) as worker:
        await writer.tell("call", target="tests.crash.rebuilds:offer")
        answer = await worker.ask(
            "call",
            TRIAL_SECONDS_MAX,
            target="tests.crash.rebuilds:trial",
            times=run.times(REBUILDS),
        )
    run.ground.drop(url)
    return Outcome(*answer)


async def _fill(store: EventStore, events: int) -> None:
    each = max(events // STREAMS, 1)
    for stream in range(STREAMS):
        for start in range(0, each, 1_000):
            notes = [
                NewEvent("note.added", {"n": n}) for n in range(start, min(start + 1_000, each))
            ]
            await store.append(f"s{stream}", notes)


async def trial(url: str, times: int) -> tuple[int, list[str], str]:
    """Rebuilds both views by turns; what the readers saw that they must not."""
    async with EventStore.open(url) as store:
        views = latest_view(), counts_view()
        async with Relay(store, views) as relay:
            await relay.caught_up()
            readers = Readers(store, relay.view("latest"), relay.view("counts"))
            async with readers:
                head, begun = await store.head(), time.monotonic()
                reports = [
                    report
                    for _ in range(times)
                    for view in views
                    for report in await relay.rebuild(view.name)
                ]
                rate = (await store.head() - head) / (time.monotonic() - begun)
        # The other process goes on: what is compared is the log up to where a view stands still.
        await readers.compare_at_rest()
    fastest = max(report.events_per_second for report in reports)
    note = (
        f"{len(reports)} rebuilds at up to {fastest:,.0f} events/s, {rate:,.0f} appends/s of"
        f" {RATE:,} offered, {readers.looks} looks"
    )
    return readers.looks + len(reports), readers.told, note


class Readers:
    """Who looks at the two views all the time. `told` is what they saw that they must not."""

    def __init__(self, store: EventStore, latest: View, counts: View) -> None:
        self._store, self._latest, self._counts = store, latest, counts
        self.told: list[str] = []
        self.looks = 0
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Readers:
        views = (self._latest, self._counts)
        kinds = [self._read_own(f"own/{n}") for n in range(READERS)]
        kinds += [self._read_all(view) for view in views]
        kinds += [self._look_who_serves(view) for view in views]
        self._tasks = [asyncio.create_task(self._repeat(kind)) for kind in kinds]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    async def _repeat(self, looks: AsyncIterator[str | None]) -> None:
        async for wrong in looks:
            self.looks += 1
            if wrong is not None:
                self.told.append(wrong)
            if self._over:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _read_own(self, stream: str) -> AsyncIterator[str | None]:
        """Writes, and waits for it on both views; nobody else writes to this stream."""
        last = 0
        for n in count():
            written = await self._store.append(stream, NewEvent("note.added", {"n": n}))
            for view, column in ((self._latest, "version"), (self._counts, "n")):
                wanted = f"{view.name}: version {written.version} of {stream}"
                try:
                    answer = await view.get(
                        stream, at_least=written.position, timeout_seconds=WAIT_SECONDS
                    )
                except ViewStale as exc:
                    yield f"{wanted}: {exc}"
                    continue
                found = None if answer.value is None else answer.value[column]
                yield None if found == written.version else f"{wanted}: {found} was read"
                if view is self._latest:
                    back = answer.position < last
                    last = answer.position
                    yield f"{wanted}: its position went back to {last}" if back else None

    async def _read_all(self, view: View) -> AsyncIterator[str | None]:
        """Reads the rows that were there from the beginning: all are, and none goes back."""
        keys = [f"s{n}" for n in range(STREAMS)]
        column = "version" if view is self._latest else "n"
        before = dict.fromkeys(keys, 1)
        while True:
            rows = await view.rows(keys)
            found = {str(key): row[column] for key, row in rows.items()}
            worse = [key for key in keys if found.get(key, 0) < before[key]]
            yield f"{view.name}: {worse[0]} of {len(worse)} keys went back" if worse else None
            before.update(found)

    async def _look_who_serves(self, view: View) -> AsyncIterator[str | None]:
        """At every moment one generation serves."""
        outbox = self._store.outbox
        tenant_id = await outbox.tenant_id()
        while True:
            found = await generations(outbox, tenant_id, view.name)
            serving = [each.generation for each in found if each.state == SERVING]
            yield None if len(serving) == 1 else f"{view.name}: {serving} serve at once"

    async def compare_at_rest(self) -> None:
        """Holds both views against the log, each key up to where its partition stopped."""
        for view in (self._latest, self._counts):
            build, _ = await serving(view)
            # A commit that was handed over when its worker was ended may still come in between.
            places: dict[int, int] = {}
            rows: dict[str, dict[str, Any]] = {}
            while places != (now := await _places(build)) or not now:
                places = now
                rows = {
                    str(row.key): dict(row.value)
                    async for page in view.sink.scan(build)
                    for row in page
                }
            wanted: dict[str, dict[str, int]] = {}
            for partition, position in places.items():
                rows_there = await _rows_up_to(self._store, position, view is self._latest)
                for key, row in rows_there.items():
                    if crc32(key.encode()) % len(places) == partition:
                        wanted[key] = row
            self.looks += 1
            if {
                key: {c: row[c] for c in wanted.get(key, row)} for key, row in rows.items()
            } != wanted:
                self.told.append(f"{view.name} is not the fold of the log up to {places}")


async def _places(build: Build) -> dict[int, int]:
    """Where each partition is."""
    t = tables(build.outbox.schema).progress
    found = await ask(build.outbox, sa.select(t.c.partition, t.c.position).where(own(t, build)))
    return {row[0]: row[1] for row in found}


async def _rows_up_to(
    store: EventStore, position: int, is_latest: bool
) -> dict[str, dict[str, int]]:
    """The rows by code that knows nothing of views."""
    rows: dict[str, dict[str, int]] = {}
    async for event in store.read_all():
        if event.position > position:
            break
        n = event.data["n"]
        if is_latest:
            rows[event.stream] = {"n": n, "version": event.version}
        else:
            row = rows.setdefault(event.stream, {"n": 0, "sum": 0})
            row["n"] += 1
            row["sum"] += n
    return rows


FAULT = Fault(
    "rebuild",
    "views rebuilt under appends: no reader sees a hole or an older row, one generation serves",
    rebuild_under_load,
    dict.fromkeys(("sqlite", "postgres"), ("lets a generation serve before it is built",)),
    prove_scale=0.25,
)
