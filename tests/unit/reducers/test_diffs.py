"""Diffs and patches: one oracle is the PyPI package `jsonpatch`."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import deque
from typing import Any

import jsonpatch
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from immutables import Map
from pydantic import BaseModel

from reducers import (
    Change,
    PersistentList,
    ReducerError,
    changes_to_patch,
    diff,
    state_hash,
    to_json,
)

scalars = (
    st.sampled_from([None, True, False, 0, 1, 0.0, -0.0, 1.0, "", "1"])
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)
keys = st.text("ab/~01-", max_size=3)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)


class Card(msgspec.Struct, frozen=True, rename="camel"):
    card_title: str = ""
    tags: tuple[str, ...] = ()


class Model(BaseModel):
    title: str = ""
    items: list[Any] = []


class Maybe(msgspec.Struct, frozen=True):
    number: int | msgspec.UnsetType = msgspec.UNSET


class One(enum.IntEnum):
    ONE = 1


class Sparse(msgspec.Struct, frozen=True, omit_defaults=True):
    first: int = 5000
    second: str = ""


@st.composite
def edited(draw: st.DrawFn) -> tuple[Any, Any]:
    """A list and the same with a few items put in, taken out and replaced."""
    before = draw(st.lists(documents, min_size=1, max_size=8))
    after = list(before)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(after)))
        after[place : place + draw(st.integers(0, 2))] = draw(st.lists(documents, max_size=2))
    return before, after


def _as_states(value: Any, kind: int) -> Any:
    """The same JSON form in the containers that states are made of."""
    if isinstance(value, dict):
        members = {key: _as_states(item, kind + 1) for key, item in value.items()}
        return Map(members) if kind % 2 else members
    if isinstance(value, list):
        items = [_as_states(item, kind + 1) for item in value]
        return (PersistentList, tuple, list)[kind % 3](items)
    return value


def check(before: Any, after: Any) -> list[Change]:
    """The patch of the diff makes the JSON form of `after`, to the type of each number."""
    changes = diff(before, after)
    form = to_json(before)
    patched = jsonpatch.apply_patch(form, changes_to_patch(changes))
    assert state_hash(patched) == state_hash(after)
    assert bool(changes) == (state_hash(before) != state_hash(after))
    return changes


@given(st.tuples(documents, documents) | edited(), st.integers(0, 5))
@example(([1], [True]), 0)
@example(([1], [1.0]), 0)
@example((0.0, -0.0), 0)
@example(({"a/b": {"": 1}, "~": 2}, {"a/b": {"": 2}}), 0)
@example(([1, 2, 3], [3]), 0)
@example(({"a": [1, 2]}, {"a": {"0": 1, "1": 2}}), 0)
@example((None, {"": None}), 0)
def test_patch_is_applied_then_it_gives_the_second_state(pair: Any, kind: int) -> None:
    """For any two states the diff is a patch from one to the other, and empty only if they have
    one JSON form."""
    before, after = pair
    check(_as_states(before, kind), _as_states(after, kind + 1))


@dataclasses.dataclass
class Point:
    x: Any = 1


ODD: list[Any] = [
    None, True, 1, 1.0, -0.0, math.nan, math.inf, "1.0", "1", [], {}, set(), {1}, [1], (1,),
    frozenset((1,)), [1, 2], {1, 2}, deque([1, 2]), PersistentList([1]), [None], [math.nan],
    One.ONE, Point(), Point(math.nan), {"x": 1}, {"x": None}, Map(x=1), Model(), Maybe(),
    b"1", "MQ==", [[1]], [{1}], {"a": {1}}, {"a": [1]}, {"a": (2,)}, Maybe(1), {"number": 1},
]  # fmt: skip


@pytest.mark.parametrize("before", ODD, ids=repr)
def test_two_kinds_meet_then_only_their_json_forms_count(before: Any) -> None:
    """Whatever takes the place of whatever: no change exactly where the JSON forms are equal, and
    a patch that applies."""
    for after in ODD:
        check(before, after)
        check([0, before, 0], [0, after, 0])


@given(st.lists(documents, max_size=4), documents)
def test_item_is_appended_then_the_diff_is_one_add(items: Any, item: Any) -> None:
    """An append is one change, whatever is appended to what."""
    for kind in (list, tuple, PersistentList):
        (change,) = diff(kind(items), kind([*items, item]))
        assert change == Change("add", f"/{len(items)}", None, item)


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ([1, 2, 3], [1, 9, 2, 3], [("add", "/1", None, 9)]),
        ([1, 9, 2, 3], [1, 2, 3], [("remove", "/1", 9, None)]),
        ([1, 2, 3], [1, 5, 3], [("replace", "/1", 2, 5)]),
        ([1, 2, 3, 4], [9, 4], [("replace", "/0", 1, 9), ("remove", "/2", 3, None),
                                ("remove", "/1", 2, None)]),
        ({"b": 1, "a": 1}, {"c": 1, "a": 2}, [("replace", "/a", 1, 2), ("remove", "/b", 1, None),
                                              ("add", "/c", None, 1)]),
        ({"a": None}, {}, [("remove", "/a", None, None)]),
        ({}, {"a": None}, [("add", "/a", None, None)]),
        ({"a/b~c": 1}, {"a/b~c": 2}, [("replace", "/a~1b~0c", 1, 2)]),
        ({"": {"": 1}}, {"": {"": 2}}, [("replace", "//", 1, 2)]),
        (1, "x", [("replace", "", 1, "x")]),
        ({}, [], [("replace", "", {}, [])]),
        (Map({3: "a"}), Map({3: "b"}), [("replace", "/3", "a", "b")]),
        (Card("a"), Card("b", ("x",)), [("replace", "/cardTitle", "a", "b"),
                                        ("add", "/tags/0", None, "x")]),
        ({1, 2}, {2, 3}, [("replace", "/0", 1, 2), ("replace", "/1", 2, 3)]),
        (math.nan, math.nan, []),
    ],
)  # fmt: skip
def test_states_differ_then_the_changes_are_the_ones_a_person_would_name(
    before: Any, after: Any, changes: list[tuple[Any, ...]]
) -> None:
    """Small edits come out as what they are, in a fixed order."""
    found = diff(before, after)
    assert [(each.op, each.path, each.before, each.after) for each in found] == changes
    check(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Model(title="a", items=[1]), Model(title="b", items=[1, {"x": ()}])),
        (Card("a"), {"cardTitle": "a", "tags": []}),
        (Sparse(int("5000")), Sparse(int("5001"), "x")),
        (Sparse(), Sparse(second="x")),
        ({"a": Map({"x": Card()})}, {"a": Map({"x": Card("t"), "y": Card()})}),
        (PersistentList(range(100)), PersistentList(range(100)).set(50, "x").append(1)),
        ((), {"a": 1}),
        ({"a": Maybe()}, {"a": Maybe(1)}),
        ({"a": One.ONE}, {"a": True}),
        ({"a": One.ONE}, {"a": 1}),
        ({1: Maybe()}, {1: Maybe(2)}),
    ],
)
def test_states_are_of_classes_then_the_patch_speaks_of_their_json_form(
    before: Any, after: Any
) -> None:
    """Structs, models and containers in each other are compared by what they are in JSON."""
    check(before, after)
    check(after, before)


def test_states_share_structure_then_what_is_shared_is_not_looked_at() -> None:
    """The walk skips what is the same object, so that an object that cannot be compared does no
    harm there."""

    class Untouchable:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("it was looked at")

        __hash__ = None  # type: ignore[assignment]  # not needed

    shared = {"x": Untouchable()}
    full = PersistentList([shared] * 64)
    assert diff({"a": shared, "b": 1}, {"a": shared, "b": 2})[0].path == "/b"
    assert [each.path for each in diff(full, full.append(1))] == ["/64"]
    with pytest.raises(ReducerError):
        diff({"x": Untouchable()}, {"x": Untouchable()})


def test_dict_order_differs_then_the_diff_is_in_the_same_order() -> None:
    """The order of changes depends on names, never on insertion or hash order."""
    names = [f"n{number}" for number in range(30)]
    forwards = diff({}, Map(dict.fromkeys(names, 1)))
    backwards = diff({}, dict.fromkeys(reversed(names), 1))
    assert forwards == backwards
    assert [each.path[1:] for each in forwards] == sorted(names)


@given(st.lists(documents, max_size=8), st.integers(0, 8), st.lists(documents, max_size=3))
@example([1, 2, 3], 0, [0])
def test_items_are_put_between_others_then_each_is_one_change(
    items: list[Any], at: int, more: list[Any]
) -> None:
    """At the front, at the end or between: no item beside them is replaced, nor when they go."""
    longer = [*items[:at], *more, *items[at:]]
    assert [change.op for change in check(items, longer)] == ["add"] * len(more)
    assert [change.op for change in check(longer, items)] == ["remove"] * len(more)
