"""Folds: order, splitting, combined reducers, and what handlers may not do."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import InvalidEvent, RecordedEvent
from reducers import PersistentList, Reducer, ReducerError, combine, fold


def recorded(kind: str, version: int = 1, **data: Any) -> RecordedEvent:
    payload = msgspec.json.encode(data)
    return RecordedEvent(version, "s", version, f"id-{version}", kind, 1, payload, 0)


class Trail(msgspec.Struct, frozen=True):
    steps: PersistentList[str] = PersistentList()
    total: int = 0


def trail() -> Reducer[Trail]:
    reducer = Reducer("trail", Trail())

    @reducer.on("a")
    def added(state: Trail, event: Any) -> Trail:
        return Trail(state.steps.append(f"a{event['n']}"), state.total + event["n"])

    @reducer.on("b")
    def doubled(state: Trail, event: Any) -> Trail:
        return Trail(state.steps.append("b"), state.total * 2)

    return reducer


def counter(name: str = "counter") -> Reducer[int]:
    reducer = Reducer(name, 0)
    reducer.on("a")(lambda state, event: state + 1)
    return reducer


def events_of(kinds: list[tuple[str, int]]) -> list[RecordedEvent]:
    return [recorded(kind, index, n=n) for index, (kind, n) in enumerate(kinds, 1)]


histories = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=80)


@given(histories, st.lists(st.integers(0, 80), max_size=4))
def test_fold_is_split_anywhere_then_it_gives_the_same(kinds, cuts) -> None:
    """Folding in any parts is folding at once, for a single and for a combined reducer."""
    events = events_of(kinds)
    bounds = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    for reducer in (trail(), combine("both", trail=trail(), counter=counter())):
        state = reducer.initial
        for start, end in pairwise(bounds):
            state = fold(events[start:end], reducer, state)
        assert state == fold(iter(events), reducer)


def test_event_has_no_handler_then_the_state_is_the_same_object() -> None:
    """What a reducer does not handle leaves its state alone."""
    for reducer in (trail(), combine("both", trail=trail(), counter=counter())):
        state = fold(events_of([("a", 1)]), reducer)
        assert fold(events_of([("c", 1)]), reducer, state) is state


def test_handlers_change_nothing_then_the_combined_state_is_the_same_object() -> None:
    """A part that answers with the state it was given causes no new state."""
    part: Reducer[int] = Reducer("same", 300)
    part.on("a")(lambda state, event: state)
    both = combine("both", part=part, other=combine("inner", part=part))
    state = both.initial
    assert fold(events_of([("a", 1)]), both, state) is state


def test_state_is_given_as_none_then_the_fold_goes_on_from_none() -> None:
    """None is a state like others where the reducer allows it."""
    reducer: Reducer[Any] = Reducer("r", 5, state_type=int | None)
    reducer.on("a")(lambda state, event: None if state == 5 else state)
    assert fold(events_of([("a", 1)]), reducer) is None
    assert fold([], reducer, None) is None


def test_handler_returns_none_by_mistake_then_it_is_named() -> None:
    """A forgotten return is an error that names reducer, handler and type, and no payload."""
    reducer = Reducer("r", 0)

    @reducer.on("a")
    def forgetful(state: int, event: Any) -> Any:
        state + event["n"]

    for each in (reducer, combine("both", part=reducer, counter=counter())):
        with pytest.raises(ReducerError, match=r"'r': handler .*forgetful for 'a' returned None"):
            fold(events_of([("a", 77)]), each)


def test_initial_is_none_then_none_is_a_legitimate_state() -> None:
    """A reducer that begins with None may return to it, alone and as a part."""
    reducer: Reducer[Any] = Reducer("r", None)
    reducer.on("a")(lambda state, event: 1)
    reducer.on("b")(lambda state, event: None)
    events = events_of([("a", 0), ("b", 0)])
    assert fold(events, reducer) is None
    assert fold(events, combine("both", part=reducer)).part is None


def test_handler_raises_then_a_note_names_the_event_without_its_data() -> None:
    """The error stays the handler's own; its note says where."""
    with pytest.raises(KeyError) as caught:
        fold([recorded("a", 3, secret="hunter2")], trail())
    (note,) = caught.value.__notes__
    assert note == "reducer 'trail', last event taken: 'a' (stream 's' version 3)"


def test_parts_are_combined_then_each_is_what_it_is_alone() -> None:
    """A combined state holds each part's own state under its name, nested ones too."""
    inner = combine("inner", trail=trail())
    outer = combine("outer", inner=inner, counter=counter())
    events = events_of([("a", 4), ("b", 0), ("c", 0), ("a", 1)])
    state = fold(events, outer)
    assert state.inner.trail == fold(events, trail())
    assert state.counter == 2
    assert type(state).__struct_fields__ == ("inner", "counter")
    with pytest.raises(AttributeError):
        state.counter = 3


def test_one_part_changes_then_the_others_stay_the_same_objects() -> None:
    """Unchanged parts are shared between states, and the state before is untouched."""
    both = combine("both", trail=trail(), counter=counter())
    before = fold(events_of([("a", 1)]), both)
    after = fold(events_of([("b", 1)]), both, before)
    assert after.counter is before.counter
    assert before.trail.total == 1
    assert after.trail.total == 2


def test_part_gets_a_handler_later_then_the_combined_reducer_sees_it() -> None:
    """Parts may be completed after they were combined and used."""
    part = counter()
    both = combine("both", counter=part)
    assert fold(events_of([("b", 0)]), both).counter == 0
    part.on("b")(lambda state, event: state + 10)
    assert fold(events_of([("b", 0)]), both).counter == 10


def test_combine_is_misused_then_refused() -> None:
    """Nothing to combine, something else than reducers, and handlers on the whole are refused."""
    with pytest.raises(ReducerError, match="at least one"):
        combine("none")
    with pytest.raises(ReducerError, match="part is a Reducer, not int"):
        combine("wrong", part=5)  # type: ignore[arg-type]  # that is the test
    with pytest.raises(ReducerError, match="register on one of its parts"):
        combine("both", counter=counter()).on("a")
    with pytest.raises(InvalidEvent):
        combine("", counter=counter())


def test_combined_handler_is_named_then_each_part_is() -> None:
    """Messages about a combined reducer name the part with the function."""
    both = combine("both", trail=trail(), counter=counter())
    assert "trail: " in both.handler_name("a")
    assert "counter: " in both.handler_name("a")
    assert "counter" not in both.handler_name("b")
