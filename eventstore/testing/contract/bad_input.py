"""The door: what would not come back the same is refused, with its place and never its content."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import uuid
from pathlib import Path
from typing import Any

import pytest

from ...errors import Conflict, InvalidEvent
from ...events import Append, NewEvent
from ...store import EventStore
from .harness import Harness, note, notes

CANARY = "canary-51c0"
"""A value that stands beside each refused one, and must never be seen in an error."""


def _nested(levels: int, kind: str = "list") -> Any:
    value: Any = CANARY
    for _ in range(levels):
        value = [value] if kind == "list" else {"k": value}
    return value


_NAIVE = datetime.datetime(2026, 1, 1)  # noqa: DTZ001 - naive is what is tested


class _Colour(enum.Enum):
    RED = CANARY


class _Point(collections.namedtuple("_Point", "x y")):
    pass


PAYLOADS: list[tuple[Any, str]] = [
    # what is refused,                       what the error says of its place and reason
    ({"a": {"b": [1, float("nan")]}}, r"\$\.a\.b\[1\]: NaN or infinity"),
    ({"a": float("inf")}, r"\$\.a: NaN or infinity"),
    ([0, float("-inf")], r"\$\[1\]: NaN or infinity"),
    ({"a": 2**63}, r"\$\.a: integer beyond signed 64 bits"),
    ({"a": [-(2**63) - 1]}, r"\$\.a\[0\]: integer beyond signed 64 bits"),
    (10**400, r"\$: integer beyond signed 64 bits"),
    ({"a": ["x", "\ud800"]}, r"\$\.a\[1\]: lone surrogate"),
    ({"a": {"\udfff": 1}}, r"\$\.a: lone surrogate in a key"),
    ("\udc00", r"\$: lone surrogate"),
    ({"a": {1: 2}}, r"\$\.a: key of type int"),
    ({None: 1}, r"\$: key of type NoneType"),
    ({(1, 2): 1}, r"\$: key of type tuple"),
    ({"a": (1, 2)}, r"\$\.a: tuple"),
    ((1, 2), r"\$: tuple"),
    ({"a": _Point(1, 2)}, r"\$\.a: _Point"),
    ({"a": [{1, 2}]}, r"\$\.a\[0\]: set"),
    ({"a": frozenset()}, r"\$\.a: frozenset"),
    ({"a": CANARY.encode()}, r"\$\.a: bytes"),
    ({"a": bytearray(b"x")}, r"\$\.a: bytearray"),
    ({"a": _NAIVE}, r"\$\.a: datetime"),
    ({"a": datetime.date(2026, 1, 1)}, r"\$\.a: date"),
    ({"a": datetime.timedelta(1)}, r"\$\.a: timedelta"),
    ({"a": decimal.Decimal("1.5")}, r"\$\.a: Decimal"),
    ({"a": uuid.UUID(int=1)}, r"\$\.a: UUID"),
    ({"a": 1j}, r"\$\.a: complex"),
    ({"a": object()}, r"\$\.a: object"),
    ({"a": _Colour.RED}, r"\$\.a: _Colour"),
    (_nested(101), "deeper than 100 levels"),
    (_nested(101, "dict"), "deeper than 100 levels"),
    ({"a": _nested(100)}, "deeper than 100 levels"),
]

NAMES: list[tuple[Any, str]] = [
    ("", "1 to 200"),
    ("x" * 201, "1 to 200"),
    ("é" * 101, "1 to 200"),
    ("a\nb", r"control character U\+000A"),
    ("a\x00", r"control character U\+0000"),
    ("\x7f", r"control character U\+007F"),
    ("\x85", r"control character U\+0085"),
    ("a\u2028", r"control character U\+2028"),
    ("e\u0301", "normal form C"),
    ("\u212b", "normal form C"),
    ("$own", r"leading '\$'"),
    ("\ud800", "lone surrogate"),
    (5, "not int"),
    (b"bytes", "not bytes"),
    (["a"], "not list"),
]

GOOD_NAMES = ["x" * 200, "é" * 100, "a$b", " ", "日本", "a b", "😀", "\u00a0", "\u200d"]


class BadInputContract(Harness):
    """Refused before anything is written, with a JSON path or the name's kind, and the limit."""

    @pytest.mark.parametrize(("data", "says"), PAYLOADS)
    async def test_a_payload_would_not_come_back_the_same_then_it_is_refused(
        self, store: EventStore, data: Any, says: str
    ) -> None:
        """Also as one of several events, in a call, in a context; the good ones fall with it."""
        with pytest.raises(InvalidEvent, match=says) as caught:
            await store.append("s", [note(CANARY), NewEvent("t", data), note(CANARY)])
        assert "event 1 (t) $" in str(caught.value)
        assert CANARY not in str(caught.value)
        assert caught.value.written == "no"
        with pytest.raises(InvalidEvent, match=says) as caught:
            await store.append_many([Append("a", note(CANARY)), Append("b", NewEvent("t", data))])
        assert CANARY not in str(caught.value)
        with pytest.raises(InvalidEvent, match="context"):
            await store.append("s", note(), context={"c": data} if data != {} else data)
        assert await store.head() == 0

    @pytest.mark.parametrize("kind", ["list", "dict"])
    async def test_a_payload_is_a_hundred_levels_deep_then_it_is_taken(
        self, store: EventStore, kind: str
    ) -> None:
        """The limit itself is allowed, as lists and as dicts."""
        data = _nested(100, kind)
        await store.append("s", NewEvent("t", data))
        assert (await store.read("s").list())[0].data == data

    async def test_a_payload_holds_itself_then_it_is_refused(self, store: EventStore) -> None:
        """A cycle is deeper than any limit."""
        loop: list[Any] = []
        loop.append(loop)
        with pytest.raises(InvalidEvent, match="deeper"):
            await store.append("s", NewEvent("t", {"a": loop}))

    async def test_a_payload_is_one_byte_too_large_then_it_is_refused(
        self, store: EventStore
    ) -> None:
        """The message names the size and the limit."""
        data = {"t": CANARY + "x" * (8 * 1024 * 1024 - len(CANARY) - 7)}
        with pytest.raises(InvalidEvent, match="8388609 bytes, at most 8388608") as caught:
            await store.append("s", NewEvent("t", data))
        assert CANARY not in str(caught.value)
        with pytest.raises(InvalidEvent, match="at most 65536"):
            await store.append("s", note(), context={"t": "x" * 65_536})
        assert await store.head() == 0

    async def test_an_append_is_too_large_then_it_is_refused(self, store: EventStore) -> None:
        """10,000 events and 64 MiB: one transaction stays short for its neighbours."""
        with pytest.raises(InvalidEvent, match="10001 events, at most 10000"):
            await store.append("s", notes(10_001))
        with pytest.raises(InvalidEvent, match="at most 10000"):
            await store.append("s", (note() for _ in iter(int, 1)))
        large = NewEvent("t", "x" * 8_000_000)
        with pytest.raises(InvalidEvent, match="at most 67108864"):
            await store.append("s", [large] * 9)
        assert await store.head() == 0

    @pytest.mark.parametrize(("name", "says"), NAMES)
    async def test_a_name_is_no_name_then_it_is_refused_wherever_it_stands(
        self, store: EventStore, name: Any, says: str
    ) -> None:
        """One rule for streams, types, tags, keys, actors and ids; each error says which."""
        attempts: list[tuple[str, Any]] = [
            ("stream", store.append(name, note())),
            ("tag", store.append("s", note(tags=["fine", name]))),
            ("idempotency key", store.append("s", note(), idempotency_key=name)),
            ("actor", store.append("s", note(), actor=name)),
            ("correlation id", store.append("s", note(), correlation_id=name)),
            ("causation id", store.append("s", note(), causation_id=name)),
            ("causation id", store.append("s", note(causation_id=name))),
            ("derived_from", store.append("s", note(derived_from=[name]))),
            ("event id", store.append("s", note(id=name))),
            ("idempotency key", store.append_many([Append("s", note())], idempotency_key=name)),
        ]
        if name != "":
            attempts.append(("type", store.append("s", NewEvent(name, {}))))
        for kind, attempt in attempts:
            with pytest.raises(InvalidEvent, match=says) as caught:
                await attempt
            assert str(caught.value).startswith(f"{kind}: ")
        with pytest.raises(InvalidEvent):
            await store.append("s", NewEvent("", {}))
        assert await store.head() == 0

    @pytest.mark.parametrize("name", GOOD_NAMES)
    async def test_a_name_is_within_the_rule_then_it_is_taken_everywhere(
        self, store: EventStore, name: str
    ) -> None:
        """The limits themselves are allowed."""
        event = NewEvent(name, {}, id=name, tags=[name], causation_id=name, derived_from=[name])
        await store.append(name, event, idempotency_key=name, actor=name, correlation_id=name)
        (found,) = await store.read_all(types=[name], tags=[name]).list()
        assert (found.stream, found.type, found.id, found.tags) == (name, name, name, (name,))
        assert (found.actor, found.correlation_id, found.causation_id) == (name, name, name)
        assert await store.event(name) == found

    async def test_a_name_is_a_member_of_a_text_enum_then_its_value_is_stored(
        self, store: EventStore
    ) -> None:
        """A subclass of str is its text, whatever str() makes of it."""

        class Kind(str, enum.Enum):  # noqa: UP042 - StrEnum is another class, with another str()
            MADE = "é.made"
            SENT = "order.sent"

        await store.append(Kind.MADE, NewEvent(Kind.SENT, {"kind": Kind.SENT}, tags=[Kind.MADE]))
        (event,) = await store.read("é.made").list()
        assert (event.type, event.tags, event.stream) == ("order.sent", ("é.made",), "é.made")
        assert event.data == {"kind": "order.sent"}

    @pytest.mark.parametrize(
        "fields",
        [
            {"tags": "tag"},
            {"tags": 5},
            {"tags": [f"t{n}" for n in range(101)]},
            {"derived_from": "id"},
            {"derived_from": [f"e{n}" for n in range(1_001)]},
            {"occurred_at": _NAIVE},
            {"occurred_at": "2026-01-01T00:00:00Z"},
            {"occurred_at": 1_700_000_000},
            {"context": [1]},
            {"context": "text"},
            {"context": {"a": float("nan")}},
            {
                "occurred_at": datetime.datetime(
                    1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=14))
                )
            },
        ],
    )
    async def test_a_field_of_an_event_is_malformed_then_it_is_refused(
        self, store: EventStore, fields: dict[str, Any]
    ) -> None:
        """Tags and causes are lists, moments have a zone, a context is an object."""
        with pytest.raises(InvalidEvent):
            await store.append("s", note(**fields))
        assert await store.head() == 0

    @pytest.mark.parametrize("events", ["text", b"bytes", {"a": 1}, 5, None, [None], [{"a": 1}]])
    async def test_what_is_appended_is_no_event_then_it_is_refused(
        self, store: EventStore, events: Any
    ) -> None:
        """Only a NewEvent or an instance of a registered class is an event."""
        with pytest.raises(InvalidEvent, match="a NewEvent or an instance") as caught:
            await store.append("s", events)
        assert "text" not in str(caught.value)
        assert await store.head() == 0

    async def test_the_id_factory_repeats_itself_then_it_is_refused(
        self, store: EventStore
    ) -> None:
        """An id that stands already is never given to another event, whoever made it."""
        await store.append("s", note(id="event-000001"))
        with pytest.raises(InvalidEvent, match="id factory"):
            await store.append("s", note())
        assert await store.head() == 1
        assert (await store.append("s", note())).position == 2
        with pytest.raises(InvalidEvent, match="id factory"):
            await store.append("s", [note(), note(id="event-000004"), note()])
        assert await store.head() == 2

    async def test_the_id_factory_repeats_itself_at_a_retry_then_the_key_goes_first(
        self, tmp_path: Path
    ) -> None:
        """What is not written needs no id of its own: a retry, and a refusal, are told as such."""
        store = await self.open_store(self.new_url(tmp_path), ids=lambda: "always")
        try:
            await store.append("s", note(), idempotency_key="k")
            assert (await store.append("s", note(), idempotency_key="k")).duplicate is True
            with pytest.raises(Conflict):
                await store.append("s", note(), expected=0)
            assert await store.head() == 1
        finally:
            await store.close()

    @pytest.mark.parametrize("made", [7, None, uuid.UUID(int=1), "", "a\nb", "\ud800", b"id"])
    async def test_the_id_factory_makes_what_is_no_name_then_it_is_refused(
        self, tmp_path: Path, made: Any
    ) -> None:
        """An id that would be refused from a caller is refused from a factory too."""
        store = await self.open_store(self.new_url(tmp_path), ids=lambda: made)
        try:
            with pytest.raises(InvalidEvent, match=r"^event id: "):
                await store.append("s", note())
            assert await store.head() == 0
        finally:
            await store.close()
