"""The run that the rows share: a folder on the disk, the sizes, and files that are built once."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

from eventstore import EventStore

from .measuring import Timing, timing
from .postgres import Postgres
from .raw import Template, make_template
from .sizes import Sizes
from .workload import Callers, random_keys, tagged_events


class Bench:
    """What one run has built so far. The large log is made when a row first asks for it."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self.folder = folder
        self.sizes = sizes
        self.build_timing: Timing | None = None
        self._numbers = itertools.count(1)
        self._template: Template | None = None
        self._settings: dict[str, Any] | None = None
        self._log: Path | None = None
        self._postgres: Postgres | None = None

    def new_path(self) -> Path:
        """A file that does not exist yet."""
        return self.folder / f"{next(self._numbers)}.db"

    def remove(self, path: Path) -> None:
        """Removes a database with its write-ahead log."""
        for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            name.unlink(missing_ok=True)

    async def settings(self) -> dict[str, Any]:
        """The pragmas that the store runs with, as it says itself."""
        if self._settings is None:
            path = self.new_path()
            async with EventStore.open(url_of(path)) as store:
                self._settings = store.describe()
            self.remove(path)
        return self._settings

    async def template(self) -> Template:
        """Table, indexes and rows for the raw side."""
        if self._template is None:
            sizes = self.sizes
            count = max(sizes.raw_commits, sizes.bulk_appends * sizes.bulk_events)
            path = self.new_path()
            self._template = await make_template(path, count)
            self.remove(path)
        return self._template

    async def log(self) -> Path:
        """The large log: every event by an append of its own, with a random key and one tag."""
        if self._log is None:
            path = self.new_path()
            async with EventStore.open(url_of(path)) as store:
                self.build_timing = await fill_log(store, self.sizes)
            self._log = path
        return self._log

    async def postgres(self) -> Postgres:
        """The PostgreSQL server, started when a row first asks for it."""
        if self._postgres is None:
            self._postgres = Postgres()
            sizes = self.sizes
            rows = max(sizes.bulk_appends * sizes.bulk_events, sizes.pg_single_appends)
            await self._postgres.prepare(rows)
        return self._postgres

    def close(self) -> None:
        """Ends what runs beside the files."""
        if self._postgres is not None:
            self._postgres.stop()


def url_of(path: Path) -> str:
    """The store URL of a file."""
    return f"sqlite:///{path}"


def stream_names(count: int) -> list[str]:
    """So many streams."""
    return [f"session/{number:05}" for number in range(count)]


async def fill_log(store: EventStore, sizes: Sizes, events: int | None = None) -> Timing:
    """Appends as the callers do, only more of them at once, so that it does not take long."""
    left = sizes.log_events if events is None else events
    names = stream_names(sizes.log_streams)
    callers = min(sizes.log_callers, left)
    streams = [names[number % len(names)] for number in range(callers)]
    appends = 20
    with timing() as time:
        while left > 0:
            if left < callers * appends:
                appends, callers = max(1, left // callers), min(callers, left)
            count = callers * appends
            work = Callers(streams[:callers], appends, tagged_events(count), random_keys(count))
            await work.run(store)
            left -= count
            await asyncio.sleep(0)
    return time
