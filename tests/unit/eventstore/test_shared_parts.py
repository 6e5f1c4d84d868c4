"""A value that is small in memory and without end as JSON is refused at once."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from eventstore import EventStore, InvalidEvent, NewEvent, event_type
from eventstore.canonical import FrozenDict, FrozenList, encode, refuse_endless
from eventstore.limits import PAYLOAD_BYTES_MAX
from eventstore.testing import isolated_registry


def _doubled(make: Callable[[Any], Any], times: int = 50) -> Any:
    value: Any = []
    for _ in range(times):
        value = make(value)
    return value


ENDLESS = {
    "lists": _doubled(lambda inner: [inner, inner]),
    "dicts": _doubled(lambda inner: {"a": inner, "b": inner}),
    "read-only ones": _doubled(lambda inner: FrozenList([FrozenDict(a=inner), inner, inner])),
    "wide ones": [[[0] * 10_000] * 10_000] * 10,
    "what is refused at its end": [(1,), _doubled(lambda inner: [inner, inner])],
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("value", ENDLESS.values(), ids=ENDLESS.keys())
async def test_parts_are_shared_without_end_then_the_value_is_refused(value: Any) -> None:
    """2**50 lists stand in it for whoever walks them: the door looks at each part once."""
    async with EventStore.open("memory://") as store:
        with pytest.raises(InvalidEvent, match=f"more than {PAYLOAD_BYTES_MAX} bytes as JSON"):
            await store.append("s", NewEvent("t", value))
        with pytest.raises(InvalidEvent, match="context"):
            await store.append("s", NewEvent("t", 1), context={"v": value})
        assert await store.head() == 0


@pytest.mark.timeout(20)
async def test_an_instance_shares_parts_without_end_then_it_is_refused() -> None:
    """Whatever its fields are declared as; the type is named."""
    with isolated_registry():

        @event_type("struct.made")
        class Made(msgspec.Struct, frozen=True):
            parts: Any

        @event_type("model.made")
        class Modelled(BaseModel):
            parts: Any

        async with EventStore.open("memory://") as store:
            for cls in (Made, Modelled):
                with pytest.raises(InvalidEvent, match=r"made.*bytes as JSON"):
                    await store.append("s", cls(parts=[{"of": ENDLESS["lists"]}]))
            assert await store.head() == 0


@pytest.mark.parametrize("rows", [10, 30_000, 300_000])
def test_parts_are_shared_and_fit_then_they_are_written_out(rows: int) -> None:
    """Sharing alone is no fault: what is written is what is there, below the limit."""
    row = {"n": [1]}
    assert encode([row] * rows, "$") == b"[" + b",".join([b'{"n":[1]}'] * rows) + b"]"


class _Hanging:
    """An object that no event can hold, and that must not be looked into."""

    def __init__(self) -> None:
        self.__dict__ = _Untouchable(everything=sys.modules)


class _Untouchable(dict[str, Any]):
    def values(self) -> Any:
        raise AssertionError("somebody looked into the object")


async def test_a_foreign_object_stands_in_a_value_then_it_is_refused_without_a_look_into_it() -> (
    None
):
    """A module or a connection holds half the process: it is refused for what it is, and by
    nothing but `InvalidEvent`."""
    with isolated_registry():

        @event_type("struct.made")
        class Made(msgspec.Struct, frozen=True):
            parts: Any

        async with EventStore.open("memory://") as store:
            for foreign in (_Hanging(), sys, BaseModel):
                with pytest.raises(InvalidEvent, match=r"\$\.x: .*, which JSON does not give back"):
                    await store.append("s", NewEvent("t", {"x": foreign}))
                with pytest.raises(InvalidEvent, match=r"cannot be stored as JSON"):
                    await store.append("s", Made(parts=[foreign]))


def test_dataclasses_in_a_typed_event_share_parts_without_end_then_they_are_refused() -> None:
    """A typed event may hold dataclasses, and these whatever they like."""

    @dataclasses.dataclass
    class Pair:
        left: Any
        right: Any

    with pytest.raises(InvalidEvent, match="bytes as JSON"):
        refuse_endless([_doubled(lambda inner: Pair(inner, inner))], "$")
