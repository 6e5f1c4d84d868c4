"""Forks in the history: their views are those of a copy, live and built anew."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from eventstore import Busy, EventStore, NewEvent, RecordedEvent
from eventstore.calls import FORKED
from eventstore.outbox import Inherited, Outbox
from projections import CacheView, KeyParked, Projection, RelationalView, Upsert
from projections.asking import serving
from projections.relay import generations, letters
from projections.relay.dropping import drop
from projections.relay.pages import Applier
from projections.stock import stock_views
from projections.view import View
from projections.waiting import Waiting, waits_since
from reducers import Reducer, fold, to_json, unchecked
from reducers.agent import agent
from tests.engines.projections.stage import (
    Faults,
    Outside,
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


def _kinds_view(**options: Any) -> RelationalView:
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
    return RelationalView(projection, table, **options)


def _pairs_view(**options: Any) -> CacheView:
    """A fold whose key is the stream and a note's id: a fork's keys are many."""
    reducer = Reducer("pairs", initial="")
    reducer.on("note.added")(lambda state, event: state + event.data["text"])
    pairs = Projection("pairs", fold=reducer, key=lambda e: f"{e.stream}/{e.data['id']}")
    return CacheView(pairs, **options)


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
        said = {e.id for e in events if e.type == "message.added"}
        assert {key[1] for key in live["messages"] if key[0] == stream} == said
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


async def test_the_key_of_a_fork_named_as_a_number_is_built_again_then_it_inherits() -> None:
    """A key is looked for by its text, which is another one than such a stream's name."""
    async with EventStore.open("memory://") as store:
        counts = counts_view().bind(store)
        await store.append("7", [_note("a", "1"), _note("b", "22")])
        await store.fork("7", "8", 2)
        await store.append("8", _note("c", "333"))
        relay = feed(store, counts)
        await relay.run_once()
        await relay.rebuild_key("counts", "8")
        await relay.run_once()
        assert await counted(counts) == {"7": (2, 3), "8": (3, 6)}


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


def _projects_view() -> CacheView:
    """A fold by the first part of the stream's name: a fork may come to a key that has events."""
    reducer = Reducer("projects", initial="")
    reducer.on("note.added")(lambda state, event: state + event.data["text"])
    return CacheView(Projection("projects", fold=reducer, key=lambda e: e.stream.split("/")[0]))


def _places_view() -> CacheView:
    """A map whose rows belong to the first part of the stream's name."""
    projection = Projection("places", key=lambda event: event.stream.split("/")[0])

    @projection.on("note.added")
    def added(event: RecordedEvent) -> Any:
        key = event.stream.split("/")[0], event.data["id"]
        return Upsert(key, {"text": event.data["text"], "version": event.version})

    return CacheView(projection)


async def test_a_fork_comes_to_a_key_that_has_later_events_then_what_it_inherits_counts(
    store: EventStore,
) -> None:
    """What a fork inherits counts at the fork's place in the log, and not at its own."""
    projects, places = _projects_view().bind(store), _places_view().bind(store)
    relay = feed(store, projects, places)
    await store.append("ann/1", [_note("a", "1"), _note("b", "2")])
    await store.append("bob/1", [_note("a", "x"), _note("c", "y")])
    await relay.run_once()
    forked = await store.fork("ann/1", "bob/2", 2)
    await store.append("bob/1", _note("d", "z"))
    await relay.run_once()
    assert await rows_of(projects) == {"ann": "12", "bob": "xy12z"}
    found = {key: row["text"] for key, row in (await rows_of(places)).items()}
    assert found["bob", "a"] == "1"
    assert found["bob", "b"] == "2"
    (row,) = await places.sink.find((await serving(places))[0], [("bob", "b")])
    assert row.position == forked.position
    before = await rows_of(projects), await rows_of(places)
    await relay.rebuild_key("projects", "bob")
    await relay.rebuild_key("places", "bob")
    await relay.run_once()
    assert (await rows_of(projects), await rows_of(places)) == before


def _keyed_view(faults: Faults, *, bad_keys: bool = False, **options: Any) -> CacheView:
    """A fold by stream and note, in several partitions, some of whose keys fail."""
    reducer = Reducer("keyed", initial="")

    @reducer.on("note.added")
    @unchecked(reason="faults are injected, and counted")
    def added(state: str, event: RecordedEvent) -> str:
        if event.stream != "s":
            faults.check(event.data["text"])
        return state + event.data["text"]

    def key(event: RecordedEvent) -> str:
        if bad_keys and event.stream != "s":
            faults.check(event.data["text"])
        return f"{event.stream}/{event.data['id']}"

    projection = Projection("keyed", fold=reducer, key=key)
    return CacheView(projection, partitions=3, attempts=1, **options)


