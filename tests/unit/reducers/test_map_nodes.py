"""What two maps do not share, held against a comparison of all their entries."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

from reducers import diff
from reducers.map_nodes import differing_names

NAMES = st.integers(0, 400).map(lambda number: f"n{number}")
VALUES = st.one_of(st.integers(0, 3), NAMES, st.just(("a", "b")), st.just(Map(x=1)))
EDITS = st.lists(st.tuples(NAMES, VALUES | st.none()), max_size=30)


def _edited(entries: Map[str, Any], edits: list[tuple[str, Any]]) -> Map[str, Any]:
    for name, value in edits:
        if value is None:
            entries = entries.delete(name) if name in entries else entries
        else:
            entries = entries.set(name, value)
    return entries


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), EDITS, EDITS)
def test_maps_came_from_one_then_the_names_that_differ_are_those_of_a_full_comparison(
    size: int, one: list[tuple[str, Any]], other: list[tuple[str, Any]]
) -> None:
    """Sound and complete, whatever was set, removed and set again on both sides."""
    start: Map[str, Any] = Map({f"n{number}": str(number) for number in range(size)})
    before, after = _edited(start, one), _edited(start, other)
    none = object()
    expected = {
        name for name in {*before, *after} if before.get(name, none) is not after.get(name, none)
    }
    found = differing_names(before, after)
    assert found is not None
    assert set(found) == expected
    assert len(found) == len(expected)


def test_maps_share_nothing_then_every_name_is_compared() -> None:
    """Equal entries of maps that were made apart are the same where their objects are."""
    one = Map({f"n{number}": number for number in range(300)})
    other = Map({f"n{number}": number for number in range(1, 301)})
    assert set(differing_names(one, other) or ()) >= {"n0", "n300"}
    assert [change.path for change in diff(one, other)] == ["/n0", "/n300"]


def test_keys_are_numbers_then_all_entries_are_compared() -> None:
    """Only names can be told from values among what a node holds."""
    one = Map({number: str(number) for number in range(300)})
    other = one.set(7, "seven")
    assert differing_names(one, other) is None
    assert [change.path for change in diff(one, other)] == ["/7"]


def test_large_map_has_few_changes_then_few_nodes_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cost of a change does not grow with the map: of thousands of nodes some dozens."""
    start = Map({f"n{number}": number for number in range(20_000)})
    after = start.set("n77", "x").delete("n99").set("new", 1)
    looked: list[Any] = []

    def counted(node: Any) -> list[Any]:
        looked.append(node)
        return gc.get_referents(node)

    monkeypatch.setattr("reducers.map_nodes.gc", SimpleNamespace(get_referents=counted))
    assert sorted(differing_names(start, after) or ()) == ["n77", "n99", "new"]
    assert len(looked) < 40
    for over_all_entries in ("compress", "members"):
        monkeypatch.setattr(f"reducers.diffs.{over_all_entries}", None)
    assert [change.op for change in diff(start, after)] == ["replace", "remove", "add"]
