"""Cache views behind a real relay: they follow the log, and are filled again when emptied."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from eventstore import EventStore, NewEvent, RecordedEvent
from projections import Delete, Projection, Relay, Upsert
from projections.cache import CacheView
from projections.errors import SinkEmptied
from reducers import Reducer
from tests.servers.redis import RedisServer
from tests.waiting import PATIENCE_SECONDS

notes = Projection("notes")


@notes.on("note.kept")
def _kept(event: RecordedEvent) -> Upsert:
    return Upsert(event.data["id"], {"text": event.data["text"]})


@notes.on("note.forgotten")
def _forgotten(event: RecordedEvent) -> Delete:
    return Delete(event.data["id"])


counting: Reducer[dict[str, int]] = Reducer("counting", initial={"n": 0})


@counting.on("note.kept")
def _count(state: dict[str, int], event: RecordedEvent) -> dict[str, int]:
    return {"n": state["n"] + 1}


counts = Projection("counts", fold=counting)


@pytest_asyncio.fixture
async def views(
    place: tuple[EventStore, str | None],
) -> AsyncIterator[tuple[EventStore, CacheView, CacheView]]:
    """A map and a fold in a sink of each kind."""
    store, url = place
    made = CacheView(notes, url), CacheView(counts, url)
    yield (store, *made)
    for view in made:
        await view.close()


async def write_history(store: EventStore, times: int = 5) -> int:
    """Keeps notes and forgets one; answers the last position."""
    for n in range(times):
        await store.append(f"user/{n % 2}", NewEvent("note.kept", {"id": n, "text": f"t{n}"}))
    result = await store.append("user/0", NewEvent("note.forgotten", {"id": 1}))
    return result.position


async def holds(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits until an async condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():  # noqa: ASYNC110 - it asks a server
            await asyncio.sleep(0)


async def test_events_are_appended_then_the_views_have_what_a_fold_of_the_log_has(
    views: tuple[EventStore, CacheView, CacheView],
) -> None:
    """One reads one's own writes, and forgotten is gone."""
    store, kept, counted = views
    async with Relay(store, [kept, counted]) as relay:
        position = await write_history(store)
        answer = await relay.view("notes").get(0, at_least=position)
        assert (answer.value, answer.stale) == ({"text": "t0"}, False)
        assert (await relay.view("notes").get(1)).value is None
        found = await relay.view("counts").get("user/0", at_least=position)
        assert found.value == {"n": 3}
        assert await relay.view("notes").rows([0, 1, 4]) == {0: {"text": "t0"}, 4: {"text": "t4"}}


async def test_redis_is_flushed_under_a_relay_then_the_views_are_filled_again(
    store: EventStore,
) -> None:
    """The next event finds the marker gone; all rows come back, the unchanged ones too."""
    with RedisServer() as server:
        made = [CacheView(notes, server.url()), CacheView(counts, server.url())]
        async with Relay(store, made) as relay:
            position = await write_history(store)
            view = relay.view("notes")
            assert (await view.get(0, at_least=position)).value == {"text": "t0"}
            server.flush()
            with pytest.raises(SinkEmptied):
                await view.get(0)
            again = await store.append("user/1", NewEvent("note.kept", {"id": 9, "text": "t9"}))
            for name, key, value in (
                ("notes", 0, {"text": "t0"}),
                ("notes", 1, None),
                ("notes", 9, {"text": "t9"}),
                ("counts", "user/0", {"n": 3}),
                ("counts", "user/1", {"n": 3}),
            ):

                async def is_right(name: str = name, key: Any = key, value: Any = value) -> bool:
                    try:
                        found = await relay.view(name).get(key, at_least=again.position)
                    except SinkEmptied:
                        return False
                    return bool(found.value == value)

                await holds(is_right)
        for each in made:
            await each.close()


async def test_redis_lost_its_last_writes_under_a_relay_then_they_come_back(
    store: EventStore,
) -> None:
    """A server that crashed before its file was on the disk is filled again, not trusted."""
    with RedisServer() as server:
        made = CacheView(notes, server.url())
        async with Relay(store, [made]) as relay:
            view = relay.view("notes")
            position = await write_history(store)
            await view.get(0, at_least=position)
            [file] = (server.folder / "appendonlydir").glob("*.incr.aof")
            kept = file.stat().st_size
            lost = await store.append("user/1", NewEvent("note.kept", {"id": 7, "text": "t7"}))
            assert (await view.get(7, at_least=lost.position)).value == {"text": "t7"}
            server.kill()
            os.truncate(file, kept)
            server.start()
            with pytest.raises(SinkEmptied):
                await view.get(7)
            await store.append("user/1", NewEvent("note.kept", {"id": 8, "text": "t8"}))

            async def is_right() -> bool:
                try:
                    return await view.rows([1, 7, 8]) == {7: {"text": "t7"}, 8: {"text": "t8"}}
                except SinkEmptied:
                    return False

            await holds(is_right)
        await made.close()
        with server.client() as raw:
            builds = {name.rpartition(b"}")[0] for name in raw.scan_iter()}
        assert len(builds) == 1
