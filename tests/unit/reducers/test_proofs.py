"""verify_snapshots finds what is wrong, and only that."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from immutables import Map

from eventstore import EventStore, NewEvent
from eventstore.snapshots import Snapshot
from reducers import Reducer, SnapshotReport, take_snapshot, unchecked, verify_snapshots


def total(version: int = 1) -> Reducer[Any]:
    reducer = Reducer("total", {"sum": 0}, version=version, snapshot_every=10)
    reducer.on("n")(lambda state, event: {"sum": state["sum"] + event["n"]})
    return reducer


async def filled(store: EventStore, count: int = 250, every: int = 100) -> None:
    for start in range(0, count, every):
        numbers = range(start, min(start + every, count))
        await store.append("s", [NewEvent("n", {"n": number}) for number in numbers])
        await take_snapshot(total(), store, "s")


async def keep(store: EventStore, version: int, position: int, state: Any) -> None:
    encoded = total().codec().encode(state)
    snapshot = Snapshot(version, position, encoded, sha256(encoded).digest())
    await store.snapshots.save("s", "total", total().fingerprint(), snapshot)


async def test_snapshots_are_sound_then_the_report_is_clean(store: EventStore) -> None:
    """Each snapshot of this code is checked; those of other code and reducers are not."""
    await filled(store)
    await store.append("s", [NewEvent("n", {"n": 1})] * 5)
    await take_snapshot(total(version=2), store, "s")
    other = Reducer("other", 0)
    await take_snapshot(other, store, "s")
    report = await verify_snapshots(total(), store, "s")
    assert report == SnapshotReport("s", 255, (100, 200, 250), (), 1)
    assert report.ok


async def test_there_is_nothing_then_the_report_is_clean(store: EventStore) -> None:
    """A missing stream, and one without snapshots, are fine."""
    assert await verify_snapshots(total(), store, "s") == SnapshotReport("s", 0, (), (), 0)
    await store.append("s", [NewEvent("n", {"n": 1})])
    assert await verify_snapshots(total(), store, "s") == SnapshotReport("s", 1, (), (), 0)


@pytest.mark.parametrize(
    ("version", "position", "state"),
    [(150, 150, {"sum": 1}), (150, 149, {"sum": 11175}), (300, 300, {"sum": 0}),
     (150, 150, {"sum": 11175.0}), (250, 250, {"sum": 5}),
     (150, 150, Map({"sum": 11175}))],
)  # fmt: skip
async def test_snapshot_is_wrong_then_it_is_named(
    store: EventStore, version: int, position: int, state: Any
) -> None:
    """Another state, another place, a version beyond the log: exactly that one is wrong."""
    await filled(store)
    await keep(store, version, position, state)
    report = await verify_snapshots(total(), store, "s")
    assert report.wrong == (version,)
    assert not report.ok


async def test_snapshot_is_right_then_it_is_not_named(store: EventStore) -> None:
    """The counterpart of the wrong ones above: the true state at its place passes."""
    await filled(store)
    await keep(store, 150, 150, {"sum": sum(range(150))})
    assert (await verify_snapshots(total(), store, "s")).ok


async def test_bytes_are_damaged_then_they_are_named(store: EventStore) -> None:
    """Damaged bytes are wrong, and dropping them makes the report clean again."""
    await filled(store)
    junk = Snapshot(150, 150, b"xjunk", sha256(b"other").digest())
    await store.snapshots.save("s", "total", total().fingerprint(), junk)
    assert (await verify_snapshots(total(), store, "s")).wrong == (150,)
    assert await store.snapshots.drop("s") == 4
    assert (await verify_snapshots(total(), store, "s")).ok


async def test_handler_depends_on_more_than_its_input_then_the_tail_gives_it_away(
    store: EventStore,
) -> None:
    """A reducer that is not deterministic does not pass: its tail ends elsewhere."""
    seen: set[str] = set()
    reducer = Reducer("once", 0, snapshot_every=10)

    @reducer.on("n")
    @unchecked(reason="the test needs one that is not deterministic")
    def once(state: int, event: Any) -> int:
        # It remembers on the side, so that only the first fold of an event counts it.
        if event.id in seen:
            return state
        seen.add(event.id)
        return state + 1

    await store.append("s", [NewEvent("n", {"n": 1})] * 20)
    await take_snapshot(reducer, store, "s")
    assert (await verify_snapshots(reducer, store, "s")).wrong == (20,)


async def test_only_the_tail_is_not_deterministic_then_it_is_seen(store: EventStore) -> None:
    """The snapshot is right, and going on from it still has to end where the replay ends."""
    calls = 0
    reducer = Reducer("late", 0, snapshot_every=10)
    reducer.on("n")(lambda state, event: state + event["n"])

    @reducer.on("late")
    @unchecked(reason="the test needs one that is not deterministic")
    def late(state: int, event: Any) -> int:
        nonlocal calls
        calls += 1
        return state + calls

    await store.append("s", [NewEvent("n", {"n": 1})] * 20)
    await take_snapshot(reducer, store, "s")
    assert (await verify_snapshots(reducer, store, "s")).ok
    await store.append("s", [NewEvent("late", {})])
    assert (await verify_snapshots(reducer, store, "s")).wrong == (20,)
