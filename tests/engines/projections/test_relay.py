"""Relays and relational views: what follows an append, and how fresh an answer is."""

from __future__ import annotations

import asyncio
import logging

import pytest

from eventstore import EventStore, NewEvent
from projections import KeyParked, ProjectionError, Relay, ViewNotBuilt, ViewStale
from tests.waiting import until

from .stage import (
    Faults,
    add,
    counted,
    counts_in,
    counts_view,
    feed,
    notes_in,
    notes_view,
    place_of,
    rows_of,
    texts_of,
)


async def test_events_are_appended_then_every_view_follows(store: EventStore) -> None:
    """Maps and folds are what code of another kind makes of the log."""
    notes, counts = notes_view().bind(store), counts_view(partitions=3).bind(store)
    async with feed(store, notes, counts) as relay:
        for n in range(60):
            await add(store, f"s{n % 7}", f"n{n % 11}", f"text {n}")
        await store.append("s1", NewEvent("note.gone", {"id": "n3"}))
        await relay.caught_up()
        assert await texts_of(notes) == await notes_in(store)
        assert await counted(counts) == await counts_in(store)
        assert "n3" not in await rows_of(notes)


async def test_a_relay_runs_once_then_it_stops_at_the_head(store: EventStore) -> None:
    """`run_once` needs no loop of its own, and goes on where it stopped."""
    notes = notes_view().bind(store)
    relay = feed(store, notes)
    for n in range(3):
        await add(store, "s", f"n{n}", "a")
        await relay.run_once()
        assert len(await rows_of(notes)) == n + 1
        assert await place_of(notes) == n + 1


async def test_one_waits_for_its_own_write_then_it_reads_it(store: EventStore) -> None:
    """`at_least` makes every view one that reads its own writes."""
    notes = notes_view().bind(store)
    async with feed(store, notes):
        for n in range(10):
            position = await add(store, "s", "k", f"text {n}")
            answer = await notes.get("k", at_least=position)
            assert answer.value == {"id": "k", "text": f"text {n}", "n": n + 1}
            assert answer.position >= position
            assert answer.recorded_at is not None
        gone = await store.append("s", NewEvent("note.gone", {"id": "k"}))
        assert (await notes.get("k", at_least=gone.position)).value is None


async def test_what_is_waited_for_is_not_the_views_then_nobody_waits(store: EventStore) -> None:
    """A position that holds nothing for the view is in it as soon as all before is."""
    notes = notes_view().bind(store)
    await add(store, "s", "k", "a")
    await feed(store, notes).run_once()
    other = await store.append("s", NewEvent("other.thing", {}))
    answer = await notes.get("k", at_least=other.position, timeout_seconds=0)
    assert (answer.value["text"], answer.position) == ("a", other.position)


async def test_nobody_feeds_the_view_then_waiting_ends(store: EventStore) -> None:
    """Waiting has an end, and says how far the view is."""
    notes = notes_view().bind(store)
    with pytest.raises(ViewNotBuilt):
        await notes.get("k")
    await add(store, "s", "k", "a")
    await feed(store, notes).run_once()
    position = await add(store, "s", "k", "b")
    with pytest.raises(ViewStale) as stale:
        await notes.get("k", at_least=position, timeout_seconds=0.05)
    assert (stale.value.position, stale.value.wanted) == (1, 2)


@pytest.mark.parametrize("at_least", [-1, True, "1", 1.5])
async def test_the_position_is_none_then_it_is_refused(store: EventStore, at_least: object) -> None:
    """A token is a position, and nothing else."""
    with pytest.raises(ProjectionError, match="position"):
        await notes_view().bind(store).get("k", at_least=at_least)  # type: ignore[arg-type]


