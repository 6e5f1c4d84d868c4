"""States that come back are known without decoding them: never more of them than do come back."""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from immutables import Map

from eventstore.canonical import freeze
from reducers import PersistentList, ReducerError, codecs, sureness
from reducers.codecs import PartsCodec, StateCodec
from reducers.sureness import SURE, SURE_FOR_GOOD, UNSURE, sureness_of


class Text(str):
    """A text with a kind of its own."""


class Status(enum.StrEnum):
    OPEN = "open"


class Call(msgspec.Struct, frozen=True, gc=False):
    number: int
    name: str | None = None
    result: Any = None
    status: Literal["pending", "failed"] = "pending"
    cost: float | None = None


class NamedCall(Call, frozen=True):
    """A call with a kind of its own."""


class Thawed(msgspec.Struct):
    number: int = 0


class Identity(msgspec.Struct, frozen=True, eq=False):
    number: int = 0


class Careless(msgspec.Struct, frozen=True):
    number: int = 0

    def __eq__(self, other: object) -> bool:
        return False


class Adjusted(msgspec.Struct):
    number: int = 0

    def __post_init__(self) -> None:
        self.number += 1


class Tagged(msgspec.Struct, frozen=True, tag=True):
    number: int = 0


class Sparse(msgspec.Struct, frozen=True, omit_defaults=True):
    value: Any = 0


class Row(msgspec.Struct, frozen=True, array_like=True):
    number: int = 0


class Nested(msgspec.Struct, frozen=True):
    inner: Nested | None = None
    number: int = 0


class State(msgspec.Struct, frozen=True):
    calls: Map[str, Call] = Map()
    said: PersistentList[Call] = PersistentList()
    shared: Map[str, Any] = Map()
    source: dict[str, Any] = {}
    anything: Any = None
    rest: tuple[float, ...] = ()
    total: int = 0


TYPES: tuple[Any, ...] = (
    *(Any, int, str, bool, float, type(None), int | None, int | float, str | float | None),
    *(
        dict,
        list,
        Map,
        PersistentList,
        tuple,
        dict[str, int],
        dict[int, int],
        dict[str, Any] | None,
    ),
    *(list[float], Map[str, Any], Map[str, float], Map[int, str], Map[Status, int]),
    *(Map[str, Map[str, int]], Map[str, PersistentList[Call]], PersistentList[Any]),
    *(PersistentList[dict[str, Any]], tuple[int, ...], tuple[int, str], tuple[Any, ...]),
    *(Literal["pending"], Literal[1], Status, Status | None, Call, Call | None, Map[str, Call]),
    *(NamedCall, Thawed, Identity, Careless, Adjusted, Tagged, Sparse, Row, Nested, State),
    *(dict[str, Call], list[Thawed], frozenset[str], bytes, Call | str, Call | Map[str, int]),
)

_LEAVES = (
    st.sampled_from([None, True, 0, 1, -1, 2**63, 2**64, 1.0, -0.0, math.nan, math.inf, "", "a"])
    | st.sampled_from(["pending", "\ud800", Text("a"), Status.OPEN, b"a", (), frozenset("a")])
    | st.builds(Call, st.sampled_from([1, True, 1.0, None]), result=st.sampled_from([1, (1,)]))
    | st.sampled_from([NamedCall(1), Call(1, status="other"), Call(1, cost=2), Call(1, cost=0.5)])  # type: ignore[arg-type]  # whom nothing stops
    | st.sampled_from([Identity(), Careless(), Tagged(), Sparse(), Sparse(False), Row()])
    | st.builds(Nested, st.sampled_from([None, Nested(), Nested(number=True)]))
    | st.builds(Thawed) | st.builds(Adjusted) | st.just("aab").map(Counter)
)  # fmt: skip
_KEYS = st.sampled_from(["a", "b", "calls", Text("c"), Status.OPEN, 1, True, 1.5])
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.lists(inner, max_size=40).map(PersistentList)
        | st.dictionaries(_KEYS, inner, max_size=3)
        | st.dictionaries(_KEYS, inner, max_size=3).map(Map)
        | st.dictionaries(st.sampled_from("ab"), st.lists(st.integers(0, 9)), max_size=2).map(
            freeze
        )
    ),
    max_leaves=6,
)


def comes_back(state_type: Any, value: Any) -> bool:
    """What decoding and comparing say."""
    decode = codecs._typed_decoder(state_type)
    encoded = codecs._encode_or_none(value)
    return decode is not None and encoded is not None and codecs._gives_back(decode, encoded, value)


@given(st.sampled_from(TYPES), _VALUES)
@example(dict, {"a": 2**63})
@example(Map[str, float], Map(a=1))
@settings(max_examples=400)
def test_value_is_sure_then_it_comes_back(state_type: Any, value: Any) -> None:
    """Whatever stands where a type says something else, nothing is sure that decoding and
    comparing would refuse."""
    try:
        codecs._encode(value)
    except (TypeError, ValueError, OverflowError):
        return  # the codec asks nobody then
    if sureness_of(state_type)(value, None) and codecs._typed_decoder(state_type) is not None:
        assert comes_back(state_type, value)


