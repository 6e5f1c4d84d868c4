"""Bisect: one pass that stops at the culprit, all flips, and snapshots that shorten the way."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import EventStore, NewEvent, RecordedEvent
from reducers import Change, Reducer, ReducerError, bisect, replay, take_snapshot
from reducers.bisecting import Found


class Purse(msgspec.Struct, frozen=True):
    spent: int = 0
    last: str = ""


def purse(snapshot_every: int | None = None) -> Reducer[Purse]:
    reducer = Reducer("purse", Purse(), snapshot_every=snapshot_every)

    @reducer.on("paid")
    def paid(state: Purse, event: Any) -> Purse:
        return Purse(state.spent + event["amount"], event["what"])

    return reducer


def recorded(version: int, kind: str, **data: Any) -> RecordedEvent:
    return RecordedEvent(
        version, "s", version, f"e{version}", kind, 1, msgspec.json.encode(data), 0
    )


def paid(amounts: Iterable[int | None]) -> list[RecordedEvent]:
    """An event for each amount, None for one that the reducer does not handle."""
    return [
        recorded(version, "noted")
        if amount is None
        else recorded(version, "paid", amount=amount, what=f"w{version}")
        for version, amount in enumerate(amounts, 1)
    ]


amounts = st.lists(st.integers(-5, 9) | st.none(), max_size=30)


def naive_flips(events: list[RecordedEvent], predicate: Any) -> list[tuple[int, bool]]:
    """(version, answer) of every flip, from the steps of a replay."""
    held, found = predicate(Purse()), []
    for step in replay(events, purse()):
        if predicate(step.after) != held:
            held = not held
            found.append((step.event.version, held))
    return found


@given(amounts, st.integers(-3, 20))
def test_history_is_bisected_then_found_is_what_a_replay_says(
    history: list[int | None], limit: int
) -> None:
    """The first event after which it holds, and with `every` each flip with its direction."""
    events = paid(history)

    def over(state: Purse) -> bool:
        return state.spent > limit

    first = next((step for step in replay(events, purse()) if over(step.after)), None)
    found = bisect(events, purse(), over)
    assert (found is None) == (first is None)
    if found is not None and first is not None:
        assert found == Found(first.event, True, first.before, first.after)
    flips = bisect(events, purse(), over, every=True)
    assert [(each.event.version, each.holds) for each in flips] == naive_flips(events, over)


def test_event_is_found_then_nothing_behind_it_is_taken() -> None:
    """One pass stops where it found something, so that the history may be endless."""
    endless = iter(paid([1] * 3) + paid(range(10**3)))
    found = bisect(endless, purse(), lambda state: state.spent >= 2)
    assert found is not None
    assert found.event.version == 2
    assert found.changes == [
        Change("replace", "/last", "w1", "w2"),
        Change("replace", "/spent", 1, 2),
    ]
    assert next(endless).version == 3


def test_it_holds_from_the_start_then_the_first_event_is_found_and_no_flip() -> None:
    """Of what holds already, the first event is the first after which it holds, and none flips."""
    events = paid([None, 1])
    found = bisect(events, purse(), lambda state: state.spent < 9)
    assert found is not None
    assert found.event.version == 1
    assert bisect(events, purse(), lambda state: state.spent < 9, every=True) == []


def test_predicate_raises_then_the_event_is_named_and_no_payload() -> None:
    """The message names predicate, kind of error and event, never what is in the state."""

    def picky(state: Purse) -> bool:
        raise KeyError(state.last)

    with pytest.raises(ReducerError, match=r"picky raised KeyError, asked after 'paid'.*1\)") as e:
        bisect([recorded(1, "paid", amount=1, what="hunter2")], purse(), picky)
    assert "hunter2" not in str(e.value)
    with pytest.raises(ReducerError, match="asked of the initial state"):
        bisect([], purse(), picky, every=True)


async def _awaited(state: Purse) -> bool:
    return True


@pytest.mark.parametrize("predicate", [_awaited, lambda state: _awaited(state), 5])
def test_predicate_is_no_sync_function_then_refused(predicate: Any) -> None:
    """A coroutine would count as true and find the first event."""
    with pytest.raises(ReducerError, match="sync function of the state"):
        bisect(paid([1]), purse(), predicate)


def test_handler_raises_then_the_event_is_named_as_in_a_fold() -> None:
    """A bisect is a fold, and its errors are told in the same way."""
    with pytest.raises(KeyError) as caught:
        bisect([recorded(1, "paid")], purse(), lambda state: False)
    assert "version 1" in caught.value.__notes__[0]
    reducer: Reducer[int] = Reducer("r", 0)
    reducer.on("paid")(lambda state, event: None)
    with pytest.raises(ReducerError, match="returned None"):
        bisect(paid([1]), reducer, lambda state: False)


class _Asked:
    """A predicate that counts how often it is asked."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.times = 0

    def __call__(self, state: Purse) -> bool:
        self.times += 1
        return state.spent >= self.limit


