"""Relays and workers beside each other: who waits for whom, and what old news does."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from eventstore import EventStore
from projections.asking import serving
from projections.relay import Relay, worker
from projections.sinks import Build
from projections.view import View
from tests.waiting import until

from .stage import Outside, add, counted, counts_in, counts_view, feed, notes_projection, notes_view


async def test_a_relay_runs_once_beside_a_live_one_then_it_returns_when_the_views_are_fed(
    store: EventStore,
) -> None:
    """Whoever feeds them: the lease of the other one is not waited for."""
    counts = counts_view(partitions=2).bind(store)
    async with feed(store, counts, lease_seconds=3600) as live:
        await add(store, "s", "k", "a")
        await live.caught_up()
        for n in range(3):
            await add(store, f"s{n}", "k", "b")
            async with asyncio.timeout(20):
                await feed(store, counts).run_once()
            assert await counted(counts) == await counts_in(store)


async def test_a_live_relay_is_held_up_then_running_once_waits_for_it(store: EventStore) -> None:
    """It does not return before the views have what stood in the log."""
    sink = Outside()
    view = View(notes_projection("outside"), sink).bind(store)
    async with feed(store, view, lease_seconds=3600):
        await until(lambda: sink.markers)
        sink.gate = asyncio.Event()
        await add(store, "s", "k", "a")
        await sink.entered.wait()
        once = asyncio.create_task(feed(store, view).run_once())
        # Longer than it takes to see that the lease is another one's.
        done, _ = await asyncio.wait([once], timeout=0.3)
        assert not done
        sink.gate.set()
        async with asyncio.timeout(20):
            await once
        assert sink.values() == {"k": {"text": "a", "n": 1}}


async def test_a_worker_hears_old_news_of_its_sink_then_nothing_is_filled_again(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that is older than the worker's own refill is no reason for another one."""
    looked = asyncio.Event()
    place_of = worker.place_of

    async def looking(build: Build, partition: int) -> object:
        place = await place_of(build, partition)
        looked.set()
        return place

    monkeypatch.setattr(worker, "place_of", looking)
    notes = notes_view().bind(store)
    await add(store, "s", "k", "a")
    async with feed(store, notes) as relay:
        await relay.caught_up()
        before, _ = await serving(notes)
        fed = next(iter(relay._feeding.workers().values()))
        looked.clear()
        fed.heed(msgspec.structs.replace(before, incarnation="of long ago"))
        await asyncio.wait_for(_looked_or_emptied(looked, fed, before.incarnation), 10)
        await add(store, "s", "k2", "b")
        await relay.caught_up()
        assert (await serving(notes))[0].incarnation == before.incarnation


async def _looked_or_emptied(looked: asyncio.Event, fed: worker.Worker, before: str) -> None:
    await until(lambda: looked.is_set() or fed.build.incarnation != before)


async def test_another_worker_saw_the_sink_emptied_then_both_fill_it(store: EventStore) -> None:
    """Each partition's rows come again, though only one of them wrote to the empty sink."""
    sink = Outside()
    view = View(notes_projection("outside"), sink, partitions=2).bind(store)
    relay: Relay
    async with feed(store, view) as relay:
        for n in range(6):
            await add(store, f"s{n}", f"k{n}", "a")
        await relay.caught_up()
        sink.empty()
        await add(store, "s0", "k0", "b")
        await until(lambda: len(sink.values()) == 6)
