"""Opens a vector index: from its folder when that can be trusted, else from its rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .files import IndexRefused, load
from .index import VectorIndex
from .limits import EXACT_ROWS_MAX

if TYPE_CHECKING:
    from .rows import Labels, Vectors


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
    and then `reason` says why the folder was not used.
    """

    index: VectorIndex
    origin: Literal["kept", "caught up", "rebuilt"]
    reason: str = ""


async def open_index(
    folder: Path,
    *,
    marker: str,
    position: int,
    dimensions: int,
    rows: Callable[[], AsyncIterable[Batch]],
    changes: Callable[[int], AsyncIterable[Batch]] | None = None,
    exact_rows_max: int = EXACT_ROWS_MAX,
) -> Opened:
    """The index for `position`, served from nowhere but a whole, own and current state.

    `rows()` gives every row as of `position`. `changes(after)` gives what changed after a position,
    removals included; without it an older folder is not used. Nothing is written: the caller saves
    when it likes. Raises what `rows` and `changes` raise. Cancelled, nothing is left behind.
    """
    reason = ""
    try:
        kept = await asyncio.to_thread(
            load,
            folder,
            marker=marker,
            position=position,
            dimensions=dimensions,
            exact_rows_max=exact_rows_max,
        )
        if kept.position == position:
            return Opened(kept.index, "kept")
        if changes is not None:
            await _take(kept.index, changes(kept.position))
            return Opened(kept.index, "caught up")
        reason = f"it is of position {kept.position}, the view is at {position}"
    except IndexRefused as refused:
        reason = str(refused)
    index = VectorIndex(dimensions, exact_rows_max=exact_rows_max)
    await _take(index, rows())
    if index.fold_due:
        await asyncio.to_thread(index.fold)
    return Opened(index, "rebuilt", reason)


async def _take(index: VectorIndex, batches: AsyncIterable[Batch]) -> None:
    async for batch in batches:
        if batch.removed:
            index.remove(batch.removed)
        if len(batch.labels):
            # It may fold on its way, which takes seconds.
            await asyncio.to_thread(index.put, batch.labels, batch.vectors)
