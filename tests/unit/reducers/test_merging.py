"""Merge: what two sides changed of one state, where they changed different parts of it."""

from __future__ import annotations

from datetime import date
from typing import Any

import jsonpatch
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map
from pydantic import BaseModel, ConfigDict

from eventstore.canonical import freeze
from reducers import (
    PersistentList,
    ReducerError,
    changes_to_patch,
    diff,
    merge,
    to_json,
)
from reducers.merging import Merged

documents = st.recursive(
    st.integers(0, 2) | st.sampled_from(["", "x", None, 1.0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab/~"), inner),
    max_leaves=8,
)


@st.composite
def edited(draw: st.DrawFn, value: Any) -> Any:
    """The same value with a few of its parts replaced, removed or added."""
    if isinstance(value, dict):
        made = {}
        for name, item in value.items():
            what = draw(st.sampled_from(["keep", "keep", "inside", "replace", "remove"]))
            if what == "keep":
                made[name] = item
            elif what == "inside":
                made[name] = draw(edited(item))
            elif what == "replace":
                made[name] = draw(documents)
        return made | draw(st.dictionaries(st.sampled_from("ab/~"), documents, max_size=1))
    if isinstance(value, list):
        made_list = [draw(edited(item)) if draw(st.booleans()) else item for item in value]
        return made_list + draw(st.lists(documents, max_size=1))
    return draw(documents)


@st.composite
def sides(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """A base and two states that came from it."""
    base = draw(st.dictionaries(st.sampled_from("abcd/~"), documents, max_size=5))
    return base, draw(edited(base)), draw(edited(base))


@given(sides())
def test_sides_are_swapped_then_the_merge_is_the_same(three: tuple[Any, Any, Any]) -> None:
    """Whose side is which makes no difference, neither to the state nor to what clashes."""
    base, mine, theirs = three
    one, other = merge(base, mine, theirs), merge(base, theirs, mine)
    assert one.clashes == other.clashes
    assert one.ok == (not one.clashes)
    assert diff(one.state, other.state) == []
    assert one.changes == other.changes


@given(sides())
def test_sides_are_disjoint_then_the_merge_has_the_changes_of_both(
    three: tuple[Any, Any, Any],
) -> None:
    """Their changes, applied to mine as a patch by another program, give the merged state."""
    base, mine, theirs = three
    merged = merge(base, mine, theirs)
    ours = diff(base, mine)
    if merged.ok:
        others = [change for change in diff(base, theirs) if change not in ours]
        assert diff(jsonpatch.apply_patch(mine, changes_to_patch(others)), merged.state) == []
        patched = jsonpatch.apply_patch(base, changes_to_patch(merged.changes))
        assert diff(patched, merged.state) == []
    else:
        assert merged == Merged(None, [], merged.clashes)
    for path in merged.clashes:
        for side in (mine, theirs):
            changed = [change.path for change in diff(base, side)]
            assert any(_meet(path, each) for each in changed), path


def _meet(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


@given(sides())
def test_one_side_changed_nothing_then_the_other_is_taken(three: tuple[Any, Any, Any]) -> None:
    """Nothing clashes with no change, nor with the same change."""
    base, mine, _ = three
    for merged in (merge(base, mine, base), merge(base, base, mine), merge(base, mine, mine)):
        assert merged.clashes == []
        assert diff(merged.state, mine) == []
        assert merged.changes == diff(base, mine)


class Card(msgspec.Struct, frozen=True, rename="camel"):
    card_title: str = ""
    done: bool = False
    due: Any = msgspec.UNSET


class Board(msgspec.Struct, frozen=True):
    cards: Map[str, Card] = Map()
    order: PersistentList[str] = PersistentList()
    marks: tuple[Any, ...] = (0, 0)
    notes: Any = None


class Note(BaseModel):
    model_config = ConfigDict(extra="allow")
    text: str = ""
    read: bool = False


BASE = Board(
    Map({"1": Card("a"), "2": Card("b")}), PersistentList("12"), (0, 0), Note(text="x", more=1)
)


def test_state_is_typed_then_what_is_merged_is_of_the_same_kinds() -> None:
    """Structs, maps, lists and models come back as what they were, with both sides' changes."""
    mine = Board(
        BASE.cards.set("1", Card("A", due=date(2026, 1, 2))).delete("2"),
        PersistentList("x2"),
        (1, 0),
        Note(text="y", more=1),
    )
    theirs = Board(
        BASE.cards.set("1", Card("a", True)).set("3", Card("c")),
        PersistentList("1y"),
        (0, 2),
        Note(text="x", read=True),
    )
    merged = merge(BASE, mine, theirs)
    assert merged.clashes == []
    assert merged.state == Board(
        Map({"1": Card("A", True, date(2026, 1, 2)), "3": Card("c")}),
        PersistentList("xy"),
        (1, 2),
        Note(text="y", read=True),
    )
    assert merged.changes == diff(BASE, merged.state)
    assert merge({1: "a", 2: "b"}, {1: "x", 2: "b"}, {1: "a"}).state == {1: "x"}
    assert merge(freeze({"a": [1]}), {"a": [2]}, {"a": [1], "b": 1}).state == {"a": [2], "b": 1}


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "clashes"),
    [
        (0, 1, 2, [""]),
        ({"a": 1, "b/c": 1, "d": 1}, {"a": 2, "b/c": 2, "d": 1}, {"a": 3, "b/c": 3, "d": 2},
         ["/a", "/b~1c"]),
        ({"a": {"b": 1}}, {}, {"a": {"b": 2}}, ["/a"]),
        ({}, {"a": {"b": 1}}, {"a": {"c": 1}}, ["/a"]),
        ({"l": [1]}, {"l": [1, 2]}, {"l": [1, 3]}, ["/l"]),
        ({"l": [1, 2]}, {"l": [2]}, {"l": [1, 3]}, ["/l"]),
        ({"l": [1, 2]}, {"l": [3, 2]}, {"l": [4, 2]}, ["/l/0"]),
        ({"a": {1}}, {"a": {1, 2}}, {"a": {1, 3}}, ["/a"]),
        ({"a": [1]}, {"a": {"0": 1}}, {"a": [2]}, ["/a"]),
        ({"a": 1}, {"a": True}, {"a": 1.0}, ["/a"]),
    ],
)  # fmt: skip
def test_both_changed_one_part_then_its_path_clashes(
    base: Any, mine: Any, theirs: Any, clashes: list[str]
) -> None:
    """A clash names the smallest part that both changed; nothing is merged then."""
    assert merge(base, mine, theirs) == Merged(None, [], clashes)
    assert merge(base, theirs, mine) == Merged(None, [], clashes)


class Sparse(msgspec.Struct, frozen=True, omit_defaults=True):
    first: int = 0
    second: int = 0


def test_struct_leaves_defaults_out_of_json_then_a_default_is_a_value_as_any_other() -> None:
    """What was set back to its default is that default in the merged state, not nothing."""
    merged = merge(Sparse(1, 1), Sparse(0, 1), Sparse(1, 2))
    assert merged.state == Sparse(0, 2)
    assert merge(Sparse(1, 1), Sparse(0, 1), Sparse(2, 1)).clashes == ["/first"]


def test_state_has_no_json_form_then_refused() -> None:
    """What cannot be compared cannot be merged."""
    with pytest.raises(ReducerError):
        merge({"a": object()}, {"a": object()}, {"a": object()})


def test_sides_share_what_they_did_not_change_then_so_does_the_merge() -> None:
    """Merging two versions of a large state copies what was changed, not the rest."""
    same = Card("same")
    base = {"a": {"x": same}, "b": Map({"y": same, "z": 1}), "c": 1}
    merged = merge(base, {**base, "c": 2}, {**base, "b": Map({"y": same, "z": 2})})
    assert merged.state is not None
    assert merged.state["a"] is base["a"]
    assert merged.state["b"]["y"] is same
    assert to_json(merged.state)["b"]["z"] == 2
