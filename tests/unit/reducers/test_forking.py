"""Forks at a moment: which version each names, and what a retry is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventstore import (
    Conflict,
    EventStore,
    IdempotencyMismatch,
    InvalidEvent,
    NewEvent,
    Occurred,
    Position,
    RecordedEvent,
    Version,
)
from eventstore.testing import SteppingClock
from reducers import Reducer, divergence, fold, fork, state_hash
from reducers.forking import version_at

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _notes() -> list[NewEvent]:
    return [NewEvent("n", n, occurred_at=NOON + timedelta(hours=n)) for n in range(1, 5)]


def _summing() -> Reducer[Any]:
    made: Reducer[Any] = Reducer("sum", initial=0)

    @made.on("n")
    def n(state: Any, event: RecordedEvent) -> Any:
        return 10 * state + event.data

    return made


@pytest.mark.parametrize(
    ("at", "version"),
    [
        (None, 4),
        (Version(2), 2),
        (Position(4), 3),  # position 1 is another stream's
        (Position(99), 4),
        (Occurred(NOON + timedelta(hours=2)), 2),
        (Occurred(NOON + timedelta(hours=2, minutes=59)), 2),
    ],
)
async def test_a_moment_is_given_then_the_fork_holds_what_stood_by_then(
    at: Any, version: int
) -> None:
    """Every kind of moment is inclusive; none is the head."""
    async with EventStore.open("memory://") as store:
        await store.append("other", NewEvent("n", 0))
        await store.append("s", _notes())
        result = await fork(store, "s", into="f", at=at, actor="ann")
        assert result.version == version + 1
        assert [event.data for event in (await store.read("f").list())[:-1]] == [
            event.data for event in (await store.read("s", limit=version).list())
        ]


async def test_a_time_of_recording_is_given_then_it_is_inclusive() -> None:
    """An event that was recorded at that very moment is inherited."""
    async with EventStore.open("memory://", clock=SteppingClock()) as store:
        for event in _notes():
            await store.append("s", event)
        third = (await store.read("s").list())[2]
        assert await version_at(store, "s", third.recorded_at) == 3
        assert await version_at(store, "s", third.recorded_at - timedelta(microseconds=1)) == 2


@pytest.mark.parametrize(
    "at",
    [Version(0), Version(5), Position(0), Occurred(NOON), NOON, 3, "3", NOON.replace(tzinfo=None)],
)
async def test_nothing_stood_by_then_then_it_is_refused(at: Any) -> None:
    """There is nothing to begin with, or the moment is none; nothing is written."""
    async with EventStore.open("memory://") as store:
        await store.append("s", _notes())
        with pytest.raises(InvalidEvent):
            await fork(store, "s", into="f", at=at)
        with pytest.raises(InvalidEvent):
            await fork(store, "none", into="f")
        assert await store.head() == 4


@pytest.mark.parametrize("at", [None, Position(99), Occurred(NOON + timedelta(days=9))])
async def test_the_stream_has_grown_since_then_a_retry_is_told_its_first_answer(at: Any) -> None:
    """With a key a fork at a moment is what the moment was at its first sending; another moment
    is another call."""
    async with EventStore.open("memory://") as store:
        await store.append("s", _notes())
        first = await fork(store, "s", into="f", at=at, idempotency_key="k")
        await store.append("s", NewEvent("n", 5, occurred_at=NOON + timedelta(hours=5)))
        again = await fork(store, "s", into="f", at=at, idempotency_key="k")
        assert (again.duplicate, again.events) == (True, first.events)
        for other in (Position(2), Version(5)):
            with pytest.raises(IdempotencyMismatch):
                await fork(store, "s", into="f", at=other, idempotency_key="k")
        with pytest.raises(Conflict):
            await fork(store, "s", into="f", at=at)


async def test_a_fork_gets_the_rest_of_its_parent_then_its_state_is_the_parents() -> None:
    """A fork in the middle and the original tail give the original state, from a snapshot too."""
    summing = _summing()
    summing.snapshot_every = 1
    async with EventStore.open("memory://") as store:
        await store.append("s", _notes())
        await fork(store, "s", into="f", at=Version(2))
        rest = [NewEvent(e.type, e.data) for e in await store.read("s", after=2).list()]
        await store.append("f", rest)
        whole = fold(await store.read("s").list(), summing)
        for _ in range(2):
            loaded = await summing.load(store, "f")
            assert state_hash(loaded.state) == state_hash(whole)
        assert (await summing.load(store, "f", at=Version(2))).state == 12


@pytest.mark.parametrize("at", [Position(-3), Version(-1)])
async def test_a_moment_lies_before_all_counting_then_each_call_refuses_it_alike(at: Any) -> None:
    """What `load` refuses, a fork, a divergence and a blame do as well, in the same words."""
    reducer = _summing()
    async with EventStore.open("memory://") as store:
        await store.append("s", _notes())
        for ask in (
            reducer.load(store, "s", at),
            reducer.blame(store, "s", "", at=at),
            divergence(store, "s", "s", at=at),
            fork(store, "s", into="f", at=at),
        ):
            with pytest.raises(InvalidEvent, match="count from 1"):
                await ask
