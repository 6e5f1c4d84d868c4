"""A store in a file of its own, and SQLite's own view of that file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from eventstore import EventStore
from eventstore.testing import SequentialIds, SteppingClock

Connect = Callable[[], contextlib.AbstractContextManager[sqlite3.Connection]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the store lies; nothing is there yet."""
    return tmp_path / "agent.db"


@pytest.fixture
def url(file: Path) -> str:
    """The store's URL."""
    return f"sqlite:///{file}"


@pytest_asyncio.fixture
async def store(url: str) -> AsyncIterator[EventStore]:
    """An empty store with a clock and ids that can be foretold."""
    async with EventStore.open(url, clock=SteppingClock(), ids=SequentialIds()) as store:
        yield store


@pytest.fixture
def connect(file: Path) -> Connect:
    """Opens the file as any other program would; each statement is its own transaction."""

    @contextlib.contextmanager
    def opened() -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(file, isolation_level=None)
        try:
            yield connection
        finally:
            connection.close()

    return opened


def open_things() -> tuple[int, list[str]]:
    """Open descriptors, and threads but for the loop's own pool."""
    names = [thread.name for thread in threading.enumerate()]
    return len(os.listdir("/proc/self/fd")), sorted(n for n in names if not n.startswith("asyncio"))