async def test_a_view_is_beyond_its_budget_then_a_read_does_as_declared(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It warns, raises, or folds the log: as the view says, or the read."""
    notes = notes_view(fresh_seconds=1e-6).bind(store)
    counts = counts_view(fresh_seconds=1e-6, when_late="fold").bind(store)
    relay = feed(store, notes, counts)
    await add(store, "s", "k", "a")
    await relay.run_once()
    answer = await notes.get("k")
    assert (answer.value["text"], answer.stale) == ("a", False)
    await add(store, "s", "k", "bcd")
    with caplog.at_level(logging.WARNING, "eventstore"):
        answer = await notes.get("k")
    assert (answer.value["text"], answer.stale) == ("a", True)
    assert "behind" in caplog.text
    with pytest.raises(ViewStale, match="budget"):
        await notes.get("k", late="raise")
    folded = {
        "note": await notes.get("k", late="fold"),
        "none": await notes.get("other", late="fold"),
        "count": await counts.get("s"),
    }
    await relay.run_once()
    later = {"note": await notes.get("k"), "none": await notes.get("other")}
    later["count"] = await counts.get("s")
    assert {k: v.value for k, v in folded.items()} == {k: v.value for k, v in later.items()}
    assert all(answer.position == 2 and not answer.stale for answer in folded.values())


async def test_only_others_events_were_appended_then_the_view_is_fresh(store: EventStore) -> None:
    """A view that lacks nothing of its own is not late."""
    notes = notes_view(fresh_seconds=1e-6).bind(store)
    await add(store, "s", "k", "a")
    await feed(store, notes).run_once()
    await store.append("s", NewEvent("other.thing", {}))
    assert not (await notes.get("k", late="raise")).stale


async def test_two_tenants_then_each_has_its_rows(store: EventStore) -> None:
    """A relay of all tenants feeds each of them apart."""
    notes = notes_view()
    acme = store.tenant("acme")
    await add(store, "s", "k", "mine")
    await add(acme, "s", "k", "theirs")
    async with feed(store, notes, all_tenants=True) as relay:
        await relay.caught_up()
        mine, theirs = notes.bind(store), notes.bind(acme)
        assert (await texts_of(mine), await texts_of(theirs)) == ({"k": "mine"}, {"k": "theirs"})
        beta = store.tenant("beta")
        position = await add(beta, "s", "k", "new")
        await until(lambda: _is_built(notes.bind(beta)))
        answer = await notes.bind(beta).get("k", at_least=position)
        assert answer.value["text"] == "new"


async def _is_built(view: object) -> bool:
    try:
        await place_of(view)  # type: ignore[arg-type]
    except ViewNotBuilt:
        return False
    return True


async def test_two_relays_feed_one_view_then_nothing_is_counted_twice(store: EventStore) -> None:
    """A lease says who feeds a partition; both may try."""
    counts = counts_view(partitions=4).bind(store)
    async with feed(store, counts) as one, feed(store, counts):
        for n in range(40):
            await add(store, f"s{n % 9}", "k", "x" * n)
        await one.caught_up()
        assert await counted(counts) == await counts_in(store)


async def test_a_relay_is_closed_then_another_goes_on_at_once(store: EventStore) -> None:
    """Leases are given back, not left to run out."""
    notes = notes_view().bind(store)
    for n in range(4):
        async with asyncio.timeout(10), feed(store, notes, lease_seconds=3600) as relay:
            position = await add(store, "s", "k", f"text {n}")
            await relay.caught_up()
            assert (await notes.get("k", at_least=position)).value["text"] == f"text {n}"


async def test_the_relay_is_cancelled_anywhere_then_no_lease_and_no_task_is_left(
    store: EventStore,
) -> None:
    """However far it was, the next one begins at once and nothing is counted twice."""
    counts = counts_view(partitions=2).bind(store)
    before = asyncio.all_tasks()
    for n in range(25):
        relay = feed(store, counts, lease_seconds=3600)
        running = asyncio.create_task(relay.run())
        await add(store, f"s{n % 3}", "k", "x" * n)
        for _ in range(n * 3):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    async with asyncio.timeout(20):
        await feed(store, counts).run_once()
    assert await counted(counts) == await counts_in(store)
    await until(lambda: len(asyncio.all_tasks()) <= len(before) + 2)


async def test_the_store_is_closed_under_a_relay_then_it_ends(url: str) -> None:
    """A relay without a store ends by itself, and closing it is prompt."""
    store = await EventStore.open(url)
    relay = feed(store, notes_view(), counts_view())
    running = asyncio.create_task(relay.run())
    await add(store, "s", "k", "a")
    await relay_started(relay)
    await store.close()
    async with asyncio.timeout(10):
        await asyncio.gather(running, return_exceptions=True)
        await relay.close()


async def relay_started(relay: Relay) -> None:
    """Waits until it feeds something."""
    await until(lambda: relay._feeding.workers())


async def test_two_views_of_one_name_then_they_are_refused(store: EventStore) -> None:
    """A name is one view."""
    with pytest.raises(ProjectionError, match="one name"):
        feed(store, notes_view(), notes_view())


async def test_a_key_is_parked_then_waiting_for_it_names_the_first_position(
    store: EventStore,
) -> None:
    """Whoever waits for a parked key is told since when, whichever later event is waited for."""
    faults = Faults()
    faults.left["bad"] = None
    notes = notes_view(faults=faults, attempts=2).bind(store)
    async with feed(store, notes):
        first = await add(store, "s", "a", "bad")
        later = await add(store, "s", "b", "good")
        other = await add(store, "t", "c", "good")
        assert (await notes.get("c", at_least=other)).value is not None
        with pytest.raises(KeyParked) as parked:
            await notes.get("b", at_least=later)
        assert (parked.value.key, parked.value.position) == ("s", first)
