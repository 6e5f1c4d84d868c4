"""Staying with sources that grow: what is added is imported as it comes, until told to stop.

Files are looked at again every `LOOK_SECONDS`; there is no way to be told of changes that works
on every system and on network file systems too, and one look costs a stat for each file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from eventstore import EventStore

from .importing import DocumentFeed, LineFeed, Options, Progress, Run, find_files
from .report import ImportReport

LOOK_SECONDS = 0.2
"""Time between two looks: shorter than a person waits, and idle it costs under 1% of a core with
a hundred files."""

FOLDER_LOOKS = 10
"""Every how many looks folders are searched for new files: a search costs more than a stat."""


async def follow_paths(
    store: EventStore,
    paths: Iterable[Path | str],
    stop: asyncio.Event,
    options: Options | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Imports `paths` and keeps the streams in step with the files until `stop` is set.

    A last line that is not finished waits for its end. A file that was cut short or replaced is
    reported and compared from its beginning. Files that appear in folders are taken up. Returns
    the report of the whole time. Raises as `import_paths`; cancelled, what was read is written
    but for the batch at hand, and importing again writes that.
    """
    following = _Following(Run(store, options or Options(), progress), list(paths))
    try:
        await following.take_up()
        looks = 0
        while not stop.is_set():
            await following.look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
            looks += 1
            if looks % FOLDER_LOOKS == 0:
                await following.take_up()
        await following.finish()
    finally:
        await following.run.importer.abandon()
    return following.run.report


class _Following:
    """The files that are followed, each with what it looked like when it was read."""

    def __init__(self, run: Run, paths: list[Path | str]) -> None:
        self.run = run
        self._paths = paths
        self._feeds: list[LineFeed | DocumentFeed] = []
        self._seen: dict[Path, tuple[int, int, int]] = {}

    async def take_up(self, *, quiet: bool = True) -> None:
        """Adds files that were not there, or could not be recognised yet. Not `quiet`: those that
        still cannot are reported."""
        present = [path for path in self._paths if _is_there(path)]
        self._feeds += await self.run.open_feeds(find_files(present), quiet=quiet)

    async def look(self) -> None:
        """Imports what has changed since the last look."""
        for feed in self._feeds:
            await self._look_at(feed)
        await self.run.finish_round()

    async def finish(self) -> None:
        """Takes what is there as complete: a last line without its end is a line now."""
        await self.take_up(quiet=False)
        for feed in self._feeds:
            if _is_there(feed.path) and (isinstance(feed, LineFeed) or feed.unfinished):
                await feed.read(complete=True)
        await self.run.finish_round()

    async def _look_at(self, feed: LineFeed | DocumentFeed) -> None:
        try:
            status = feed.path.stat()
        except FileNotFoundError:
            return
        looks = (status.st_ino, status.st_size, status.st_mtime_ns)
        before = self._seen.get(feed.path)
        if looks == before:
            return
        self._seen[feed.path] = looks
        if isinstance(feed, LineFeed):
            replaced = before is not None and before[0] != status.st_ino
            if replaced or status.st_size < feed.offset:
                self.run.problem(feed.path, "cut short or replaced while it was followed")
                await self.run.importer.flush()
                feed.restart()
            await feed.read(complete=False)
        else:
            await self.run.importer.flush()
            await feed.read(complete=False)


def _is_there(path: Path | str) -> bool:
    return os.path.exists(path)
