"""Snapshot bytes: a state comes back as it was, or is refused."""

from __future__ import annotations

import datetime
import decimal
import enum
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from immutables import Map
from pydantic import BaseModel

from eventstore.canonical import freeze
from reducers import PersistentList, ReducerError, state_hash
from reducers.codecs import PartsCodec, StateCodec


class Status(enum.StrEnum):
    OPEN = "open"


class Level(enum.IntEnum):
    LOW = 1


class Pair(NamedTuple):
    one: int = 1


class Names(list[str]):
    """A list with a name of its own."""


class Box(msgspec.Struct, frozen=True):
    value: Any = None


class Anything(BaseModel, frozen=True):
    value: Any = None


class Model(BaseModel, frozen=True):
    names: frozenset[str] = frozenset()
    share: float = 0.5


class Card(msgspec.Struct, frozen=True):
    title: str = ""
    status: Status = Status.OPEN
    due: datetime.datetime | None = None


class Only(msgspec.Struct, frozen=True, kw_only=True):
    number: float = 0


class Board(msgspec.Struct, frozen=True):
    cards: Map[str, Card] = Map()
    log: PersistentList[Card] = PersistentList()
    bare: PersistentList = PersistentList()  # type: ignore[type-arg]  # such annotations exist
    extra: Any = None
    model: Model = Model()
    spent: float = 0
    nested: dict[str, Map[int, PersistentList[Only]]] = {}
    kinds: frozenset[str] = frozenset()


NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)

FULL = Board(
    Map({"a": Card("x", Status.OPEN, NOON), "b": Card()}),
    PersistentList([Card(str(number)) for number in range(70)]),
    PersistentList([{"a": Map({"b": 1})}]),
    {"any": Map({"x": [1, PersistentList([2])]})},
    Model(names=frozenset("ab"), share=2),
    1.5,
    {"n": Map({7: PersistentList([Only(number=2.5)])})},
    frozenset("xyz"),
)


def round_trip(state_type: Any, state: Any) -> Any:
    codec = StateCodec(state_type)
    return codec.decode(codec.encode(state))


def kinds(state: Any) -> Any:
    """The kinds of everything in a state, which `==` does not see."""
    if isinstance(state, (dict, Map)):
        return type(state), {key: kinds(item) for key, item in state.items()}
    if isinstance(state, (list, tuple, PersistentList)):
        return type(state), [kinds(item) for item in state]
    if isinstance(state, msgspec.Struct):
        return type(state), [kinds(getattr(state, name)) for name in state.__struct_fields__]
    return type(state)


@pytest.mark.parametrize(
    ("state_type", "state"),
    [
        (Board, FULL),
        (Board, msgspec.structs.replace(FULL, spent=1)),
        (Board, msgspec.structs.replace(FULL, extra=(1, (2,), Card(), {3}))),
        (Only, Only(number=1)),
        (Model, Model(names=frozenset("a"))),
        (dict, {"t": (1, [2, ()]), "m": Map({"x": {1, 2}}), 5: frozenset("z"), "at": NOON}),
        (dict, {"inf": float("inf"), "bytes": b"\xff", "big": 2**63}),
        (list, [True, 1, 1.0, None, "x"]),
        (tuple, (1, (2,))),
        (int, 5),
        (int, True),
        (type(None), {"late": (1,)}),
        (Map, Map({"a": PersistentList([Map()])})),
        (Map[str, Card], Map({"a": Card("t")})),
        (PersistentList[Card], PersistentList([Card("t")])),
        (Card | None, None),
        (Card | None, Card()),
        (dict[str, Model], {"a": Model(share=1)}),
    ],
)
def test_state_is_encoded_then_it_comes_back_the_same(state_type: Any, state: Any) -> None:
    """Equal, with the same JSON form, and made of the same kinds."""
    back = round_trip(state_type, state)
    assert back == state
    assert state_hash(back) == state_hash(state)
    assert kinds(back) == kinds(state)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner)
    | st.lists(inner).map(tuple)
    | st.lists(inner).map(PersistentList)
    | st.dictionaries(st.text(), inner)
    | st.dictionaries(st.text() | st.integers(-9, 9), inner, max_size=1).map(Map),
    max_leaves=20,
)  # fmt: skip


@given(plain)
def test_plain_state_is_encoded_then_every_kind_survives(state: Any) -> None:
    """Whatever a handler builds of plain values and containers survives, alone and in a field."""
    for state_type, each in ((dict, state), (Board, Board(extra=state))):
        back = round_trip(state_type, each)
        assert back == each
        assert state_hash(back) == state_hash(each)
        assert kinds(back) == kinds(each)


def test_dict_is_encoded_then_its_insertion_order_survives() -> None:
    """A handler that takes the oldest entry finds the same one behind a snapshot."""
    state = dict.fromkeys("zebra", 1)
    assert list(round_trip(dict, state)) == list("zebra")
    assert list(round_trip(dict, {**state, "t": ()})) == [*"zebra", "t"]


