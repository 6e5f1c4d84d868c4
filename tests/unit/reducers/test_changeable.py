"""Handlers that change the state they were given are seen and told, at a bearable price."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from immutables import Map

from eventstore import RecordedEvent
from reducers import PersistentList, Reducer, ReducerError, bisect, blame, counterfactual, replay
from reducers.changeable import Watch, unchangeable


def history(count: int) -> list[RecordedEvent]:
    return [
        RecordedEvent(
            n, "s", n, f"e{n}", "x", 1, msgspec.json.encode({"n": n, "key": "hunter2"}), 0
        )
        for n in range(1, count + 1)
    ]


def careless() -> Reducer[Any]:
    """Nothing of its initial state is changed, but what the first event put into it is."""
    reducer: Reducer[Any] = Reducer("careless", {})

    @reducer.on("x")
    def put(state: Any, event: Any) -> Any:
        made = {**state}
        made.setdefault("cards", {})[event["key"]] = event["n"]
        return made

    return reducer


def in_list() -> Reducer[Any]:
    """An item of a tuple is a dict, and is changed."""
    reducer: Reducer[Any] = Reducer("careless", ())

    @reducer.on("x")
    def put(state: Any, event: Any) -> Any:
        if state:
            state[0]["n"] = event["n"]
            return (*state,)
        return ({"n": 0},)

    return reducer


def counting() -> Reducer[Any]:
    """The state that is given is the one that is returned."""
    reducer: Reducer[Any] = Reducer("careless", {"n": 0})

    @reducer.on("x")
    def add(state: Any, event: Any) -> Any:
        state["n"] += event["n"]
        return state

    return reducer


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (careless, "/cards/hunter2"),
        (careless, "/cards"),
        (careless, ""),
        (in_list, "/0/n"),
        (counting, "/n"),
    ],
)
def test_state_was_changed_in_place_behind_the_first_event_then_blame_refuses(
    make: Callable[[], Reducer[Any]], path: str
) -> None:
    """An event that changed what it was given would be left out of the answer."""
    with pytest.raises(ReducerError, match=r"'careless': .* changed the state .*version 3") as told:
        blame(history(3), make(), path)
    assert "hunter2" not in str(told.value)


class Listed(msgspec.Struct, frozen=True):
    items: Any = ()


def test_it_could_be_changed_for_a_few_events_only_then_blame_refuses_all_the_same() -> None:
    """What a handler changed in place is seen also where neither the states before nor those long
    after it hold anything that can be changed."""
    reducer: Reducer[Listed] = Reducer("careless", Listed())

    @reducer.on("x")
    def put(state: Listed, event: Any) -> Listed:
        match event["n"]:
            case 301:
                return Listed(["v1"])
            case 302:
                state.items[0] = "v2"
                return Listed(state.items)
            case 303:
                return Listed(tuple(state.items))
        return state

    with pytest.raises(ReducerError, match=r"changed the state it was given, .*version 302\)"):
        blame(history(620), reducer, "/items/0")


def test_another_part_was_changed_in_place_then_blame_answers() -> None:
    """Only what the path leads to is watched, because watching all of a large state is dear."""
    reducer = careless()
    reducer.on("y")(lambda state, event: {**state, "sound": event["n"]})
    events = history(3)
    events.append(msgspec.structs.replace(events[2], version=4, type="y"))
    assert [each.event.version for each in blame(events, reducer, "/sound")] == [4]


@pytest.mark.parametrize("make", [careless, in_list, counting])
def test_state_was_changed_in_place_then_nothing_is_supposed(
    make: Callable[[], Reducer[Any]],
) -> None:
    """Both histories would have the change, and no difference would be found."""
    with pytest.raises(ReducerError, match=r"changed the state it was given, at .*version") as told:
        counterfactual(history(3), make(), drop=[2])
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("every", [False, True])
def test_state_was_changed_in_place_then_bisect_refuses_instead_of_finding_no_difference(
    every: bool,
) -> None:
    """The state before the event that was found would be the one after it."""
    with pytest.raises(ReducerError, match=r"asked again of the state before .*version 2\)"):
        bisect(history(3), counting(), lambda state: state["n"] > 2, every=every)


class Logged(msgspec.Struct, frozen=True):
    log: list[int]
    done: int = 0


def test_the_event_that_is_found_changed_another_part_in_place_then_bisect_refuses() -> None:
    """Its changes would be told without what it did to the state before it."""
    reducer: Reducer[Logged] = Reducer("careless", Logged([]))

    @reducer.on("x")
    def done(state: Logged, event: Any) -> Logged:
        state.log.append(event["n"])
        return msgspec.structs.replace(state, done=state.done + 1)

    for every in (False, True):
        with pytest.raises(ReducerError, match=r"changed the state it was given, .*version 3\)"):
            bisect(history(5), reducer, lambda state: state.done >= 3, every)


def test_predicate_remembers_then_it_is_no_question_about_the_state() -> None:
    """What it says about one state must not depend on how often it was asked."""
    reducer: Reducer[int] = Reducer("sum", 0)
    reducer.on("x")(lambda state, event: state + event["n"])
    asked: list[int] = []

    def third(state: int) -> bool:
        asked.append(state)
        return len(asked) >= 3

    with pytest.raises(ReducerError, match="asks for more than the state"):
        bisect(history(3), reducer, third)


class Card(msgspec.Struct, frozen=True):
    title: str = ""
    marks: Any = ()


SIZE = 3_000


def cards(marks: Any) -> Iterable[tuple[str, Card]]:
    return ((f"card-{n}", Card("x", marks)) for n in range(SIZE))


@pytest.mark.parametrize("kind", ["map", "list"])
def test_large_state_has_one_new_part_then_little_of_it_is_looked_at(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a step costs does not grow with the state: of thousands of entries some dozens are
    looked at, because nodes of a map are known again as its entries are."""
    reducer: Reducer[Any] = Reducer(
        "large",
        Map(cards(())) if kind == "map" else PersistentList(Card(str(n)) for n in range(SIZE)),
    )
    reducer.on("x")(
        lambda state, event: (
            state.set(f"card-{event['n']}", Card("new"))
            if kind == "map"
            else state.append(Card("new"))
        )
    )
    watch, states = Watch(), [step.after for step in replay(history(2), reducer)]
    watch.look(states[0])
    looked: list[Any] = []
    remember = watch._remember

    def remembered(value: Any) -> None:
        looked.append(value)
        remember(value)

    def referents(node: Any) -> list[Any]:
        looked.append(node)
        return gc.get_referents(node)

    monkeypatch.setattr(watch, "_remember", remembered)
    monkeypatch.setattr("reducers.changeable.gc", SimpleNamespace(get_referents=referents))
    assert watch.look(states[1]) == ([], b"")
    assert 0 < len(looked) < 100


