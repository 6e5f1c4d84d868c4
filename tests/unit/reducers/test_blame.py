"""Blame: which events gave a path its value, through containers, and where those came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

from eventstore import RecordedEvent
from reducers import PersistentList, Reducer, ReducerError, blame, combine, fold, to_json
from reducers.blaming import Blamed
from reducers.json_form import MISSING
from reducers.origins import came_from
from reducers.pointers import find, join, split


def recorded(version: int, kind: str, data: Any) -> RecordedEvent:
    payload = msgspec.json.encode(data)
    return RecordedEvent(version, "s", version, f"e{version}", kind, 1, payload, 0)


def history(*steps: tuple[str, Any]) -> list[RecordedEvent]:
    return [recorded(version, kind, data) for version, (kind, data) in enumerate(steps, 1)]


def versions(found: Sequence[Blamed]) -> list[int]:
    return [blamed.event.version for blamed in found]


def told(found: Sequence[Blamed]) -> list[tuple[int, str, Any, Any]]:
    return [
        (each.event.version, each.path, to_json(each.before), to_json(each.after)) for each in found
    ]


def tree() -> Reducer[Any]:
    """A JSON object; `set` puts a value at a path of names, making objects on the way, `cut`
    takes one away. What an event does somewhere depends on nothing that stands elsewhere."""
    reducer: Reducer[Any] = Reducer("tree", {})

    @reducer.on("set")
    def put(state: Any, event: Any) -> Any:
        return _put(state, event["at"], event["value"])

    @reducer.on("cut")
    def cut(state: Any, event: Any) -> Any:
        return _cut(state, event["at"])

    return reducer


def _put(value: Any, at: Sequence[str], leaf: Any) -> Any:
    if not at:
        return leaf
    known = value if isinstance(value, dict) else {}
    return {**known, at[0]: _put(known.get(at[0]), at[1:], leaf)}


def _cut(value: Any, at: Sequence[str]) -> Any:
    if not isinstance(value, dict) or at[0] not in value:
        return value
    left = {name: item for name, item in value.items() if name != at[0]}
    if len(at) > 1:
        left[at[0]] = _cut(value[at[0]], at[1:])
    return left


def shelf() -> Reducer[Any]:
    """A list in an event's own words: each event holds the list that it leaves behind."""
    reducer: Reducer[Any] = Reducer("shelf", ())
    reducer.on("is")(lambda state, event: tuple(_kept(state, item) for item in event.data))
    return reducer


def _kept(state: Any, item: Any) -> Any:
    """The item as it stood before, where it did, so that states share it."""
    return next((old for old in state if old == item), item)


def test_value_was_set_again_then_each_event_is_blamed_newest_first() -> None:
    """The newest event gave the present value, each further one the value before it."""
    events = history(
        ("set", {"at": ["a"], "value": 1}),
        ("set", {"at": ["b"], "value": 1}),
        ("set", {"at": ["a"], "value": 2}),
        ("unheard.of", {}),
        ("set", {"at": ["a"], "value": 2}),
    )
    found = blame(events, tree(), "/a")
    assert told(found) == [(3, "/a", 1, 2), (1, "/a", None, 1)]
    assert [(each.op, each.path) for each in found[0].changes] == [("replace", "/a")]
    assert [(each.op, each.path) for each in found[1].changes] == [("add", "/a")]
    assert [(each.depth, each.via, each.unfollowed) for each in found] == [(0, None, False)] * 2


def test_container_was_replaced_then_what_changed_below_it_is_blamed_on_it() -> None:
    """An event that set an ancestor gave the value; one that replaced it by the same did not."""
    events = history(
        ("set", {"at": ["a", "b"], "value": {"x": 1, "y": 1}}),
        ("set", {"at": ["a"], "value": {"b": {"x": 1, "y": 2}}}),
    )
    assert told(blame(events, tree(), "/a/b/x")) == [(1, "/a/b/x", None, 1)]
    assert told(blame(events, tree(), "/a/b/y")) == [(2, "/a/b/y", 1, 2), (1, "/a/b/y", None, 1)]
    (newest, _) = blame(events, tree(), "/a")
    assert [each.path for each in newest.changes] == ["/a/b/y"]


