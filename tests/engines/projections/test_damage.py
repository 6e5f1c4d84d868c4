"""A log that is damaged, or was restored to before a checkpoint, under a relay: the view that comes
by it stops and says so, the others go on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from eventstore import Corrupt, EventStore, LogDiverged, NewEvent
from eventstore.engines.port import CheckpointRow
from projections.asking import reached, serving
from projections.sinks import Build
from projections.status import status
from projections.view import View
from tests.engines.databases import tamper, template
from tests.servers.postgres import PostgresServer
from tests.waiting import until

from .stage import (
    Outside,
    add,
    counted,
    counts_in,
    counts_view,
    feed,
    notes_projection,
    notes_view,
    rows_of,
)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A store that stays when it is closed."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/log.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    made = server.new_url(template(server))
    yield made
    server.drop(made)


async def damage(url: str) -> None:
    """Changes the payload at position 2."""
    is_file = url.startswith("sqlite")
    other = """CAST('{"n":2}' AS BLOB)""" if is_file else """convert_to('{"n":2}', 'UTF8')"""
    await tamper(url, f"UPDATE events SET payload = {other} WHERE position = 2")


async def test_an_event_is_damaged_then_the_views_that_read_it_stop_and_others_go_on(
    url: str,
) -> None:
    """Damage is not served, not parked and not passed over."""
    async with EventStore.open(url) as store:
        await add(store, "s", "k", "a")
        await store.append("s", NewEvent("note.gone", {"id": "none"}))
        await add(store, "s", "l", "b")
    await damage(url)
    async with EventStore.open(url) as store:
        notes, counts = notes_view().bind(store), counts_view().bind(store)
        async with feed(store, notes, counts) as relay:
            await until(lambda: set(relay.failed) == {"notes"})
            assert isinstance(relay.failed["notes"], Corrupt)
            position = await add(store, "t", "m", "c")
            assert (await counts.get("t", at_least=position)).value["n"] == 1
            assert await counted(counts) == await counts_of_notes(store)
            assert await rows_of(notes) == {}
            told = {each.view: each for each in await status(store, [notes, counts])}
            assert (told["notes"].feeding, told["notes"].parked_events) == ("stopped", 0)
            assert str(told["notes"].last_error) == str(relay.failed["notes"])
            assert (told["counts"].feeding, told["counts"].last_error) == ("running", None)


async def counts_of_notes(store: EventStore) -> dict[str, tuple[int, int]]:
    """The counts by code of its own, of a log that can be read in part."""
    found: dict[str, tuple[int, int]] = {}
    async for event in store.read_all(types=["note.added"]):
        n, total = found.get(event.stream, (0, 0))
        found[event.stream] = n + 1, total + len(event.data["text"])
    return found


async def test_a_checkpoint_is_of_another_log_then_its_view_stops_and_others_go_on(
    store: EventStore,
) -> None:
    """As when the log was restored, and a view outside was not."""
    notes, counts = notes_view().bind(store), counts_view().bind(store)
    await add(store, "s", "k", "a")
    await feed(store, notes, counts).run_once()
    lease = await store.checkpoints.acquire("view/notes", "ann", seconds=60)
    assert lease is not None
    row = CheckpointRow("view/notes", 1, 0, 1, b"other" * 7, "ann", lease.fencing_token, 0)
    assert await store._core.engine.save_checkpoint(store.tenant_name, row)
    await store.checkpoints.release(lease)
    async with feed(store, notes, counts) as relay:
        await until(lambda: set(relay.failed) == {"notes"})
        assert isinstance(relay.failed["notes"], LogDiverged)
        position = await add(store, "s", "l", "bb")
        assert (await counts.get("s", at_least=position)).value["n"] == 2
        assert await counted(counts) == await counts_in(store)
        told = {each.view: each for each in await status(store, [notes, counts])}
        assert (told["notes"].feeding, told["counts"].feeding) == ("stopped", "running")
        assert str(told["notes"].last_error) == str(relay.failed["notes"])


async def test_the_log_goes_back_below_a_page_that_was_read_then_the_page_is_not_written(
    postgres: PostgresServer,
) -> None:
    """A server that takes over may have the checkpoint and not the events behind it, and others
    may have appended since: what was read of the old log is no part of the new one."""
    url, sink = postgres.new_url(template(postgres)), Outside()
    async with EventStore.open(url) as store:
        view = View(notes_projection("outside"), sink).bind(store)
        await add(store, "s", "k", "a")
        async with feed(store, view) as relay:
            await relay.caught_up()
            build, _ = await serving(view)
            await until(lambda: has_reached(build, 1))
            sink.gate = asyncio.Event()
            sink.entered.clear()
            await add(store, "s", "k", "lost")
            await sink.entered.wait()
            raw = await asyncpg.connect(url)
            await raw.execute("ALTER TABLE eventstore.events DISABLE TRIGGER USER")
            other = "UPDATE eventstore.events SET hash = sha256('other') WHERE position = 2"
            assert await raw.execute(other) == "UPDATE 1"
            await raw.close()
            sink.gate.set()
            await until(lambda: relay.failed)
            assert (await reached(build))[0] == 1
    postgres.drop(url)


async def has_reached(build: Build, position: int) -> bool:
    """Whether a build has come to a position."""
    return (await reached(build))[0] == position
