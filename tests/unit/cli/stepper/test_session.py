"""The session that is stepped through, without a terminal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cli.exits import Stop
from cli.expressions import Expression
from cli.stepper import session as module
from cli.stepper.session import Session
from eventstore import EventStore, NewEvent, Position, Version
from reducers import PersistentList, Reducer, ReducerError, fold, replay, take_snapshot
from reducers.agent import agent

STREAM = "session/offsite"

log: Reducer[PersistentList[int]] = Reducer("log", initial=PersistentList(), version=1)


@log.on("n")
def counted(state: PersistentList[int], event: Any) -> PersistentList[int]:
    """Keeps the numbers."""
    return state.append(event.data["n"])


@pytest.fixture
async def long(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A stream of 1,000 events, with pages and distances that it goes beyond."""
    monkeypatch.setattr(module, "PAGE_EVENTS", 16)
    monkeypatch.setattr(module, "PAGES_KEPT", 3)
    monkeypatch.setattr(module, "SPACING", 32)
    monkeypatch.setattr(module, "CHECKPOINTS_MAX", 8)
    monkeypatch.setattr(module, "RECENT_MAX", 20)
    monkeypatch.setattr(module, "FAR_EVENTS", 100)
    await store.append("long", [NewEvent("n", {"n": number}) for number in range(1, 1_001)])
    return await Session.open(store, "long", log)


async def test_session_is_stepped_through_then_each_step_is_that_of_a_replay(
    store: EventStore,
) -> None:
    """Forward and back again: the same events, states and changes."""
    session = await Session.open(store, STREAM, agent)
    steps = list(replay(await store.read(STREAM).list(), agent))
    for step in [*steps, *reversed(steps)]:
        await session.go(step.event.version)
        assert session.step is not None
        assert session.step.event == step.event
        assert session.step.after == step.after
        assert session.changes == step.changes


@pytest.mark.parametrize(("asked", "given"), [(-5, 1), (0, 1), (4, 4), (11, 10), (2**62, 10)])
async def test_version_lies_outside_then_it_is_the_nearest(
    store: EventStore, asked: int, given: int
) -> None:
    """A step beyond an end stays there."""
    session = await Session.open(store, STREAM, agent)
    await session.go(asked)
    assert session.version == given


async def test_stream_has_grown_then_the_end_is_the_new_one(store: EventStore) -> None:
    """A live session can be followed by asking for its end again."""
    session = await Session.open(store, STREAM, agent, 10)
    await store.append(STREAM, [NewEvent("task.added", {"task_id": "x", "title": "New"})])
    await session.go(11)
    assert (session.version, session.last) == (11, 11)
    assert session.look("/tasks/tasks/x/title") == "New"


async def test_places_are_visited_in_any_order_then_states_are_those_of_a_fold(
    long: Session,
) -> None:
    """Whatever was kept or dropped on the way."""
    for version in (1_000, 999, 3, 517, 516, 515, 640, 1, 992, 993, 31, 32, 33):
        assert list(await long.state(version)) == list(range(1, version + 1))
        assert [e.version for e in await long.events(version - 5, version + 20)] == list(
            range(max(version - 5, 1), min(version + 20, 1_000) + 1)
        )
    assert len(long._kept) <= module.CHECKPOINTS_MAX
    assert len(long._recent) <= module.RECENT_MAX
    assert len(long._pages) <= module.PAGES_KEPT