def test_value_was_removed_and_added_again_then_its_history_goes_through_the_removal() -> None:
    """Members of objects are followed by name; a path where nothing stands is blamed too."""
    events = history(
        ("set", {"at": ["a", "b"], "value": 1}),
        ("cut", {"at": ["a"]}),
        ("set", {"at": ["a", "b"], "value": 1}),
        ("cut", {"at": ["a", "b"]}),
    )
    found = blame(events, tree(), "/a/b")
    assert told(found) == [
        (4, "/a/b", 1, None),
        (3, "/a/b", None, 1),
        (2, "/a/b", 1, None),
        (1, "/a/b", None, 1),
    ]
    assert [change.op for each in found for change in each.changes] == [
        "remove",
        "add",
        "remove",
        "add",
    ]
    assert versions(blame(events[:3], tree(), "/a/b")) == [3, 2, 1]


def test_nothing_ever_stood_there_then_nobody_is_blamed() -> None:
    """What no event changed has no history, be it absent or in the initial state."""
    reducer: Reducer[dict[str, Any]] = Reducer("r", {"a": {"b": 1}})
    reducer.on("x")(lambda state, event: {**state, "n": event.version})
    events = history(("x", {}), ("x", {}))
    assert blame(events, reducer, "/a/b") == blame(events, reducer, "/zz/0/x") == []
    assert blame(events, reducer, "/n/deeper") == blame([], reducer, "") == []
    assert versions(blame(events, reducer, "")) == [2, 1]


@pytest.mark.parametrize("path", ["a", "a/b", 7, None])
def test_path_is_no_pointer_then_it_is_refused(path: Any) -> None:
    """A path begins with a slash, or is empty."""
    with pytest.raises(ReducerError, match="is no path"):
        blame([], tree(), path)


def test_item_moved_along_its_list_then_the_event_that_put_it_there_is_blamed() -> None:
    """An insertion, a removal and a sort in front of an item gave it no value."""
    a, b, c, d = ({"id": name} for name in "abcd")
    better = {"id": "b", "done": True}
    events = history(
        ("is", [a]),
        ("is", [a, b]),
        ("is", [c, a, b]),
        ("is", [c, a, better]),
        ("is", [better, c, a]),
        ("is", [better, a]),
        ("is", [d, better, a]),
    )
    assert told(blame(events, shelf(), "/1")) == [(4, "/2", b, better), (2, "/1", None, b)]
    assert told(blame(events, shelf(), "/1/done")) == [(4, "/2/done", None, True)]
    assert told(blame(events, shelf(), "/1/id")) == [(2, "/1/id", None, "b")]
    assert versions(blame(events, shelf(), "/2")) == [1]
    assert versions(blame(events, shelf(), "/0")) == [7]


def test_item_changed_while_it_moved_then_it_is_followed_where_it_is_the_only_one_left() -> None:
    """Items that are left over on both sides, as many before as after, are the same ones."""
    events = history(
        ("is", [["a", 1], ["b", 2], ["c", 3]]),
        ("is", [["b", 0], ["a", 1], ["c", 3]]),
    )
    assert told(blame(events, shelf(), "/0/1")) == [(2, "/0/1", 2, 0), (1, "/1/1", None, 2)]


def test_list_became_shorter_then_what_stood_at_its_end_was_removed() -> None:
    """A place behind the end is blamed on the event that left it empty."""
    events = history(("is", ["a", "b", "c"]), ("is", ["a", "c"]))
    assert told(blame(events, shelf(), "/2")) == [(2, "/2", "c", None), (1, "/2", None, "c")]
    assert versions(blame(events, shelf(), "/1")) == [1]


@pytest.mark.parametrize(
    ("was", "now", "origins"),
    [
        ("abc", "abc", [0, 1, 2]),
        ("abc", "abcd", [0, 1, 2, None]),
        ("abc", "xabc", [None, 0, 1, 2]),
        ("abc", "ac", [0, 2]),
        ("abc", "cba", [2, 1, 0]),
        ("abc", "axc", [0, 1, 2]),
        ("a", "aa", [0, None]),
        ("aba", "aab", [0, 2, 1]),
        ("abcd", "xbay", [2, 1, 0, 3]),
        ("", "a", [None]),
        ("xbyb", "zb", [0, 1]),
        ("xbyzb", "bb", [4, 1]),
        ("pbq", "bbs", [0, 1, 2]),
        ("xb", "ybb", [0, 1, None]),
        ("xyzcb", "cb", [3, 4]),
        ("bxyb", "zb", [0, 3]),
        ("abcd", "dxyzb", [3, None, 2, None, 1]),
    ],
)
@pytest.mark.parametrize("kind", [tuple, list, PersistentList])
def test_list_changed_then_each_item_came_from_where_it_is_said(
    was: str, now: str, origins: list[int | None], kind: Any
) -> None:
    """Items that stayed first, then the ends, then equal items in order, then what is left."""
    old, new = kind(list(was)), kind(list(now))
    assert [came_from(old, new, place) for place in range(len(now))] == origins
    apart = kind([{"id": each} for each in was]), kind([{"id": each} for each in now])
    assert [came_from(*apart, place) for place in range(len(now))] == origins
    found = [origin for origin in origins if origin is not None]
    assert len(found) == len(set(found))