class Odd:
    """Equal to everything, like nothing."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # not needed


@pytest.mark.parametrize(
    ("state_type", "state", "message"),
    [
        (dict, {"a": Card()}, "does not name Card; give state_type"),
        (dict, {"a": decimal.Decimal(1)}, "not come back equal"),
        (dict, {"a": float("nan")}, "not come back equal"),
        (dict, {(1, 2): 3}, "not come back equal"),
        (dict, {"a": NOON.replace(tzinfo=None)}, "not come back equal"),
        (dict, {"a": 2**70}, "serialize ints"),
        (dict, {"secret": Odd()}, "object of type Odd"),
        (Model, Model.model_construct(share="hunter2"), "not come back equal"),
    ],
)
def test_state_would_not_come_back_then_refused_with_the_reason(
    state_type: Any, state: Any, message: str
) -> None:
    """A state that a snapshot would change gets none; the reason names kinds, not content."""
    with pytest.raises(ReducerError, match=message) as caught:
        StateCodec(state_type).encode(state)
    assert "hunter2" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        Status.OPEN,
        Level.LOW,
        Counter("aab"),
        defaultdict(list, {"a": [1]}),
        OrderedDict(a=1),
        Names("ab"),
        Pair(),
        {Status.OPEN},
    ],
)
@pytest.mark.parametrize("wrapped", [list, tuple, PersistentList, "dict", "map", "model"])
def test_kind_would_be_lost_then_refused(value: Any, wrapped: Any) -> None:
    """What no annotation names gets no snapshot, rather than one that says less: an enum's member
    stays one, a Counter counts on."""
    made: dict[str, Callable[[], Any]] = {
        "dict": lambda: {"a": value},
        "map": lambda: Map({"a": value}),
        "model": lambda: Anything(value=value),
    }
    state = wrapped([value]) if isinstance(wrapped, type) else made[wrapped]()
    for state_type in (type(state), Any):
        with pytest.raises(ReducerError):
            StateCodec(state_type).encode(state)
    with pytest.raises(ReducerError):
        StateCodec(Box).encode(Box(state))


@pytest.mark.parametrize("kind", [dict, Map])
def test_key_is_an_enum_member_that_its_type_does_not_name_then_refused(kind: Any) -> None:
    """Keys keep their kind too: 1 for `Level.LOW` is another one."""
    with pytest.raises(ReducerError, match="not come back equal"):
        StateCodec(kind).encode(kind({Level.LOW: 1}))
    with pytest.raises(ReducerError, match="not come back equal"):
        StateCodec(Any).encode({"s": {True}, "k": {Level.LOW: 1}})
    named = StateCodec(dict[Level, Status])
    (key,) = named.decode(named.encode({Level.LOW: Status.OPEN}))
    assert type(key) is Level


@pytest.mark.parametrize("state_type", [dict, Any, dict[str, Any]])
def test_event_data_stands_in_the_state_then_it_comes_back_as_plain_data(state_type: Any) -> None:
    """An event's read-only dicts and lists are kept as the dicts and lists that they are."""
    state = {"data": freeze({"a": [1, {"b": ()}]}), "t": (freeze([1]),)}
    back = round_trip(state_type, state)
    assert back == state
    assert type(back["data"]) is dict
    assert type(back["t"][0]) is list


@pytest.mark.parametrize("damage", [b"", b"t", b"x", b"?abc", b"t\xc1", b"x\xc7\x01\x63\xc0",
                                    b"x\xc7\x03\x07\x92\x63\x90"])  # fmt: skip
def test_bytes_are_of_another_shape_then_refused(damage: bytes) -> None:
    """Bytes that no codec wrote give an error of this library, never a wrong state."""
    codec = StateCodec(Board)
    with pytest.raises(ReducerError, match="does not decode"):
        codec.decode(damage)
    with pytest.raises(ReducerError, match="does not decode"):
        codec.decode(codec.encode(FULL)[:-1])


class Parts(msgspec.Struct, frozen=True):
    board: Any
    count: Any


def test_combined_state_is_encoded_then_each_part_has_its_own_codec() -> None:
    """Parts come back by their own types; a refusal names the part."""
    codec = PartsCodec(Parts, {"board": StateCodec(Board), "count": StateCodec(int)})
    state = Parts(FULL, (1, 2))
    assert codec.decode(codec.encode(state)) == state
    with pytest.raises(ReducerError, match=r"count: .* does not name Card"):
        codec.encode(Parts(FULL, Card()))
    fewer = PartsCodec(Parts, {"board": StateCodec(Board)})
    with pytest.raises(ReducerError, match="other parts"):
        fewer.decode(codec.encode(state))
    with pytest.raises(ReducerError, match="does not decode"):
        codec.decode(b"\xc1")


def test_class_names_types_that_cannot_be_looked_up_then_the_exact_way_is_taken() -> None:
    """A class inside a function may have annotations that only the function knows."""

    class Hidden(msgspec.Struct, frozen=True):
        number: int = 0

    class Local(msgspec.Struct, frozen=True):
        hidden: Hidden | None = None
        items: tuple[int, ...] = ()

    assert round_trip(Local, Local(None, (1,))) == Local(None, (1,))
    with pytest.raises(ReducerError, match="does not name Hidden"):
        StateCodec(Local).encode(Local(Hidden()))
