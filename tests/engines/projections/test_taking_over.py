"""A generation that is built takes over, unless a reader would lose what is served; one that nobody
goes on with goes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore
from projections import ProjectionError, RelationalView
from projections.asking import serving
from projections.relay import Relay, generations, letters
from projections.relay.dropping import drop
from projections.sinks import Build
from projections.status import ViewStatus, status
from projections.view import View
from tests.engines.databases import template

from .stage import Faults, add, feed, generations_of, notes_projection, notes_table, texts_of


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of each database: what decides is their SQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    server = request.getfixturevalue("postgres")
    return str(server.new_url(template(server)))


def code(version: int, *bad: str) -> tuple[RelationalView, Faults]:
    """Notes by code of a version that fails on some texts until it is mended."""
    faults = Faults()
    faults.left = dict.fromkeys(bad)
    projection = notes_projection(version=version, faults=faults)
    return RelationalView(projection, notes_table(), attempts=1), faults


async def states(view: View) -> list[str]:
    """The states of a view's generations, oldest first."""
    return [each.state for each in await generations_of(view)]


async def newest(view: View) -> Build:
    """Where the rows of the newest generation are."""
    outbox = view.store.outbox
    found = await generations_of(view)
    return found[-1].build(outbox, view.name, await outbox.tenant_id())


async def told(view: View) -> ViewStatus:
    """The status of the newest generation."""
    return (await status(view.store, [view]))[-1]


async def held(store: EventStore) -> tuple[RelationalView, Faults, Relay]:
    """A view whose second version has parked a key that the first one has a row of."""
    old, _ = code(1)
    new, faults = code(2, "bad")
    await add(store, "s", "k", "a")
    await add(store, "t", "l", "bad")
    await feed(store, old).run_once()
    relay = feed(store, new)
    await relay.run_once()
    return new.bind(store), faults, relay


