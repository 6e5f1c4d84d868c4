"""Registered classes and upcasters, apart from any store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest

from eventstore import InvalidEvent, SchemaTooNew, event_type, upcast
from eventstore.registry import Registry, registry
from eventstore.testing import isolated_registry


@pytest.fixture(autouse=True)
def _isolated() -> Iterator[None]:
    with isolated_registry():
        yield


class Card(msgspec.Struct, frozen=True):
    title: str = ""


@pytest.mark.parametrize("version", [0, -1, True, "1", 1.0, None])
def test_a_version_is_none_then_the_registration_is_refused(version: Any) -> None:
    """Versions are ints from 1 on."""
    with pytest.raises(InvalidEvent, match="versions are ints from 1"):
        event_type("card", version)(Card)
    with pytest.raises(InvalidEvent, match="versions are ints from 1"):
        upcast("card", from_version=version)(lambda data: data)
    assert registry.by_name == {}


def test_a_class_is_no_event_then_it_is_refused() -> None:
    """A frozen msgspec.Struct or a pydantic model; the message says which."""

    class Loose(msgspec.Struct):
        x: int

    @dataclass(frozen=True)
    class Plain:
        x: int

    with pytest.raises(InvalidEvent, match="frozen=True"):
        event_type("loose")(Loose)
    for other in (Plain, dict, int):
        with pytest.raises(InvalidEvent, match=r"msgspec\.Struct or a pydantic model"):
            event_type("plain")(other)
    with pytest.raises(InvalidEvent, match="type"):
        event_type("$own")(Card)


def test_the_block_ends_then_the_former_registry_is_back() -> None:
    """Tests leave no class behind."""
    event_type("outer")(Card)
    with isolated_registry() as inner:
        assert inner.by_name == {}
        event_type("inner")(Card)
    assert set(registry.by_name) == {"outer"}


@pytest.mark.parametrize(
    ("steps", "version", "fine"),
    [
        ([], 1, True),
        ([], 3, True),
        ([1], 2, True),
        ([1, 2], 3, True),
        ([2], 3, True),
        ([1], 3, False),
        ([1, 3], 4, False),
        ([1, 2], 2, False),
        ([1], 1, False),
    ],
)
def test_steps_are_checked_then_a_chain_has_no_gap_and_ends_at_the_class(
    steps: list[int], version: int, fine: bool
) -> None:
    """Every step from the first one up to the registered version, and none beyond."""
    event_type("card", version)(Card)
    for step in steps:
        upcast("card", step)(lambda data: data)
    if fine:
        registry.check()
        return
    with pytest.raises(InvalidEvent, match="'card'"):
        registry.check()


def test_an_old_payload_is_decoded_then_every_step_is_taken_once() -> None:
    """From the stored version up, each with what the one before gave."""
    event_type("card", 4)(Card)
    for step in (1, 2, 3):
        upcast("card", step)(lambda data, step=step: {"title": data["title"] + str(step)})
    found = [registry.decode("card", v, b'{"title":""}', "here") for v in (1, 2, 3, 4)]
    assert [card.title for card in found] == ["123", "23", "3", ""]
    with pytest.raises(SchemaTooNew, match=r"here.*version 5.*up to 4"):
        registry.decode("card", 5, b"{}", "here")
    assert registry.decode_dict("card", 5, b'{"new":1}') == {"new": 1}


def test_an_upcast_gives_what_cannot_be_stored_then_it_is_told() -> None:
    """A step must give JSON, and what fits the class."""
    event_type("card", 2)(Card)
    upcast("card", 1)(lambda data: {"title": {1, 2}})
    with pytest.raises(InvalidEvent, match=r"here \(card\) \$\.title: set"):
        registry.decode("card", 1, b"{}", "here")
    registry.upcasters["card"][1] = lambda data: {"title": 5}
    with pytest.raises(InvalidEvent, match="does not fit Card"):
        registry.decode("card", 1, b"{}", "here")


def test_the_error_of_a_class_quotes_the_value_then_only_the_place_is_shown() -> None:
    """pydantic and `__post_init__` quote the input; what we say does not."""

    class Model(pydantic.BaseModel):
        inner: dict[str, int]

        @pydantic.field_validator("inner")
        @classmethod
        def _no(cls, value: dict[str, int]) -> dict[str, int]:
            raise ValueError(f"unwanted {value}")

    class Struct(msgspec.Struct, frozen=True):
        x: int

        def __post_init__(self) -> None:
            raise ValueError(f"unwanted {self.x} - at `$.fake`")

    event_type("model")(Model)
    event_type("struct")(Struct)
    for name, payload in (("model", b'{"inner":{"secret":77}}'), ("struct", b'{"x":77}')):
        with pytest.raises(InvalidEvent) as caught:
            registry.decode(name, 1, payload, "here")
        assert "77" not in str(caught.value)
        assert "does not fit" in str(caught.value)


def test_a_registry_is_made_then_it_is_empty_and_its_own() -> None:
    """The process's registry is one of a class, not the class."""
    own = Registry()
    own.register(Card, "card", 3, None)
    assert (own.current_version("card"), registry.current_version("card")) == (3, 1)
