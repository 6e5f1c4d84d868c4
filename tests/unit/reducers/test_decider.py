"""The decider: one command, one decision, whoever else is writing."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from eventstore import (
    Conflict,
    EventStore,
    IdempotencyMismatch,
    InvalidEvent,
    NewEvent,
    event_type,
)
from reducers import Decider, Reducer, ReducerError


class Seats(msgspec.Struct, frozen=True):
    taken: tuple[str, ...] = ()
    free: int = 5


def seats(snapshot_every: int | None = None) -> Reducer[Seats]:
    reducer = Reducer("seats", Seats(), snapshot_every=snapshot_every)

    @reducer.on("seat.taken")
    def taken(state: Seats, event: Any) -> Seats:
        return Seats((*state.taken, event["who"]), state.free - 1)

    return reducer


def take(state: Seats, who: str) -> list[NewEvent]:
    if not state.free or who in state.taken:
        return []
    return [NewEvent("seat.taken", {"who": who})]


class Meddler:
    """Decides like `take`, and lets others append before the append of the first decisions."""

    def __init__(self, store: EventStore, batches: list[int]) -> None:
        self.store = store
        self.batches = batches
        self.seen: list[int] = []

    def decide(self, state: Seats, who: str) -> list[NewEvent]:
        self.seen.append(len(state.taken))
        return [NewEvent("seat.taken", {"who": who})]

    async def append(self, stream: str, events: Any, **options: Any) -> Any:
        if self.batches:
            count = self.batches.pop(0)
            others = [NewEvent("seat.taken", {"who": "other"})] * count
            await self.store.append(stream, others)
        return await self.store.append(stream, events, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


async def test_command_is_run_then_its_events_are_appended_and_the_state_is_after_them(
    store: EventStore,
) -> None:
    """The decision holds the state after its own events, and the append's answer."""
    decider = Decider(seats(), take)
    decision = await decider.run(
        store, "s", "ann", actor="ann", causation_id="c", correlation_id="r", context={"k": 1}
    )
    assert decision.state == Seats(("ann",), 4)
    assert (decision.version, decision.position, decision.attempts) == (1, 1, 1)
    assert not decision.duplicate
    (event,) = decision.events
    assert (event.actor, event.causation_id, event.correlation_id) == ("ann", "c", "r")
    assert event.context == {"k": 1}
    assert await store.read("s").list() == [event]


async def test_nothing_is_decided_then_nothing_is_appended(store: EventStore) -> None:
    """No events: no append, and the key is not spent."""
    decider = Decider(seats(), take)
    await decider.run(store, "s", "ann")
    decision = await decider.run(store, "s", "ann", idempotency_key="k")
    assert decision.result is None
    assert decision.events == ()
    assert not decision.duplicate
    assert (decision.version, decision.position) == (1, 1)
    assert decision.state == Seats(("ann",), 4)
    assert await store.version("s") == 1
    assert await store.lookup("s", "k") is None


async def test_somebody_was_faster_then_it_is_decided_again_on_what_they_wrote(
    store: EventStore,
) -> None:
    """Each attempt sees every event before it; the answer counts the attempts."""
    meddler = Meddler(store, [2, 1])
    decision = await Decider(seats(), meddler.decide).run(meddler, "s", "ann")  # type: ignore[arg-type]  # a store in disguise
    assert meddler.seen == [0, 2, 3]
    assert decision.attempts == 3
    assert decision.version == 4
    assert decision.state.taken == ("other", "other", "other", "ann")