def states() -> st.SearchStrategy[State]:
    """States of which a few fields are filled, with something wrong in some."""
    fields: dict[Any, st.SearchStrategy[Any]] = {
        "calls": st.dictionaries(st.sampled_from("ab"), _LEAVES, max_size=2).map(Map),
        "said": st.tuples(st.integers(0, 70), _LEAVES).map(
            lambda made: PersistentList([Call(1)] * made[0] + [made[1]])
        ),
        "shared": st.dictionaries(st.sampled_from("ab"), _VALUES, max_size=2).map(Map),
        "source": st.dictionaries(_KEYS, _LEAVES, max_size=1),
        "anything": _VALUES,
        "rest": st.tuples(st.just(0.5), _LEAVES),
    }
    return st.fixed_dictionaries({}, optional=fields).map(lambda found: State(**found))


@given(states())
@example(State(calls=Map({"a": None})))  # type: ignore[arg-type]  # it was sure of this once
@settings(max_examples=200)
def test_state_is_of_its_type_in_most_fields_and_sure_then_it_comes_back(state: State) -> None:
    """The same of a state in which one thing may be wrong, deep inside."""
    if codecs._encode_or_none(state) is not None and sureness_of(State)(state, None):
        assert comes_back(State, state)


@pytest.mark.parametrize(
    ("state_type", "state", "expected"),
    [
        (State, State(), SURE),  # its `source` is a dict
        (State, State(source=freeze({"a": [1, {"b": None}]})), SURE_FOR_GOOD),
        (State, State(source=freeze({}), shared=Map(a={})), SURE),
        (Thawed, Thawed(), SURE),
        (Call, Call(1, result=Map(a=PersistentList([1.5, True]))), SURE_FOR_GOOD),
        (Call, Call(1, result=[]), SURE),
        (Call, Call(1, result=()), UNSURE),
        (Call, Call(1, result={"a": Counter()}), UNSURE),
        (Call, NamedCall(1), UNSURE),
        (Call, Call(True), UNSURE),
        (Call, Call(1, status="other"), UNSURE),  # type: ignore[arg-type]  # whom nothing stops
        (Call, Call(1, cost=1), UNSURE),
        (Call, Call(1, cost=math.nan), UNSURE),
        (Identity, Identity(), UNSURE),
        (Careless, Careless(), UNSURE),
        (Adjusted, Adjusted(), UNSURE),
        (Sparse, Sparse(), UNSURE),
        (Nested, Nested(Nested()), UNSURE),
        (Nested, Nested(), SURE_FOR_GOOD),
        (dict, {1: 2}, UNSURE),
        (dict, {Status.OPEN: 2}, UNSURE),
        (Map[str, int], Map({Text("a"): 2}), UNSURE),
        (PersistentList[int], PersistentList(range(99)), SURE_FOR_GOOD),
        (PersistentList[int], PersistentList([*range(99), 1.0]), UNSURE),
    ],
)
def test_state_is_looked_at_then_it_is_said_what_is_known(
    state_type: Any, state: Any, expected: int
) -> None:
    """What can be changed in place is sure as it stands only; of what is odd nothing is known."""
    assert sureness_of(state_type)(state, None) == expected


def test_plain_data_is_deeper_than_an_event_or_a_ring_then_unsure() -> None:
    """The walk ends where the data does not."""
    ring: list[Any] = []
    ring.append(ring)
    deep: Any = None
    for _ in range(101):
        deep = [deep]
    assert sureness_of(Any)(ring, None) == UNSURE
    assert sureness_of(Any)(deep, None) == UNSURE
    assert sureness_of(Any)(deep[0], None) == SURE


_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["call", "end", "say", "say again", "forget", "share", "source", "count"]),
        st.sampled_from("abcd"),
        _VALUES | st.sampled_from([1, None, "a"]),
    ),
    max_size=30,
)


def changed(state: State, what: str, key: str, value: Any) -> State:
    """The state after one thing more."""
    replace = msgspec.structs.replace
    match what:
        case "call":
            return replace(state, calls=state.calls.set(key, Call(len(key), result=value)))
        case "end":
            return replace(state, calls=state.calls.set(key, value))
        case "say":
            return replace(state, said=state.said.extend([Call(1, "x" * 99)] * 40))
        case "say again":
            last = Call(2, result=value)
            return replace(state, said=state.said.set(0, last) if state.said else state.said)
        case "forget":
            return replace(state, calls=Map(), said=PersistentList())
        case "share":
            return replace(state, shared=state.shared.set(key, value))
        case "source":
            state.source[key] = value  # as a handler that cheats
            return state
    return replace(state, total=state.total + 1)


