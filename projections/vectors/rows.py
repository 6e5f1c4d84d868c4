"""Vectors in memory by slot: a row is written once, and afterwards only ever marked dead.

A label's vector lives in a slot. Replacing it takes a new slot and marks the old one dead, so a
search in another thread reads rows that nobody changes. `Rows` is not safe by itself: its owner
serialises those who write; those who read take what `seen()` gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]
    Vectors = NDArray[np.float32]
    Labels = NDArray[np.int64]
    Slots = NDArray[np.int64]
    Mask = NDArray[np.bool_]

_CAPACITY_MIN = 1_024
"""The first rows' memory: 1 MB with 256 dimensions."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The first `count` slots at a moment: nothing of it changes afterwards. What died since is for
    whoever gives the answer to find out."""

    matrix: Vectors
    labels: Labels
    alive: Mask
    count: int


class Rows:
    """The slots of an index: their vectors, labels and whether each is alive."""

    def __init__(self, dimensions: int) -> None:
        self.count = 0
        self.dead = 0
        self.slot_of: dict[int, int] = {}
        self._matrix: Vectors = np.empty((0, dimensions), dtype=np.float32)
        self._labels: Labels = np.empty(0, dtype=np.int64)
        self._alive: Mask = np.empty(0, dtype=np.bool_)

    @classmethod
    def of(cls, matrix: Vectors, labels: Labels, alive: Mask) -> Rows:
        """Slots that exist already; the matrix may be a file that is read as it is needed, and is
        copied when the first row is added."""
        rows = cls(matrix.shape[1])
        rows._matrix, rows._labels, rows._alive = matrix, labels, alive
        rows.count = len(labels)
        living = np.flatnonzero(alive)
        rows.dead = rows.count - len(living)
        rows.slot_of = dict(zip(labels[living].tolist(), living.tolist(), strict=True))
        return rows

    def __len__(self) -> int:
        return len(self.slot_of)

    def seen(self) -> Seen:
        """What a search that begins now may look at."""
        # A copy of the mask: 5 us for 100,000 rows. In a shared one a row that is replaced during a
        # search would be dead in its old slot and unseen in its new one.
        return Seen(self._matrix, self._labels, self._alive[: self.count].copy(), self.count)

    def put(self, labels: list[int], vectors: Vectors) -> None:
        """Gives each label a new slot; one that it had is dead. Labels are distinct."""
        end = self.count + len(labels)
        if end > len(self._labels):
            self._grow(end)
        self._matrix[self.count : end] = vectors
        self._labels[self.count : end] = labels
        self._alive[self.count : end] = True
        start, self.count = self.count, end
        for slot, label in enumerate(labels, start):
            old = self.slot_of.get(label)
            self.slot_of[label] = slot
            if old is not None:
                self._alive[old] = False
                self.dead += 1

    def remove(self, labels: list[int]) -> int:
        """Marks the labels' slots dead; how many there were."""
        removed = 0
        for label in labels:
            slot = self.slot_of.pop(label, None)
            if slot is not None:
                self._alive[slot] = False
                removed += 1
        self.dead += removed
        return removed

    def _grow(self, needed: int) -> None:
        """New memory of at least twice the size; searches that run go on in the old one."""
        capacity = max(_CAPACITY_MIN, needed, 2 * self.count)
        matrix = np.empty((capacity, self._matrix.shape[1]), dtype=np.float32)
        labels = np.empty(capacity, dtype=np.int64)
        alive = np.zeros(capacity, dtype=np.bool_)
        matrix[: self.count] = self._matrix[: self.count]
        labels[: self.count] = self._labels[: self.count]
        alive[: self.count] = self._alive[: self.count]
        self._matrix, self._labels, self._alive = matrix, labels, alive


def best_of(
    seen: Seen, vector: Vector, k: int, *, start: int = 0, slots: Slots | None = None
) -> tuple[Slots, Vector]:
    """The k best living rows by comparing each: those of `slots`, or all from `start` on.

    Slots and scores, the best first, equal ones by slot.
    """
    if slots is None:
        scores = seen.matrix[start : seen.count] @ vector
        living = seen.alive[start : seen.count]
        scores[~living] = -np.inf
        places = _top(scores, k)
        places = places[scores[places] > -np.inf]
        return places.astype(np.int64) + start, scores[places]
    slots = slots[seen.alive[slots]]
    # Row by row in this thread: a product of matrices wakes threads that spin, five times the time
    # of a processor for 2,000 rows, and on a busy machine the wait for them.
    scores = np.vecdot(seen.matrix.take(slots, axis=0), vector)
    places = _top(scores, k)
    return slots[places], scores[places]


def _top(scores: Vector, k: int) -> NDArray[np.intp]:
    """Places of the k highest scores, the highest first, equal ones by their place."""
    if len(scores) > k:
        places = np.sort(np.argpartition(-scores, k - 1)[:k])
    else:
        places = np.arange(len(scores))
    return places[np.argsort(-scores[places], kind="stable")]
