"""A view whose rows were in one place and are from now on to be in another: nothing is trusted that
the other place did not have, and what is left there from before is not served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from eventstore import EventStore, NewEvent
from eventstore.events import RecordedEvent
from projections import Delete, Projection, Relay, Upsert
from projections.cache import CacheView
from projections.errors import SinkEmptied
from tests.servers.redis import RedisServer

notes = Projection("notes")


@notes.on("note.kept")
def _kept(event: RecordedEvent) -> Upsert:
    return Upsert(event.data["id"], event.data["text"])


@notes.on("note.forgotten")
def _forgotten(event: RecordedEvent) -> Delete:
    return Delete(event.data["id"])


class Moving:
    """The view at one place after the other, on one store."""

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self.views: dict[str | None, CacheView] = {}

    def view(self, place: str | None) -> CacheView:
        """The view with its rows at a URL, or in a table."""
        if place not in self.views:
            self.views[place] = CacheView(notes, place, partitions=2)
        return self.views[place].bind(self.store)

    async def keep(self, **texts: str) -> int:
        """Appends notes; answers the last position."""
        events = [NewEvent("note.kept", {"id": id, "text": text}) for id, text in texts.items()]
        return (await self.store.append("notes", events)).position

    async def forget(self, id: str) -> None:
        """Forgets a note."""
        await self.store.append("notes", NewEvent("note.forgotten", {"id": id}))

    async def feed(self, place: str | None) -> dict[Any, Any]:
        """Feeds it at a place, as a process of its own would; what it then has there."""
        view = self.view(place)
        await Relay(self.store, [view]).run_once()
        return dict(await view.rows(["a", "b", "c"]))


@pytest_asyncio.fixture
async def moving(place: tuple[EventStore, str | None]) -> AsyncIterator[Moving]:
    """A view on a store in each database."""
    made = Moving(place[0])
    yield made
    for view in made.views.values():
        await view.close()


@pytest.fixture(params=["table in SQLite", "table in PostgreSQL"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which database the store is in."""
    return str(request.param)


async def test_another_redis_is_named_then_it_is_filled_from_the_log(
    moving: Moving, redis_server: RedisServer, own_server: RedisServer
) -> None:
    """A checkpoint that says done is good for the server that was fed, and for no other; also of
    the first one again, which missed what came meanwhile."""
    first, second = redis_server.new_url(), own_server.url()
    await moving.keep(a="1", b="1")
    assert await moving.feed(first) == {"a": "1", "b": "1"}
    with pytest.raises(SinkEmptied):
        await moving.view(second).get("a")
    assert await moving.feed(second) == {"a": "1", "b": "1"}
    await moving.forget("b")
    assert await moving.feed(second) == {"a": "1"}
    with pytest.raises(SinkEmptied):
        await moving.view(first).get("a")
    assert await moving.feed(first) == {"a": "1"}


async def test_a_view_leaves_its_table_for_redis_then_redis_is_filled(
    moving: Moving, redis_url: str
) -> None:
    """Nothing was appended since; the rows are there all the same, and not in two places."""
    await moving.keep(a="1", b="1")
    assert await moving.feed(None) == {"a": "1", "b": "1"}
    assert await moving.feed(redis_url) == {"a": "1", "b": "1"}
    position = await moving.keep(a="2")
    assert await moving.feed(redis_url) == {"a": "2", "b": "1"}
    with pytest.raises(SinkEmptied, match="elsewhere"):
        await moving.view(None).get("a", at_least=position)


async def test_a_view_comes_back_to_its_table_then_what_it_had_there_is_gone(
    moving: Moving, redis_url: str
) -> None:
    """The table missed a change, a delete and a new row while the view was in Redis."""
    await moving.keep(a="1", b="1")
    await moving.feed(None)
    await moving.forget("b")
    await moving.keep(a="2", c="2")
    assert await moving.feed(redis_url) == {"a": "2", "c": "2"}
    assert await moving.feed(None) == {"a": "2", "c": "2"}


async def test_a_view_was_never_in_a_table_then_the_table_is_made_and_filled(
    moving: Moving, redis_url: str
) -> None:
    """A reader is told where nothing is; a relay makes it."""
    await moving.keep(a="1")
    await moving.feed(redis_url)
    with pytest.raises(SinkEmptied, match="elsewhere"):
        await moving.view(None).get("a")
    assert await moving.feed(None) == {"a": "1"}
