"""Snapshots that loads begin with: a fork's parents', and those of long ways back."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import EventStore, NewEvent, Version
from eventstore.snapshots import Snapshots
from reducers import Reducer, combine, take_snapshot, unchecked, verify_snapshots


class Calls:
    """Counts how many events were folded."""

    def __init__(self) -> None:
        self.count = 0

    def taken(self) -> int:
        """How many since this was asked last."""
        count, self.count = self.count, 0
        return count


def counting(name: str, calls: Calls, *, named: bool = False) -> Reducer[Any]:
    """Counts events, and how many it was given; `named` holds the name of their stream too."""
    reducer = Reducer(name, {"count": 0}, snapshot_every=10)
    if named:

        @reducer.on("n")
        @unchecked(reason="it counts its calls for the test")
        def with_name(state: Any, event: Any) -> Any:
            calls.count += 1
            return {"count": state["count"] + 1, "stream": event.stream}

    else:

        @reducer.on("n")
        @unchecked(reason="it counts its calls for the test")
        def counted(state: Any, event: Any) -> Any:
            calls.count += 1
            return {"count": state["count"] + 1}

    return reducer


async def test_a_parent_kept_states_then_its_forks_begin_with_them(store: EventStore) -> None:
    """What a fork inherits is folded once: a fork of a fork too begins with the newest snapshot
    of a version that it inherits, and with its own once it has one."""
    calls = Calls()
    reducer = counting("counted", calls)
    for _ in range(3):
        await store.append("s", [NewEvent("n", {})] * 10)
        await take_snapshot(reducer, store, "s")
    calls.taken()
    await store.fork("s", "f", 25)
    await store.append("f", [NewEvent("n", {})] * 4)
    await store.fork("f", "g", 27)
    for stream, version, count, folded in (("f", 30, 29, 9), ("g", 28, 26, 6)):
        loaded = await reducer.load(store, stream)
        assert (loaded.version, loaded.state) == (version, {"count": count})
        assert calls.taken() == folded
    assert [each.version for each in await store.snapshots.list("f", inherited=True)] == [
        30,
        10,
        20,
    ]
    assert (await reducer.load(store, "g", Version(19))).state == {"count": 19}
    assert calls.taken() == 9
    found = await reducer.bisect(store, "g", lambda state: state["count"] >= 12, monotone=True)
    assert found is not None
    assert (found.event.stream, found.event.version) == ("g", 12)
    assert calls.taken() == 3  # the one that is found is folded once more, under a watch
    report = await verify_snapshots(reducer, store, "g")
    assert (report.checked, report.wrong) == ((10, 20), ())


async def test_a_handler_sees_the_stream_then_a_fork_is_folded_whole(store: EventStore) -> None:
    """A fork shows inherited events under its own name: a state that holds it is not its
    parent's, alone and as a part of another one."""
    calls = Calls()
    named = counting("named", calls, named=True)
    both = combine("both", snapshot_every=10, one=counting("one", Calls()), two=named)
    await store.append("s", [NewEvent("n", {})] * 10)
    await named.load(store, "s")
    await both.load(store, "s")
    assert len(await store.snapshots.list("s")) == 2
    await store.fork("s", "f", 10)
    assert (await named.load(store, "f")).state == {"count": 10, "stream": "f"}
    assert (await both.load(store, "f")).state.two == {"count": 10, "stream": "f"}
    assert (await verify_snapshots(named, store, "f")).ok


async def test_a_long_stream_is_loaded_once_then_every_part_of_it_is_near_a_snapshot(
    store: EventStore,
) -> None:
    """A stream that was imported is looked back at as fast as one that grew: the first load to
    its head keeps some states on its way."""
    calls = Calls()
    reducer = counting("counted", calls)
    await store.append("s", [NewEvent("n", {})] * 5_000)
    assert (await reducer.load(store, "s")).state == {"count": 5_000}
    assert calls.taken() == 5_000
    kept = [each.version for each in await store.snapshots.list("s")]
    assert kept == [*range(600, 4_501, 500), 5_000]
    for version in (1_500, 2_345, 4_900):
        assert (await reducer.load(store, "s", Version(version))).state == {"count": version}
        assert calls.taken() <= 900
    for culprit in (1_200, 2_500, 4_999):

        def holds(state: Any, least: int = culprit) -> bool:
            return bool(state["count"] >= least)

        found = await reducer.bisect(store, "s", holds, monotone=True)
        assert found is not None
        assert found.event.version == culprit
        assert calls.taken() <= 900
    assert (await verify_snapshots(reducer, store, "s")).ok


async def test_states_are_large_then_a_load_keeps_few_on_its_way(store: EventStore) -> None:
    """What is kept on the way costs a small part of the load, however large the state."""
    large = Reducer("large", "", snapshot_every=10)
    large.on("n")(lambda state, event: "x" * 12_000)
    await store.append("s", [NewEvent("n", {})] * 3_000)
    await large.load(store, "s")
    kept = [each.state_bytes for each in await store.snapshots.list("s")]
    assert 3 <= len(kept) <= 5
    assert sum(kept) <= 16 * 3_000


async def test_a_snapshot_is_taken_of_much_then_it_is_written_once(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load that comes first leaves the head's state to be kept."""
    saved: list[int] = []
    save = Snapshots.save

    async def told(self: Snapshots, *args: Any) -> bool:
        saved.append(args[-1].version)
        return await save(self, *args)

    monkeypatch.setattr(Snapshots, "save", told)
    await store.append("s", [NewEvent("n", {})] * 30)
    await take_snapshot(counting("counted", Calls()), store, "s")
    assert saved == [30]