async def filled(store: EventStore, history: list[int], kept: Iterator[int]) -> None:
    """A stream of payments with a snapshot behind each version of `kept`."""
    reducer, done = purse(snapshot_every=10**6), 0
    for until in [*kept, len(history)]:
        events = [NewEvent("paid", {"amount": each, "what": "x"}) for each in history[done:until]]
        if events:
            await store.append("s", events)
            await take_snapshot(reducer, store, "s")
        done = until


@settings(max_examples=25)
@given(
    history=st.lists(st.integers(0, 3), max_size=20),
    kept=st.sets(st.integers(0, 20), max_size=4),
    limit=st.integers(0, 30),
)
async def test_snapshots_are_used_then_found_is_what_the_linear_scan_finds(
    history: list[int], kept: set[int], limit: int
) -> None:
    """Whatever snapshots there are, a monotone predicate is answered as without them."""
    async with EventStore.open("memory://") as store:
        await filled(store, history, iter(sorted(each for each in kept if each <= len(history))))
        reducer = purse(snapshot_every=10**6)
        asked = _Asked(limit)
        events = await store.read("s").list()
        assert await reducer.bisect(store, "s", asked, monotone=True) == bisect(
            events, reducer, asked
        )
        assert await reducer.bisect(store, "s", asked) == bisect(events, reducer, asked)
        flips = bisect(events, reducer, asked, every=True)
        assert await reducer.bisect(store, "s", asked, every=True) == flips
        assert await reducer.bisect(store, "s", asked, every=True, monotone=True) == flips


@pytest.mark.parametrize("limit", [1, 100, 101, 150, 200, 201, 250, 251])
async def test_predicate_is_monotone_then_only_events_between_two_snapshots_are_asked(
    store: EventStore, limit: int
) -> None:
    """What lies before the snapshot that does not hold yet is never folded."""
    await filled(store, [1] * 250, itertools.chain([100, 200]))
    asked = _Asked(limit)
    found = await purse(10**6).bisect(store, "s", asked, monotone=True)
    if limit == 251:
        assert found is None
    else:
        assert found is not None
        assert found.event.version == found.after.spent == limit
    assert asked.times <= 100 + 4
    plain = _Asked(limit)
    assert await purse(10**6).bisect(store, "s", plain) == found
    # Once for each event, and where it turns once more of the state before.
    assert plain.times == min(limit, 250) + (1 < limit <= 250)


async def test_snapshot_tells_another_state_than_the_events_then_it_is_said(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot that holds where no event makes it hold is an error, not an answer."""
    await filled(store, [1] * 20, itertools.chain([10]))
    reducer = purse(10**6)
    monkeypatch.setattr(reducer.codec(), "decode", lambda encoded: Purse(100))
    with pytest.raises(ReducerError, match="version 10, and of no state up to there; verify"):
        await reducer.bisect(store, "s", lambda state: state.spent >= 100, monotone=True)


async def test_snapshot_is_damaged_then_the_way_is_longer_and_the_answer_the_same(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not decode is not asked."""
    await filled(store, [1] * 20, itertools.chain([10]))
    reducer = purse(10**6)

    def damaged(encoded: bytes) -> Purse:
        raise ReducerError("it does not decode")

    monkeypatch.setattr(reducer.codec(), "decode", damaged)
    asked = _Asked(15)
    found = await reducer.bisect(store, "s", asked, monotone=True)
    assert found is not None
    assert (found.event.version, asked.times) == (15, 15 + 1)
