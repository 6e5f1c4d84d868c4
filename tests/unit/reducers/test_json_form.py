"""The JSON form of states, and its hash."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import os
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map
from pydantic import BaseModel, ConfigDict

from reducers import PersistentList, ReducerError, state_hash, to_json

ROOT = Path(__file__).resolve().parents[3]


class Colour(enum.StrEnum):
    RED = "red"


class Card(msgspec.Struct, frozen=True, tag="card", rename="camel"):
    card_title: str = ""
    maybe: int | msgspec.UnsetType = msgspec.UNSET


class Pair(msgspec.Struct, frozen=True, array_like=True):
    left: Any = 1
    right: Any = 2


class Model(BaseModel):
    model_config = ConfigDict(extra="allow")
    names: set[str] = {"b", "a"}

    @cached_property
    def size(self) -> int:
        return len(self.names)


@pytest.mark.parametrize(
    ("state", "form"),
    [
        (Map({"b": (1, 2), "a": PersistentList([None])}), {"a": [None], "b": [1, 2]}),
        (Card("x"), {"type": "card", "cardTitle": "x"}),
        (Card("x", 3), {"type": "card", "cardTitle": "x", "maybe": 3}),
        (Pair(1, Map({1: 2})), [1, {"1": 2}]),
        (Model(more=(1,)), {"names": ["a", "b"], "more": [1]}),
        ({"m": Model(names=set())}, {"m": {"names": []}}),
        ({3, 1, 2}, [1, 2, 3]),
        (Colour.RED, "red"),
        ({Colour.RED: decimal.Decimal("1.50")}, {"red": "1.50"}),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        ({1: {2: {"x": 3}}, "y": 4}, {"1": {"2": {"x": 3}}, "y": 4}),
        (math.inf, None),
        (2**64, 2**64),
    ],
)
def test_state_is_of_any_kind_then_its_json_form_is_plain(state: Any, form: Any) -> None:
    """Every kind that a state may be made of has one plain form."""
    assert to_json(state) == form


def test_model_has_a_cached_property_then_reading_it_changes_no_hash() -> None:
    """Only the fields of a model are its state."""
    model = Model()
    before = state_hash(model)
    assert model.size == 2
    assert state_hash(model) == before


def test_states_differ_in_order_or_container_then_their_hashes_are_equal() -> None:
    """Insertion order and the kind of container are no part of the state."""
    first = {"a": 1, "b": {"x": [1, 2], "y": None}}
    second = Map({"b": Map({"y": None, "x": PersistentList([1, 2])}), "a": 1})
    assert state_hash(first) == state_hash(second)
    assert state_hash({1: "a", 2: "b"}) == state_hash(Map({"2": "b", "1": "a"}))


@pytest.mark.parametrize("other", [1.0, True, "1", [1], None, 2])
def test_states_differ_in_value_or_number_type_then_their_hashes_differ(other: Any) -> None:
    """1, 1.0, true and "1" are four states."""
    assert state_hash({"a": 1}) != state_hash({"a": other})


def test_hash_seed_differs_then_the_hash_is_the_same() -> None:
    """Two processes with other hash seeds agree on a state full of unordered things."""
    code = (
        "from immutables import Map; from reducers import state_hash\n"
        "words = [f'word{n}' for n in range(50)]\n"
        "print(state_hash({'m': Map(dict.fromkeys(words, 1)), 's': set(words), 1: words}))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


def test_hash_is_computed_then_it_is_the_pinned_one() -> None:
    """The hash is SHA-256 of sorted, compact UTF-8 JSON; a change of it would be seen here."""
    golden = "4326d737489d31789a8cb40c0ad26bb02d242fba468dbdccd56670b9c9a50fee"
    assert state_hash({"b": [1, 1.0, True, None], "a": "é"}) == golden


@pytest.mark.parametrize(
    "state", [object(), {(1, 2): 1}, {None: 1}, {True: 1}, "\ud800", {1, "a"}, {"x": {2: object()}}]
)
def test_state_has_no_json_form_then_refused_without_its_content(state: Any) -> None:
    """What JSON cannot say is an error that names kinds only."""
    with pytest.raises(ReducerError, match="JSON form"):
        to_json(state)
    with pytest.raises(ReducerError, match="JSON form"):
        state_hash(state)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_state_is_json_then_its_form_is_itself(value: Any) -> None:
    """Plain data is its own JSON form, fresh."""
    form = to_json(value)
    assert form == value
    assert state_hash(form) == state_hash(value)
    assert form is not value or not isinstance(value, (dict, list))


@pytest.mark.parametrize("state", [{(1, 2): 3}, [Map({(1, 2): 3})], {"a": {(): 1}}])
@pytest.mark.parametrize("ask", [to_json, state_hash])
def test_a_key_is_a_tuple_then_it_is_refused_with_what_to_do(ask: Any, state: Any) -> None:
    """JSON's keys are strings; the error says which kind is none, and never the key."""
    with pytest.raises(
        ReducerError, match=r"a key of type tuple .*make one string of it"
    ) as caught:
        ask(state)
    assert "(1" not in str(caught.value)
