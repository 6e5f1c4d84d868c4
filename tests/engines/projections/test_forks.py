"""Forks in the history: their views are those of a copy, live and built anew."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from eventstore import EventStore, NewEvent, RecordedEvent
from eventstore.calls import FORKED
from projections import CacheView, Projection, RelationalView, Upsert
from projections.asking import serving
from projections.relay import generations, letters
from projections.stock import stock_views
from projections.view import View
from reducers import Reducer, fold, to_json
from reducers.agent import agent
from tests.engines.projections.stage import (
    Faults,
    counted,
    counts_view,
    feed,
    letters_of,
    notes_view,
    rows_of,
    texts_of,
)


def _note(key: str, text: str) -> NewEvent:
    return NewEvent("note.added", {"id": key, "text": text})


async def _make_forks(store: EventStore) -> None:
    """A stream, a fork in its middle, and a fork of that; all of them go on."""
    await store.append("s", [_note("a", "1"), _note("b", "22"), _note("c", "333")])
    await store.fork("s", "f", 2)
    await store.append("f", _note("d", "4444"))
    await store.append("s", _note("e", "55555"))
    await store.fork("f", "g", 4)
    await store.append("g", _note("h", "666666"))


COUNTS = {"s": (4, 11), "f": (3, 7), "g": (4, 13)}


def _kinds_view() -> RelationalView:
    """A map by stream, whose rows are the stream's and a note's."""
    projection = Projection("kinds")

    @projection.on("note.added")
    def added(event: RecordedEvent) -> Any:
        return Upsert((event.stream, event.data["id"]), {"text": event.data["text"]})

    table = sa.Table(
        "kinds",
        sa.MetaData(),
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("text", sa.Text),
    )
    return RelationalView(projection, table)


def _pairs_view() -> CacheView:
    """A fold whose key is the stream and a note's id: a fork's keys are many."""
    reducer = Reducer("pairs", initial="")
    reducer.on("note.added")(lambda state, event: state + event.data["text"])
    pairs = Projection("pairs", fold=reducer, key=lambda e: f"{e.stream}/{e.data['id']}")
    return CacheView(pairs)


@pytest.mark.parametrize("page_events", [1, 1_000])
async def test_streams_are_forked_then_views_by_stream_have_what_they_inherit(
    store: EventStore, page_events: int
) -> None:
    """A fork's rows are made of what it inherits and of its own events, each once."""
    counts, kinds, pairs = [
        view.bind(store) for view in (counts_view(), _kinds_view(), _pairs_view())
    ]
    await _make_forks(store)
    await feed(store, counts, kinds, pairs, page_events=page_events).run_once()
    assert await counted(counts) == COUNTS
    found = {key: row["text"] for key, row in (await rows_of(kinds)).items()}
    wanted = {
        (stream, event.data["id"]): event.data["text"]
        for stream in COUNTS
        for event in await store.read(stream).list()
        if event.type != FORKED
    }
    assert found == wanted
    assert await rows_of(pairs) == {"/".join(key): text for key, text in wanted.items()}


async def test_a_row_has_the_same_key_under_both_streams_then_it_stays_as_it_is(
    store: EventStore,
) -> None:
    """Rows that do not depend on the stream are made once: a fork takes none from its parent."""
    notes = notes_view().bind(store)
    await _make_forks(store)
    by_author = Reducer("authors", initial=0)
    by_author.on("note.added")(lambda state, event: state + 1)
    one = CacheView(Projection("one", fold=by_author, key=lambda event: "all")).bind(store)
    await feed(store, notes, one).run_once()
    assert await texts_of(notes) == {
        event.data["id"]: event.data["text"]
        async for event in store.read_all()
        if event.type == "note.added"
    }
    assert await rows_of(one) == {"all": 6}


