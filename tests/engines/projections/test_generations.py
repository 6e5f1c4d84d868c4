"""Generations: the first, a new version beside it, the switch, a rebuild while all goes on."""

from __future__ import annotations

import asyncio
import logging

import pytest

from eventstore import EventStore
from eventstore.outbox import Statement
from projections import ProjectionError, RelationalView
from projections.asking import serving
from projections.relay import generations
from projections.relay.comparing import compare
from projections.relay.pages import Applied
from projections.relay.progress import note_progress, note_state
from projections.relay.rebuilding import Progress
from projections.sinks import Written
from projections.view import View
from tests.waiting import until

from .stage import (
    Faults,
    Outside,
    add,
    counted,
    counts_in,
    counts_view,
    feed,
    generations_of,
    notes_in,
    notes_projection,
    notes_table,
    notes_view,
    rows_of,
    texts_of,
)


async def states(view: View) -> list[str]:
    """The states of a view's generations, oldest first."""
    return [each.state for each in await generations_of(view)]


async def test_the_version_is_raised_then_a_new_generation_takes_over(store: EventStore) -> None:
    """Until it is built, the old one serves."""
    old = notes_view().bind(store)
    await add(store, "s", "k", "a")
    await feed(store, old).run_once()
    new = RelationalView(notes_projection(version=2, prefix="new "), notes_table()).bind(store)
    assert await texts_of(new) == {"k": "a"}
    await feed(store, new).run_once()
    assert await texts_of(new) == {"k": "new a"}
    assert await states(new) == ["retired", "serving"]


async def test_older_code_comes_then_it_is_refused_and_others_are_fed(store: EventStore) -> None:
    """A process that was not updated feeds nothing that newer code made."""
    new = RelationalView(notes_projection(version=2), notes_table()).bind(store)
    await feed(store, new).run_once()
    old, counts = notes_view().bind(store), counts_view().bind(store)
    await add(store, "s", "k", "a")
    with pytest.raises(ProjectionError, match="version 2 serves"):
        await feed(store, old, counts).run_once()
    assert await counted(counts) == await counts_in(store)
    assert await rows_of(new) == {}
    async with feed(store, old, counts) as relay:
        await relay.caught_up()
        assert set(relay.failed) == {"notes"}


