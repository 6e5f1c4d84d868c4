"""Loading: any moment of a stream, and snapshots that save time and never change a state."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from immutables import Map

from eventstore import (
    Busy,
    EventStore,
    InvalidEvent,
    NewEvent,
    Occurred,
    Position,
    Version,
)
from eventstore.snapshots import Snapshot
from reducers import (
    Loaded,
    PersistentList,
    Reducer,
    ReducerError,
    combine,
    fold,
    take_snapshot,
    unchecked,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


class Card(msgspec.Struct, frozen=True):
    title: str
    moves: int = 0


class Board(msgspec.Struct, frozen=True):
    cards: Map[str, Card] = Map()
    log: PersistentList[str] = PersistentList()


class Calls:
    """Counts how many events were folded."""

    def __init__(self) -> None:
        self.count = 0


def board(
    snapshot_every: int | None = 10, calls: Calls | None = None, version: int = 1
) -> Reducer[Board]:
    reducer = Reducer("board", Board(), version=version, snapshot_every=snapshot_every)

    @reducer.on("card.added")
    @unchecked(reason="it counts its calls for the test")
    def added(state: Board, event: Any) -> Board:
        if calls is not None:
            calls.count += 1
        title = event["title"]
        moves = state.cards[title].moves + 1 if title in state.cards else 0
        return Board(state.cards.set(title, Card(title, moves)), state.log.append(title))

    return reducer


def cards(count: int, start: int = 0) -> list[NewEvent]:
    return [
        NewEvent("card.added", {"title": f"t{number % 7}"})
        for number in range(start, start + count)
    ]


async def expected(store: EventStore, stream: str, count: int) -> Board:
    events = await store.read(stream).list()
    return fold(events[:count], board(None))


async def test_stream_does_not_exist_then_the_initial_state_at_zero(store: EventStore) -> None:
    """A missing stream is an empty one, at the head and at every moment."""
    for at in (None, Version(0), Version(5), Position(3), START, Occurred(START)):
        assert await board().load(store, "none", at) == Loaded(Board(), 0, 0)
    assert await store.snapshots.list("none") == []


async def test_every_version_is_loaded_then_it_is_the_fold_of_the_prefix(
    store: EventStore, clock: Any
) -> None:
    """For each event, loading at its version, position, or recording time gives the state after
    it, with snapshots and without, single and combined."""
    for number in range(30):
        await store.append("other", cards(1))
        clock.move(1)
        await store.append("s", cards(1, number))
    for reducer in (board(4), board(None), combine("both", snapshot_every=4, board=board())):
        await reducer.load(store, "s")
        for event in await store.read("s").list():
            want = await expected(store, "s", event.version)
            for at in (Version(event.version), Position(event.position), event.recorded_at):
                loaded = await reducer.load(store, "s", at)
                state = loaded.state if isinstance(loaded.state, Board) else loaded.state.board
                assert state == want
                assert (loaded.version, loaded.position) == (event.version, event.position)


async def test_moment_lies_between_events_then_the_event_before_it_counts(
    store: EventStore, clock: Any
) -> None:
    """Positions of other streams, and times between two events, mean what stood then."""
    await store.append("s", cards(2))
    await store.append("other", cards(5))
    clock.move(10)
    await store.append("s", cards(1))
    between = START + timedelta(seconds=5)
    for at in (Position(4), between, between.astimezone(), Version(2)):
        loaded = await board().load(store, "s", at)
        assert (loaded.version, loaded.position) == (2, 2)
    assert (await board().load(store, "s", START - timedelta(seconds=1))).version == 0
    for beyond in (99, 2**62, 2**63, 2**70):
        for at in (Version(beyond), Position(beyond)):
            assert (await board().load(store, "s", at)).version == 3
    assert (await board().load(store, "s", Position(99))).position == 8


async def test_source_times_go_back_and_forth_then_occurred_selects_in_log_order(
    store: EventStore, clock: Any
) -> None:
    """`Occurred` folds what had happened by then by the source's clock; an event without a
    source time counts from when it was recorded."""
    times = [3, 1, None, 2]
    for number, seconds in enumerate(times):
        at = None if seconds is None else START + timedelta(seconds=seconds)
        data = {"title": f"t{number}"}
        await store.append("s", [NewEvent("card.added", data, occurred_at=at)])
    clock.move(100)
    loads = {}
    for seconds in (-1, 0, 1, 2, 3):
        loaded = await board(1).load(store, "s", Occurred(START + timedelta(seconds=seconds)))
        loads[seconds] = (list(loaded.state.log), loaded.version, loaded.position)
    assert loads == {
        -1: ([], 0, 0),
        0: (["t2"], 3, 3),
        1: (["t1", "t2"], 3, 3),
        2: (["t1", "t2", "t3"], 4, 4),
        3: (["t0", "t1", "t2", "t3"], 4, 4),
    }
    assert await store.snapshots.list("s") == []


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (5, "say Version"),
        (True, "say Version"),
        (0, "say Version"),
        ("2026-01-01", "not str"),
        (datetime(2026, 1, 1), "naive"),
        (Version(-1), "count from 1"),
        (Position(-1), "count from 1"),
    ],
)
async def test_moment_is_ambiguous_then_refused(store: EventStore, at: Any, message: str) -> None:
    """A bare number, a naive time or a text is refused before anything is read."""
    with pytest.raises(InvalidEvent, match=message):
        await board().load(store, "s", at)
    with pytest.raises(InvalidEvent, match="naive"):
        Occurred(datetime(2026, 1, 1))


async def test_enough_was_folded_then_a_snapshot_is_kept_and_used(store: EventStore) -> None:
    """A load at the head keeps a snapshot after `snapshot_every` events, and the next load folds
    only what came since."""
    calls = Calls()
    reducer = board(10, calls)
    await store.append("s", cards(9))
    await reducer.load(store, "s")
    assert await store.snapshots.list("s") == []
    await store.append("s", cards(1, 9))
    await reducer.load(store, "s")
    (info,) = await store.snapshots.list("s")
    assert (info.reducer, info.version, info.position) == ("board", 10, 10)
    calls.count = 0
    await store.append("s", cards(3, 10))
    loaded = await reducer.load(store, "s")
    assert calls.count == 3
    assert loaded == Loaded(await expected(store, "s", 13), 13, 13)
    assert len(await store.snapshots.list("s")) == 1


async def test_load_is_of_an_earlier_moment_then_no_snapshot_is_kept(store: EventStore) -> None:
    """Looking back writes nothing; it uses the newest snapshot that is not too new."""
    calls = Calls()
    reducer = board(10, calls)
    for start in range(0, 40, 10):
        await store.append("s", cards(10, start))
    await reducer.load(store, "s", Version(20))
    assert await store.snapshots.list("s") == []
    for version in (10, 20, 30):
        await take_at(store, reducer, version)
    for at in (Version(25), Position(25)):
        calls.count = 0
        assert (await reducer.load(store, "s", at)).state == await expected(store, "s", 25)
        assert calls.count == 5
    calls.count = 0
    await reducer.load(store, "s", START)
    assert calls.count == 10


async def take_at(store: EventStore, reducer: Reducer[Any], version: int) -> None:
    loaded = await reducer.load(store, "s", Version(version))
    encoded = reducer.codec().encode(loaded.state)
    await store.snapshots.save(
        "s",
        reducer.name,
        reducer.fingerprint(),
        Snapshot(version, loaded.position, encoded, sha256(encoded).digest()),
    )


async def test_snapshots_are_switched_off_then_none_is_kept_or_read(store: EventStore) -> None:
    """`snapshot_every=None` folds from the start always."""
    calls = Calls()
    reducer = board(None, calls)
    await store.append("s", cards(20))
    await board(10).load(store, "s")
    await reducer.load(store, "s")
    assert calls.count == 20


async def test_code_differs_then_its_snapshot_is_ignored(store: EventStore) -> None:
    """Fingerprints live side by side: each version of the code uses its own snapshots."""
    await store.append("s", cards(20))
    for version in (1, 2):
        calls = Calls()
        await board(10, calls, version=version).load(store, "s")
        assert calls.count == 20
    assert len(await store.snapshots.list("s")) == 2


@pytest.mark.parametrize("damage", ["bytes", "shape", "place", "version"])
async def test_snapshot_is_not_what_was_kept_then_it_is_ignored_and_made_again(
    store: EventStore, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """Damaged bytes, another shape, a place that is not in this log: the load folds anew, gives
    the right state, and keeps a sound snapshot."""
    calls = Calls()
    reducer = board(10, calls)
    await store.append("other", cards(3))
    await store.append("s", cards(20))
    wrong = reducer.codec().encode(Board(Map({"wrong": Card("wrong")})))
    row = {
        "bytes": Snapshot(20, 23, wrong, sha256(b"else").digest()),
        "shape": Snapshot(20, 23, b"junk", sha256(b"junk").digest()),
        "place": Snapshot(20, 20, wrong, sha256(wrong).digest()),
        "version": Snapshot(21, 24, wrong, sha256(wrong).digest()),
    }[damage]
    await store.snapshots.save("s", "board", reducer.fingerprint(), row)
    want = Loaded(await expected(store, "s", 20), 20, 23)
    assert await reducer.load(store, "s") == want
    assert ("ignored" in caplog.text) == (damage in ("bytes", "shape"))
    assert "wrong" not in caplog.text
    calls.count = 0
    assert await reducer.load(store, "s") == want
    assert calls.count == 0


async def test_newest_snapshot_is_damaged_then_an_older_one_serves(store: EventStore) -> None:
    """A sound older snapshot still saves its part of the work."""
    calls = Calls()
    reducer = board(10, calls)
    await store.append("s", cards(20))
    await take_at(store, reducer, 10)
    junk = Snapshot(15, 15, b"junk", sha256(b"other").digest())
    await store.snapshots.save("s", "board", reducer.fingerprint(), junk)
    calls.count = 0
    await reducer.load(store, "s")
    assert calls.count == 10


async def test_state_would_not_come_back_then_it_loads_without_snapshot_and_says_so_once(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A state that cannot be kept is refused a snapshot, never a load; the log names the reducer
    and the reason, once, without content."""
    reducer: Reducer[Any] = Reducer("odd", {}, snapshot_every=5)

    @reducer.on("card.added")
    def added(state: Any, event: Any) -> Any:
        return {event["title"]: Card(event["title"])}

    await store.append("s", [NewEvent("card.added", {"title": "hunter2"})] * 5)
    with caplog.at_level(logging.DEBUG, logger="eventstore"):
        for _ in range(3):
            assert (await reducer.load(store, "s")).state == {"hunter2": Card("hunter2")}
    assert await store.snapshots.list("s") == []
    (record,) = [each for each in caplog.records if "refused a snapshot" in each.message]
    assert "'odd'" in record.message
    assert "give state_type" in record.message
    assert "hunter2" not in caplog.text
    with pytest.raises(ReducerError, match="give state_type"):
        await take_snapshot(reducer, store, "s")


