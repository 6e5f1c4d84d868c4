"""The relay that the faults of views kill and stall: what a process of its own runs."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from eventstore import EventStore, RecordedEvent
from projections import Projection, RelationalView, Relay
from projections.projection import Key, key_text
from projections.relay import reading
from projections.sinks import Build, Change, Row, Written
from projections.view import View
from reducers import Reducer

PLACES = ("before sink", "half-way", "after sink", "before checkpoint", "after checkpoint")
"""Where a relay is killed."""

LATER_SECONDS = 1_000.0
"""How much later each process begins than the one before: its lease has run out then, and nobody
waits for it."""

PAGE_EVENTS, RUN_EVENTS = 10, 20
"""Events of a page, and of what a fold that is behind takes at once: few, so that each process has
several runs of several pages, and dies between them."""

Failpoint = Callable[[str], None]


def later(turn: int) -> Callable[[], datetime]:
    """The clock of process number `turn`."""
    return lambda: datetime.now(UTC) + timedelta(seconds=turn * LATER_SECONDS)


class FileSink:
    """A sink in an SQLite file of its own: each row carries the position of its event, and an
    older one never takes the place of a newer."""

    def __init__(self, path: Path, failpoint: Failpoint) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA busy_timeout = 20000")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, n, sum, position)"
        )
        self._failpoint = failpoint

    async def create(self, build: Build) -> Sequence[Any]:
        """See `Sink`."""
        return []

    async def write(self, build: Build, changes: Sequence[Change]) -> Written:
        """Row by row; half-way there is a place to die at."""
        for number, change in enumerate(changes):
            if number == len(changes) // 2:
                self._failpoint("half-way")
            value = change.value or {"n": None, "sum": None}
            self._connection.execute(
                "INSERT INTO rows VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET n = excluded.n,"
                " sum = excluded.sum, position = excluded.position"
                " WHERE excluded.position >= rows.position",
                (key_text(change.key), value["n"], value["sum"], change.position),
            )
        return Written((), len(changes))

    async def find(self, build: Build, keys: Sequence[Key]) -> list[Row]:
        """See `Sink`."""
        return []

    async def scan(self, build: Build) -> AsyncIterator[list[Row]]:
        """See `Sink`."""
        yield []

    async def drop(self, build: Build) -> Sequence[Any]:
        """See `Sink`."""
        return []

    async def close(self) -> None:
        """See `Sink`."""
        self._connection.close()


def counting(name: str) -> Projection:
    """How many notes a stream has, and the sum of what they hold; a note that is bad cannot be
    applied."""
    count = Reducer(name, initial={"n": 0, "sum": 0})

    @count.on("note.added")
    def added(state: dict[str, int], event: RecordedEvent) -> dict[str, int]:
        if event.data.get("bad"):
            raise ValueError("a bad note")
        return {"n": state["n"] + 1, "sum": state["sum"] + event.data["n"]}

    return Projection(name, fold=count)


def counts_view() -> RelationalView:
    """The counts in the store's database, in two partitions."""
    table = sa.Table(
        "counts",
        sa.MetaData(),
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("n", sa.Integer),
        sa.Column("sum", sa.Integer),
    )
    return RelationalView(counting("counts"), table, attempts=1, partitions=2)


def views(file: Path, failpoint: Failpoint) -> list[View]:
    """One view in the store's database, one outside."""
    outside = View(counting("outside"), FileSink(file, failpoint), attempts=1)
    return [counts_view(), outside]


async def feed(
    url: str, *, turn: int, place: str, hit: int, file: str, told: str, how: int
) -> None:
    """Runs a relay until it comes to `place` for the time number `hit`, and sends itself the
    signal `how` there; with 0 hits it ends when it has caught up. What it says goes into the file
    `told`."""
    left = hit

    def failpoint(reached: str) -> None:
        nonlocal left
        if hit and left == 0:
            _say(told, reached)
        if reached != place or left == 0:
            return
        left -= 1
        if left == 0:
            _say(told, f"signal at {place}")
            os.kill(os.getpid(), how)

    tell_log(told)
    reading.RUN_EVENTS_MAX = RUN_EVENTS
    async with EventStore.open(url, clock=later(turn)) as store:
        made = views(Path(file), failpoint)
        if how == STOP:
            # Stopped with a commit of another view under way, it would keep the file's lock.
            del made[0]
        relay = Relay(store, made, page_events=PAGE_EVENTS, failpoint=failpoint)
        await (relay.run() if hit else relay.run_once())


def tell_log(path: str) -> None:
    """Has all that is logged in this process written to a file, line by line."""
    log = logging.getLogger("eventstore")
    log.setLevel(logging.INFO)
    log.addHandler(_Told(path))


class _Told(logging.Handler):
    """Writes what the relay logs to a file."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        _say(self._path, record.getMessage())


def _say(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


KILL, STOP = int(signal.SIGKILL), int(signal.SIGSTOP)
