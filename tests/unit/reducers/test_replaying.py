"""Replay: steps as they are, lazily, and handlers that cheat."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map
from pydantic import BaseModel

from eventstore import RecordedEvent
from eventstore.canonical import freeze
from reducers import PersistentList, Reducer, ReducerError, combine, diff, fold, replay
from reducers.agent import conversation
from reducers.changeable import unchangeable


def recorded(kind: str, version: int, **data: Any) -> RecordedEvent:
    return RecordedEvent(
        version, "s", version, f"e{version}", kind, 1, msgspec.json.encode(data), 0
    )


class State(msgspec.Struct, frozen=True):
    log: PersistentList[Any] = PersistentList()
    by_name: Map[str, Any] = Map()
    loose: Any = ()


class Model(BaseModel):
    count: int = 0


def logger() -> Reducer[State]:
    reducer = Reducer("logger", State())

    @reducer.on("said")
    def said(state: State, event: Any) -> State:
        log = state.log.append(event["text"])
        return State(log, state.by_name.set(event["text"], event.version), state.loose)

    return reducer


@given(st.lists(st.tuples(st.sampled_from(["said", "else"]), st.text(max_size=3)), max_size=50))
def test_events_are_replayed_then_the_steps_are_the_fold(history: Any) -> None:
    """Each event is a step; its states are those of the fold, its changes their diff."""
    events = [recorded(kind, n, text=text) for n, (kind, text) in enumerate(history, 1)]
    state = State()
    for event, step in zip(events, replay(events, logger()), strict=True):
        assert step.event is event
        assert step.before == state
        state = fold([event], logger(), state)
        assert step.after == state
        assert step.changes == diff(step.before, step.after)
        assert (step.after is step.before) == (event.type == "else")
        state = step.after


def test_history_is_endless_then_replay_is_lazy() -> None:
    """Only as many events are taken as steps are asked for."""
    endless = (recorded("said", n, text="x") for n in itertools.count(1))
    steps = list(itertools.islice(replay(endless, logger()), 3))
    assert [step.event.version for step in steps] == [1, 2, 3]
    assert next(endless).version == 4
    assert repr(steps[0]) == "<Step 'said' (stream 's' version 1)>"


def test_state_is_given_then_replay_goes_on_from_it() -> None:
    """A replay may begin in the middle."""
    begin = State(PersistentList(["before"]))
    (step,) = replay([recorded("said", 2, text="x")], logger(), begin)
    assert step.before is begin
    assert [change.path for change in step.changes] == ["/by_name/x", "/log/1"]


def _dict(state: Any) -> Any:
    state["n"] = state.get("n", 0) + 1
    return state


def _dict_and_copy(state: Any) -> Any:
    state.setdefault("list", []).append(1)
    return {**state}


def _model(state: Any) -> Any:
    state.count += 1
    return state


def _inside(state: Any) -> Any:
    state.loose[0]["x"].append(2)
    return state


def _inside_map(state: Any) -> Any:
    items = state.by_name["x"][0]
    items.add(len(items))
    return State(state.log.append(1), state.by_name)


class Row(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    items: dict[str, int] = {}


def _row(state: Any) -> Any:
    state.loose.items["n"] = 1
    return state


def _forced(state: Any) -> Any:
    state.log[40].append("x")
    return State(state.log.append(1))


@pytest.mark.parametrize(
    ("initial", "change"),
    [
        ({}, _dict),
        ({"list": []}, _dict_and_copy),
        (Model(), _model),
        (State(loose=({"x": [1]},)), _inside),
        (State(loose=Row()), _row),
        (State(by_name=Map({"x": (set(),)})), _inside_map),
        (State(PersistentList([*range(40), [], *range(40)])), _forced),
    ],
)
@pytest.mark.parametrize("combined", [False, True])
def test_handler_changes_its_input_then_it_is_named(
    initial: Any, change: Any, combined: bool
) -> None:
    """A change in place is found wherever it is, and the message names handler and event."""
    reducer: Reducer[Any] = Reducer("r", initial)

    @reducer.on("fair")
    def fair(state: Any, event: Any) -> Any:
        return state

    @reducer.on("cheat")
    def cheating(state: Any, event: Any) -> Any:
        return change(state)

    whole = combine("whole", part=reducer) if combined else reducer
    events = [recorded("fair", 1), recorded("cheat", 2, secret="hunter2")]
    steps = replay(events, whole)
    next(steps)
    with pytest.raises(ReducerError, match=r"cheating changed the state.*'cheat' .*version 2") as e:
        next(steps)
    assert "hunter2" not in str(e.value)


def test_handler_keeps_event_data_then_nothing_is_suspected() -> None:
    """Read-only data of events may stand in a state, and sharing structure is no change."""
    reducer: Reducer[Any] = Reducer("r", State())
    reducer.on("kept")(lambda state, event: State(state.log.append(event["value"]), loose={"a": 1}))
    events = [recorded("kept", n, value={"deep": [n]}) for n in range(1, 70)]
    steps = list(replay(events, reducer))
    assert steps[-1].after == fold(events, reducer)
    assert [change.path for change in steps[-1].changes] == ["/log/68"]


def test_many_objects_were_seen_then_the_watch_forgets_and_still_sees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The memory of what is sound is bounded; forgetting costs time, never a finding."""
    monkeypatch.setattr("reducers.changeable.REMEMBERED_MAX", 3)
    reducer: Reducer[Any] = Reducer("r", State())
    reducer.on("a")(lambda state, event: State(state.log.append((event.version,)), loose=([],)))
    reducer.on("b")(lambda state, event: state.loose[0].append(1) or state)
    events = [recorded("a", n) for n in range(1, 40)]
    assert len(list(replay(events, reducer))) == 39
    with pytest.raises(ReducerError, match="changed the state"):
        list(replay([*events, recorded("b", 40)], reducer))


def test_state_was_read_only_event_data_then_it_is_no_change() -> None:
    """A state that is an event's own data is read-only and needs no watch."""
    reducer: Reducer[Any] = Reducer("r", freeze({"x": [1]}))
    reducer.on("a")(lambda state, event: event.data)
    (step,) = replay([recorded("a", 1, x=[1, 2])], reducer)
    assert [(each.op, each.path) for each in step.changes] == [("add", "/x/1")]


def test_messages_of_texts_replayed_then_nothing_in_them_is_changeable() -> None:
    """A message with a text for its content is looked at once, not after every later event: a
    replay of 20,000 of them took hours."""
    event = recorded("message.added", 1, role="user", content="hi")
    assert unchangeable(fold([event], conversation))