async def test_code_changed_without_a_version_then_it_is_told_once(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows that the old code made stay, and somebody is told."""
    await feed(store, notes_view()).run_once()
    changed = notes_projection()

    @changed.on("note.read")
    def read(event: object) -> None:
        return None

    view = RelationalView(changed, notes_table()).bind(store)
    with caplog.at_level(logging.WARNING, "eventstore"):
        relay = feed(store, view)
        for _ in range(3):
            await relay.run_once()
    assert caplog.text.count("changed without a new version") == 1
    assert await states(view) == ["serving"]


async def test_a_view_is_rebuilt_while_appends_go_on_then_no_reader_sees_a_hole(
    store: EventStore,
) -> None:
    """Whoever read something reads it again, or newer; positions never go back; and after the
    switch the view is the fold of the log."""
    notes, counts = notes_view().bind(store), counts_view(partitions=2).bind(store)
    done = asyncio.Event()
    seen: list[str] = []

    async def write() -> None:
        n = 0
        while not done.is_set():
            await add(store, f"s{n % 5}", f"k{n % 3}", f"{n:06}")
            n += 1
            await asyncio.sleep(0)

    async def read() -> None:
        last, text = 0, ""
        while not done.is_set():
            answer = await notes.get("k0", at_least=last)
            value = "" if answer.value is None else answer.value["text"]
            if answer.position < last or value < text:
                seen.append(f"{value!r} at {answer.position} after {text!r} at {last}")
            last, text = answer.position, value
            await asyncio.sleep(0)

    async with feed(store, notes, counts) as relay:
        position = await add(store, "s0", "k0", "000000")
        await notes.get("k0", at_least=position)
        tasks = [asyncio.create_task(each()) for each in (write, read, read)]
        progress: list[Progress] = []
        report = (await relay.rebuild("notes", progress=progress.append))[0]
        other = (await relay.rebuild("counts", compare=True))[0]
        done.set()
        await asyncio.gather(*tasks)
        await relay.caught_up()
        assert seen == []
        assert (report.generation, report.replaced) == (2, 1)
        assert (other.generation, other.comparison and other.comparison.differing) == (2, 0)
        assert progress[-1].position >= progress[-1].head
        assert await texts_of(notes) == await notes_in(store)
        assert await counted(counts) == await counts_in(store)
        assert await states(notes) == await states(counts) == ["retired", "serving"]


async def test_another_generation_serves_then_the_old_one_takes_no_more_rows(
    store: EventStore,
) -> None:
    """Whoever still reads of the old one finds nothing there that is newer than the new one."""
    notes = notes_view().bind(store)
    async with feed(store, notes) as relay:
        await add(store, "s", "k", "a")
        await relay.caught_up()
        old, _ = await serving(notes)
        nothing = Applied({}, [], {}), Written()
        assert await store.outbox.change([note_progress(old, 0, 1, *nothing)])
        await relay.rebuild("notes")
        await store.outbox.change([note_state(old, 0, "waiting", "late")])
        assert not await store.outbox.change([note_progress(old, 0, 1, *nothing)])


async def test_generations_differ_then_each_row_is_listed(store: EventStore) -> None:
    """Rows that are missing, too many or other are told with both values."""
    notes = notes_view().bind(store)
    for n in range(4):
        await add(store, "s", f"k{n}", f"text {n}")
    async with feed(store, notes) as relay:
        await relay.caught_up()
        prefix = f"{store.outbox.schema}." if store.outbox.schema else ""
        for sql in (
            f"UPDATE {prefix}view_notes_1 SET text = 'wrong' WHERE id = 'k1'",
            f"DELETE FROM {prefix}view_notes_1 WHERE id = 'k2'",
            f"UPDATE {prefix}view_notes_1 SET id = 'k9' WHERE id = 'k3'",
        ):
            await store.outbox.change([Statement(sql)])
        report = (await relay.rebuild("notes", compare=True))[0]
        assert report.comparison is not None
        assert (report.comparison.rows, report.comparison.differing) == (5, 4)
        told = {
            each.key: (each.serving and each.serving["text"], each.built and each.built["text"])
            for each in report.comparison.differences
        }
        assert told == {
            "k1": ("wrong", "text 1"),
            "k2": (None, "text 2"),
            "k3": (None, "text 3"),
            "k9": ("text 3", None),
        }
        assert await texts_of(notes) == await notes_in(store)
        build, _ = await serving(notes)
        assert (await compare(notes, build, build)).differing == 0


async def test_a_rebuild_was_cut_short_then_the_next_one_goes_on_with_it(
    store: EventStore,
) -> None:
    """What was built stands: no third generation is begun."""
    notes = notes_view().bind(store)
    await add(store, "s", "k", "a")
    async with feed(store, notes) as relay:
        await relay.caught_up()
        rebuilding = asyncio.create_task(relay.rebuild("notes", compare=True))
        await until(lambda: _has_states(notes, ["serving", "comparing"]))
        rebuilding.cancel()
        await asyncio.gather(rebuilding, return_exceptions=True)
    if await states(notes) == ["serving", "comparing"]:
        await feed(store, notes).run_once()
        assert await states(notes) == ["serving", "comparing"]
        async with feed(store, notes) as relay:
            report = (await relay.rebuild("notes"))[0]
            assert report.generation == 2
    assert await states(notes) == ["retired", "serving"]
    assert await texts_of(notes) == {"k": "a"}


async def _has_states(view: RelationalView, wanted: list[str]) -> bool:
    return await states(view) == wanted


async def test_a_stopped_view_is_rebuilt_then_it_serves_again(store: EventStore) -> None:
    """What keeps the old generation from going on is not what the new one is made of."""
    faults = Faults()
    faults.left["bad"] = None
    notes = notes_view(faults=faults, attempts=1, on_error="stop").bind(store)
    await add(store, "s", "k", "bad")
    async with feed(store, notes) as relay:
        await until(lambda: relay.failed)
        faults.left.clear()
        await relay.rebuild("notes")
        assert await texts_of(notes) == {"k": "bad"}
        await until(lambda: not relay.failed)


async def test_a_retired_generation_is_old_then_it_is_dropped(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers of before have time to finish; then its rows and its bookkeeping go."""
    notes = notes_view().bind(store)
    await add(store, "s", "k", "a")
    async with feed(store, notes) as relay:
        await relay.rebuild("notes")
    relay = feed(store, notes)
    await relay.run_once()
    assert await states(notes) == ["retired", "serving"]
    monkeypatch.setattr(generations, "RETIRED_SECONDS", 0.0)
    await relay.run_once()
    assert await states(notes) == ["serving"]
    assert await texts_of(notes) == {"k": "a"}
    build, _ = await serving(notes)
    with pytest.raises(ProjectionError, match="serves"):
        await generations.drop(notes, build)


async def test_a_number_is_used_again_then_nothing_is_left_out(store: EventStore) -> None:
    """A generation that was given up leaves its checkpoint behind; the next one of that number
    begins at the start."""
    notes = notes_view().bind(store)
    for n in range(5):
        await add(store, "s", f"k{n}", "a")
    await feed(store, notes).run_once()
    build = await generations.begin(notes, store.outbox, "comparing")
    await feed(store, notes).run_once()
    await generations.drop(notes, build)
    again = await generations.begin(notes, store.outbox)
    assert again.generation == build.generation == 2
    await feed(store, notes).run_once()
    assert await states(notes) == ["retired", "serving"]
    assert await texts_of(notes) == await notes_in(store)


async def test_a_generation_was_not_finished_then_the_next_version_takes_over(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What older code began and left is given up, and dropped later; it is in nobody's way."""
    notes = notes_view().bind(store)
    await add(store, "s", "k", "a")
    await feed(store, notes).run_once()
    second, third = [
        RelationalView(notes_projection(version=n, prefix=f"{n} "), notes_table()).bind(store)
        for n in (2, 3)
    ]
    for state in ("building", "comparing"):
        await generations.begin(second, store.outbox, state)
    await feed(store, third).run_once()
    assert await texts_of(third) == {"k": "3 a"}
    assert await states(third) == ["retired", "retired", "retired", "serving"]
    monkeypatch.setattr(generations, "RETIRED_SECONDS", 0.0)
    await feed(store, third).run_once()
    assert await states(third) == ["serving"]


async def test_code_was_rolled_back_then_a_rebuild_gives_the_newer_ones_build_up(
    store: EventStore,
) -> None:
    """What newer code began and nobody feeds keeps no one from building again."""
    notes = notes_view().bind(store)
    newer = RelationalView(notes_projection(version=2), notes_table()).bind(store)
    await add(store, "s", "k", "a")
    await feed(store, notes).run_once()
    await generations.begin(newer, store.outbox)
    async with feed(store, notes) as relay:
        report = (await relay.rebuild("notes"))[0]
    assert report.generation == 3
    assert await states(notes) == ["retired", "retired", "serving"]


async def test_newer_code_is_at_its_build_then_a_rebuild_by_older_code_is_refused(
    store: EventStore,
) -> None:
    """A process that was not updated takes nothing from one that was."""
    notes = notes_view().bind(store)
    await add(store, "s", "k", "a")
    await feed(store, notes).run_once()
    newer = RelationalView(notes_projection(version=2), notes_table()).bind(store)
    build = await generations.begin(newer, store.outbox, "comparing")
    async with feed(store, newer) as other, feed(store, notes) as relay:
        await other.caught_up()
        await until(lambda: generations.is_fed(newer, build, 1))
        with pytest.raises(ProjectionError, match="newer code, of version 2"):
            await relay.rebuild("notes")
    assert await states(notes) == ["serving", "comparing"]


async def test_other_code_gives_a_rebuild_up_then_it_is_told(store: EventStore) -> None:
    """Whoever waits for a build does not wait for one that nobody goes on with."""
    sink = Outside()
    view = View(notes_projection("outside"), sink).bind(store)
    await add(store, "s", "k", "a")
    async with feed(store, view) as relay:
        await relay.caught_up()
        sink.gate = asyncio.Event()
        build = await generations.begin(view, store.outbox)
        rebuilding = asyncio.create_task(relay.rebuild("outside"))
        await until(lambda: generations.is_fed(view, build, 1))
        await generations.give_up(build, "building")
        with pytest.raises(ProjectionError, match="was given up"):
            await asyncio.wait_for(rebuilding, 10)
        sink.gate.set()
    assert await states(view) == ["serving", "retired"]


async def test_many_begin_at_once_then_one_generation_stands(store: EventStore) -> None:
    """Processes that start together make one generation, not several."""
    views = [notes_view().bind(store) for _ in range(6)]
    await asyncio.gather(*(feed(store, view).run_once() for view in views))
    assert await states(views[0]) == ["serving"]
    await asyncio.gather(*(generations.begin(view, store.outbox) for view in views))
    assert await states(views[0]) == ["serving", "building"]