async def test_a_key_is_parked_that_is_served_then_the_new_generation_waits_and_it_is_told_once(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever read a row goes on reading it; status and log say what is to be done."""
    with caplog.at_level(logging.WARNING, "eventstore"):
        view, _, relay = await held(store)
        await add(store, "s", "m", "b")
        await relay.run_once()
    assert await states(view) == ["serving", "building"]
    assert await texts_of(view) == {"k": "a", "l": "bad"}
    found = await told(view)
    assert (found.state, found.parked_keys, found.parked_anew) == ("building", 1, 1)
    said = [each.message for each in caplog.records if "does not take over" in each.message]
    assert len(said) == 1
    assert "generation 2" in said[0]
    assert "retry or drop" in said[0]


async def test_the_code_is_mended_and_the_key_retried_then_the_new_generation_takes_over(
    store: EventStore,
) -> None:
    """Nobody has to ask for the switch."""
    view, faults, relay = await held(store)
    faults.left.clear()
    assert await letters.ask_retry(await newest(view)) == 1
    await relay.run_once()
    assert await states(view) == ["retired", "serving"]
    assert await texts_of(view) == {"k": "a", "l": "bad"}


async def test_its_event_is_dropped_then_the_new_generation_takes_over(store: EventStore) -> None:
    """A drop finds the letter in the generation that is being built."""
    view, _, relay = await held(store)
    build, _ = await serving(view)
    with pytest.raises(ProjectionError, match="no dead letter"):
        await drop(build, "s", "it is no note")
    assert await drop(build, "t", "it is no note") == 3
    await relay.run_once()
    assert await states(view) == ["retired", "serving"]
    assert await texts_of(view) == {"k": "a"}


@pytest.mark.parametrize(
    ("before", "after", "taken"),
    [
        (("bad",), ("bad",), True),
        (("worse",), ("bad",), False),
        (("bad",), ("worse",), True),
    ],
)
async def test_the_key_waits_in_both_then_its_first_event_decides(
    store: EventStore, before: Any, after: Any, taken: bool
) -> None:
    """What waits where it is served as well is lost to nobody; what waits from an earlier event on
    is."""
    old, _ = code(1, *before)
    new, _ = code(2, *after)
    for text in ("a", "bad", "worse"):
        await add(store, "s", text, text)
    await feed(store, old).run_once()
    await feed(store, new).run_once()
    assert await states(new.bind(store)) == (
        ["retired", "serving"] if taken else ["serving", "building"]
    )


async def test_a_key_is_parked_that_was_never_served_then_the_new_generation_takes_over(
    store: EventStore,
) -> None:
    """An event that the old generation has not come to is in nobody's way."""
    old, _ = code(1)
    new, _ = code(2, "bad")
    await add(store, "s", "k", "a")
    await feed(store, old).run_once()
    await add(store, "s", "l", "bad")
    await feed(store, new).run_once()
    assert await states(new.bind(store)) == ["retired", "serving"]


async def test_a_rebuild_parks_a_key_then_its_report_says_so_and_it_may_be_accepted(
    store: EventStore,
) -> None:
    """Compared or not; then it serves without the row."""
    view, faults = code(1)
    await add(store, "s", "k", "a")
    await add(store, "t", "l", "bad")
    async with feed(store, view) as relay:
        await relay.caught_up()
        faults.left["bad"] = None
        (report,) = await relay.rebuild("notes", compare=True)
        assert (report.serves, report.parked_keys, report.parked_anew) == (False, 1, 1)
        assert report.comparison is not None
        assert (report.comparison.differing, report.replaced) == (1, None)
        view = view.bind(store)
        assert await states(view) == ["serving", "building"]
        assert await texts_of(view) == {"k": "a", "l": "bad"}
        (report,) = await relay.rebuild("notes", accept_parked=True)
        assert (report.generation, report.serves, report.replaced) == (2, True, 1)
        assert (report.parked_keys, report.parked_anew) == (1, 0)
    assert await states(view) == ["retired", "serving"]
    assert await texts_of(view) == {"k": "a"}


async def test_two_drop_an_event_at_once_then_neither_is_told_that_it_was_delivered(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped; that is what both wanted."""
    view, _ = code(1, "bad")
    await add(store, "s", "k", "bad")
    await feed(store, view).run_once()
    build, _ = await serving(view.bind(store))
    waiting = letters.waiting

    async def just_before(*args: Any) -> Any:
        found = await waiting(*args)
        monkeypatch.setattr(letters, "waiting", waiting)
        await drop(build, "s", "first")
        return found

    monkeypatch.setattr(letters, "waiting", just_before)
    assert await drop(build, "s", "second") == 3
    types = [event.type for event in await store.read("$views/notes").list()]
    assert types == ["$view.dropped", "$view.dropped"]
    assert [each.dropped_reason for each in await letters.load(build)] == ["first"]


async def test_nobody_goes_on_with_a_build_then_it_is_kept_a_day_and_dropped(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that was rolled back leaves nothing behind; while somebody may be at its build, it
    stays."""
    old, _ = code(1)
    new, _ = code(2)
    view = old.bind(store)
    await add(store, "s", "k", "a")
    relay = feed(store, old)
    await relay.run_once()
    await generations.begin(new.bind(store), store.outbox)
    await relay.run_once()
    assert await states(view) == ["serving", "building"]
    monkeypatch.setattr(generations, "ABANDONED_SECONDS", 0.0)
    lease = await store.checkpoints.acquire("view/notes", "ann", seconds=60, generation=2)
    assert lease is not None
    await relay.run_once()
    assert await states(view) == ["serving", "building"]
    await store.checkpoints.release(lease)
    await relay.run_once()
    assert await states(view) == ["serving"]
    assert await texts_of(view) == {"k": "a"}
    await feed(store, new).run_once()
    assert await states(view) == ["retired", "serving"]


async def test_older_code_is_to_rebuild_then_it_is_refused_and_begins_nothing(
    store: EventStore,
) -> None:
    """What it would begin could never serve."""
    new, _ = code(2)
    old, _ = code(1)
    await feed(store, new).run_once()
    async with feed(store, old) as relay:
        with pytest.raises(ProjectionError, match="version 2 serves"):
            await relay.rebuild("notes")
    assert await states(new.bind(store)) == ["serving"]