async def _make_wide(store: EventStore) -> dict[str, str]:
    """A stream with many keys, and a fork of it: what its view has to be."""
    await store.append("s", [_note(f"n{n}", f"<{n}>") for n in range(12)])
    await store.fork("s", "f", 12)
    return {f"{stream}/n{n}": f"<{n}>" for stream in "sf" for n in range(12)}


async def test_keys_of_a_fork_fail_then_they_alone_wait_in_every_partition() -> None:
    """The other keys of what it inherits are applied; given up, a key takes no other with it."""
    async with EventStore.open("memory://") as store:
        faults = Faults()
        view = _keyed_view(faults).bind(store)
        rows = await _make_wide(store)
        faults.left = {"<3>": None, "<7>": None}
        await feed(store, view).run_once()
        left = {key: text for key, text in rows.items() if key not in ("f/n3", "f/n7")}
        assert await rows_of(view) == left
        assert await letters_of(view) == [("f/n3", 13, True), ("f/n7", 13, True)]
        await store.append("f", [_note("n3", "!"), _note("n5", "?")])
        await feed(store, view).run_once()
        assert (await rows_of(view))["f/n5"] == "<5>?"
        build = (await serving(view))[0]
        await drop(build, "f/n3", "not wanted")
        faults.left.clear()
        await letters.ask_retry(build)
        await feed(store, view).run_once()
        wanted = {**rows, "f/n3": "!", "f/n5": "<5>?"}
        assert await letters_of(view) == []
        assert await rows_of(view) == wanted
        await generations.begin(view, store.outbox)
        await feed(store, view).run_once()
        assert await rows_of(view) == wanted


async def test_the_key_of_an_inherited_event_fails_then_the_rest_of_the_fork_is_applied() -> None:
    """The stream's partition parks what has no key; all other keys have what they inherit."""
    async with EventStore.open("memory://") as store:
        faults = Faults()
        view = _keyed_view(faults, bad_keys=True).bind(store)
        rows = await _make_wide(store)
        faults.left = {"<0>": None, "<6>": None}
        await feed(store, view).run_once()
        left = {key: text for key, text in rows.items() if key not in ("f/n0", "f/n6")}
        assert await rows_of(view) == left
        assert await letters_of(view) == [("f", 13, True)]
        faults.left.clear()
        await letters.ask_retry((await serving(view))[0], "f")
        relay = feed(store, view)
        await relay.run_once()
        await relay.run_once()
        assert (await letters_of(view), await rows_of(view)) == ([], rows)


async def test_a_sink_refuses_a_row_of_a_fork_then_its_other_keys_go_when_they_are_tried() -> None:
    """A sink does not say which row it refuses: the fork waits as each key, and each is tried."""
    async with EventStore.open("memory://") as store:
        sink = Outside()
        sink.refuses = lambda change: change.key in ("f/n3", "f/n5")
        view = View(_keyed_view(Faults()).projection, sink, attempts=1).bind(store)
        rows = await _make_wide(store)
        await feed(store, view).run_once()
        build = (await serving(view))[0]
        assert [key for key, _, _ in await letters_of(view)] == sorted(f"f/n{n}" for n in range(12))
        await drop(build, "f/n3", "not wanted")
        await letters.ask_retry(build)
        await feed(store, view).run_once()
        assert await letters_of(view) == [("f/n5", 13, True)]
        assert await rows_of(view) == {k: v for k, v in rows.items() if k not in ("f/n3", "f/n5")}


async def test_a_sink_is_emptied_then_forks_are_filled_in_again_and_counted_once() -> None:
    """States that have what a fork inherits are not given it again; its rows are written."""
    async with EventStore.open("memory://") as store:
        sink = Outside()
        view = View(counts_view().projection, sink).bind(store)
        await store.append("s", [_note("a", "1"), _note("b", "22")])
        await store.fork("s", "f", 2)
        relay = feed(store, view)
        await relay.run_once()
        sink.empty()
        await store.append("t", _note("c", "4444"))
        await relay.run_once()
        assert await counted(view) == {"s": (2, 3), "f": (2, 3), "t": (1, 4)}


