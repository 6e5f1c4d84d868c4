"""Registration of handlers, and what their events hold."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import msgspec
import pytest
from immutables import Map
from pydantic import BaseModel

from eventstore import EventStore, InvalidEvent, NewEvent, event_type, upcast
from eventstore.registry import isolated_registry
from reducers import PersistentList, Reducer, ReducerError, fold

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Count(msgspec.Struct, frozen=True):
    number: int = 0


def collector(name: str = "collector") -> Reducer[tuple[Any, ...]]:
    return Reducer(name, ())


def test_type_is_registered_twice_then_refused() -> None:
    """One type has one handler."""
    reducer = collector()
    reducer.on("a")(lambda state, event: state)
    with pytest.raises(ReducerError, match="'a' has a handler already"):
        reducer.on("a")(lambda state, event: state)


async def test_decorator_is_stacked_then_each_type_is_handled(store: EventStore) -> None:
    """One function may handle several types, and stays a plain function."""
    reducer = Reducer("count", 0)

    @reducer.on("a")
    @reducer.on("b")
    def either(state: int, event: Any) -> int:
        return state + 1

    await store.append("s", [NewEvent("a", {}), NewEvent("b", {}), NewEvent("c", {})])
    assert fold(await store.read("s").list(), reducer) == 2
    assert either(5, None) == 6


def test_class_has_no_event_name_then_refused() -> None:
    """`on(Class)` takes registered classes only, and says what to do."""
    with pytest.raises(ReducerError, match="Count is no registered event type"):
        collector().on(Count)


def test_class_and_name_of_one_type_are_registered_then_refused() -> None:
    """A class and its name are one type."""
    event_type("counted")(Count)
    reducer = collector()
    reducer.on(Count)(lambda state, event: state)
    with pytest.raises(ReducerError, match="'counted' has a handler already"):
        reducer.on("counted")(lambda state, event: state)


@pytest.mark.parametrize("wrong", [5, None, lambda state, event: state])
def test_on_is_given_something_else_then_refused(wrong: Any) -> None:
    """Forgotten parentheses and other mistakes are named."""
    with pytest.raises(ReducerError, match="takes an event's name or class"):
        collector().on(wrong)


async def _async(state: Any, event: Any) -> Any:
    return state


def _yields(state: Any, event: Any) -> Any:
    yield state


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (_async, "not async"),
        (_yields, "this one yields"),
        (lambda state: state, "called with"),
        ("text", "a function, not str"),
    ],
)
def test_handler_is_no_pure_function_of_two_then_refused(handler: Any, message: str) -> None:
    """What cannot be a handler is refused when it is registered."""
    with pytest.raises(ReducerError, match=message):
        collector().on("a")(handler)


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5])
def test_version_or_snapshot_every_is_no_count_then_refused(wrong: Any) -> None:
    """Versions and distances are ints from 1 on."""
    with pytest.raises(ReducerError, match="version is an int"):
        Reducer("r", 0, version=wrong)
    with pytest.raises(ReducerError, match="snapshot_every is an int"):
        Reducer("r", 0, snapshot_every=wrong)
    with pytest.raises(InvalidEvent, match="reducer"):
        Reducer("", 0)


def test_state_is_not_frozen_then_refused() -> None:
    """A Struct state is frozen, and has one JSON form."""

    class Loose(msgspec.Struct):
        number: int = 0

    class Short(msgspec.Struct, frozen=True, omit_defaults=True):
        number: int = 0

    with pytest.raises(ReducerError, match="Loose is not frozen"):
        Reducer("r", Loose())
    with pytest.raises(ReducerError, match="Short has omit_defaults"):
        Reducer("r", Short())


class Titled(msgspec.Struct, frozen=True):
    title: str


class TitledModel(BaseModel):
    title: str


@pytest.mark.parametrize("cls", [Titled, TitledModel])
async def test_name_is_handled_then_data_is_always_a_dict(store: EventStore, cls: Any) -> None:
    """`on("name")` gets a dict: before a class is registered, after it, and when typed data was
    appended."""
    reducer = collector()

    @reducer.on("titled")
    def titled(state: Any, event: Any) -> Any:
        return (*state, event.data, event["title"])

    await store.append("s", [NewEvent("titled", {"title": "a"})])
    assert fold(await store.read("s").list(), reducer) == ({"title": "a"}, "a")
    event_type("titled")(cls)
    await store.append("s", [cls(title="b")])
    events = await store.read("s").list()
    assert isinstance(events[1].data, cls)
    assert fold(events, reducer) == ({"title": "a"}, "a", {"title": "b"}, "b")


@pytest.mark.parametrize("cls", [Titled, TitledModel])
async def test_class_is_handled_then_data_is_always_the_instance(
    store: EventStore, cls: Any
) -> None:
    """`on(Class)` gets the instance, also for events that were read as dicts before the class
    was registered."""
    await store.append("s", [NewEvent("titled", {"title": "a"})])
    early = await store.read("s").list()
    assert early[0].data == {"title": "a"}
    event_type("titled")(cls)
    reducer = collector()

    @reducer.on(cls)
    def titled(state: Any, event: Any) -> Any:
        return (*state, event.data, event.title)

    assert fold(early, reducer) == (cls(title="a"), "a")
    assert fold(await store.read("s").list(), reducer) == (cls(title="a"), "a")


async def test_stored_version_is_old_then_handlers_get_the_current_one(store: EventStore) -> None:
    """Both kinds of handler see old events upcast to the current schema version."""
    await store.append("s", [NewEvent("titled", {"name": "a"})])
    event_type("titled", version=2)(Titled)
    upcast("titled", from_version=1)(lambda data: {"title": data["name"]})
    by_name, by_class = collector("by_name"), collector("by_class")
    by_name.on("titled")(lambda state, event: (*state, event.data))
    by_class.on(Titled)(lambda state, event: (*state, event.data))
    events = await store.read("s").list()
    assert fold(events, by_name) == ({"title": "a"},)
    assert fold(events, by_class) == (Titled("a"),)


async def test_class_lost_its_name_then_the_handler_is_refused_the_event(store: EventStore) -> None:
    """A class that this process no longer registers cannot be decoded, and that is said."""
    await store.append("s", [NewEvent("titled", {"title": "a"})])
    event_type("titled")(Titled)
    reducer = collector()
    reducer.on(Titled)(lambda state, event: state)
    with isolated_registry(), pytest.raises(ReducerError, match="Titled is no longer registered"):
        fold(await store.read("s").list(), reducer)


def test_initial_could_be_changed_then_each_fold_gets_its_own() -> None:
    """Changing a dict that a fold returned does not change the reducer."""
    reducer: Reducer[dict[str, Any]] = Reducer("r", {"items": []})
    fold((), reducer)["items"].append(1)
    assert fold((), reducer) == {"items": []}


class Holder(msgspec.Struct, frozen=True):
    inner: Any = None


class Row(msgspec.Struct, frozen=True, array_like=True):
    inner: Any = None


class Short(msgspec.Struct, frozen=True, omit_defaults=True):
    inner: dict[str, int] = {}


class FrozenModel(BaseModel, frozen=True):
    inner: dict[str, int] = {}


@pytest.mark.parametrize(
    ("initial", "find"),
    [
        (Holder({}), lambda state: state.inner),
        (Row({}), lambda state: state.inner),
        (Holder(Short()), lambda state: state.inner.inner),
        (Holder(({},)), lambda state: state.inner[0]),
        (({},), lambda state: state[0]),
        (Map({"a": {}}), lambda state: state["a"]),
        (PersistentList([{}]), lambda state: state[0]),
        (FrozenModel(), lambda state: state.inner),
        (Holder(FrozenModel()), lambda state: state.inner.inner),
    ],
)
async def test_handler_changes_something_inside_a_frozen_state_then_no_other_stream_sees_it(
    store: EventStore, initial: Any, find: Callable[[Any], dict[str, int]]
) -> None:
    """What a handler wrongly changes in place stays in its own fold, however deep it lies."""
    initial = copy.deepcopy(initial)
    reducer: Reducer[Any] = Reducer("r", initial, snapshot_every=None)

    @reducer.on("a")
    def added(state: Any, event: Any) -> Any:
        find(state)[event.stream] = 1
        return state

    await store.append("one", [NewEvent("a", {})])
    await store.append("two", [NewEvent("a", {})])
    assert find((await reducer.load(store, "one")).state) == {"one": 1}
    assert find((await reducer.load(store, "two")).state) == {"two": 1}
    find(initial)["late"] = 1
    assert find(reducer.initial) == {}


@pytest.mark.parametrize(
    "initial", [Holder((1, "x", None, msgspec.UNSET)), (Row(NOON),), Map({"a": Count()}), None]
)
def test_nothing_in_the_initial_state_can_be_changed_then_it_is_not_copied(initial: Any) -> None:
    """A state that is immutable throughout costs no copy."""
    reducer: Reducer[Any] = Reducer("r", initial)
    assert fold((), reducer) is initial


def test_initial_state_can_be_changed_and_not_copied_then_refused() -> None:
    """It is refused at once, and not by the first fold."""
    with pytest.raises(ReducerError, match="not be copied"):
        Reducer("r", {"lock": Lock()})


def test_reducer_is_shown_then_name_version_and_types_are_seen() -> None:
    """A reducer in a log line says which it is."""
    reducer = Reducer("board", 0, version=3)
    reducer.on("b")(lambda state, event: state)
    reducer.on("a")(lambda state, event: state)
    assert repr(reducer) == "<Reducer 'board' version 3: a, b>"