async def test_end_was_visited_then_a_step_back_reads_next_to_nothing(
    long: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The states around the place that is looked at are kept."""
    await long.go(1_000)
    folded: list[int] = []

    def seen(events: Any, *rest: Any) -> Any:
        taken = list(events)
        folded.extend(event.version for event in taken)
        return fold(taken, *rest)

    monkeypatch.setattr(module, "fold", seen)
    for version in range(999, 990, -1):
        await long.go(version)
    assert folded == []


async def test_snapshot_stands_then_a_far_jump_begins_with_it(
    long: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the store keeps need not be folded again."""
    await take_snapshot(log, long.store, "long")
    await long.store.append("long", [NewEvent("n", {"n": 1_001})])
    folded: list[int] = []

    def seen(events: Any, *rest: Any) -> Any:
        taken = list(events)
        folded.extend(event.version for event in taken)
        return fold(taken, *rest)

    monkeypatch.setattr(module, "fold", seen)
    await long.go(1_001)
    assert len(await long.state(1_001)) == 1_001
    assert folded == [1_001]


async def test_point_is_named_then_its_event_is_found(store: EventStore) -> None:
    """A version, a position, or a time of recording: the last event that lies within."""
    session = await Session.open(store, STREAM, agent)
    events = await session.events(1, 10)
    assert await session.find(Version(7)) == 7
    assert await session.find(Position(4)) == 4
    assert await session.find(Position(10**9)) == 10
    assert await session.find(events[5].recorded_at) == 6
    assert await session.find(events[5].recorded_at - timedelta(milliseconds=1)) == 5


@pytest.mark.parametrize("point", [Version(0), Version(11), Position(0)])
async def test_point_lies_outside_then_it_is_refused_with_the_bounds(
    store: EventStore, point: Version | Position
) -> None:
    """A typing error does not become the nearest event."""
    session = await Session.open(store, STREAM, agent)
    with pytest.raises(Stop):
        await session.find(point)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("GARDEN", 7),
        ("tool.req", 6),
        ("team:red", 3),
        ("bücher", 10),
        ("完", 10),
        ('"people"', None),
        ("people", 2),
        ("nowhere", None),
    ],
)
async def test_text_is_searched_then_the_next_event_that_holds_it_is_found(
    store: EventStore, text: str, version: int | None
) -> None:
    """In type, actor, tags and payload, large and small letters alike."""
    session = await Session.open(store, STREAM, agent)
    found = await session.search(text)
    assert found == version


async def test_search_goes_back_then_it_finds_the_event_before(store: EventStore) -> None:
    """From the event that is looked at, without it."""
    session = await Session.open(store, STREAM, agent, 8)
    assert await session.search("model.called", backwards=True) == 4
    assert await session.search("model.called") is None
    await session.go(4)
    assert await session.search("model.called", backwards=True) is None
    assert await session.search("session.started", backwards=True) == 1


async def test_expression_comes_true_then_a_run_stops_there_both_ways(store: EventStore) -> None:
    """At the event that made it true, not at those after it."""
    session = await Session.open(store, STREAM, agent)
    session.breakpoints.append(Expression("usage.cost > 0.05"))
    assert await session.run() == (8, "when: usage.cost > 0.05")
    await session.go(8)
    assert await session.run() is None
    await session.go(10)
    assert await session.run(backwards=True) == (8, "when: usage.cost > 0.05")


async def test_path_is_watched_then_a_run_stops_at_each_change_of_it(store: EventStore) -> None:
    """Also where it comes to be; what was written again unchanged is no change."""
    session = await Session.open(store, STREAM, agent)
    session.watches.append("/tasks/tasks/room/status")
    stops = []
    while (found := await session.run()) is not None:
        stops.append(found[0])
        await session.go(found[0])
    assert stops == [3, 5, 9]
    back = []
    await session.go(10)
    while (found := await session.run(backwards=True)) is not None:
        back.append(found[0])
        await session.go(found[0])
    assert back == [9, 5, 3]


async def test_run_is_long_then_it_tells_how_far_it_is(long: Session) -> None:
    """And finds in a long session what it finds in a short one, both ways."""
    long.breakpoints.append(Expression("len(state) == 600"))
    told: list[tuple[int, int]] = []
    assert await long.run(progress=lambda done, total: told.append((done, total))) == (
        600,
        "when: len(state) == 600",
    )
    assert told
    assert all(0 < done <= total == 999 for done, total in told)
    await long.go(1_000)
    assert await long.run(backwards=True) == (600, "when: len(state) == 600")


async def test_expression_asks_for_a_field_that_is_not_there_then_the_run_says_so(
    store: EventStore,
) -> None:
    """The version stays where it was."""
    session = await Session.open(store, STREAM, agent)
    session.breakpoints.append(Expression("usage.total_cost > 1"))
    with pytest.raises(Stop, match=r"no 'usage\.total_cost' in the state"):
        await session.run()
    assert session.version == 1


async def test_a_handler_changes_its_input_then_the_session_refuses_it(store: EventStore) -> None:
    """No step is shown whose state before it is no longer what it was."""
    careless: Reducer[dict[str, int]] = Reducer("careless", {"n": 0})

    @careless.on("n")
    def add(state: dict[str, int], event: Any) -> dict[str, int]:
        if event["n"] > 1:
            state["n"] += 1
            return state
        return {**state}

    await store.append("s", [NewEvent("n", {"n": number}) for number in (1, 2, 3)])
    session = await Session.open(store, "s", careless)
    session.watches.append("/n")
    for ask in (session.go(2), session.go(3), session.run()):
        with pytest.raises(ReducerError, match="changed the state it was given"):
            await ask