class Row(msgspec.Struct, frozen=True, array_like=True):
    name: str
    count: int = 0


class Odd(msgspec.Struct, frozen=True, rename="camel"):
    by_number: Map[int, Row] = Map()
    some_tags: frozenset[str] = frozenset()
    log: PersistentList[Any] = PersistentList()


def test_struct_is_an_array_then_its_fields_have_their_places() -> None:
    """A value that stood in another field before did not move from there: it was set."""
    reducer: Reducer[Any] = Reducer("row", Row("2", 1))
    reducer.on("is")(lambda state, event: Row(*event.data))
    events = history(("is", ["1", 1]), ("is", ["2", 2]))
    assert told(blame(events, reducer, "/1")) == [(2, "/1", 1, 2)]
    reducer.on("swapped")(lambda state, event: Row(state.count, state.name))
    (newest, *_) = blame([*events, recorded(3, "swapped", {})], reducer, "/0")
    assert told([newest]) == [(3, "/0", "2", 2)]


def odd() -> Reducer[Odd]:
    reducer = Reducer("odd", Odd())

    @reducer.on("counted")
    def counted(state: Odd, event: Any) -> Odd:
        row = Row(event["name"], event.version)
        return msgspec.structs.replace(state, by_number=state.by_number.set(event["n"], row))

    @reducer.on("tagged")
    def tagged(state: Odd, event: Any) -> Odd:
        return msgspec.structs.replace(state, some_tags=state.some_tags | {event["tag"]})

    return reducer


def test_state_has_other_names_in_json_then_paths_are_those_of_the_json_form() -> None:
    """Renamed fields, numbers as keys, Structs as arrays and sets are found as JSON shows them."""
    events = history(
        ("counted", {"n": 7, "name": "x"}),
        ("tagged", {"tag": "m"}),
        ("tagged", {"tag": "a"}),
        ("counted", {"n": 7, "name": "x"}),
    )
    state = to_json(fold(events, odd()))
    assert state == {"byNumber": {"7": ["x", 4]}, "someTags": ["a", "m"], "log": []}
    assert versions(blame(events, odd(), "/byNumber/7/1")) == [4, 1]
    assert versions(blame(events, odd(), "/byNumber/7/0")) == [1]
    assert versions(blame(events, odd(), "/someTags/1")) == [2]
    assert versions(blame(events, odd(), "/someTags/0")) == [3]
    assert versions(blame(events, odd(), "/by_number/7/1")) == []


def test_handler_changes_its_input_then_it_is_refused_instead_of_blamed() -> None:
    """A state that was changed in place shows no difference: it is told, not taken for none."""
    reducer: Reducer[dict[str, Any]] = Reducer("careless", {"seen": {}})

    @reducer.on("x")
    def careless(state: dict[str, Any], event: Any) -> dict[str, Any]:
        state["seen"][event["name"]] = event["secret"]
        return {**state}

    events = history(("x", {"name": "a", "secret": "hunter2"}))
    with pytest.raises(
        ReducerError, match=r"'careless': .* changed the state .*version 1"
    ) as error:
        blame(events, reducer, "/seen/a")
    assert "hunter2" not in str(error.value)


def test_names_hold_slashes_then_they_are_escaped_in_paths() -> None:
    """`~1` and `~0` stand for a slash and a tilde, in what is asked and in what is told."""
    events = history(("set", {"at": ["a/b", "~"], "value": 1}))
    (found,) = blame(events, tree(), "/a~1b/~0")
    assert found.path == "/a~1b/~0" == join(split(found.path))


def test_reducers_are_combined_then_paths_begin_with_the_part() -> None:
    """A combined reducer is blamed as any other."""
    events = history(("is", ["a"]), ("set", {"at": ["x"], "value": 1}))
    whole = combine("whole", list=shelf(), tree=tree())
    assert versions(blame(events, whole, "/list/0")) == [1]
    assert versions(blame(events, whole, "/tree/x")) == [2]


