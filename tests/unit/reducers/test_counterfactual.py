"""What would have happened: the difference to the outcome, and whose effect is another one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

from eventstore import InvalidEvent, NewEvent, Position, RecordedEvent, event_type
from reducers import Change, Reducer, counterfactual, diff, fold, replay


class Stock(msgspec.Struct, frozen=True):
    pieces: Map[str, int] = Map()
    refused: int = 0


def stock() -> Reducer[Stock]:
    reducer = Reducer("stock", Stock(), snapshot_every=None)

    @reducer.on("added")
    def added(state: Stock, event: Any) -> Stock:
        count = state.pieces.get(event["what"], 0) + event["pieces"]
        return Stock(state.pieces.set(event["what"], count), state.refused)

    @reducer.on("taken")
    def taken(state: Stock, event: Any) -> Stock:
        left = state.pieces.get(event["what"], 0) - event["pieces"]
        if left < 0:
            return Stock(state.pieces, state.refused + 1)
        return Stock(state.pieces.set(event["what"], left), state.refused)

    return reducer


def recorded(version: int, kind: str, what: str = "chair", pieces: int = 1) -> RecordedEvent:
    payload = msgspec.json.encode({"pieces": pieces, "what": what})
    return RecordedEvent(
        version + 10, "s", version, f"e{version}", kind, 1, payload, 5, actor="ann"
    )


histories = st.lists(
    st.tuples(
        st.sampled_from(["added", "taken", "else"]), st.sampled_from("ab"), st.integers(0, 3)
    ),
    min_size=1,
    max_size=12,
).map(lambda made: [recorded(n, *each) for n, each in enumerate(made, 1)])


@settings(max_examples=30)
@given(histories, st.data())
def test_event_is_replaced_by_itself_then_nothing_is_another(
    history: list[RecordedEvent], data: st.DataObject
) -> None:
    """The identity: no change, and nobody affected, however the same event is given."""
    event = data.draw(st.sampled_from(history))
    given_as = data.draw(
        st.sampled_from([event, NewEvent(event.type, event.data), dict(event.data)])
    )
    which = data.draw(st.sampled_from([event.id, event.version]))
    outcome = counterfactual(history, stock(), replace={which: given_as})
    assert outcome.changes == []
    assert outcome.affected == []
    assert outcome.before == outcome.state == fold(history, stock())


@settings(max_examples=30)
@given(histories, st.data())
def test_history_is_supposed_then_the_outcome_is_its_fold_and_the_affected_are_those_of_replays(
    history: list[RecordedEvent], data: st.DataObject
) -> None:
    """The oracle edits the list and replays both, and compares what each event changed."""
    versions = st.sampled_from([event.version for event in history])
    drop = data.draw(st.sets(versions, max_size=2))
    replace = {
        version: recorded(version, "added", "b", 2)
        for version in data.draw(st.sets(versions, max_size=2))
        if version not in drop
    }
    insert = {
        version: [recorded(version, "taken", "a", 1)]
        for version in data.draw(st.sets(versions | st.just(0), max_size=2))
    }
    supposed = [*insert.get(0, [])]
    for event in history:
        if event.version not in drop:
            supposed.append(replace.get(event.version, event))
        supposed += insert.get(event.version, [])
    outcome = counterfactual(history, stock(), drop, replace, insert)
    assert outcome.before == fold(history, stock())
    assert outcome.state == fold(supposed, stock())
    assert outcome.changes == diff(outcome.before, outcome.state)
    put_in = {id(each) for given_events in insert.values() for each in given_events}
    after = {
        step.event.version: step.changes
        for step in replay(supposed, stock())
        if id(step.event) not in put_in
    }
    expected = [
        (step.event, step.changes, after[step.event.version])
        for step in replay(history, stock())
        if step.event.version in after and step.changes != after[step.event.version]
    ]
    assert [(each.event, each.before, each.after) for each in outcome.affected] == expected


def test_event_is_dropped_then_who_built_on_it_is_affected() -> None:
    """Only events whose own effect is another one are named, with what they did and would do."""
    history = [
        recorded(1, "added", "chair", 2),
        recorded(2, "added", "table", 1),
        recorded(3, "taken", "chair", 2),
        recorded(4, "taken", "table", 1),
    ]
    outcome = counterfactual(iter(history), stock(), drop=["e1"])
    assert outcome.changes == [
        Change("remove", "/pieces/chair", 0, None),
        Change("replace", "/refused", 0, 1),
    ]
    (affected,) = outcome.affected
    assert affected.event is history[2]
    assert affected.before == [Change("replace", "/pieces/chair", 2, 0)]
    assert affected.after == [Change("replace", "/refused", 0, 1)]


def test_events_are_given_as_they_are_appended_then_they_stand_as_the_store_would_record_them() -> (
    None
):
    """A replaced event keeps what is not said anew; an inserted one has its neighbour's place."""
    reducer: Reducer[tuple[Any, ...]] = Reducer("seen", ())

    @event_type("counted", tags=lambda counted: ["typed"])
    class Counted(msgspec.Struct, frozen=True):
        pieces: int

    @reducer.on("added")
    @reducer.on(Counted)
    def kept(state: tuple[Any, ...], event: Any) -> tuple[Any, ...]:
        said = (event.position, event.version, event.id, event.data, event.actor, event.tags)
        return (*state, (*said, event.recorded_us, event.occurred_at))

    moment = datetime(2026, 1, 1, tzinfo=UTC)
    outcome = counterfactual(
        [recorded(1, "added"), recorded(2, "added")],
        reducer,
        replace={"e2": {"pieces": 7, "what": "x"}},
        insert={
            0: Counted(3),
            2: [NewEvent("added", {"n": 1}, id="mine", occurred_at=moment), Counted(4)],
        },
    )
    assert outcome.state == (
        (10, 0, "inserted-0-1", Counted(3), None, ("typed",), 5, None),
        outcome.before[0],
        (12, 2, "e2", {"pieces": 7, "what": "x"}, "ann", (), 5, None),
        (12, 2, "mine", {"n": 1}, None, (), 5, moment),
        (12, 2, "inserted-2-2", Counted(4), None, ("typed",), 5, None),
    )