def test_one_entry_of_a_large_map_can_be_changed_then_it_is_found_whenever_it_was() -> None:
    """Nodes that lead to something changeable are gone through every time."""
    marks: list[int] = []
    state = Map(cards(())).set("card-77", Card("y", marks))
    assert not unchangeable(state)
    assert unchangeable(state.delete("card-77"))
    watch = Watch()
    for number in range(3):
        seen = watch.look(state)
        assert not watch.changed(seen)
        marks.append(number)
        assert watch.changed(seen)
        state = state.set(f"card-{number}", Card("new"))


@pytest.mark.parametrize(
    ("before", "after"),
    [(1, True), (1, 1.0), (0.0, -0.0), (None, float("nan")), ("1", 1), (b"1", "1"), ([], ())],
)
def test_value_became_one_that_equals_it_then_it_was_changed_all_the_same(
    before: Any, after: Any
) -> None:
    """Unless JSON has one form for both, as for a list and a tuple."""
    state = {"a": before, 5: "keys of any kind"}
    watch = Watch()
    seen = watch.look(state)
    state["a"] = after
    assert watch.changed(seen) is not isinstance(before, list)


def test_state_has_no_json_form_then_it_is_refused_as_in_a_diff() -> None:
    """What cannot be written down cannot be watched."""
    with pytest.raises(ReducerError, match="no JSON form"):
        Watch().look({"a": object()})


def test_a_state_is_nested_too_deeply_then_it_is_refused_as_such() -> None:
    """It ends in no error of the interpreter, at the beginning and behind an event."""
    deep: Any = ()
    for _ in range(3_000):
        deep = (deep,)
    with pytest.raises(ReducerError, match="nested too deeply"):
        Reducer("deep", deep)
    with pytest.raises(ReducerError, match="nested too deeply"):
        Watch().look(deep)
