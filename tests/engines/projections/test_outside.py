"""Sinks that are not in the store: down, emptied, slow, and whoever comes late."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from eventstore import EventStore, LogDiverged, NewEvent
from eventstore.engines.port import CheckpointRow
from eventstore.testing import FixedClock, SteppingClock
from projections.asking import serving
from projections.catalog import ask, own, tables
from projections.relay import Relay
from projections.sinks import Build
from projections.status import status
from projections.view import View
from tests.waiting import until

from .stage import (
    Outside,
    add,
    counted,
    counts_in,
    counts_projection,
    counts_view,
    feed,
    letters_of,
    notes_in,
    notes_projection,
)


def outside_notes(sink: Outside, **options: object) -> View:
    """The notes in a sink of the tests' own."""
    return View(notes_projection("outside"), sink, **options)  # type: ignore[arg-type]


def outside_counts(sink: Outside, **options: object) -> View:
    """The counts in a sink of the tests' own."""
    return View(counts_projection("outside"), sink, **options)  # type: ignore[arg-type]


class Telling(Outside):
    """One that says by itself that it was emptied."""

    async def check(self, build: Build) -> None:
        self._answer()
        self._check_marker(build)


def texts(sink: Outside) -> dict[object, str]:
    """What stands in the sink."""
    return {key: value["text"] for key, value in sink.values().items()}


async def test_the_sink_is_down_then_it_is_told_and_siblings_go_on(store: EventStore) -> None:
    """Nothing is parked for it, and it catches up by itself."""
    sink = Outside()
    view, counts = outside_notes(sink).bind(store), counts_view().bind(store)
    async with feed(store, view, counts) as relay:
        await add(store, "s", "k", "a")
        await relay.caught_up()
        sink.down = True
        position = await add(store, "s", "k", "b")
        assert (await counts.get("s", at_least=position)).value["n"] == 2
        await until(lambda: _is_feeding(store, view, "waiting"))
        sink.down = False
        assert (await view.get("k", at_least=position, timeout_seconds=20)).value["text"] == "b"
        await until(lambda: _is_feeding(store, view, "running"))
        assert await letters_of(view) == []


async def _is_feeding(store: EventStore, view: View, wanted: str) -> bool:
    found = (await status(store, [view]))[0]
    return found.feeding == wanted and (wanted == "running") == (found.last_error is None)


@pytest.mark.parametrize("partitions", [1, 3])
async def test_the_sink_is_emptied_then_it_is_filled_again(
    store: EventStore, partitions: int
) -> None:
    """Every partition begins at the start of the log, once, and nothing is counted twice."""
    sink = Outside()
    view = outside_counts(sink, partitions=partitions).bind(store)
    async with feed(store, view) as relay:
        for n in range(30):
            await add(store, f"s{n % 7}", "k", "x" * n)
        await relay.caught_up()
        sink.empty()
        await add(store, "s0", "k", "yy")
        await until(lambda: _is_whole(store, sink))
        await relay.caught_up()
        assert await _is_whole(store, sink)


async def test_the_sink_is_emptied_while_nothing_is_appended_then_it_is_filled_again(
    store: EventStore,
) -> None:
    """A sink that can tell is asked, and nobody has to append first."""
    sink = Telling()
    view = outside_counts(sink, partitions=2).bind(store)
    async with feed(store, view) as relay:
        for n in range(9):
            await add(store, f"s{n}", "k", "x")
        await relay.caught_up()
        sink.empty()
        assert sink.values() == {}
        await until(lambda: _is_whole(store, sink))


async def test_the_worker_is_cancelled_while_it_fills_again_then_the_next_one_goes_on(
    store: EventStore,
) -> None:
    """However far the refill was, the sink is whole afterwards."""
    sink = Outside()
    view = outside_counts(sink, partitions=2).bind(store)
    for n in range(20):
        await add(store, f"s{n % 7}", "k", "x" * n)
    await feed(store, view).run_once()
    for n in range(20):
        sink.empty()
        running = asyncio.create_task(feed(store, view, page_events=3).run())
        await add(store, f"s{n % 7}", "k", "y")
        for _ in range(n * 4):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    async with asyncio.timeout(20):
        # A page for every partition: where nothing is written, nobody sees that it is empty.
        for n in range(7):
            await add(store, f"s{n}", "k", "z")
        await feed(store, view).run_once()
    assert await _is_whole(store, sink)


async def _is_whole(store: EventStore, sink: Outside) -> bool:
    found = {key: (row["n"], row["sum"]) for key, row in sink.values().items()}
    return found == await counts_in(store)


async def test_a_sink_refuses_a_row_then_only_its_key_is_parked(store: EventStore) -> None:
    """A sink that says no to one change says nothing of the others of its page."""
    sink = Outside()
    sink.refuses = lambda change: change.key == "bad"
    view = outside_notes(sink, attempts=1).bind(store)
    for key in ("a", "b", "bad", "c"):
        await add(store, f"s/{key}", key, key)
    await feed(store, view).run_once()
    assert set(texts(sink)) == {"a", "b", "c"}
    assert await letters_of(view) == [("s/bad", 3, True)]


