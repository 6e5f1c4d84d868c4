"""The graph for many rows: usearch's HNSW over the first slots of an index.

A `Graph` is never changed once it is published. More rows make another one, from a copy, so that
searches in other threads go on undisturbed. It knows slots, not labels, and nothing of death: who
asks it leaves out what is dead. The algorithm: Malkov and Yashunin, "Efficient and robust
approximate nearest neighbor search using Hierarchical Navigable Small World graphs", 2016.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..embedding.extras import load
from .limits import (
    FETCH_MIN,
    GRAPH_CONNECTIVITY,
    GRAPH_EXPANSION_ADD,
    GRAPH_EXPANSIONS_SEARCH,
    RECALL_MIN,
    TRIED_RESULTS,
    TRIED_ROWS,
)
from .rows import Seen, best_of

if TYPE_CHECKING:
    from .rows import Slots, Vector

PARAMETERS = (
    f"usearch-2 ip f16 connectivity={GRAPH_CONNECTIVITY} expansion_add={GRAPH_EXPANSION_ADD}"
)
"""What a kept graph was built with; one that was built otherwise is not read."""

_ROUNDING = 1e-6
"""Two orders of adding 256 products in float32 differ by less."""


class Graph:
    """Finds near slots among the first `count`. Made by `build`, `extended` and `view`.

    `expansion` is how widely it looks, found by trying it on its own rows; None when it missed too
    many however widely it looked, and then nobody should ask it.
    """

    def __init__(self, index: Any, count: int, expansion: int | None) -> None:
        self.count = count
        self.expansion = expansion
        self._index = index
        if expansion is not None:
            index.expansion_search = expansion

    @classmethod
    def build(cls, seen: Seen) -> Self:
        """A graph over all slots that are alive. Takes all cores; releases the interpreter."""
        return cls(_empty(seen.matrix.shape[1]), 0, None).extended(seen, copy=False)

    @classmethod
    def view(cls, path: Path, dimensions: int, count: int, expansion: int | None) -> Self:
        """A graph in a file, which is read as it is needed and must not change meanwhile."""
        index = _empty(dimensions)
        index.view(str(path))
        return cls(index, count, expansion)

    def extended(self, seen: Seen, *, copy: bool = True) -> Self:
        """Another graph that has the slots after this one's as well, as far as they are alive."""
        index = self._index.copy() if copy else self._index
        slots = np.flatnonzero(seen.alive[self.count : seen.count]) + self.count
        if len(slots):
            index.add(slots.astype(np.uint64), seen.matrix[slots])
        return type(self)(index, seen.count, _expansion(index, seen))

    def near(self, vector: Vector, count: int) -> Slots:
        """About the `count` nearest slots, dead ones among them, in no order to rely on."""
        # One thread: several searches at a time are several callers' business.
        keys = self._index.search(vector, count, threads=1).keys
        slots: Slots = np.asarray(keys).astype(np.int64)
        return slots

    def save(self, path: Path) -> None:
        """Writes the graph to a new file."""
        self._index.save(str(path))


def _expansion(index: Any, seen: Seen) -> int | None:
    """The narrowest look that finds enough of what comparing all rows finds, for some of them.

    Text has structure that a graph can follow. Vectors that point anywhere have none: of 100,000
    with 256 dimensions it found a third, and no width that is faster than comparing found enough.
    """
    living = np.flatnonzero(seen.alive[: seen.count])
    asked = seen.matrix[living[:: max(1, len(living) // TRIED_ROWS)][:TRIED_ROWS]]
    truth = [best_of(seen, vector, TRIED_RESULTS)[1][-1] for vector in asked]
    for expansion in GRAPH_EXPANSIONS_SEARCH:
        index.expansion_search = expansion
        found = 0
        for vector, least in zip(asked, truth, strict=True):
            keys = np.asarray(index.search(vector, FETCH_MIN, threads=1).keys).astype(np.int64)
            # By score, not by slot: equal texts have equal vectors, and either will do.
            _, scores = best_of(seen, vector, TRIED_RESULTS, slots=keys)
            found += int(np.count_nonzero(scores >= least - _ROUNDING))
        if found >= RECALL_MIN * TRIED_RESULTS * len(asked):
            return expansion
    return None


def library() -> ModuleType:
    """usearch, imported: an index below the size never needs it. Raises `ExtraMissing`."""
    return load("usearch.index", extra="vector")


def _empty(dimensions: int) -> Any:
    return library().Index(
        ndim=dimensions,
        metric="ip",  # on vectors of length one this is the cosine, without its division
        dtype="f16",
        connectivity=GRAPH_CONNECTIVITY,
        expansion_add=GRAPH_EXPANSION_ADD,
        expansion_search=GRAPH_EXPANSIONS_SEARCH[0],
    )
