"""Canonical bytes, said by an oracle of its own, and data that cannot be changed."""

from __future__ import annotations

import collections
import copy
import json
import pickle
from typing import Any

import msgspec
import pytest

from eventstore import InvalidEvent
from eventstore.canonical import (
    FrozenDict,
    FrozenList,
    decode,
    decode_mutable,
    encodable,
    encode,
    encode_typed,
    freeze,
    thaw,
)
from eventstore.limits import PAYLOAD_DEPTH_MAX


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ({"b": 1, "a": [True, None]}, b'{"a":[true,null],"b":1}'),
        ({"é": "日"}, '{"é":"日"}'.encode()),
        ({"\U0001f600": 1, "\uffff": 2}, '{"\uffff":2,"\U0001f600":1}'.encode()),
        ("\x00\x1f\x7f", b'"\\u0000\\u001f\x7f"'),
        (-0.0, b"-0.0"),
        (1e308, b"1e308"),
        (1e16, b"1e16"),
        (123456789012345680.0, b"1.2345678901234568e17"),
        (0.1, b"0.1"),
        (100.0, b"100.0"),
        (2**63 - 1, b"9223372036854775807"),
        (-(2**63), b"-9223372036854775808"),
        ([], b"[]"),
        ({}, b"{}"),
        ("", b'""'),
    ],
)
def test_a_value_is_encoded_then_its_bytes_are_these(value: object, stored: bytes) -> None:
    """Golden bytes: UTF-8, no spaces, keys by code point, the shortest number."""
    assert encode(value, "$") == stored
    assert type(thaw(decode(stored))) is type(value)
    assert decode(stored) == value == json.loads(stored)


def test_keys_come_in_any_order_then_the_bytes_are_the_same() -> None:
    """Order of insertion is no content."""
    pairs = [("b", 1), ("a", {"y": 1, "x": 2}), ("A", 3), ("", 4), ("aa", 5)]
    assert encode(dict(pairs), "$") == encode(dict(reversed(pairs)), "$")
    assert encode(dict(pairs), "$") == b'{"":4,"A":3,"a":{"x":2,"y":1},"aa":5,"b":1}'


@pytest.mark.parametrize(
    "value",
    [
        collections.OrderedDict(b=1, a=2),
        collections.defaultdict(list, {"a": [1]}),
        collections.Counter("aab"),
        FrozenDict({"a": FrozenList([1])}),
    ],
)
def test_a_dict_of_another_class_is_encoded_then_it_is_stored_as_a_dict(value: Any) -> None:
    """It compares equal when it comes back, which is the rule."""
    assert decode(encode(value, "$")) == value
    assert encode(value, "$") == encode(dict(value), "$")


class _Text(str):
    pass


class _Number(int):
    pass


@pytest.mark.parametrize("value", [{"a": _Text("canary")}, [_Number(7)], {_Text("canary"): 1}])
def test_a_value_is_of_a_class_that_json_cannot_keep_then_it_is_refused(value: object) -> None:
    """Where the encoder cannot write it, or it would come back as something else."""
    with pytest.raises(InvalidEvent) as caught:
        encode(value, "event 0 (t) $")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("depth", [1, 50, PAYLOAD_DEPTH_MAX])
@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"k": v}])
def test_a_value_is_as_deep_as_allowed_then_it_is_taken(depth: int, wrap: Any) -> None:
    """The limit counts lists and dicts, one within the other."""
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    assert decode(encode(value, "$")) == value
    if depth == PAYLOAD_DEPTH_MAX:
        with pytest.raises(InvalidEvent, match="deeper than 100"):
            encode(wrap(value), "$")


def test_the_path_goes_through_long_keys_then_they_are_not_shown() -> None:
    """A short key is structure; a long one may be content."""
    with pytest.raises(InvalidEvent, match=r"^\$\.<key of 60 characters>\.a\[0\]: NaN"):
        encode({"secret" * 10: {"a": [float("nan")]}}, "$")
    with pytest.raises(InvalidEvent) as caught:
        encode({"line\nbreak": float("nan")}, "$")
    assert "\n" not in str(caught.value)


def test_a_bound_is_given_then_it_is_the_one_that_holds() -> None:
    """Contexts are smaller than payloads."""
    assert encode("x" * 8, "context $", 10) == b'"xxxxxxxx"'
    with pytest.raises(InvalidEvent, match=r"^context \$: 11 bytes, at most 10$"):
        encode("x" * 9, "context $", 10)


def test_a_struct_holds_what_json_loses_then_it_is_refused() -> None:
    """Typed data goes through the same door."""

    class Loose(msgspec.Struct):
        value: Any

    assert encode_typed(Loose(1), "$") == b'{"value":1}'
    for value in (2**63, "\ud800", object()):
        with pytest.raises(InvalidEvent):
            encode_typed(Loose(value), "$")


def test_data_is_decoded_then_it_is_read_only_but_a_copy_is_not() -> None:
    """Frozen all the way down; copies are plain all the way down."""
    data = decode(b'{"a":[1,{"b":[2]}]}')
    assert type(data["a"][1]["b"]) is FrozenList
    for change in (lambda: data.update(x=1), lambda: data["a"][1]["b"].append(3)):
        with pytest.raises(TypeError, match="read-only"):
            change()
    for copied in (copy.deepcopy(data), thaw(data), pickle.loads(pickle.dumps(data))):
        assert type(copied) is dict
        assert type(copied["a"][1]["b"]) is list
        copied["a"][1]["b"].append(3)
    assert type(copy.copy(data)) is dict
    assert data == {"a": [1, {"b": [2]}]}
    assert json.dumps(data) == '{"a": [1, {"b": [2]}]}'
    mutable = decode_mutable(b'{"a":[1]}')
    mutable["a"].append(2)
    assert freeze(mutable) == {"a": [1, 2]}


def test_a_frozen_value_is_extended_then_a_new_one_comes() -> None:
    """Operators that make something new work, and leave the event as it was."""
    data = decode(b'{"a":[1]}')
    assert {**data, "b": 2} == {"a": [1], "b": 2}
    assert data | {"b": 2} == {"a": [1], "b": 2}
    assert data["a"] + [2] == [1, 2]
    assert data == {"a": [1]}


def test_text_has_a_lone_surrogate_then_it_is_not_encodable() -> None:
    """The question that names and prefixes ask as well."""
    assert encodable("é😀")
    assert not encodable("\ud83d")
