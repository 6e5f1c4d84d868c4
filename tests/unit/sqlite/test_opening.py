"""Opening that fails or is given up: what was opened is closed, and never in the caller's loop."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, StorageFailed
from eventstore.engines.sqlite import opening
from eventstore.engines.sqlite.reader import Reader
from eventstore.engines.sqlite.turns import Turns, close_in_turn
from tests.waiting import until

from .conftest import open_things


@pytest.fixture
def closers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads in which a connection was closed in its turn while opening."""
    threads: list[int] = []

    def noted(connection: sqlite3.Connection, turns: Turns) -> None:
        close_in_turn(connection, turns)
        threads.append(threading.get_ident())

    monkeypatch.setattr(opening, "close_in_turn", noted)
    return threads


async def test_the_readers_cannot_be_opened_then_the_writer_is_closed_in_a_thread(
    url: str, closers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing waits for a turn, which another process may have: the loop goes on meanwhile."""
    before = open_things()

    async def fails(*args: Any, **kwargs: Any) -> Reader:
        raise StorageFailed("no readers today")

    monkeypatch.setattr(Reader, "open", fails)
    with pytest.raises(StorageFailed, match="no readers today"):
        await EventStore.open(url)
    assert len(closers) == 1
    assert closers[0] != threading.get_ident()
    assert open_things() == before


@pytest.mark.parametrize("when", ["before the file is open", "after it"])
async def test_opening_is_given_up_then_the_file_is_closed_in_a_thread(
    url: str, closers: list[int], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Whoever comes second closes: the thread that opened, or one of its own."""
    before = open_things()
    begun, go_on, opened = threading.Event(), threading.Event(), threading.Event()
    open_file = opening._open_file

    def slowly(*args: Any) -> Any:
        begun.set()
        go_on.wait()
        return open_file(*args)

    class Opener(opening._Opener):
        def open(self, *args: Any) -> Any:
            found = super().open(*args)
            opened.set()
            return found

    monkeypatch.setattr(opening, "_open_file", slowly)
    monkeypatch.setattr(opening, "_Opener", Opener)
    task = asyncio.ensure_future(EventStore.open(url).__aenter__())
    await until(begun.is_set)
    if when == "after it":
        go_on.set()
        opened.wait()  # with the loop held up: its task is not told that the file is open
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await until(lambda: len(closers) == 1)
    assert closers[0] != threading.get_ident()
    await until(lambda: open_things() == before)


class _Clock:
    """Stands in for the `time` of `turns`: sleeping lets it go on, and frees the turn in time."""

    def __init__(self, other: Turns, free_at: float) -> None:
        self.now = 0.0
        self._other = other
        self._free_at = free_at

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now - seconds < self._free_at <= self.now:
            self._other.__exit__(None, None, None)


@pytest.mark.parametrize(("freed_at", "left_ms"), [(0.25, 750), (0.9, 100)])
def test_the_turn_was_long_in_coming_then_sqlite_waits_for_what_is_left(
    file: Path, monkeypatch: pytest.MonkeyPatch, freed_at: float, left_ms: int
) -> None:
    """One time-out for both waits; the next turn has all of it again."""
    other, mine = Turns(str(file), 1), Turns(str(file), 1)
    connection = sqlite3.connect(file, isolation_level=None, timeout=1)
    said: list[str] = []
    connection.set_trace_callback(said.append)
    monkeypatch.setattr("eventstore.engines.sqlite.turns.time", _Clock(other, freed_at))
    other.__enter__()
    with mine:
        mine.begin(connection)
        connection.execute("ROLLBACK")
    with mine:
        mine.begin(connection)
        connection.execute("ROLLBACK")
    connection.close()
    other.close()
    mine.close()
    first, second = said.index("BEGIN IMMEDIATE"), len(said) - 2
    assert said[second] == "BEGIN IMMEDIATE"
    waits = [int(text.rpartition(" ")[2]) for text in said if "busy_timeout" in text]
    assert said.index(f"PRAGMA busy_timeout = {waits[0]}") < first
    assert waits[0] == pytest.approx(left_ms, abs=2)
    assert waits[1:] == [1_000]
