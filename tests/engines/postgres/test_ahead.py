"""The page that a reader asks for ahead: kept for who comes next, and not for ever."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import EventStore, NewEvent, StorageFailed
from eventstore.engines.postgres import reader as reading
from eventstore.engines.postgres.reader import Reader
from tests.waiting import until

from .inside import engine_of


async def _page(store: EventStore, after: int) -> list[Any]:
    """A page behind one that was read: whoever knows what stands before it goes through the log."""
    engine = engine_of(store)
    digest = await engine.hash_at("default", after)
    page = await engine.log_page("default", after, 10, (), 2, digest)
    return [event.data for event in page.events]


async def test_a_reader_gives_up_then_the_page_ahead_is_forgotten(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to a page's bytes would stay in memory for as long as the store is open."""
    monkeypatch.setattr(reading, "_AHEAD_SECONDS", 0.1)
    await store.append("s", [NewEvent("n", n) for n in range(10)])
    reader = engine_of(store)._reader
    assert [await _page(store, 0), await _page(store, 2)] == [[0, 1], [2, 3]]
    assert reader._ahead is not None
    await until(lambda: reader._ahead is None)
    assert await _page(store, 4) == [4, 5]


async def test_a_page_ahead_failed_then_a_later_reader_is_not_told_the_old_error(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went wrong for one who gave up since is nobody else's."""
    await store.append("s", [NewEvent("n", n) for n in range(10)])
    fetch, places = Reader._log_rows, []

    async def fail_third(self: Reader, place: tuple[str, int, int, int]) -> Any:
        places.append(place[1])
        if len(places) == 3:
            raise StorageFailed("an old one")
        return await fetch(self, place)

    monkeypatch.setattr(Reader, "_log_rows", fail_third)
    assert [await _page(store, 0), await _page(store, 2)] == [[0, 1], [2, 3]]
    assert places == [0, 2, 4]
    assert await _page(store, 4) == [4, 5]
    assert places[:4] == [0, 2, 4, 4]
