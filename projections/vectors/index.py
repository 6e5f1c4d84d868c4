"""The vector index: labels and their vectors in memory, and the nearest ones to a vector.

It owns no truth. Rows are kept elsewhere; this index is made from them, kept in a folder by
`files.py`, and made again by `opening.py` when the folder is not worth trusting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .graph import Graph
from .limits import (
    DEAD_SHARE_MAX,
    DIMENSIONS_MAX,
    EXACT_ROWS_MAX,
    FETCH_MAX,
    RESULTS_MAX,
    TAIL_ROWS_HARD_MAX,
    TAIL_ROWS_MAX,
)
from .rows import Rows, Seen
from .searching import nearest, slots_of_array, slots_of_list

if TYPE_CHECKING:
    from .rows import Labels, Slots, Vector, Vectors

    Allow = Callable[[int], bool] | Collection[int] | Labels

_LABEL_MAX = 2**63 - 1
"""What a signed 64-bit integer, and so a row id of any database, holds."""

_LOOKS_MAX = 5
"""How often a search that met changes looks again; afterwards it gives what still stands."""


class Hit(NamedTuple):
    """A label that was found, and its cosine with the vector that was asked for (-1 to 1)."""

    label: int
    score: float


class VectorIndex:
    """Vectors of length one by integer label; `search` gives the nearest.

    Up to `exact_rows_max` rows each is compared. Beyond, a graph finds candidates, which are ranked
    by their full numbers; rows that came since it was built are compared one by one, until `fold`
    takes them in. `fold_due` says when that is worth its time; where nobody folds, `put` does in
    the end.

    Threads: any number may search while others put, remove, fold or save; those that change are
    taken one after the other, and a fold holds up nobody but another fold. A search that begins
    after `put` or `remove` returned sees its effect. One that overlaps gives for each label what
    it had before or has afterwards, and never a label that was gone when the search returned.
    """

    def __init__(self, dimensions: int, *, exact_rows_max: int = EXACT_ROWS_MAX) -> None:
        if not 1 <= dimensions <= DIMENSIONS_MAX:
            raise ValueError(f"dimensions is {dimensions}; it must be 1 to {DIMENSIONS_MAX}")
        self.dimensions = dimensions
        self.exact_rows_max = exact_rows_max
        self._rows = Rows(dimensions)
        self._graph: Graph | None = None
        self._changing = threading.Lock()
        self._folding = threading.RLock()

    @classmethod
    def restored(
        cls, rows: Rows, graph: Graph | None, dimensions: int, *, exact_rows_max: int
    ) -> VectorIndex:
        """An index of rows and a graph that were kept, which it owns from now on."""
        index = cls(dimensions, exact_rows_max=exact_rows_max)
        index._rows, index._graph = rows, graph
        return index

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, label: object) -> bool:
        return label in self._rows.slot_of

    @property
    def exact(self) -> bool:
        """Whether every row is compared, so that nothing near can be missed.

        So it is with few rows, and with vectors that a graph cannot find its way among.
        """
        graph = self._graph
        return graph is None or graph.expansion is None

    @property
    def fold_due(self) -> bool:
        """Whether `fold` has something to do that searches would feel."""
        with self._changing:
            if self._graph is None:
                return self._is_half_dead() or self._tail() > 0
            return self._is_half_dead() or self._tail() > TAIL_ROWS_MAX

    def put(self, labels: Sequence[int] | Labels, vectors: Vectors, *, fold: bool = True) -> None:
        """Adds vectors, or replaces those of labels that are there; shape (labels, dimensions).

        Vectors have length one (an embedder's have) or are zero. Of a label that stands twice the
        last counts. Without `fold` it never folds by itself: somebody else does, see `fold_due`.
        Raises ValueError for other shapes, labels beyond 64 bits, and numbers that are not finite;
        then nothing was changed.
        """
        given = [int(label) for label in labels]
        rows = np.asarray(vectors, dtype=np.float32)
        if rows.shape != (len(given), self.dimensions):
            raise ValueError(
                f"vectors have shape {rows.shape}; expected {(len(given), self.dimensions)}"
            )
        if any(not 0 <= label <= _LABEL_MAX for label in given):
            raise ValueError(f"labels must be 0 to {_LABEL_MAX}")
        if not np.isfinite(rows).all():
            raise ValueError("vectors must be finite")
        last = {label: place for place, label in enumerate(given)}
        if len(last) < len(given):
            given, rows = list(last), rows[list(last.values())]
        # In parts, so that the tail never outgrows its bound by more than one of them.
        for start in range(0, len(given), TAIL_ROWS_MAX):
            part = slice(start, start + TAIL_ROWS_MAX)
            with self._changing:
                self._rows.put(given[part], rows[part])
            if fold and self._tail() > TAIL_ROWS_HARD_MAX:
                self.fold()

    def remove(self, labels: Iterable[int]) -> int:
        """Removes labels, unknown ones without a word; how many there were.

        No search that ends after this returned gives them. Their numbers stay in memory, and in
        files that are saved, until `fold(purge=True)`.
        """
        given = [int(label) for label in labels]
        with self._changing:
            return self._rows.remove(given)

    def search(self, vector: Vector, k: int, allow: Allow | None = None) -> list[Hit]:
        """The k nearest labels, the nearest first; fewer when there are not as many.

        `allow` limits them: an array of labels, a collection (which holds up writers while it is
        looked through, so give thousands as an array), or a function that is asked about a label
        (it runs in this thread). With it, too, k come back when there are k. Raises ValueError when
        k is not 1 to 1,000 or the vector has another length or is not finite.
        """
        if not 1 <= k <= RESULTS_MAX:
            raise ValueError(f"k is {k}; it must be 1 to {RESULTS_MAX}")
        asked = np.asarray(vector, dtype=np.float32)
        if asked.shape != (self.dimensions,) or not np.isfinite(asked).all():
            raise ValueError(f"the vector must be {self.dimensions} finite numbers")
        asks = allow if callable(allow) else None
        array = allow if isinstance(allow, np.ndarray) else None
        few = None if allow is None or callable(allow) or array is not None else list(allow)
        hits: list[Hit] = []
        for _ in range(_LOOKS_MAX):
            allowed: Slots | None = None
            with self._changing:
                rows, graph = self._rows, self._graph
                seen = rows.seen()
                if few is not None:
                    allowed = slots_of_list(few, rows.slot_of)
            if array is not None:
                allowed = slots_of_array(array, seen)
            found, scores = nearest(
                seen, graph, asked, k, asks if asks is not None else allowed, self.exact_rows_max
            )
            pairs = [
                (slot, Hit(label, score))
                for slot, label, score in zip(
                    found.tolist(), seen.labels[found].tolist(), scores.tolist(), strict=True
                )
            ]
            # The last look. What died or moved while the search ran is not given; it is searched
            # again, so that a label is not missed only because it was being replaced.
            with self._changing:
                if self._rows is rows:
                    slot_of = rows.slot_of
                    hits = [hit for slot, hit in pairs if slot_of.get(hit.label) == slot]
                    if len(hits) == len(pairs):
                        return hits
        return hits

    def fold(self, *, purge: bool = False) -> bool:
        """Takes what is compared one by one into the graph; whether there was anything to do.

        Builds the graph when there is none and the rows are too many, and everything anew without
        the dead rows when these are half of it, or whenever there are any with `purge`. Takes
        about 0.2 ms of one core for each row that enters the graph; searches, `put` and `remove`
        go on meanwhile. Run it in a thread.
        """
        with self._folding:
            if (purge and self._rows.dead) or self._is_half_dead():
                self._build_anew()
                return True
            with self._changing:
                seen, graph, living = self._rows.seen(), self._graph, len(self._rows)
            if graph is None and living <= self.exact_rows_max:
                return False
            if graph is not None and graph.count == seen.count:
                return False
            folded = Graph.build(seen) if graph is None else graph.extended(seen)
            with self._changing:
                self._graph = folded
            return True

    def snapshot(self) -> tuple[Seen, Graph | None]:
        """Rows and graph at one moment, for `files.py`."""
        with self._changing:
            return self._rows.seen(), self._graph

    def _tail(self) -> int:
        """Rows that searches compare one by one though they are too many for that."""
        if self._graph is not None:
            return self._rows.count - self._graph.count
        return self._rows.count if len(self._rows) > self.exact_rows_max else 0

    def _is_half_dead(self) -> bool:
        return self._rows.dead > max(FETCH_MAX, DEAD_SHARE_MAX * self._rows.count)

    def _build_anew(self) -> None:
        """Rows without the dead ones, and their graph; what happens meanwhile is done to both."""
        with self._changing:
            old = self._rows
            seen = old.seen()
            kept = np.flatnonzero(seen.alive[: seen.count])
        rows = Rows(self.dimensions)
        rows.put(seen.labels[kept].tolist(), seen.matrix[kept])
        graph = Graph.build(rows.seen()) if len(kept) > self.exact_rows_max else None
        with self._changing:
            now = old.seen()
            rows.remove([label for label in list(rows.slot_of) if label not in old.slot_of])
            later = np.flatnonzero(now.alive[seen.count : now.count]) + seen.count
            rows.put(now.labels[later].tolist(), now.matrix[later])
            self._rows, self._graph = rows, graph
