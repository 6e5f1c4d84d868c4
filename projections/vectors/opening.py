"""Opens a vector index: from its folder when that can be trusted, else from its rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import IndexRefused
from .files import Kept, load
from .index import VectorIndex
from .limits import EXACT_ROWS_MAX

if TYPE_CHECKING:
    from .rows import Labels, Vectors

_LOADS = 2
"""How often a folder is read: another process may keep a newer index there meanwhile, and takes the
files of the older one away."""
_PUT_HERE_MAX = 64
"""Rows that are put without a thread: about 0.1 ms, as long as the hop to one."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a page: labels with their vectors, and labels that are gone."""

    labels: Labels | list[int]
    vectors: Vectors
    removed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """An index that is good for the position that was asked for, and how it came to be.

    `origin`: `kept` as it was in the folder; `caught up` from an older one; `rebuilt` from rows,
    and then `reason` says why the folder was not used. `taken` counts the rows that were asked for.
    """

    index: VectorIndex
    origin: Literal["kept", "caught up", "rebuilt"]
    reason: str = ""
    taken: int = 0


async def open_index(
    folder: Path | None,
    *,
    marker: str,
    position: int,
    dimensions: int,
    changes: Callable[[int], AsyncIterable[Batch]],
    is_ours: Callable[[str], Awaitable[bool]] | None = None,
    exact_rows_max: int = EXACT_ROWS_MAX,
) -> Opened:
    """The index for `position`, served from nowhere but a whole, own and current state.

    `changes(after)` gives what changed after a position, removals included, and every row after 0;
    it raises `IndexRefused` for a position from which it cannot tell. `is_ours` judges the note
    that was kept with the index. Nothing is written, and no graph is built: an index made from
    rows compares each until somebody folds it. Raises what `changes` and `is_ours` raise.
    Cancelled, nothing is left behind.
    """
    read = partial(_read, folder, marker, position, dimensions, exact_rows_max)
    try:
        kept = await asyncio.to_thread(read)
        if is_ours is not None and not await is_ours(kept.note):
            raise IndexRefused("foreign", "it was made of another log")
        if kept.position == position:
            return Opened(kept.index, "kept")
        taken = await take(kept.index, changes(kept.position))
        return Opened(kept.index, "caught up", taken=taken)
    except IndexRefused as refused:
        reason = str(refused)
    index = VectorIndex(dimensions, exact_rows_max=exact_rows_max)
    taken = await take(index, changes(0))
    return Opened(index, "rebuilt", reason, taken)


def _read(
    folder: Path | None, marker: str, position: int, dimensions: int, exact_rows_max: int
) -> Kept:
    if folder is None:
        raise IndexRefused("missing", "it is kept nowhere")
    for left in range(_LOADS - 1, -1, -1):
        try:
            return load(
                folder,
                marker=marker,
                position=position,
                dimensions=dimensions,
                exact_rows_max=exact_rows_max,
            )
        except IndexRefused as refused:
            if refused.reason != "damaged" or not left:
                raise
    raise AssertionError("the last attempt returns or raises")


async def take(index: VectorIndex, batches: AsyncIterable[Batch]) -> int:
    """Does to the index what the batches say, without folding; how many rows they had. If
    cancelled, some of it is done; it may be done again."""
    count = 0
    async for batch in batches:
        count += len(batch.labels) + len(batch.removed)
        if batch.removed:
            index.remove(batch.removed)
        if len(batch.labels) > _PUT_HERE_MAX:
            await asyncio.to_thread(index.put, batch.labels, batch.vectors, fold=False)
        elif len(batch.labels):
            index.put(batch.labels, batch.vectors, fold=False)
    return count