@pytest.mark.parametrize("is_applied", [True, False])
async def test_an_event_is_given_up_then_forks_that_inherit_it_go_on_without_it(
    is_applied: bool,
) -> None:
    """What the parent's view leaves out, its forks' leave out too, as a rebuild would."""
    async with EventStore.open("memory://") as store:
        faults = Faults()
        counts = counts_view(faults=faults, attempts=1).bind(store)
        kinds = _kinds_of(faults).bind(store)
        await store.append("s", [_note("a", "1"), _note("b", "22"), _note("c", "333")])
        faults.left = {"22": None}
        await feed(store, counts, kinds).run_once()
        if is_applied:
            faults.left = {}
        await store.fork("s", "f", 3)
        await feed(store, counts, kinds).run_once()
        for view in (counts, kinds):
            await drop((await serving(view))[0], "s", "not wanted")
            await letters.ask_retry((await serving(view))[0])
        relay = feed(store, counts, kinds)
        await relay.run_once()
        await relay.run_once()
        assert await counted(counts) == {"s": (2, 4), "f": (2, 4)}
        assert set(await rows_of(kinds)) == {(s, note) for s in "sf" for note in "ac"}
        assert (await letters_of(counts), await letters_of(kinds)) == ([], [])


def _kinds_of(faults: Faults) -> CacheView:
    projection = Projection("kinds_of")

    @projection.on("note.added")
    def added(event: RecordedEvent) -> Any:
        faults.check(event.data["text"])
        return Upsert((event.stream, event.data["id"]), event.data["text"])

    return CacheView(projection, attempts=1)


async def test_a_late_read_meets_a_fork_then_rows_of_other_keys_are_reckoned_too(
    store: EventStore,
) -> None:
    """Read-your-writes goes on through a fork, for folds by keys of their own and for maps."""
    views = [
        _pairs_view(fresh_seconds=1e-6, when_late="fold").bind(store),
        _kinds_view(fresh_seconds=1e-6, when_late="fold").bind(store),
    ]
    await store.append("s", [_note("a", "1"), _note("a", "22")])
    await feed(store, *views).run_once()
    await store.fork("s", "f", 2)
    await store.append("f", _note("a", "333"))
    await store.fork("f", "g", 4)
    for stream, pair in (("s", "122"), ("f", "122333"), ("g", "122333")):
        assert (await views[0].get(f"{stream}/a")).value == pair
        row = (await views[1].get((stream, "a"))).value
        assert row["text"] == ("22" if stream == "s" else "333")


async def test_a_read_meets_a_fork_that_waits_then_it_says_so() -> None:
    """A row that would be made of what a fork inherits is not there, and is told to wait."""
    async with EventStore.open("memory://") as store:
        faults = Faults()
        view = _kinds_of(faults).bind(store)
        await store.append("s", [_note("a", "1")])
        await feed(store, view).run_once()
        faults.left = {"1": None}
        forked = await store.fork("s", "f", 1)
        await feed(store, view).run_once()
        build = (await serving(view))[0]
        for key, waits in ((("f", "a"), Waiting("f", forked.position)), (("s", "a"), None)):
            faults.left = {}
            assert await waits_since(view, build, key, None) == waits
        with pytest.raises(KeyParked):
            await view.get(("f", "a"), at_least=forked.position)


async def test_a_long_stream_is_forked_then_it_is_applied_page_by_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A relay holds a page of what a fork inherits, however long the session is."""
    sizes: list[int] = []
    inherited = Outbox.inherited

    async def watched(self: Outbox, forked: RecordedEvent, *place: int) -> list[Inherited]:
        page = await inherited(self, forked, *place)
        sizes.append(len(page))
        return page

    monkeypatch.setattr(Outbox, "inherited", watched)
    async with EventStore.open("memory://") as store:
        counts = counts_view().bind(store)
        await store.append("s", [_note("a", "1") for _ in range(2_500)])
        await store.fork("s", "f", 2_500)
        await feed(store, counts).run_once()
        assert sizes == [1_000, 1_000, 500]
        assert await counted(counts) == {"s": (2_500, 2_500), "f": (2_500, 2_500)}


async def test_a_page_of_a_fork_cannot_be_read_then_nothing_of_it_is_kept_in_states(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store that does not answer in the middle of a fork leaves no state with a part of it."""
    inherited = Outbox.inherited

    async def failing(self: Outbox, forked: RecordedEvent, after: int = 0) -> list[Inherited]:
        if after:
            raise Busy("the store does not answer")
        return await inherited(self, forked, after)

    async with EventStore.open("memory://") as store:
        counts = counts_view().bind(store)
        await store.append("s", [_note("a", "1") for _ in range(1_500)])
        await feed(store, counts).run_once()
        forked = (await store.fork("s", "f", 1_500)).events[0]
        applier = Applier(counts.projection, (await serving(counts))[0], 0, 1)
        monkeypatch.setattr(Outbox, "inherited", failing)
        await applier.prepare([forked])
        with pytest.raises(Busy):
            await applier.apply([forked])
        monkeypatch.undo()
        applied = await applier.apply([forked])
        assert applied.changes["f"].value == {"n": 1_500, "sum": 1_500}
