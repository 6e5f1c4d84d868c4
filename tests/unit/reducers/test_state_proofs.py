"""verify_states names where kept states and events part, and tells why."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from eventstore import EventStore, NewEvent
from eventstore.snapshots import Snapshot
from reducers import Reducer, take_snapshot, unchecked, verify_states
from reducers.stamps import stamped, unstamped

APPLES_COUNT_TWICE = 15


def tally(version: int = 1, twice: bool = False) -> Reducer[Any]:
    """Two parts of a state; edited code counts apples twice."""
    reducer = Reducer("tally", {"apples": 0, "pears": 0}, version=version, snapshot_every=1000)
    if twice:
        reducer.on("apple")(lambda state, event: {**state, "apples": state["apples"] + 2})
    else:
        reducer.on("apple")(lambda state, event: {**state, "apples": state["apples"] + 1})
    reducer.on("pear")(lambda state, event: {**state, "pears": state["pears"] + 1})
    return reducer


async def filled(store: EventStore, reducer: Reducer[Any]) -> None:
    """Pears up to version 14, one apple at 15, pears up to 30; kept at 10, 20 and 30."""
    for start in (0, 10, 20):
        names = range(start + 1, start + 11)
        await store.append(
            "s", [NewEvent("apple" if n == APPLES_COUNT_TWICE else "pear", {}) for n in names]
        )
        await take_snapshot(reducer, store, "s")


async def test_kept_states_are_the_events_then_the_report_is_clean(store: EventStore) -> None:
    """This code's snapshots are compared, and other code's that give the same as well."""
    await filled(store, tally())
    await take_snapshot(tally(version=2), store, "s")
    report = await verify_states(tally(), store, "s")
    assert (report.checked, report.unstamped, report.partings) == ((10, 20, 30), 0, ())
    assert report.ok


async def test_code_was_edited_then_the_event_at_which_it_matters_is_named(
    store: EventStore,
) -> None:
    """The same version with another fingerprint, and another state from one event on."""
    await filled(store, tally())
    (found,) = (await verify_states(tally(twice=True), store, "s")).partings
    assert (found.cause, found.kept_version) == ("code", 1)
    assert (found.after, found.at, found.event) == (10, 20, APPLES_COUNT_TWICE)
    assert found.paths == ("/apples",)
    assert not found.is_damage


async def test_an_older_version_kept_them_then_that_is_said(store: EventStore) -> None:
    """Another version of the reducer is another program on purpose."""
    await filled(store, tally())
    (found,) = (await verify_states(tally(version=3, twice=True), store, "s")).partings
    assert (found.cause, found.kept_version, found.event) == ("version", 1, APPLES_COUNT_TWICE)
    assert found.fingerprint == tally().fingerprint()


async def keep(store: EventStore, version: int, state: Any, claims: Any, sound: bool) -> None:
    reducer = tally()
    kept = stamped(1, claims, reducer.codec().encode(state))
    digest = sha256(kept if sound else b"other").digest()
    snapshot = Snapshot(version, version, kept, digest)
    await store.snapshots.save("s", "tally", reducer.fingerprint(), snapshot)


async def test_data_is_damaged_then_it_is_told_from_edited_code(store: EventStore) -> None:
    """Changed bytes, a state that is not the one it was stamped for, a place in no such log."""
    await filled(store, tally())
    true, false = {"apples": 0, "pears": 12}, {"apples": 0, "pears": 99}
    for state, claims, sound in ((true, true, False), (false, true, True), (true, false, True)):
        await keep(store, 12, state, claims, sound)
        report = await verify_states(tally(), store, "s")
        (found,) = report.partings
        assert (found.cause, found.at, found.is_damage) == ("data", 12, True)
    await keep(store, 99, true, true, True)
    await keep(store, 12, true, true, True)
    (found,) = (await verify_states(tally(), store, "s")).partings
    assert (found.cause, found.after, found.at) == ("data", 30, 99)


async def test_one_snapshot_is_damaged_then_what_is_behind_it_is_told_too(
    store: EventStore,
) -> None:
    """Damage is one snapshot's: it hides neither another damaged one nor that the code was
    edited."""
    await filled(store, tally())
    pears = {"apples": 0, "pears": 5}
    for version in (5, 7):
        await keep(store, version, pears, pears, version == 7)
    await keep(store, 6, {"apples": 9, "pears": 9}, {"apples": 0, "pears": 6}, True)
    partings = (await verify_states(tally(twice=True), store, "s")).partings
    assert [(each.cause, each.at) for each in partings] == [("data", 5), ("code", 7)]
    partings = (await verify_states(tally(), store, "s")).partings
    assert [(each.cause, each.at) for each in partings] == [("data", 5), ("data", 6), ("unseen", 7)]
    await store.snapshots.drop("s")
    for version, sound in ((5, False), (6, False), (8, True)):
        await keep(
            store, version, {"apples": 0, "pears": version}, {"apples": 0, "pears": version}, sound
        )
    partings = (await verify_states(tally(), store, "s")).partings
    assert [(each.cause, each.after, each.at) for each in partings] == [
        ("data", 0, 5),
        ("data", 0, 6),
    ]


async def test_a_handler_remembers_then_the_cause_is_unseen(store: EventStore) -> None:
    """The fingerprint is the same and the state another one: the code hangs on more than it
    shows."""
    calls: list[int] = []
    reducer = Reducer("late", 0, snapshot_every=1000)

    @reducer.on("n")
    @unchecked(reason="the test needs one that is not deterministic")
    def late(state: int, event: Any) -> int:
        calls.append(1)
        return len(calls)

    await store.append("s", [NewEvent("n", {})] * 3)
    await take_snapshot(reducer, store, "s")
    (found,) = (await verify_states(reducer, store, "s")).partings
    assert (found.cause, found.is_damage, found.at) == ("unseen", True, 3)


async def test_a_snapshot_bears_no_hash_then_it_is_counted_and_still_serves(
    store: EventStore,
) -> None:
    """What an earlier program kept is read as it was."""
    reducer = tally()
    await store.append("s", [NewEvent("pear", {})] * 4)
    encoded = reducer.codec().encode({"apples": 7, "pears": 7})
    snapshot = Snapshot(3, 3, encoded, sha256(encoded).digest())
    await store.snapshots.save("s", "tally", reducer.fingerprint(), snapshot)
    assert (await reducer.load(store, "s")).state == {"apples": 7, "pears": 8}
    report = await verify_states(reducer, store, "s")
    assert (report.checked, report.unstamped, report.ok) == ((), 1, True)
    assert unstamped(encoded) == (None, encoded)