def outcome(encode: Callable[[], bytes]) -> bytes | str:
    """The bytes, or why there are none."""
    try:
        return encode()
    except ReducerError as exc:
        return str(exc)


@given(_CHANGES)
@example([("say", "a", None), ("say again", "a", (1,))])
@example([("say", "a", None), ("end", "a", None), ("source", "a", ())])
@settings(max_examples=100)
def test_any_history_is_encoded_state_by_state_then_as_if_each_were_the_first(
    changes: list[tuple[str, str, Any]],
) -> None:
    """What is known of a state before changes no byte and lets nothing pass, whatever happened to
    what can be changed in place."""
    codec, known = StateCodec(State), None
    parts, known_parts = PartsCodec(Both, {"one": StateCodec(State), "two": StateCodec(dict)}), None
    state = State(source=freeze({}))
    for what, key, value in changes:
        if what == "source" and type(state.source) is not dict:
            state = msgspec.structs.replace(state, source={})
        state = changed(state, what, key, value)
        fresh = outcome(lambda state=state: slowly(state))  # type: ignore[misc]

        def encode(state: State = state) -> bytes:
            nonlocal known
            encoded, known = codec.encode_after(state, known)
            return encoded

        def encode_both(both: Both) -> bytes:
            nonlocal known_parts
            encoded, known_parts = parts.encode_after(both, known_parts)
            return encoded

        assert outcome(encode) == fresh
        both = Both(state, {})
        assert outcome(lambda both=both: encode_both(both)) == outcome(  # type: ignore[misc]
            lambda both=both: PartsCodec(  # type: ignore[misc]
                Both, {"one": StateCodec(State), "two": StateCodec(dict)}
            ).encode(both)
        )


class Both(msgspec.Struct, frozen=True):
    one: State
    two: dict[str, Any]


def slowly(state: State) -> bytes:
    """The bytes by decoding and comparing alone."""
    codec = StateCodec(State)
    codec._sureness = lambda value, known: UNSURE
    return codec.encode(state)


def test_large_state_was_sure_then_what_it_shares_is_not_walked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A message more costs the proof of the messages beside it, not of all."""
    walked = []

    def plain(value: Any, depth: int) -> int:
        walked.append(value)
        return walk(value, depth)

    walk = sureness._plain
    monkeypatch.setattr(sureness, "_plain", plain)
    codec = StateCodec(State)
    said = [Call(n, result=freeze({"said": "x" * 50})) for n in range(330)]
    calls = Map({str(n): Call(n, result=freeze({"n": n})) for n in range(100)})
    state = State(calls, PersistentList(said), source=freeze({}))
    _, known = codec.encode_after(state, None)
    assert len(walked) == 430
    walked.clear()
    again = freeze({"said": "again"})
    state = State(
        calls.set("7", Call(7, result=again)), state.said.append(said[0]), source=state.source
    )
    codec.encode_after(state, known)
    assert len(walked) == 1 + 330 % 32 + 1


def test_states_are_encoded_then_their_bytes_are_those_of_every_release() -> None:
    """A snapshot that is kept in a file is read by the next version: not a byte moves."""
    state = State(
        # One key each: the order in a map is that of hashes, which differ by process.
        calls=Map({"a": Call(1, "ü", {"x": [1.5, None]}, cost=0.25)}),
        said=PersistentList([Call(n) for n in range(40)]),
        shared=Map({"m": [Map(), PersistentList([True])]}),
        source={"z": 1, "a": freeze({"b": []})},
        rest=(0.5, -0.0),
        total=2**40,
    )
    odd = msgspec.structs.replace(state, anything=(1, Status.OPEN.value))
    both = PartsCodec(Both, {"one": StateCodec(State), "two": StateCodec(dict)})
    found = [
        StateCodec(State).encode(state),
        StateCodec(State).encode(State()),
        StateCodec(State).encode(odd),
        both.encode(Both(state, {})),
        both.encode(Both(State(), {"t": ()})),
    ]
    assert [sha256(encoded).hexdigest()[:16] for encoded in found] == GOLDEN


GOLDEN = [
    "3bb3466275cc3645",
    "74aaaf0d145b7567",
    "3ce5e4542f13bfbe",
    "05857e5903e962cf",
    "f11e502fc46b816f",
]


def test_dict_was_changed_in_place_then_the_state_is_proven_anew() -> None:
    """That it is the same object says nothing of what is in it."""
    codec = StateCodec(State)
    state = State(source={"a": "x" * 5000})
    _, known = codec.encode_after(state, None)
    state.source["b"] = Counter("aab")
    with pytest.raises(ReducerError, match="as another kind"):
        codec.encode_after(state, known)
    state.source["b"] = 1
    assert codec.decode(codec.encode_after(state, known)[0]) == state
