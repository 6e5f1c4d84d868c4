"""Stores for reducers: every test that takes `store` runs on each engine that is embedded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eventstore import EventStore
from eventstore.registry import isolated_registry

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        """Moves it forward."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory://", "sqlite:///"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[EventStore]:
    url = request.param
    if url.startswith("sqlite"):
        url += str(tmp_path / "agent.db")
    async with EventStore.open(url, clock=clock) as opened:
        yield opened


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    """Event types that a test registers are gone after it."""
    with isolated_registry():
        yield
