"""A generation that is built takes over, unless a reader would lose what is served; one that nobody
goes on with goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, RecordedEvent
from projections import Projection, ProjectionError, RelationalView, Upsert
from projections.asking import serving
from projections.catalog import OWED
from projections.relay import Relay, comparing, generations, letters, rebuilding
from projections.relay.comparing import Comparison
from projections.relay.dropping import drop
from projections.relay.pages import partition_of
from projections.relay.switching import switch
from projections.sinks import Build
from projections.status import ViewStatus, status
from projections.view import Answer, View
from tests.engines.databases import template

from .stage import (
    Boom,
    Faults,
    add,
    feed,
    generations_of,
    notes_projection,
    notes_table,
    texts_of,
)


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


def ordered(
    version: int, by: str, *bad: str, nameless: Sequence[str] = (), **options: Any
) -> RelationalView:
    """Notes by code that orders them by their stream or their id, fails on some texts, and cannot
    tell the key of the `nameless`."""

    def key(event: RecordedEvent) -> str:
        if event.data["text"] in nameless:
            raise Boom("key")
        return event.stream if by == "stream" else str(event.data["id"])

    made = Projection("notes", version=version, key=key)

    @made.on("note.added")
    def added(event: RecordedEvent) -> Any:
        if event.data["text"] in bad:
            raise Boom("handler")
        return Upsert(event.data["id"], {"text": event.data["text"], "n": event.version})

    return RelationalView(made, notes_table(), attempts=1, **options)


async def retried_and_owed(store: EventStore, view: View) -> None:
    """Retries the only letter, until its event is what the rows of another partition lack."""
    build = await newest(view)
    assert await letters.ask_retry(build) == 1
    async with feed(store, view), asyncio.timeout(20):
        while [each.position for each in await letters.load(build)] != [OWED]:  # noqa: ASYNC110 - asked of the store
            await asyncio.sleep(0)


def key_in(partition: int, prefix: str) -> str:
    """A key of that partition of two."""
    return next(k for k in (f"{prefix}{n}" for n in range(99)) if partition_of(k, 2) == partition)


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


@pytest.mark.parametrize(
    ("before", "after", "texts", "taken"),
    [
        ("stream", "id", ("a", "bad"), True),
        ("id", "stream", ("a", "bad"), True),
        ("id", "stream", ("a", "bad", "b"), False),
    ],
)
async def test_other_code_orders_by_other_keys_then_the_same_event_waits_in_both(
    store: EventStore, before: str, after: str, texts: tuple[str, ...], taken: bool
) -> None:
    """It is lost to nobody under another key; what was served and waits behind it now, is."""
    for text in texts:
        await add(store, "s", text, text)
    old, new = ordered(1, before, "bad"), ordered(2, after, "bad")
    await feed(store, old).run_once()
    await feed(store, new).run_once()
    assert (await told(new.bind(store))).parked_anew == (0 if taken else 1)
    assert await states(new.bind(store)) == (
        ["retired", "serving"] if taken else ["serving", "building"]
    )


async def test_a_row_is_owed_by_a_partition_that_nobody_feeds_then_the_new_generation_waits(
    store: EventStore,
) -> None:
    """The event left the dead letters of one partition and is not yet in the rows of the other."""
    key, other, stream = key_in(1, "k"), key_in(0, "k"), key_in(0, "s")
    await add(store, stream, key, "nameless")
    await add(store, stream, other, "a")
    await feed(store, ordered(1, "id")).run_once()
    nameless = ["nameless"]
    view = ordered(2, "id", nameless=nameless, partitions=2).bind(store)
    await feed(store, view).run_once()
    lease = await store.checkpoints.acquire(
        "view/notes", "ann", seconds=600, generation=2, partition=1
    )
    assert lease is not None
    nameless.clear()
    await retried_and_owed(store, view)
    assert (await told(view)).parked_anew == 1
    assert not await switch(view, await newest(view), at_least=2)
    assert await states(view) == ["serving", "building"]
    assert await texts_of(view) == {key: "nameless", other: "a"}
    await store.checkpoints.release(lease)
    await feed(store, view).run_once()
    assert await states(view) == ["retired", "serving"]
    assert await texts_of(view) == {key: "nameless", other: "a"}


async def test_a_row_that_is_served_is_owed_then_its_reader_is_told_that_it_is_stale(
    store: EventStore,
) -> None:
    """Nobody knows which event it lacks, so it is good for nothing; rows of other keys are."""
    key, other, stream = key_in(1, "k"), key_in(0, "k"), key_in(0, "s")
    nameless = ["nameless"]
    view = ordered(1, "id", nameless=nameless, partitions=2).bind(store)
    await add(store, stream, key, "nameless")
    await add(store, stream, other, "a")
    await feed(store, view).run_once()
    lease = await store.checkpoints.acquire(
        "view/notes", "ann", seconds=600, generation=1, partition=1
    )
    assert lease is not None
    nameless.clear()
    await retried_and_owed(store, view)
    assert await view.get(key) == Answer(None, 0, None, True)
    rows = await view.rows([key, other])
    assert (set(rows), rows.position, rows.stale) == ({other}, 0, True)
    fine = await view.get(other)
    assert (fine.position, fine.stale) == (2, False)
    await store.checkpoints.release(lease)
    await feed(store, view).run_once()
    mended = await view.get(key)
    assert (mended.value["text"], mended.position, mended.stale) == ("nameless", 2, False)


async def test_a_build_is_given_up_while_it_is_compared_then_its_rebuild_says_so(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has come to the head, and will never serve: nobody waits for that."""
    view, _ = code(1)
    await add(store, "s", "k", "a")
    compare, seen = comparing.compare, 0

    async def meanwhile(view: View, old: Build, new: Build) -> Comparison:
        nonlocal seen
        seen += 1
        assert seen == 1, "it goes round"
        assert await generations.give_up(new, "comparing")
        return await compare(view, old, new)

    monkeypatch.setattr(rebuilding, "compare", meanwhile)
    async with feed(store, view) as relay:
        await relay.caught_up()
        with pytest.raises(ProjectionError, match="generation 2 was given up"):
            await relay.rebuild("notes", compare=True)


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
