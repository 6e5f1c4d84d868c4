"""Indexes in memory that follow the table: one for each tenant's serving build, made when it is
first searched, brought up to date before each search, kept on disk now and then."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec

from ..sinks import Build
from .statements import table_of

if TYPE_CHECKING:
    from ..vectors import Batch, VectorIndex

try:
    import fcntl
except ImportError:  # Windows: there, indexes are kept without asking who else does
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger("eventstore")

KEPT_ROWS_MIN = 2_000
"""An index of fewer rows is made from the table within some 20 ms, and is not kept."""

_KEPT_AGAIN_SHARE = 0.05
"""It is kept again once this share of its rows has changed: catching up with as many takes about as
long as reading it."""

_KEPT_AT_END_SHARE = 0.01
"""And when the view is closed, once this share has changed: keeping writes all of it."""

_PAGE_ROWS = 5_000
"""Rows that are read at once: 5 MB with 256 dimensions, about 30 ms."""

_BYTES_MAX = 1 << 30
"""Indexes of all tenants together; beyond it the one that was searched longest ago is let go."""

_ALLOWED_MAX = 64
"""Filters whose labels are remembered for the state of an index."""


class Place(msgspec.Struct, frozen=True):
    """Where a build is: how often it changed, from which change on removals are known, the last
    position of any of its partitions, and whether other tenants have rows in its table."""

    change: int
    purged: int
    position: int
    is_shared: bool


class Following:
    """An index of a build, and what it is good for."""

    def __init__(self, build: Build, folder: Path | None, index: VectorIndex) -> None:
        self.build = build
        self.folder = folder
        self.index = index
        # Before the first change, until an index is opened in the place of this empty one.
        self.change, self.position = -1, 0
        self.unkept = 0
        """Rows that changed since it was kept."""
        self.taken = 0
        """Rows that it has ever taken: those that changed, and those that it was opened with."""
        self.lock = asyncio.Lock()
        self.allowed: dict[Any, tuple[int, Any]] = {}
        self.worker: threading.Thread | None = None
        self.is_folding = False

    @property
    def bytes(self) -> int:
        """What its vectors take."""
        return len(self.index) * self.index.dimensions * 4

    def remember(self, wanted: Any, change: int, labels: Any) -> None:
        """Keeps the labels that filters allow as of a change."""
        if len(self.allowed) >= _ALLOWED_MAX:
            self.allowed.clear()
        self.allowed[wanted] = change, labels

    def is_changed(self, share: float) -> bool:
        """Whether so much of it has changed that it is worth keeping."""
        if self.folder is None or len(self.index) < KEPT_ROWS_MIN:
            return False
        return self.unkept > share * len(self.index)

    def keep(self, marker: str, change: int, note: str) -> None:
        """Keeps it as good for a change, unless another process is about to. What fails is told,
        and harms nobody."""
        from ..vectors import save

        if self.folder is None:
            return
        unkept = self.unkept
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with open(_lock_of(self.folder), "wb") as turn:
                if fcntl is not None:
                    fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
                save(self.index, self.folder, marker=marker, position=change, note=note)
        except BlockingIOError:
            return
        except OSError as exc:
            _log.info("a vector index is not kept: %s", type(exc).__name__)
        self.unkept -= unkept

    def fold_and_keep(self, marker: str, change: int, note: str) -> None:
        """Builds or extends its graph where that is due, and keeps it."""
        try:
            self.is_folding = self.index.fold_due
            folded = self.is_folding and self.index.fold()
            self.is_folding = False
            if folded or self.is_changed(_KEPT_AGAIN_SHARE):
                self.keep(marker, change, note)
        except Exception as exc:  # such as an extra that is missing: every row is compared then
            _log.warning("a vector index is not tended: %s", exc)


class Followers:
    """The indexes of one view's builds, for each event loop its own."""

    def __init__(self, view: str, embedder: str, dimensions: int, folder: Path | None) -> None:
        self.view = view
        self._embedder = embedder
        self._dimensions = dimensions
        self._folder = folder
        self._by_loop: WeakKeyDictionary[Any, dict[str, Following]] = WeakKeyDictionary()

    async def index(self, build: Build, place: Place) -> Following:
        """The index of a build, with everything up to the place's change in it. If cancelled,
        some of it is."""
        following = await self._following(build)
        if following.change < place.change:
            async with following.lock:
                if following.change < max(0, place.purged):
                    await self._open(following, place)
                elif following.change < place.change:
                    await self._catch_up(following, place)
        return following

    def rows(self, build: Build) -> int:
        """How many rows a build's index has, as far as it is known."""
        known = self._mine().get(build.incarnation)
        return 0 if known is None else len(known.index)

    def taken(self, build: Build) -> int:
        """How many rows a build's index has taken since it was opened: more than before once one
        changed."""
        known = self._mine().get(build.incarnation)
        return 0 if known is None else known.taken

    async def forget(self, build: Build) -> None:
        """Lets go of a build's index, also on disk. If cancelled, call it again."""
        self._mine().pop(build.incarnation, None)
        folder = await self._folder_of(build)
        if folder is not None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            _lock_of(folder).unlink(missing_ok=True)

    async def settle(self) -> None:
        """Waits for what is folded and kept in threads. If cancelled, it goes on there."""
        for each in list(self._mine().values()):
            if each.worker is not None:
                await asyncio.to_thread(each.worker.join)

    async def close(self) -> None:
        """Keeps what is worth keeping and lets go of all; a graph that is being built is not
        waited for. If cancelled, call it again."""
        mine = self._mine()
        while mine:
            following = mine.popitem()[1]
            if following.worker is not None and not following.is_folding:
                await asyncio.to_thread(following.worker.join)
            if following.is_changed(_KEPT_AT_END_SHARE):
                await asyncio.to_thread(following.keep, *await self._named(following))

    async def _following(self, build: Build) -> Following:
        from ..vectors import VectorIndex

        mine = self._mine()
        known = mine.pop(build.incarnation, None)
        if known is None:
            folder = await self._folder_of(build)
            known = mine.pop(build.incarnation, None)  # made by somebody else meanwhile
            if known is None:
                known = Following(build, folder, VectorIndex(self._dimensions))
        mine[build.incarnation] = known  # the one that was searched last stands last
        while len(mine) > 1 and sum([each.bytes for each in mine.values()]) > _BYTES_MAX:
            del mine[next(iter(mine))]
        return known

    def _mine(self) -> dict[str, Following]:
        return self._by_loop.setdefault(asyncio.get_running_loop(), {})

    async def _open(self, following: Following, place: Place) -> None:
        from ..vectors import open_index

        build = following.build
        opened = await open_index(
            following.folder,
            marker=self._marker(build),
            position=place.change,
            dimensions=self._dimensions,
            changes=partial(self._changes, build, place.purged),
            is_ours=partial(_is_ours, build),
        )
        if opened.origin == "rebuilt":
            _log.debug("view %s: %s", self.view, opened.reason)
        following.unkept += opened.taken
        following.taken += len(opened.index) + opened.taken
        following.index = opened.index
        await self._tend(following, place)

    async def _catch_up(self, following: Following, place: Place) -> None:
        from ..vectors import take

        changes = self._changes(following.build, place.purged, following.change)
        taken = await take(following.index, changes)
        following.unkept += taken
        following.taken += taken
        await self._tend(following, place)

    async def _tend(self, following: Following, place: Place) -> None:
        """Folds the index, and keeps it on disk, in a thread, where that is due."""
        following.change, following.position = place.change, place.position
        if not following.index.fold_due and not following.is_changed(_KEPT_AGAIN_SHARE):
            return
        if following.worker is not None and following.worker.is_alive():
            return
        # Not one that the interpreter would wait for at its end: building a graph takes a while,
        # and what is cut short is done by the next process. What comes while it works is done to
        # the kept index again by whoever reads it.
        following.worker = threading.Thread(
            target=following.fold_and_keep,
            args=await self._named(following),
            name=f"index of {self.view}",
            daemon=True,
        )
        following.worker.start()

    async def _named(self, following: Following) -> tuple[str, int, str]:
        """What an index is kept as: whose it is, what it is good for, and of which log."""
        change, position = following.change, following.position
        note = await _note_of(following.build, position)
        return self._marker(following.build), change, note

    async def _changes(self, build: Build, purged: int, after: int) -> AsyncIterator[Batch]:
        """What changed after a change, as batches; all rows after 0."""
        import numpy as np

        from ..vectors import Batch, IndexRefused

        if 0 < after < purged:
            raise IndexRefused("foreign", "removals of before are not known any more")
        question = (
            f"SELECT label, vector, change FROM {table_of(build)} WHERE tenant_id = ?"
            " AND (change > ? OR (change = ? AND label > ?)) AND change >= ?"
            " ORDER BY change, label LIMIT ?"
        )
        at, label = after, 2**62
        while True:
            args = (build.tenant_id, at, at, label, at, _PAGE_ROWS)
            rows = await build.outbox.query(question, args)
            size = self._dimensions * 4
            living = [row for row in rows if row[1] is not None and len(row[1]) == size]
            joined = b"".join([row[1] for row in living])
            vectors = np.frombuffer(joined, dtype="<f4").reshape(len(living), self._dimensions)
            gone = tuple([row[0] for row in rows if row[1] is None])
            yield Batch([row[0] for row in living], vectors, gone)
            if len(rows) < _PAGE_ROWS:
                return
            label, at = rows[-1][0], rows[-1][2]

    async def _folder_of(self, build: Build) -> Path | None:
        """Where a build's index is kept; nowhere for a store in memory."""
        folder = self._folder
        if folder is None:
            found = await build.outbox.query("SELECT file FROM pragma_database_list")
            if not found or not found[0][0]:
                return None
            folder = Path(f"{found[0][0]}-views")
        return folder / f"{self.view}-{build.tenant_id}-{build.generation}"

    def _marker(self, build: Build) -> str:
        return f"{self.view} {build.incarnation} {self._embedder}"


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


async def _note_of(build: Build, position: int) -> str:
    """What a kept index is known by: an event that was in the log when it was made. A file that
    was restored, and went on otherwise, has another one there."""
    page = await build.outbox.page(position - 1, position) if position else None
    return f"{position} {page.events[0].id}" if page is not None and page.events else "0"


async def _is_ours(build: Build, note: str) -> bool:
    position = note.partition(" ")[0]
    return position.isdigit() and note == await _note_of(build, int(position))
