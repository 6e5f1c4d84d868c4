"""Events of forks that fail, wait or are given up: live views are those that a rebuild makes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from eventstore import EventStore, NewEvent, RecordedEvent
from eventstore.calls import FORKED
from eventstore.outbox import Inherited, LogPage, Outbox
from projections import CacheView, Delete, KeyParked, Projection, Upsert
from projections.asking import serving
from projections.projection import Key
from projections.relay import generations, letters, replaying
from projections.relay.delivering import Settings, Stopped
from projections.relay.dropping import drop
from projections.relay.feeding import Feeding
from projections.relay.pages import Applier, partition_of
from projections.sinks import Build, Change, Written
from projections.view import View
from projections.waiting import Waiting, waits_since
from reducers import Reducer, unchecked
from tests.engines.projections.stage import Faults, Outside, counts_view, feed, letters_of, rows_of

pytestmark = pytest.mark.parametrize("url", ["memory", "sqlite"], indirect=True)


def _note(key: str, text: str) -> NewEvent:
    return NewEvent("note.added", {"id": key, "text": text})


def _key_of(event: RecordedEvent) -> str:
    return f"{event.stream}/{event.data['id']}" if "id" in event.data else event.stream


def _map_view(faults: Faults, **options: Any) -> CacheView:
    """A map by stream and note."""
    made = Projection("maps", key=_key_of)

    @made.on("note.added")
    def added(event: RecordedEvent) -> Any:
        faults.check(event.data["text"])
        return Upsert(_key_of(event), event.data["text"])

    @made.on("note.gone")
    def gone(event: RecordedEvent) -> Any:
        return Delete(_key_of(event))

    return CacheView(made, **{"attempts": 1, **options})


def _fold_view(faults: Faults, **options: Any) -> CacheView:
    """The same as a fold."""
    reducer = Reducer("folds", initial="")

    @reducer.on("note.added")
    @unchecked(reason="faults are injected, and counted")
    def added(state: str, event: RecordedEvent) -> str:
        faults.check(event.data["text"])
        return state + event.data["text"]

    made = Projection("folds", fold=reducer, key=_key_of)
    return CacheView(made, **{"attempts": 1, **options})


async def _is_as_rebuilt(store: EventStore, view: View, rows: dict[Key, Any]) -> None:
    assert await rows_of(view) == rows
    await generations.begin(view, store.outbox)
    await feed(store, view).run_once()
    assert await rows_of(view) == rows


@pytest.mark.parametrize("make", [_map_view, _fold_view])
async def test_the_only_event_of_a_forks_key_is_given_up_then_its_row_goes(
    store: EventStore, make: Any
) -> None:
    """A fork that applied the event, before it was given up under its own stream, loses it."""
    faults = Faults()
    view = make(faults).bind(store)
    await store.append("s", [_note("a", "1"), _note("b", "22")])
    faults.left = {"22": None}
    await feed(store, view).run_once()
    faults.left = {}
    await store.fork("s", "f", 2)
    await feed(store, view).run_once()
    assert await rows_of(view) == {"s/a": "1", "f/a": "1", "f/b": "22"}
    await drop((await serving(view))[0], "s/b", "not wanted")
    relay = feed(store, view)
    await relay.run_once()
    await relay.run_once()
    await _is_as_rebuilt(store, view, {"s/a": "1", "f/a": "1"})


async def test_another_partition_is_further_then_its_forks_lose_what_is_given_up(
    store: EventStore,
) -> None:
    """A drop reaches forks to which the partition that is told of it has not come yet."""
    faults = Faults()
    view = _fold_view(faults, partitions=2).bind(store)
    note = next(f"b{n}" for n in range(99) if _parts_of(f"s/b{n}", f"f/b{n}") == [0, 1])
    await store.append("s", [_note("a", "1"), _note(note, "22")])
    faults.left = {"22": None}
    await feed(store, view).run_once()
    faults.left = {}
    await store.fork("s", "f", 2)
    build, generation = await serving(view)
    feeding = Feeding(store, {view.name: view}, Settings("tests", 30.0, 1_000))
    place = (store.outbox.tenant, view.name, generation.generation, 1)
    await feeding._new_worker(place, build, generation).run(once=True)
    assert (await rows_of(view))[f"f/{note}"] == "22"
    await drop(build, f"s/{note}", "not wanted")
    relay = feed(store, view)
    await relay.run_once()
    await relay.run_once()
    await _is_as_rebuilt(store, view, {"s/a": "1", "f/a": "1"})


def _parts_of(*keys: str) -> list[int]:
    return [partition_of(key, 2) for key in keys]


async def test_an_event_is_given_up_by_another_partition_then_a_fork_comes_without_it(
    store: EventStore,
) -> None:
    """What was given up is asked for at each fork: who feeds the fork's key was not told of it."""
    faults = Faults()
    counts = counts_view(faults=faults, attempts=1).bind(store)
    await store.append("s", [_note("a", "1"), _note("b", "22")])
    faults.left = {"22": None}
    await feed(store, counts).run_once()
    build = (await serving(counts))[0]
    applier = Applier(counts.projection, build, 0, 1)
    await drop(build, "s", "not wanted")
    faults.left = {}
    forked = (await store.fork("s", "f", 2)).events[0]
    await applier.prepare([forked])
    applied = await applier.apply([forked])
    assert applied.changes["f"].value == {"n": 1, "sum": 1}