@pytest.mark.parametrize("stretch", [1, 2, 3])
def test_stretches_are_short_then_the_answer_is_the_same(
    stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many states the first pass keeps makes no difference."""
    steps = [("set", {"at": ["a", str(n % 3)], "value": n}) for n in range(10)]
    events = history(*steps)
    whole = blame(iter(events), tree(), "/a/1")
    monkeypatch.setattr("reducers.blaming.STRETCH_EVENTS", stretch)
    assert blame(iter(events), tree(), "/a/1") == whole
    assert versions(whole) == [8, 5, 2]


_NAMES = st.sampled_from("ab")
_STEPS = st.lists(
    st.tuples(st.booleans(), st.lists(_NAMES, min_size=1, max_size=3), st.sampled_from("xab")),
    max_size=12,
)


def _effective(steps: list[tuple[bool, list[str], str]]) -> list[RecordedEvent]:
    """A history in which each event changes something, and no value is ever written twice."""
    events: list[RecordedEvent] = []
    state: Any = {}
    for number, (is_cut, at, leaf) in enumerate(steps, 1):
        value: Any = number if leaf == "x" else {leaf: number}
        event = recorded(number, "cut" if is_cut else "set", {"at": at, "value": value})
        after = fold([event], tree(), state)
        if after != state:
            events.append(event)
            state = after
    return events


def _paths(value: Any, path: str = "") -> list[str]:
    below = (
        [each for name in value for each in _paths(value[name], f"{path}/{name}")]
        if isinstance(value, dict)
        else []
    )
    return [path, *below]


@given(_STEPS)
@settings(max_examples=60)
def test_newest_blamed_event_is_dropped_then_the_value_is_another(
    steps: list[tuple[bool, list[str], str]],
) -> None:
    """Sound, for reducers in which what an event does at a path depends on nothing that stands
    elsewhere, and histories in which no event writes what stands there already."""
    events = _effective(steps)
    state = fold(events, tree())
    for path in _paths(state):
        found = blame(events, tree(), path)
        assert bool(found) is bool(events)
        if found:
            without = [event for event in events if event is not found[0].event]
            assert find(fold(without, tree()), split(path)) != find(state, split(path))


@given(_STEPS, st.data())
@settings(max_examples=60)
def test_events_that_are_not_blamed_are_dropped_then_the_value_is_the_same(
    steps: list[tuple[bool, list[str], str]], data: st.DataObject
) -> None:
    """Complete, for reducers in which what an event does at a path depends on nothing that stands
    elsewhere, whatever the history: also for paths where nothing stands."""
    events = [
        recorded(number, "cut" if is_cut else "set", {"at": at, "value": {leaf: number // 2}})
        for number, (is_cut, at, leaf) in enumerate(steps, 1)
    ]
    path = "".join(f"/{name}" for name in data.draw(st.lists(_NAMES, max_size=4)))
    blamed = set(versions(blame(events, tree(), path)))
    kept = [e for e in events if e.version in blamed or data.draw(st.booleans())]
    before, after = find(fold(events, tree()), split(path)), find(fold(kept, tree()), split(path))
    assert (before is MISSING, before) == (after is MISSING, after)


def _list_steps() -> st.SearchStrategy[list[tuple[str, int, int]]]:
    kinds = st.sampled_from(["insert", "remove", "change", "rotate"])
    return st.lists(st.tuples(kinds, st.integers(0, 9), st.integers(0, 9)), max_size=20)


@given(_list_steps())
@settings(max_examples=60)
def test_list_lived_then_each_item_is_blamed_on_what_touched_that_item(
    steps: list[tuple[str, int, int]],
) -> None:
    """Against a list that notes by itself which events touched which of its items."""
    items: list[tuple[dict[str, int], list[int]]] = []
    events: list[RecordedEvent] = []
    for number, (kind, place, other) in enumerate(steps, 1):
        if kind == "insert":
            items.insert(place % (len(items) + 1), ({"id": number, "n": 0}, [number]))
        elif items and kind == "remove":
            items.pop(place % len(items))
        elif items and kind == "change":
            item, touched = items[place % len(items)]
            items[place % len(items)] = ({**item, "n": number}, [number, *touched])
        elif items:
            turn = other % len(items)
            items = items[turn:] + items[:turn]
        events.append(recorded(number, "is", [item for item, _ in items]))
    for place, (item, touched) in enumerate(items):
        found = blame(events, shelf(), f"/{place}")
        assert versions(found) == touched
        assert found[0].after == item
        assert versions(blame(events, shelf(), f"/{place}/id")) == touched[-1:]