async def test_snapshot_is_too_large_then_the_load_goes_on(
    store: EventStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state beyond the store's bound is loaded without being kept."""
    monkeypatch.setattr("eventstore.snapshots.SNAPSHOT_BYTES_MAX", 10)
    await store.append("s", cards(20))
    assert (await board(10).load(store, "s")).version == 20
    assert await store.snapshots.list("s") == []
    assert "bytes are too many" in caplog.text
    with pytest.raises(ReducerError, match="too large"):
        await take_snapshot(board(10), store, "s")


async def test_store_is_busy_then_the_load_succeeds_without_its_snapshot(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot that cannot be written costs nothing but itself."""

    async def busy(*args: Any) -> bool:
        raise Busy("locked")

    monkeypatch.setattr("eventstore.snapshots.Snapshots.save", busy)
    await store.append("s", cards(20))
    assert (await board(10).load(store, "s")).version == 20


async def test_snapshot_is_taken_by_hand_then_loads_use_it(store: EventStore) -> None:
    """`take_snapshot` keeps the head's state before `snapshot_every` would."""
    calls = Calls()
    reducer = board(1000, calls)
    assert await take_snapshot(reducer, store, "s") == Loaded(Board(), 0, 0)
    assert await store.snapshots.list("s") == []
    await store.append("s", cards(20))
    assert (await take_snapshot(reducer, store, "s")).version == 20
    calls.count = 0
    assert (await reducer.load(store, "s")).state == await expected(store, "s", 20)
    assert calls.count == 0


async def test_tenants_have_the_same_stream_then_their_snapshots_are_apart(
    store: EventStore,
) -> None:
    """A snapshot belongs to its tenant's log."""
    acme = store.tenant("acme")
    await store.append("s", cards(20))
    await board(10).load(store, "s")
    await acme.append("s", cards(12, 3))
    loaded = await board(10).load(acme, "s")
    assert loaded == Loaded(await expected(acme, "s", 12), 12, 12)


class Recounted(msgspec.Struct, frozen=True):
    spent: float = 0
    names: Any = ()
    by_day: dict[str, tuple[int, ...]] = {}


def recount() -> Reducer[Recounted]:
    reducer = Reducer("recount", Recounted(), snapshot_every=3)

    @reducer.on("spent")
    def spent(state: Recounted, event: Any) -> Recounted:
        amount, day = event["amount"], event["day"]
        before = state.by_day.get(day, ())
        return Recounted(
            state.spent + amount,
            (*state.names, event["name"]),
            {**state.by_day, day: (*before, amount)},
        )

    return reducer


spending = st.fixed_dictionaries(
    {
        "amount": st.integers(-5, 5) | st.sampled_from([0.5, 1.0, -0.0]),
        "day": st.sampled_from(["mon", "tue"]),
        "name": st.text(max_size=3) | st.lists(st.integers(0, 3), max_size=2),
    }
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(spending, max_size=5), max_size=8), st.data())
async def test_loads_are_mixed_with_appends_then_each_is_the_fold_of_its_prefix(
    batches: list[list[dict[str, Any]]], data: st.DataObject
) -> None:
    """Whatever snapshots were kept on the way, a load at any version is the fold of the prefix,
    to the type of each number."""
    reducer = recount()
    async with EventStore.open("memory://") as store:
        for batch in batches:
            await store.append("s", [NewEvent("spent", each) for each in batch])
            await reducer.load(store, "s")
        events = await store.read("s").list()
        version = data.draw(st.integers(0, len(events)))
        loaded = await reducer.load(store, "s", Version(version))
        want = fold(events[:version], reducer)
        assert loaded.version == version
        assert loaded.state == want
        assert repr(loaded.state) == repr(want)


async def test_head_moves_while_loading_then_the_state_matches_its_version(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `Loaded.version` says is what was folded, also when somebody appends meanwhile."""
    await store.append("s", cards(150))
    pages = type(store.read("s")).pages

    async def slow(self: Any) -> AsyncIterator[Any]:
        monkeypatch.undo()
        async for page in pages(self):
            yield page
            if page[0].version == 1:
                await store.append("s", cards(1))

    monkeypatch.setattr("eventstore.reading.Events.pages", slow)
    loaded = await board(None).load(store, "s")
    assert loaded.version == 151
    assert loaded.state == await expected(store, "s", loaded.version)


async def test_moment_is_early_then_the_rest_of_the_stream_is_not_read(
    store: EventStore, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at the beginning of a long stream costs what the beginning costs."""
    await store.append("s", cards(150))
    clock.move(1)
    await store.append("s", cards(150))
    pages = type(store.read("s")).pages
    read = 0

    async def counted(self: Any) -> AsyncIterator[Any]:
        nonlocal read
        async for page in pages(self):
            read += len(page)
            yield page

    monkeypatch.setattr("eventstore.reading.Events.pages", counted)
    for at in (Version(50), Position(50)):
        read = 0
        assert (await board(None).load(store, "s", at)).version == 50
        assert read <= 100