async def test_an_event_is_given_up_then_only_forks_that_inherit_it_are_read(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forks of other streams, and those that begin before it, cost nothing; forks of forks do."""
    faults = Faults()
    view = _fold_view(faults).bind(store)
    await store.append("t", _note("a", "1"))
    await store.append("s", [_note("a", "1"), _note("b", "22")])
    faults.left = {"22": None}
    await feed(store, view).run_once()
    for n in range(5):
        await store.fork("t", f"t{n}", 1)
    await store.fork("s", "early", 1)
    await store.fork("s", "f", 2)
    await store.append("f", _note("c", "333"))
    await store.fork("f", "g", 4)
    faults.left = {}
    await feed(store, view).run_once()
    assert {"f/b", "g/b"} <= set(await rows_of(view))
    read: list[str] = []
    inherited = Outbox.inherited

    async def watched(self: Outbox, forked: RecordedEvent, *place: int) -> list[Inherited]:
        if place[1:] == (1,):
            read.append(forked.stream)
        return await inherited(self, forked, *place)

    monkeypatch.setattr(Outbox, "inherited", watched)
    await drop((await serving(view))[0], "s/b", "not wanted")
    await feed(store, view).run_once()
    assert read == ["f", "g"]
    assert not {"s/b", "f/b", "g/b"} & set(await rows_of(view))


async def test_a_fork_inherits_a_fork_that_was_given_up_then_a_late_read_leaves_it_out(
    store: EventStore,
) -> None:
    """What a late read makes of a fork within a fork is what the relay makes of it."""
    faults = Faults()

    def row(event: RecordedEvent) -> Upsert:
        if event.type == FORKED:
            faults.check(event.stream)
        return Upsert(f"{event.stream}/{event.version}", event.type)

    projection = Projection("all", map=row, key=lambda event: event.stream)
    view = CacheView(projection, attempts=1, fresh_seconds=1e-6, when_late="fold").bind(store)
    await store.append("s", _note("a", "1"))
    faults.left = {"f": None}
    await store.fork("s", "f", 1)
    await feed(store, view).run_once()
    await drop((await serving(view))[0], "f", "not wanted")
    faults.left = {}
    await feed(store, view).run_once()
    await store.fork("f", "g", 2)
    late = {f"g/{n}": (await view.get(f"g/{n}")).value for n in (1, 2, 3)}
    assert late == {"g/1": "note.added", "g/2": None, "g/3": FORKED}
    await feed(store, view).run_once()
    found = await rows_of(view)
    assert {key: found.get(key) for key in late} == late


async def test_a_row_was_deleted_and_another_key_of_the_fork_waits_then_the_row_waits_for_none(
    store: EventStore,
) -> None:
    """A fork that waits for one of its keys makes no row of another one wait."""
    faults = Faults()
    view = _map_view(faults).bind(store)
    await store.append("s", [_note("a", "1"), _note("b", "22"), _note("c", "333")])
    faults.left = {"333": None}
    forked = await store.fork("s", "f", 3)
    await store.append("f", NewEvent("note.gone", {"id": "b"}))
    last = await store.append("t", _note("a", "1"))
    await feed(store, view).run_once()
    left = [(key, position) for key, position, _ in await letters_of(view)]
    assert left == [("f/c", forked.position), ("s/c", 3)]
    faults.left = {}
    answer = await view.get("f/b", at_least=last.position)
    assert (answer.value, answer.stale) == (None, False)
    build = (await serving(view))[0]
    assert await waits_since(view, build, "f/c", None) == Waiting("f/c", forked.position)
    with pytest.raises(KeyParked):
        await view.get("f/c", at_least=last.position)


async def test_a_row_of_another_name_than_its_key_may_be_of_the_fork_then_it_waits(
    store: EventStore,
) -> None:
    """Of a fork's letters the one of the row's key is told, and a fork is asked once for them."""
    projection = Projection("rows", key=_key_of)

    @projection.on("note.added")
    def added(event: RecordedEvent) -> Any:
        tried.append(event.position)
        if broken and event.stream == "f":
            raise ValueError("broken")
        return Upsert((event.stream, event.data["id"]), event.data["text"])

    tried: list[int] = []
    broken = [True]
    view = CacheView(projection, attempts=1).bind(store)
    await store.append("s", [_note(f"n{n}", f"<{n}>") for n in range(9)])
    forked = await store.fork("s", "f", 9)
    await feed(store, view).run_once()
    assert len(await letters_of(view)) == 9
    broken.clear()
    tried.clear()
    build = (await serving(view))[0]
    found = await waits_since(view, build, ("f", "n8"), None)
    assert found == Waiting("f/n8", forked.position)
    assert len(tried) <= 2 * 9


async def test_a_sink_refuses_a_fork_of_a_view_that_stops_then_its_keys_are_named(
    store: EventStore,
) -> None:
    """Given up as the key at fault, which the message names, the view goes on behind the fork."""
    sink = Outside()
    sink.refuses = lambda change: change.key == "f/n3"
    view = View(_fold_view(Faults()).projection, sink, attempts=1, on_error="stop").bind(store)
    await store.append("s", [_note(f"n{n}", f"<{n}>") for n in range(7)])
    relay = feed(store, view)
    await relay.run_once()
    forked = await store.fork("s", "f", 7)
    await store.append("t", _note("a", "1"))
    named = "of 7 keys: 'f/n0', 'f/n1', 'f/n2', 'f/n3', 'f/n4', ...)"
    with pytest.raises(Stopped, match=re.escape(named)):
        await relay.run_once()
    build = (await serving(view))[0]
    await drop(build, "f/n3", "not wanted", forked.position)
    await relay.run_once()
    keys = [f"{stream}/n{n}" for stream in "sf" for n in range(7)]
    assert set(await rows_of(view)) == {*keys, "t/a"} - {"f/n3"}


class _GivenUpMeanwhile(Outside):
    """Refuses a fork's rows, while somebody gives all of them up."""

    async def write(self, build: Build, changes: Sequence[Change]) -> Written:
        for change in changes:
            key = str(change.key)
            if key.startswith("f/"):
                given = letters.give_up(build, key, change.position, 1, "not wanted")
                await build.outbox.change([given])
        self.refuses = lambda change: str(change.key).startswith("f/")
        return await super().write(build, changes)


async def test_all_keys_of_a_refused_fork_are_given_up_meanwhile_then_the_view_goes_on(
    store: EventStore,
) -> None:
    """A view that is to stop has nothing to stop for, where no key is left."""
    projection = _fold_view(Faults()).projection
    view = View(projection, _GivenUpMeanwhile(), attempts=1, on_error="stop").bind(store)
    await store.append("s", [_note("a", "1"), _note("b", "22")])
    await store.fork("s", "f", 2)
    await store.append("t", _note("a", "1"))
    await feed(store, view).run_once()
    assert await rows_of(view) == {"s/a": "1", "s/b": "22", "t/a": "1"}


async def test_many_letters_of_a_fork_are_tried_then_it_is_not_gone_through_for_each_again(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a letter of a fork costs is one pass over what the fork inherits, to apply it; which
    keys the fork has is found out once, and not kept when the wishes are done."""
    number, asked = 60, [0]

    def key(event: RecordedEvent) -> str:
        asked[0] += 1
        return _key_of(event)

    monkeypatch.setattr(replaying, "SLICE_SECONDS", 60.0)
    sink, reducer = Outside(), Reducer("counted", initial="")
    reducer.on("note.added")(lambda state, event: state + event.data["text"])
    sink.refuses = lambda change: change.key.startswith("f/")
    view = View(Projection("counted", fold=reducer, key=key), sink, attempts=1).bind(store)
    await store.append("s", [_note(f"n{n}", f"<{n}>") for n in range(number)])
    await store.fork("s", "f", number)
    await feed(store, view).run_once()
    assert len(await letters_of(view)) == number
    sink.refuses = lambda change: change.key == "f/n7"
    await letters.ask_retry((await serving(view))[0])
    pages: list[int] = []
    page = Outbox.page

    async def watched(self: Outbox, *args: Any) -> LogPage:
        pages.append(args[0])
        return await page(self, *args)

    monkeypatch.setattr(Outbox, "page", watched)
    asked[0] = 0
    await feed(store, view).run_once()
    assert [key for key, _, _ in await letters_of(view)] == ["f/n7"]
    a_pass = 2 * number  # the key under the fork's name, and under its own stream's
    assert asked[0] < (number + 10) * a_pass
    assert len(pages) < 2 * number


async def test_the_keys_of_a_fork_were_asked_then_they_are_let_go_of_with_the_wishes(
    store: EventStore,
) -> None:
    """Names are held for the fork that is tried, and no longer."""
    view = _fold_view(Faults()).bind(store)
    await store.append("s", [_note("a", "1"), _note("b", "22")])
    first = (await store.fork("s", "f", 2)).events[0]
    second = (await store.fork("s", "g", 1)).events[0]
    await feed(store, view).run_once()
    applier = Applier(view.projection, (await serving(view))[0], 0, 1)
    assert await applier.keys_of(first) == ["f/a", "f/b"]
    assert applier._names is None
    with applier.names_kept():
        assert await applier.keys_of(first) == ["f/a", "f/b"]
        assert await applier.is_fork_of(first, "f/b")
        assert await applier.keys_of(second) == ["g/a"]
        assert not await applier.is_fork_of(second, "f/b")
        assert applier._names == (second.position, {"g/a": None})
    assert applier._names is None
