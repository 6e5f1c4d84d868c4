"""Sources for importer tests: made-up ones beside the tests, recorded ones where they are kept."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventstore import EventStore


@pytest.fixture
def fixtures() -> Path:
    """Small sources that were made up for these tests."""
    return Path(__file__).parents[2] / "fixtures" / "importers"


@pytest.fixture
def recorded() -> Path:
    """Real recorded sessions, which are not part of the project."""
    beside = Path(__file__).parents[4] / "shared" / "data"
    return Path(os.environ.get("EVENTSTORE_DATA", beside))


@pytest.fixture
async def store() -> AsyncIterator[EventStore]:
    """An empty store in memory."""
    async with EventStore.open("memory://") as opened:
        yield opened
