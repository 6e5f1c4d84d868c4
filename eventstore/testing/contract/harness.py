"""What every part of the contract stands on: how a store is opened, and words for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest_asyncio

from ...events import NewEvent, RecordedEvent, StreamInfo
from ...reading import Events
from ...store import EventStore
from ..clocks import FixedClock, SteppingClock
from ..ids import SequentialIds

PATIENCE_SECONDS = 20.0
"""How long a test waits for what must come at once, so that a hang fails and is not endless."""


class Harness:
    """Opens the stores of a test. A subclass of the contract says how."""

    keeps = True
    """Whether a log outlives its closing and can be opened again under its URL."""

    shares = True
    """Whether several stores may be open on one URL at once, as processes have them."""

    def new_url(self, folder: Path) -> str:
        """The URL of a store that does not exist yet; each call gives another one.

        `folder` is empty at first, belongs to one test, and is removed by pytest.
        """
        raise NotImplementedError(f"{type(self).__name__} says in new_url() what it tests")

    def release_url(self, url: str) -> None:
        """Called in the middle of a test that needs many stores, when it has closed the one of
        `url` and will not open it again.

        Override it where a store is dear to make and can be emptied and given out again.
        """

    async def open_store(self, url: str, **options: Any) -> EventStore:
        """An open store for the URL; `options` are those of `EventStore.open`.

        Override it where a store is not opened by its URL alone.
        """
        return await EventStore.open(url, **options)

    @pytest_asyncio.fixture
    async def clock(self) -> FixedClock:
        """The clock of `store`: one second on at each reading, and it may be set."""
        return SteppingClock()

    @pytest_asyncio.fixture
    async def store(self, tmp_path: Path, clock: FixedClock) -> AsyncIterator[EventStore]:
        """An empty store with a clock and ids that can be foretold."""
        store = await self.open_store(self.new_url(tmp_path), clock=clock, ids=SequentialIds())
        try:
            yield store
        finally:
            await store.close()


def note(text: str = "hello", **fields: Any) -> NewEvent:
    """A small event of type note.added; `fields` are those of `NewEvent`."""
    return NewEvent("note.added", {"text": text}, **fields)


def notes(count: int, start: int = 1) -> list[NewEvent]:
    """`count` events that can be told apart, numbered from `start`."""
    return [NewEvent("note.added", {"n": start + index}) for index in range(count)]


def numbers(events: list[RecordedEvent]) -> list[int]:
    """The numbers that `notes` gave."""
    return [event.data["n"] for event in events]


def positions(events: list[RecordedEvent]) -> list[int]:
    """The positions of events, in their order."""
    return [event.position for event in events]


async def whole(store: EventStore) -> tuple[int, list[RecordedEvent], list[StreamInfo]]:
    """All that a tenant's log shows: for "nothing else has changed"."""
    streams = [info async for info in store.streams()]
    return await store.head(), await store.read_all().list(), streams


async def take(events: Events, count: int) -> list[RecordedEvent]:
    """The next `count` events of a subscription, which is then given up."""
    found: list[RecordedEvent] = []
    async with asyncio.timeout(PATIENCE_SECONDS), aclosing(aiter(events)) as stream:
        while len(found) < count:
            found.append(await anext(stream))
    return found