async def test_the_lease_is_lost_while_the_sink_writes_then_the_checkpoint_is_refused() -> None:
    """A stalled worker wakes up late: nothing that it has moves anything, and a newer row that
    another one wrote meanwhile stays."""
    clock: FixedClock = SteppingClock()
    async with EventStore.open("memory://", clock=clock) as store:
        sink, gate = Outside(), asyncio.Event()
        view = outside_counts(sink).bind(store)
        await add(store, "s", "k", "a")
        sink.gate = gate
        late = asyncio.create_task(feed(store, view, lease_seconds=10).run_once())
        await asyncio.wait_for(sink.entered.wait(), 10)
        clock.advance(60)
        sink.gate = None
        await add(store, "s", "k", "bb")
        await feed(store, view, lease_seconds=10).run_once()
        before = await _progress(view)
        gate.set()
        await asyncio.wait_for(late, 20)
        assert await _progress(view) == before
        assert sink.values() == {"s": {"n": 2, "sum": 3}}


async def _progress(view: View) -> list[tuple[object, ...]]:
    build, _ = await serving(view)
    p = tables(build.outbox.schema).progress
    return await ask(build.outbox, sa.select(p.c.position, p.c.events).where(own(p, build)))


async def test_the_log_was_restored_then_the_view_stops_and_says_so(tmp_path: Path) -> None:
    """A view ahead of its log is not fed with another history."""
    folder = tmp_path
    url = f"sqlite:///{folder}/log.db"
    async with EventStore.open(url) as store:
        await add(store, "s", "k", "a")
        await feed(store, counts_view()).run_once()
    shutil.copy(folder / "log.db", folder / "old.db")
    sink = Outside()
    async with EventStore.open(url) as store:
        await add(store, "s", "k", "b")
        view = outside_counts(sink).bind(store)
        await feed(store, view).run_once()
        checkpoint = await store.checkpoints.load("view/outside")
        assert checkpoint is not None
    shutil.copy(folder / "old.db", folder / "log.db")
    for suffix in ("-wal", "-shm"):
        (folder / f"log.db{suffix}").unlink(missing_ok=True)
    async with EventStore.open(url) as store:
        await add(store, "s", "k", "other")
        view = outside_counts(sink).bind(store)
        await feed(store, view).run_once()
        # As a relay's database that was not restored with the log.
        lease = await store.checkpoints.acquire("view/outside", "ann", seconds=60)
        assert lease is not None
        row = CheckpointRow("view/outside", 1, 0, 2, checkpoint.hash, "ann", lease.fencing_token, 0)
        engine = store._core.engine
        assert await engine.save_checkpoint(store.tenant_name, row)
        await store.checkpoints.release(lease)
        with pytest.raises(LogDiverged):
            await feed(store, view).run_once()
        found = (await status(store, [view]))[0]
        assert (found.feeding, "position 2" in str(found.last_error)) == ("stopped", True)


async def test_status_is_asked_for_then_it_says_how_the_view_is(store: EventStore) -> None:
    """Lag, counts, writes for an event, who feeds it."""
    counts = counts_view(partitions=2).bind(store)
    for n in range(20):
        await add(store, f"s{n % 2}", "k", "x")
    async with feed(store, counts, holder="worker-1") as relay:
        await relay.caught_up()
        found = (await status(store, [counts]))[0]
        assert (found.view, found.tenant, found.generation) == ("counts", store.tenant_name, 1)
        assert (found.state, found.feeding, found.code_changed) == ("serving", "running", False)
        assert (found.position, found.lag_events, found.lag_seconds) == (20, 0, 0.0)
        assert (found.events, found.changes) == (20, 20)
        assert found.writes == 2
        assert found.writes_per_event == pytest.approx(0.1)
        assert found.workers == ["worker-1"]
        assert found.bytes > 0
    await add(store, "s0", "k", "x")
    later = (await status(store, [counts], before=[found]))[0]
    assert (later.lag_events, later.workers, later.rate) == (1, [], 0.0)
    assert later.lag_seconds > 0
    assert await counted(counts) == {"s0": (10, 10), "s1": (10, 10)}


async def test_a_relay_waits_then_appends_of_other_types_are_few_commits(
    store: EventStore,
) -> None:
    """A view that an append does not concern does not write for it each time."""
    moves = 0
    view = counts_view().bind(store)
    relay: Relay = feed(store, view)
    inner = relay._feeding._commits.change

    async def change(*args: object) -> bool:
        nonlocal moves
        moves += 1
        return await inner(*args)  # type: ignore[arg-type]

    relay._feeding._commits.change = change  # type: ignore[method-assign]
    async with relay:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while loop.time() < begun + 1:
            await store.append("s", NewEvent("other.thing", {}))
            await asyncio.sleep(0)
        seconds = loop.time() - begun
        await relay.caught_up()
    assert moves <= seconds / 0.25 + 3
    assert await notes_in(store) == {}
