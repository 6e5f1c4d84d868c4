"""Typed events: classes and upcasters over stored bytes that never change."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import pydantic
import pytest

from ...canonical import thaw
from ...errors import IdempotencyMismatch, InvalidEvent, SchemaTooNew
from ...events import NewEvent, RecordedEvent
from ...registry import event_type, isolated_registry, upcast
from ...store import EventStore
from .harness import Harness, take

CANARY = "canary-7d1e"
"""A value that must never be seen in an error."""

MUTATIONS: list[Any] = [
    lambda data: data.__setitem__("a", 1),
    lambda data: data.__delitem__("a"),
    lambda data: data.update(b=1),
    lambda data: data.pop("a"),
    lambda data: data.popitem(),
    lambda data: data.clear(),
    lambda data: data.setdefault("z", 1),
    lambda data: data.__ior__({"z": 1}),
    lambda data: data["a"].append(1),
    lambda data: data["a"].extend([1]),
    lambda data: data["a"].insert(0, 1),
    lambda data: data["a"].remove(1),
    lambda data: data["a"].pop(),
    lambda data: data["a"].clear(),
    lambda data: data["a"].sort(),
    lambda data: data["a"].reverse(),
    lambda data: data["a"].__iadd__([1]),
    lambda data: data["a"].__imul__(2),
    lambda data: data["a"].__setitem__(0, 1),
    lambda data: data["a"].__delitem__(0),
    lambda data: data["a"][1].update(c=1),
    lambda data: data["a"][1]["b"].append(1),
]


class _Added(msgspec.Struct, frozen=True):
    title: str
    points: int = 0
    labels: tuple[str, ...] = ()


class _Paid(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)
    order: int
    method: Literal["card", "cash"] = "card"


class TypedContract(Harness):
    """`event_type`, `upcast`, and data that nobody can change."""

    @pytest.fixture(autouse=True)
    def _registry(self) -> Iterator[None]:
        with isolated_registry():
            yield

    async def test_instances_are_appended_then_instances_come_back(self, store: EventStore) -> None:
        """A Struct and a pydantic model go straight into append; tags come from the class."""
        event_type("card.added", version=2, tags=lambda e: [f"title:{e.title}"])(_Added)
        event_type("order.paid")(_Paid)
        added, paid = _Added("x", 3, ("l",)), _Paid(order=7, method="cash")
        result = await store.append(
            "s", [added, paid, NewEvent("card.added", _Added("y"), id="given", tags=["own"])]
        )
        first, second, third = await store.read("s").list()
        assert (first.data, second.data, third.data) == (added, paid, _Added("y"))
        assert isinstance(first.data, _Added)
        assert isinstance(second.data, _Paid)
        assert [e.data for e in result.events] == [added, paid, _Added("y")]
        assert [(e.type, e.schema_version, e.tags) for e in (first, second, third)] == [
            ("card.added", 2, ("title:x",)),
            ("order.paid", 1, ()),
            ("card.added", 2, ("own", "title:y")),
        ]
        assert first.payload == b'{"labels":["l"],"points":3,"title":"x"}'
        assert getattr(first, "title") == "x"  # noqa: B009 - type checkers do not know it
        assert first.untyped().data == {"labels": ["l"], "points": 3, "title": "x"}
        assert len(await store.read_all(tags=["title:x"]).list()) == 1

    async def test_a_dict_comes_under_a_registered_name_then_it_is_checked(
        self, store: EventStore
    ) -> None:
        """It must fit the class, gets its version and tags, and is stored as it was given."""
        event_type("card.added", version=3, tags=lambda e: ["made"])(_Added)
        event_type("order.paid")(_Paid)
        await store.append("s", NewEvent("card.added", {"title": "x", "extra": 1}))
        (event,) = await store.read("s").list()
        assert event.data == _Added("x")
        assert event.payload == b'{"extra":1,"title":"x"}'
        assert (event.schema_version, event.tags) == (3, ("made",))
        for bad in (
            NewEvent("card.added", {"points": 1}),
            NewEvent("card.added", {"title": 5}),
            NewEvent("card.added", [CANARY]),
            NewEvent("order.paid", {"order": CANARY}),
            NewEvent("order.paid", {"order": 1, "method": CANARY}),
            NewEvent("order.paid", _Added(CANARY)),
        ):
            with pytest.raises(InvalidEvent) as caught:
                await store.append("s", bad)
            assert CANARY not in str(caught.value)
        assert await store.head() == 1

    async def test_a_value_does_not_fit_its_class_then_the_error_says_where_and_not_what(
        self, store: EventStore
    ) -> None:
        """The path and the class are told; the value is not, whichever library refused it."""

        @event_type("strict")
        class Strict(msgspec.Struct, frozen=True):
            kind: Literal["a", "b"]
            note: str = ""

            def __post_init__(self) -> None:
                if self.note:
                    raise ValueError(f"unwanted {self.note}")

        event_type("order.paid")(_Paid)
        for data, name, place in (
            ({"kind": CANARY}, "strict", "$.kind"),
            ({"kind": "a", "note": CANARY}, "strict", "Strict"),
            ({"kind": 5}, "strict", "Expected `str`, got `int`"),
            ({}, "strict", "missing required field `kind`"),
            ({"order": CANARY}, "order.paid", "$.order"),
            ({"order": 1, "method": CANARY}, "order.paid", "$.method"),
        ):
            with pytest.raises(InvalidEvent) as caught:
                await store.append("s", NewEvent(name, data))
            assert place in str(caught.value)
            assert CANARY not in str(caught.value)

    async def test_an_instance_would_not_come_back_equal_then_it_is_refused(
        self, store: EventStore
    ) -> None:
        """Typed data is held to the same rule as plain data."""

        @event_type("loose")
        class Loose(msgspec.Struct, frozen=True):
            value: Any

        @event_type("model")
        class Model(pydantic.BaseModel):
            value: float

        for value in ((1, 2), {1, 2}, b"x", float("nan"), float("inf"), 2**63, "\ud800"):
            with pytest.raises(InvalidEvent):
                await store.append("s", Loose(value))
        with pytest.raises(InvalidEvent):
            await store.append("s", Model(value=float("nan")))
        assert await store.head() == 0

    async def test_old_versions_stand_then_they_come_back_through_the_chain(
        self, store: EventStore
    ) -> None:
        """Each step takes a dict to the next version; the stored bytes stay as they are."""
        await store.append("s", NewEvent("card.added", {"name": "one"}))
        with isolated_registry():
            upcast("card.added", from_version=1)(lambda d: {"title": d["name"]})
            await store.append("s", NewEvent("card.added", {"title": "two"}))
        event_type("card.added", version=3)(_Added)
        upcast("card.added", from_version=1)(lambda d: {"title": d["name"]})
        upcast("card.added", from_version=2)(lambda d: {**d, "points": 5})
        await store.append("s", _Added("three"))
        events = await store.read("s").list()
        assert [e.schema_version for e in events] == [1, 2, 3]
        assert [e.data for e in events] == [_Added("one", 5), _Added("two", 5), _Added("three")]
        assert events[0].payload == b'{"name":"one"}'
        assert events[0].untyped().data == {"title": "one", "points": 5}
        assert (await take(store.subscribe(), 1))[0].data == _Added("one", 5)
        assert (await store.verify()).damages == ()

    async def test_upcasters_stand_without_a_class_then_data_is_a_dict_of_the_last_version(
        self, store: EventStore
    ) -> None:
        """Classes are a choice; versions work on dicts as well."""
        await store.append("s", NewEvent("x", {"v": 1}))
        upcast("x", from_version=1)(lambda d: {"v": d["v"] + 1})
        upcast("x", from_version=2)(lambda d: {"v": d["v"] * 10})
        await store.append("s", NewEvent("x", {"v": 7}))
        first, second = await store.read("s").list()
        assert (first.schema_version, first.data) == (1, {"v": 20})
        assert (second.schema_version, second.data) == (3, {"v": 7})
        with pytest.raises(TypeError, match="read-only"):
            first.data["v"] = 1

    async def test_the_chain_has_a_gap_then_opening_and_first_use_are_refused(
        self, store: EventStore, tmp_path: Path
    ) -> None:
        """A gap is told at open; where it was made later, at the first old event."""
        await store.append("s", NewEvent("card.added", {"name": "one"}))
        event_type("card.added", version=3)(_Added)
        upcast("card.added", from_version=1)(lambda d: {"title": d["name"]})
        with pytest.raises(InvalidEvent, match="no upcast from version 2"):
            await self.open_store(self.new_url(tmp_path))
        (event,) = await store.read("s").list()
        with pytest.raises(InvalidEvent, match="no upcast from version 2"):
            _ = event.data
        assert event.payload == b'{"name":"one"}'

    async def test_the_registered_version_lies_below_the_stored_one_then_it_is_told(
        self, store: EventStore
    ) -> None:
        """An older program must not misread what a newer one wrote."""
        with isolated_registry():
            event_type("card.added", version=4)(_Added)
            await store.append("s", _Added("new"))
        event_type("card.added", version=2)(_Added)
        (event,) = await store.read("s").list()
        with pytest.raises(SchemaTooNew, match=r"version 4.*up to 2"):
            _ = event.data
        assert event.untyped().data == {"title": "new", "points": 0, "labels": []}

    async def test_the_type_is_unknown_then_the_event_is_a_dict(self, store: EventStore) -> None:
        """Never an error, never dropped: a program without the class still reads it."""
        with isolated_registry():
            event_type("card.added", version=9)(_Added)
            await store.append("s", _Added("x"))
        (event,) = await store.read("s").list()
        assert event.data == {"title": "x", "points": 0, "labels": []}
        assert event["title"] == "x"
        assert event.untyped() == event

    async def test_one_name_or_class_is_registered_twice_then_it_is_refused(
        self, store: EventStore
    ) -> None:
        """One name, one class; one step from a version."""
        event_type("card.added")(_Added)
        with pytest.raises(InvalidEvent, match="twice"):
            event_type("card.added")(_Paid)
        with pytest.raises(InvalidEvent, match="has a name already"):
            event_type("other")(_Added)
        upcast("x", from_version=1)(lambda d: d)
        with pytest.raises(InvalidEvent, match="twice"):
            upcast("x", from_version=1)(lambda d: d)
        await store.append("s", _Added("works"))

    async def test_a_key_is_used_with_a_class_and_with_its_dict_then_it_is_one_content(
        self, store: EventStore
    ) -> None:
        """Content is what is stored, so the same bytes are the same content."""
        event_type("order.paid", tags=lambda e: ["paid"])(_Paid)
        await store.append("s", _Paid(order=1), idempotency_key="k")
        same = NewEvent("order.paid", {"order": 1, "method": "card"})
        assert (await store.append("s", same, idempotency_key="k")).duplicate is True
        with pytest.raises(IdempotencyMismatch):
            await store.append("s", NewEvent("order.paid", {"order": 1}), idempotency_key="k")

    @pytest.mark.parametrize("index", range(len(MUTATIONS)))
    async def test_data_is_changed_then_it_is_refused_at_any_depth(
        self, store: EventStore, index: int
    ) -> None:
        """Events are shared between readers; what happened does not change."""
        plain = {"a": [1, {"b": [2]}]}
        await store.append("s", NewEvent("t", plain), context={"a": [1, {"b": [2]}]})
        (event,) = await store.read("s").list()
        for value in (event.data, event.context):
            with pytest.raises(TypeError, match="read-only"):
                MUTATIONS[index](value)
            assert value == plain
        assert event.payload == b'{"a":[1,{"b":[2]}]}'

    async def test_data_is_copied_then_the_copy_may_be_changed(self, store: EventStore) -> None:
        """`copy.deepcopy` and `thaw` give plain dicts and lists, which append takes again."""
        plain = {"a": [1, {"b": [2]}]}
        await store.append("s", NewEvent("t", plain))
        (event,) = await store.read("s").list()
        for copied in (copy.deepcopy(event.data), thaw(event.data)):
            assert (type(copied), type(copied["a"]), type(copied["a"][1])) == (dict, list, dict)
            copied["a"][1]["b"].append(3)
            assert copied == {"a": [1, {"b": [2, 3]}]}
        assert event.data == plain
        again = await store.append("s", NewEvent("t", event.data))
        assert again.events[0].payload == event.payload

    async def test_the_caller_changes_what_it_sent_then_the_log_does_not(
        self, store: EventStore
    ) -> None:
        """What was appended is taken at once; later changes are the caller's own."""
        data, context = {"a": [1]}, {"k": [1]}
        result = await store.append("s", NewEvent("t", data), context=context)
        data["a"].append(2)
        context["k"].append(2)
        for event in (*result.events, *await store.read("s").list()):
            assert (event.data, event.context) == ({"a": [1]}, {"k": [1]})

    async def test_an_event_is_changed_then_it_is_refused(self, store: EventStore) -> None:
        """A recorded event is a value."""
        (event,) = (await store.append("s", NewEvent("t", {"position": 9}))).events
        with pytest.raises(AttributeError):
            event.position = 5  # type: ignore[misc]  # frozen
        assert (event.position, event["position"]) == (1, 9)
        with pytest.raises(AttributeError):
            _ = getattr(event, "nothing")  # noqa: B009 - a type checker sees that it is not there
        assert {event} == set(await store.read("s").list())

    async def test_two_readers_read_one_event_then_neither_sees_the_other(
        self, store: EventStore
    ) -> None:
        """A class may hold a list; what one reader does to it, another does not see."""

        @event_type("listing")
        class Listing(msgspec.Struct, frozen=True):
            names: list[str]

        await store.append("s", Listing(["a"]))

        async def read() -> RecordedEvent:
            return (await store.read("s").list())[0]

        first = await read()
        first.data.names.append("b")
        assert (await read()).data.names == ["a"]