def test_there_is_no_event_then_what_is_inserted_is_all() -> None:
    """Of nothing, too, something can be supposed."""
    outcome = counterfactual([], stock(), insert={0: NewEvent("added", {"what": "x", "pieces": 2})})
    assert outcome.state.pieces == Map({"x": 2})
    assert outcome.before == Stock()


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"drop": ["e9"]}, "drop: there is no event 'e9'"),
        ({"replace": {9: {}}}, "replace: there is no event 9"),
        ({"insert": {9: NewEvent("added", {})}}, "insert: there is no event 9"),
        ({"drop": [0]}, "0: name an event by its id"),
        ({"drop": [True]}, "True: name an event"),
        ({"drop": [Position(11)]}, r"Position\(11\): name an event"),
        ({"drop": "e1"}, "drop: a list"),
        ({"drop": ["e1"], "replace": {1: {}}}, "dropped or replaced twice"),
        ({"drop": ["e1", 1]}, "dropped or replaced twice"),
        ({"replace": {1: NewEvent("added", {"hunter2": float("nan")})}}, "NaN|finite"),
        ({"insert": {1: 5}}, "a NewEvent or an instance"),
    ],
)
def test_what_is_supposed_cannot_be_then_refused(edits: dict[str, Any], message: str) -> None:
    """A name that leads nowhere would be taken for a change without effect."""
    with pytest.raises(InvalidEvent, match=message):
        counterfactual([recorded(1, "added"), recorded(2, "added")], stock(), **edits)


def test_version_is_there_twice_then_it_is_asked_for_the_id() -> None:
    """Events of several streams are named by their ids."""
    history = [recorded(1, "added"), msgspec.structs.replace(recorded(1, "added"), id="other")]
    with pytest.raises(InvalidEvent, match="twice; name events by their id"):
        counterfactual(history, stock(), drop=[1])
    assert counterfactual(history, stock(), drop=["other"]).state.pieces["chair"] == 1


def test_supposed_history_breaks_a_handler_then_it_is_told_which_history_it_was() -> None:
    """The note keeps the reader from looking for the fault in what was recorded."""
    with pytest.raises(KeyError) as caught:
        counterfactual([recorded(1, "added")], stock(), replace={1: {"pieces": 1}})
    assert any("supposed history" in note for note in caught.value.__notes__)
