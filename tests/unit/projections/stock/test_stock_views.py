"""What the stock views are made of: their keys, registered classes, events of any type."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import sqlalchemy as sa

from eventstore import EventStore, NewEvent, event_type
from eventstore.calls import FORKED
from eventstore.testing import isolated_registry
from projections import KeyParked, Projection, RelationalView, Relay, VectorView
from projections.cache import CacheView
from projections.errors import ExtraMissing
from projections.stock import audit, memories, sessions, stock_views, tool_calls
from projections.view import View
from reducers import Reducer
from reducers.agent import vocabulary
from tests.acceptance.oracle.gathering import VIEWS


@pytest_asyncio.fixture
async def store() -> AsyncIterator[EventStore]:
    """A store in memory."""
    async with EventStore.open("memory://") as opened:
        yield opened


def test_views_are_asked_for_then_each_under_its_name_with_the_key_of_its_rows() -> None:
    """`stock_views` has the six tables, the cache and the index; a table's primary key is the row's
    key."""
    views = stock_views()
    assert list(views) == [*VIEWS, "session_state", "memory_index"]
    assert {name: view.name for name, view in views.items()} == {name: name for name in views}
    for name, oracle in VIEWS.items():
        view = views[name]
        assert isinstance(view, RelationalView)
        assert view.table.name == name
        assert tuple(column.name for column in view.table.primary_key) == oracle.keys
    assert isinstance(views["session_state"], CacheView)
    assert isinstance(views["memory_index"], VectorView)


def test_the_extra_is_missing_then_the_index_is_left_out_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who installed no model gets the other views; who asks for the index, or brings a model, has
    it or is told."""
    version = importlib.metadata.version

    def found(package: str) -> str:
        if package == "wordllama":
            raise importlib.metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(importlib.metadata, "version", found)
    assert list(stock_views()) == [*VIEWS, "session_state"]
    assert "memory_index" not in stock_views(with_vectors=False, embedder="hashing")
    assert "memory_index" in stock_views(embedder="hashing")
    with pytest.raises(ExtraMissing, match=r"\[vector\]"):
        stock_views(with_vectors=True)


def test_views_are_declared_then_each_has_a_fingerprint_of_its_own() -> None:
    """A change of code without a new version can be noticed for every view."""
    prints = {view.projection.fingerprint() for view in stock_views().values()}
    assert len(prints) == 8


async def test_types_are_registered_classes_then_the_rows_are_the_same(store: EventStore) -> None:
    """Who registers classes of their own for the vocabulary's types gets the same rows."""
    events = [
        NewEvent("tool.requested", {"tool_call_id": "c", "tool_name": "find"}),
        NewEvent("memory.remembered", {"memory_id": "m", "content": "tea"}),
        NewEvent("session.started", {"title": "Tea"}),
    ]
    views: list[RelationalView] = [tool_calls, memories, sessions]
    with isolated_registry():

        @event_type("tool.requested")
        class Requested(msgspec.Struct, frozen=True):
            tool_call_id: str
            tool_name: str

        @event_type("memory.remembered")
        class Remembered(msgspec.Struct, frozen=True):
            memory_id: str
            content: str

        @event_type("session.started")
        class Started(msgspec.Struct, frozen=True):
            title: str

        await store.append("s", events)
        await Relay(store, views).run_once()
        (call,) = await tool_calls.bind(store).query(sa.select(tool_calls.table))
        (memory,) = await memories.bind(store).query(sa.select(memories.table))
        (session,) = await sessions.bind(store).query(sa.select(sessions.table))
    assert (call["call_id"], call["name"]) == ("c", "find")
    assert (memory["memory_id"], memory["text"]) == ("m", "tea")
    assert (session["title"], session["tool_calls"]) == ("Tea", 1)


async def test_events_are_of_any_type_then_audit_has_them_and_a_session_goes_on(
    store: EventStore,
) -> None:
    """A type that nobody knows is an entry of the audit, and moves a session's version; the store's
    own events are in the audit too."""
    await store.append("s", [NewEvent("message.added", {"role": "user"}), NewEvent("odd", [1])])
    await store.outbox.tell("$views", "$view.told", {})
    await Relay(store, [audit, sessions]).run_once()
    a, s = audit.table.c, sessions.table.c
    entries = await audit.bind(store).query(sa.select(a.type).order_by(a.position))
    assert [row["type"] for row in entries] == ["message.added", "odd", "$view.told"]
    rows = await sessions.bind(store).query(sa.select(s.stream, s.version, s.turns))
    assert rows == [{"stream": "s", "version": 2, "turns": 1}]


NAMED: Reducer[int] = Reducer("named", initial=0)


@NAMED.on("named")
def named(state: int, event: Any) -> int:
    """Counts, and fails on request."""
    return state + int(event.data["n"])


def by_name(event: Any) -> tuple[str, int]:
    """A key of two parts."""
    return event.stream, event.data["id"]


def count_row(key: Any, state: int) -> dict[str, Any]:
    """A row, the same for a table and a cache."""
    return {"n": state}


def composite(kind: str, url: str) -> View:
    """A fold by two parts, in each kind of sink."""
    projection = Projection("counts", key=by_name, fold=NAMED, row=count_row)
    if kind == "table":
        table = sa.Table(
            "counts",
            sa.MetaData(),
            sa.Column("stream", sa.Text, primary_key=True),
            sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("n", sa.BigInteger),
        )
        return RelationalView(projection, table, attempts=1)
    return CacheView(projection, url if kind == "Redis" else None, attempts=1)


@pytest.mark.parametrize("kind", ["table", "cache", "Redis"])
async def test_key_of_a_fold_has_two_parts_then_it_names_the_row_in_every_sink(
    kind: str, store: EventStore, redis_url: str
) -> None:
    """A row is asked for by the tuple that the key function gives; a key that is parked is told by
    it, and its neighbours flow."""
    view = composite(kind, redis_url).bind(store)
    for number in (1, 2, 1):
        await store.append("s", NewEvent("named", {"id": number, "n": 5}))
    bad = await store.append("s", NewEvent("named", {"id": 2, "n": "not a number"}))
    last = await store.append("s", NewEvent("named", {"id": 1, "n": 1}))
    await Relay(store, [view]).run_once()
    answer = await view.get(("s", 1), at_least=last.position)
    assert answer.value["n"] == 11
    assert {key: row["n"] for key, row in (await view.rows([("s", 1), ("s", 2)])).items()} == {
        ("s", 1): 11,
        ("s", 2): 5,
    }
    with pytest.raises(KeyParked) as told:
        await view.get(("s", 2), at_least=bad.position)
    assert told.value.key == '["s",2]'
    await view.close()


def test_view_looks_at_some_types_then_the_log_is_asked_for_these_only() -> None:
    """Sessions and audit ask the log for every type, the others for those that they know."""
    views = stock_views()
    assert views["sessions"].projection.queries() == []
    assert views["audit"].projection.queries() == []
    (asked,) = views["usage"].projection.queries()
    assert asked.types == (vocabulary.MODEL_CALLED, FORKED)