async def test_views_are_built_anew_then_forks_are_as_they_were_live(store: EventStore) -> None:
    """Live views of a history with forks are those that a rebuild makes, stock views too."""
    made = [*stock_views(with_vectors=False).values(), counts_view(), _pairs_view()]
    views: list[View] = [view.bind(store) for view in made]
    relay = feed(store, *views, page_events=3)
    for turn in range(3):
        stream = "s" if turn == 0 else f"f{turn - 1}"
        await store.append(stream, _session(turn), actor="ann")
        await relay.run_once()
        await store.fork(stream, f"f{turn}", 3 + turn)
        await store.append(f"f{turn}", _note("x", "7" * turn))
        await relay.run_once()
    live = {view.name: await rows_of(view) for view in views}
    for view in views:
        await generations.begin(view, store.outbox)
    await feed(store, *views).run_once()
    assert {view.name: await rows_of(view) for view in views} == live
    assert set(live["sessions"]) >= {"s", "f0", "f1", "f2"}
    for stream in ("s", "f0", "f1", "f2"):
        events = await store.read(stream).list()
        assert live["session_state"][stream] == to_json(fold(events, agent))
        assert live["sessions"][stream]["version"] == len(events)
        asked = {e.data["tool_call_id"] for e in events if e.type == "tool.requested"}
        calls = [key for key in live["tool_calls"] if isinstance(key, tuple)]
        assert {call for name, call in calls if name == stream} == asked


def _session(turn: int) -> list[NewEvent]:
    call = {"tool_call_id": f"c{turn}"}
    return [
        NewEvent("session.started", {"title": f"t{turn}"}),
        NewEvent("message.added", {"role": "user", "content": "hi"}),
        NewEvent("tool.requested", {**call, "tool_name": "look"}),
        NewEvent("tool.completed", {**call, "tool_call_result": turn}),
        NewEvent("memory.remembered", {"memory_id": f"m{turn}", "content": "it rains"}),
    ]


async def test_what_a_fork_inherits_fails_then_it_is_parked_whole_and_tried_again(
    store: EventStore,
) -> None:
    """A fork waits as one event; mended, it is applied with all that came behind it."""
    faults = Faults()
    counts = counts_view(faults=faults, attempts=1).bind(store)
    await store.append("s", [_note("a", "1"), _note("b", "22")])
    await feed(store, counts).run_once()
    faults.left["22"] = None
    await store.fork("s", "f", 2)
    await store.append("f", _note("c", "333"))
    await feed(store, counts).run_once()
    assert await counted(counts) == {"s": (2, 3)}
    assert [(key, position) for key, position, _ in await letters_of(counts)] == [
        ("f", 3),
        ("f", 4),
    ]
    faults.left.clear()
    await letters.ask_retry((await serving(counts))[0], "f")
    await feed(store, counts).run_once()
    assert await counted(counts) == {"s": (2, 3), "f": (3, 6)}
    assert await letters_of(counts) == []


async def test_a_key_of_a_fork_is_built_again_then_it_has_what_it_inherits(
    store: EventStore,
) -> None:
    """Rows made again from the log are made of the inherited events too."""
    pairs, counts = _pairs_view().bind(store), counts_view().bind(store)
    await _make_forks(store)
    await feed(store, pairs, counts).run_once()
    before = await rows_of(pairs), await counted(counts)
    relay = feed(store, pairs, counts)
    await relay.rebuild_key("pairs", "g/a")
    await relay.rebuild_key("counts", "g")
    await relay.run_once()
    assert (await rows_of(pairs), await counted(counts)) == before


async def test_a_late_read_of_a_fork_then_the_rest_is_folded_with_what_it_inherits(
    store: EventStore,
) -> None:
    """A read that folds what the view has not yet begins with a fork's inherited events."""
    view = counts_view(fresh_seconds=1e-6, when_late="fold").bind(store)
    await store.append("s", [_note("a", "1"), _note("b", "22")])
    await feed(store, view).run_once()
    await store.fork("s", "f", 2)
    await store.append("f", _note("c", "333"))
    found = await view.get("f")
    assert (found.value["n"], found.value["sum"]) == (3, 6)
