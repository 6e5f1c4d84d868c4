"""Projections: what may be declared, and what they make of events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from eventstore import EventStore, NewEvent, RecordedEvent, event_type
from eventstore.calls import FORKED
from eventstore.testing import isolated_registry
from projections import Delete, Projection, ProjectionError, Upsert
from projections.folding import Folder
from projections.projection import NAME_LENGTH_MAX, key_text
from reducers import Reducer


@pytest.fixture
def count() -> Reducer[Any]:
    """Counts notes."""
    made: Reducer[Any] = Reducer("count", initial=0)

    @made.on("note.added")
    def added(state: Any, event: RecordedEvent) -> Any:
        return state + event.data["n"]

    return made


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """No type of another test is known."""
    with isolated_registry():
        yield


async def recorded(*data: dict[str, Any], type: str = "note.added") -> list[RecordedEvent]:
    """Events as the store gives them."""
    async with EventStore.open("memory://") as store:
        await store.append("s", [NewEvent(type, each) for each in data])
        return await store.read_all().list()


@pytest.mark.parametrize(
    "name", ["", "A", "1a", "a-b", "ä", "a b", "_a", "a" * (NAME_LENGTH_MAX + 1), None, 5]
)
def test_a_name_is_not_one_of_a_table_then_it_is_refused(name: Any) -> None:
    """Tables are named after views."""
    with pytest.raises(ProjectionError, match="name"):
        Projection(name)


@pytest.mark.parametrize("version", [0, -1, True, "1", 1.0, None])
def test_a_version_is_no_number_then_it_is_refused(version: Any) -> None:
    """Versions are compared."""
    with pytest.raises(ProjectionError, match="version"):
        Projection("notes", version=version)


def test_a_fold_is_a_map_too_then_it_is_refused(count: Reducer[Any]) -> None:
    """A row is made in one way."""
    with pytest.raises(ProjectionError, match="not both"):
        Projection("notes", fold=count, map=lambda event: None)
    with pytest.raises(ProjectionError, match="not both"):
        Projection("notes", fold=count, types=["note.added"])
    with pytest.raises(ProjectionError, match="row"):
        Projection("notes", row=lambda key, state: state)
    with pytest.raises(ProjectionError, match="map by handlers"):
        Projection("notes", fold=count).on("note.added")(lambda event: None)


def test_a_handler_is_async_or_there_twice_then_it_is_refused() -> None:
    """A handler is pure, and the only one of its type."""
    notes = Projection("notes")
    notes.on("note.added")(lambda event: None)
    with pytest.raises(ProjectionError, match="already"):
        notes.on("note.added")(lambda event: None)

    async def late(event: Any) -> None:
        return None

    with pytest.raises(ProjectionError, match="async"):
        notes.on("note.gone")(late)
    with pytest.raises(ProjectionError, match="registered class"):
        notes.on(int)


async def test_a_handler_is_by_name_or_by_class_then_it_gets_a_dict_or_the_instance() -> None:
    """Whatever else is registered."""

    @event_type("note.added")
    class Added(msgspec.Struct, frozen=True):
        n: int

    seen: list[Any] = []
    by_name, by_class = Projection("one"), Projection("two")
    by_name.on("note.added")(lambda event: seen.append(event.data))
    by_class.on(Added)(lambda event: seen.append(event.data))
    (event,) = await recorded({"n": 1})
    by_name.effects(event)
    by_class.effects(event)
    assert seen == [{"n": 1}, Added(1)]


async def test_a_handler_gives_effects_then_they_come_in_order() -> None:
    """One, several, none; anything else is a mistake."""
    (event,) = await recorded({"n": 1})
    for made, wanted in [
        (None, ()),
        (Upsert("a", 1), (Upsert("a", 1),)),
        ([Upsert("a", 1), Delete("b")], (Upsert("a", 1), Delete("b"))),
    ]:
        assert tuple(Projection("notes", map=lambda e, m=made: m).effects(event)) == wanted
    for odd in ("text", 5, [Upsert("a", 1), "b"], {"a": 1}):
        with pytest.raises(ProjectionError, match="Upsert"):
            Projection("notes", map=lambda e, m=odd: m).effects(event)


async def test_a_key_function_gives_something_else_then_it_is_refused() -> None:
    """A key is a str, an int, or a tuple of them."""
    (event,) = await recorded({"n": 1})
    for key in ("a", 5, ("a", 5), None):
        assert Projection("notes", key=lambda e, k=key: k).key(event) == key
    for odd in (1.5, ["a"], ("a", None), b"a"):
        with pytest.raises(ProjectionError, match="key"):
            Projection("notes", key=lambda e, k=odd: k).key(event)
    assert Projection("notes").key(event) == "s"


def test_keys_are_told_apart_then_their_texts_are_too() -> None:
    """What names a row in messages names one row."""
    assert [key_text(key) for key in ("a", 5, ("a", 5))] == ["a", "5", '["a",5]']


def test_code_changes_then_the_fingerprint_does(count: Reducer[Any]) -> None:
    """Version, handlers, key, row and reducer are the code."""

    def one(event: Any) -> Any:
        return Upsert("a", 1)

    def two(event: Any) -> Any:
        return Upsert("a", 2)

    def made(handler: Any, **options: Any) -> Projection:
        projection = Projection("notes", **options)
        projection.on("note.added")(handler)
        return projection

    prints = [
        made(one),
        made(two),
        made(one, version=2),
        made(one, key=lambda event: event.type),
        Projection("notes", map=one),
        Projection("notes", fold=count),
        Projection("notes", fold=count, row=lambda key, state: {"n": state}),
    ]
    assert len({each.fingerprint() for each in prints}) == len(prints)
    assert made(one).fingerprint() == made(one).fingerprint()


def test_types_are_declared_then_nothing_else_is_asked_for(count: Reducer[Any]) -> None:
    """A view reads what it handles; a map of everything reads everything."""
    notes = Projection("notes")
    notes.on("note.added")(lambda event: None)
    assert [query.types for query in notes.queries()] == [("note.added", FORKED)]
    assert [query.types for query in Projection("c", fold=count).queries()] == [
        ("note.added", FORKED)
    ]
    assert Projection("all", map=lambda event: None).queries() == []
    many = Projection("many", map=lambda event: None, types=[f"t{n}" for n in range(250)])
    assert [len(query.types) for query in many.queries()] == [100, 100, 51]


async def test_a_state_was_kept_then_an_event_that_is_in_it_is_not_taken_again(
    count: Reducer[Any],
) -> None:
    """A fold goes on from its position."""
    projection = Projection("c", fold=count, row=lambda key, n: None if n < 3 else {"n": n})
    folder = Folder(projection)
    events = await recorded({"n": 1}, {"n": 2}, {"n": 4})
    assert folder.missing(["s", "s", "t"]) == ["s", "t"]
    folder.take({}, ["s", "t"])
    for event in events[:2]:
        folder.apply("s", event)
        folder.apply("s", event)
    assert (folder.row("s"), folder.row("t")) == ({"n": 3}, None)
    kept = {key: (at, state) for key, at, state in folder.encoded(["s"])}
    other = Folder(projection)
    other.take(kept)
    for event in events:
        other.apply("s", event)
    assert other.row("s") == {"n": 7}
    with pytest.raises(ProjectionError, match="does not fit"):
        other.take({"s": (1, b"\xff")})