async def test_conflict_carries_the_missed_events_then_nothing_is_read_again(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the conflict brought is folded in; only a truncated one is read from the store."""
    reducer = seats()
    loads = 0
    load = reducer.load

    async def counted(*args: Any, **options: Any) -> Any:
        nonlocal loads
        loads += 1
        return await load(*args, **options)

    monkeypatch.setattr(reducer, "load", counted)
    meddler = Meddler(store, [3])
    await Decider(reducer, meddler.decide).run(meddler, "s", "ann")  # type: ignore[arg-type]  # a store in disguise
    assert (loads, meddler.seen) == (1, [0, 3])
    meddler = Meddler(store, [1001])
    decision = await Decider(reducer, meddler.decide).run(meddler, "s", "bob")  # type: ignore[arg-type]  # a store in disguise
    assert (loads, meddler.seen) == (3, [4, 1005])
    assert decision.version == 1006


async def test_every_attempt_conflicts_then_the_last_conflict_is_raised(store: EventStore) -> None:
    """After `attempts` decisions the conflict is the caller's, and nothing of his is written."""
    meddler = Meddler(store, [1] * 9)
    with pytest.raises(Conflict) as caught:
        await Decider(seats(), meddler.decide).run(meddler, "s", "ann", attempts=3)  # type: ignore[arg-type]  # a store in disguise
    assert meddler.seen == [0, 1, 2]
    assert (caught.value.expected, caught.value.actual) == (2, 3)
    assert await store.version("s") == 3


async def test_key_was_used_then_nothing_is_decided(store: EventStore) -> None:
    """A used key gives what it wrote then, and the state as it was then."""
    decider = Decider(seats(), take)
    first = await decider.run(store, "s", "ann", idempotency_key="k")
    await decider.run(store, "s", "bob")

    def never(state: Seats, command: str) -> list[NewEvent]:
        raise AssertionError("decided")

    again = await Decider(seats(), never).run(store, "s", "ann", idempotency_key="k")
    assert again.duplicate
    assert again.attempts == 0
    assert again.events == first.events
    assert (again.state, again.version, again.position) == (first.state, 1, 1)
    assert await store.version("s") == 2


@pytest.mark.parametrize("same", [True, False])
async def test_key_is_used_between_look_up_and_append_then_the_first_answer_counts(
    store: EventStore, same: bool
) -> None:
    """A retry that overtook this call wrote the command, whether it decided the same or not."""
    wrote = [NewEvent("seat.taken", {"who": "ann" if same else "else"})]

    class Overtaken(Meddler):
        async def append(self, stream: str, events: Any, **options: Any) -> Any:
            await self.store.append(stream, wrote, idempotency_key=options["idempotency_key"])
            return await self.store.append(stream, events, **options)

    decision = await Decider(seats(), take).run(
        Overtaken(store, []),  # type: ignore[arg-type]  # a store in disguise
        "s",
        "ann",
        idempotency_key="k",
    )
    assert decision.duplicate
    assert decision.state.taken == (wrote[0].data["who"],)
    assert await store.version("s") == 1
    if not same:
        with pytest.raises(IdempotencyMismatch):
            await store.append("s", take(Seats(), "ann"), idempotency_key="k")


async def test_many_commands_run_at_once_then_no_seat_is_sold_twice(store: EventStore) -> None:
    """The rule holds under contention: five seats, twenty buyers, five are sold."""
    decider = Decider(seats(snapshot_every=2), take)
    decisions = await asyncio.gather(
        *(decider.run(store, "s", f"buyer{number}", attempts=20) for number in range(20))
    )
    assert sum(1 for each in decisions if each.events) == 5
    assert (await seats().load(store, "s")).state.free == 0
    assert sorted(each.version for each in decisions if each.events) == [1, 2, 3, 4, 5]


async def _async(state: Any, command: Any) -> list[NewEvent]:
    return []


@pytest.mark.parametrize(
    ("decide", "message"),
    [
        (lambda state, command: _async(state, command), "returned an awaitable"),
        (lambda state, command: None, "returned None"),
        (lambda state, command: {"who": "hunter2"}, "returned a dict"),
        (lambda state, command: "hunter2", "returned a str"),
    ],
)
async def test_decide_returns_something_else_then_refused(
    store: EventStore, decide: Any, message: str
) -> None:
    """What is no list of events is named by its kind, and nothing is written."""
    with pytest.raises(ReducerError, match=message) as caught:
        await Decider(seats(), decide).run(store, "s", "ann")
    assert "hunter2" not in str(caught.value)
    assert await store.version("s") == 0


async def test_decide_yields_or_gives_one_event_then_it_is_taken(store: EventStore) -> None:
    """Any iterable of events will do, and one event alone."""

    def yields(state: Seats, who: str) -> Any:
        yield NewEvent("seat.taken", {"who": who})
        yield NewEvent("seat.taken", {"who": who})

    assert (await Decider(seats(), yields).run(store, "s", "ann")).version == 2
    one = Decider(seats(), lambda state, who: NewEvent("seat.taken", {"who": who}))  # type: ignore[arg-type, return-value]  # allowed, not advertised
    assert (await one.run(store, "s", "bob")).version == 3


async def test_decider_or_attempts_are_wrong_then_refused(store: EventStore) -> None:
    """An async decide is refused when the decider is made, bad attempts when it runs."""
    with pytest.raises(ReducerError, match="decide is a sync function"):
        Decider(seats(), _async)  # type: ignore[arg-type]  # that is the test
    with pytest.raises(ReducerError, match="decide is a sync function"):
        Decider(seats(), 5)  # type: ignore[arg-type]  # that is the test
    for attempts in (0, True, "5"):
        with pytest.raises(ReducerError, match="attempts"):
            await Decider(seats(), take).run(store, "s", "ann", attempts=attempts)  # type: ignore[arg-type]  # that is the test
    with pytest.raises(InvalidEvent):
        await Decider(seats(), take).run(store, "s", "ann", idempotency_key="")


async def test_key_is_used_between_look_up_and_load_then_its_events_count_once(
    store: EventStore,
) -> None:
    """The state after a command holds its events once, also when they were loaded already."""

    class Overtaken(Meddler):
        async def lookup(self, stream: str, key: str) -> None:
            await self.store.append(stream, self.decide(Seats(), "ann"), idempotency_key=key)

    overtaken = Overtaken(store, [])
    decision = await Decider(seats(), overtaken.decide).run(
        overtaken,  # type: ignore[arg-type]  # a store in disguise
        "s",
        "ann",
        idempotency_key="k",
    )
    assert decision.duplicate
    assert decision.state == Seats(("ann",), 4)
    assert overtaken.seen == [0, 1]


class Noter(Meddler):
    """A meddler of whom each append brings events of these types."""

    def __init__(self, store: EventStore, types: list[list[str]]) -> None:
        super().__init__(store, [])
        self.types = types

    async def append(self, stream: str, events: Any, **options: Any) -> Any:
        if self.types:
            others = [NewEvent(name, {"who": "other"}) for name in self.types.pop(0)]
            await self.store.append(stream, others)
        return await self.store.append(stream, events, **options)


async def test_only_events_that_commute_were_missed_then_it_is_appended_without_deciding(
    store: EventStore,
) -> None:
    """What was decided stands behind them, the decision says so, and its state has all events."""

    @event_type("note.added")
    class NoteAdded(msgspec.Struct, frozen=True):
        who: str

    noter = Noter(store, [["note.added"], ["note.added", "seen"]])
    decider = Decider(seats(), noter.decide, commutes={NoteAdded, "seen"})
    decision = await decider.run(noter, "s", "ann", idempotency_key="k")  # type: ignore[arg-type]  # a store in disguise
    assert noter.seen == [0]
    assert (decision.attempts, decision.commuted) == (1, 2)
    assert decision.version == 4
    assert decision.state.taken == ("ann",)
    assert [event.type for event in await store.read("s").list()][3] == "seat.taken"
    assert (await decider.run(store, "s", "ann", idempotency_key="k")).commuted == 0


async def test_one_missed_event_does_not_commute_then_it_is_decided_again(
    store: EventStore,
) -> None:
    """One of another type among them is enough; a later conflict is judged on its own."""
    noter = Noter(store, [["seen", "seat.taken"], ["seen"]])
    decider = Decider(seats(), noter.decide, commutes=["seen"])
    decision = await decider.run(noter, "s", "ann")  # type: ignore[arg-type]  # a store in disguise
    assert noter.seen == [0, 1]
    assert (decision.attempts, decision.commuted) == (2, 1)
    assert decision.state.taken == ("other", "ann")


async def test_missed_events_were_truncated_then_it_is_decided_again(store: EventStore) -> None:
    """What the conflict does not carry may be of any type."""
    noter = Noter(store, [["seen"] * 1001])
    decision = await Decider(seats(), noter.decide, commutes={"seen"}).run(noter, "s", "ann")  # type: ignore[arg-type]  # a store in disguise
    assert noter.seen == [0, 0]
    assert (decision.attempts, decision.commuted, decision.version) == (2, 0, 1002)


async def test_every_append_conflicts_then_those_that_commute_count_as_attempts(
    store: EventStore,
) -> None:
    """Appending again is bounded as deciding again is."""
    noter = Noter(store, [["seen"]] * 9)
    with pytest.raises(Conflict):
        await Decider(seats(), noter.decide, commutes={"seen"}).run(noter, "s", "ann", attempts=3)  # type: ignore[arg-type]  # a store in disguise
    assert noter.seen == [0]
    assert await store.version("s") == 3


@pytest.mark.parametrize("commutes", ["seen", [""], [5], [int], 5])
def test_commutes_is_no_set_of_types_then_refused(commutes: Any) -> None:
    """A name alone would be taken for a set of letters."""
    with pytest.raises(InvalidEvent):
        Decider(seats(), take, commutes=commutes)
