"""How the nearest allowed rows are found: by comparing each, or through the graph.

Functions of what was seen at one moment; who may change what is the index's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .limits import FETCH_MAX, FETCH_MIN
from .rows import Seen, best_of

if TYPE_CHECKING:
    from .graph import Graph
    from .rows import Labels, Mask, Slots, Vector

    Found = tuple[Slots, Vector]


def nearest(
    seen: Seen,
    graph: Graph | None,
    vector: Vector,
    k: int,
    allow: Callable[[int], bool] | Slots | None,
    exact_rows_max: int,
) -> Found:
    """The k nearest living rows that are allowed: slots and scores, the best first.

    `allow` is a function of labels, or slots in ascending order.
    """
    if graph is not None and graph.expansion is None:
        graph = None
    asks = allow if callable(allow) else None
    allowed = allow if not callable(allow) else None
    if allowed is not None and (graph is None or len(allowed) <= exact_rows_max):
        return best_of(seen, vector, k, slots=allowed)
    if graph is None:
        return _compared(seen, vector, k, asks, None)
    wanted: Mask | None = None
    if allowed is not None:
        wanted = np.zeros(seen.count, dtype=np.bool_)
        wanted[allowed] = True
    candidates = _candidates(seen, graph, vector, k, asks, wanted)
    if candidates is None:
        return _compared(seen, vector, k, asks, wanted)
    tail, _ = _compared(seen, vector, k, asks, wanted, start=graph.count)
    return best_of(seen, vector, k, slots=np.concatenate([candidates, tail]))


def slots_of_array(labels: Labels, seen: Seen) -> Slots:
    """The living slots of these labels, in ascending order."""
    mask = np.isin(seen.labels[: seen.count], labels) & seen.alive
    return np.flatnonzero(mask)


def slots_of_list(labels: list[int], slot_of: Mapping[int, int]) -> Slots:
    """The same for few labels; nobody may change the index meanwhile."""
    slots = [slot for slot in map(slot_of.get, labels) if slot is not None]
    return np.unique(np.array(slots, dtype=np.int64))


def _compared(
    seen: Seen,
    vector: Vector,
    k: int,
    asks: Callable[[int], bool] | None,
    wanted: Mask | None,
    *,
    start: int = 0,
) -> Found:
    """The k best allowed rows from `start` on, by comparing each."""
    slots: Slots | None = None
    if wanted is not None:
        slots = np.flatnonzero(wanted[start:]) + start
    if asks is None:
        return best_of(seen, vector, k, start=start, slots=slots)
    # Asked from the nearest on, so that a function that allows much is asked little.
    found, scores = best_of(seen, vector, seen.count, start=start, slots=slots)
    places: list[int] = []
    for place, label in enumerate(seen.labels[found].tolist()):
        if asks(label):
            places.append(place)
            if len(places) == k:
                break
    return found[places], scores[places]


def _candidates(
    seen: Seen,
    graph: Graph,
    vector: Vector,
    k: int,
    asks: Callable[[int], bool] | None,
    wanted: Mask | None,
) -> Slots | None:
    """Allowed living slots near the vector; None when the graph gave too few of them.

    It is asked for more than k: for the dead and the forbidden among the near ones, and for the
    rounding of its numbers. Where what is allowed lies far from the vector, that is not enough, and
    it is asked for four times as many until it is cheaper to compare.
    """
    usable = seen.alive[: graph.count]
    if wanted is not None:
        usable = usable & wanted[: graph.count]
    living = int(np.count_nonzero(usable))
    if living == 0:
        return np.empty(0, dtype=np.int64)
    enough = min(k, living)
    fetch = int(max(FETCH_MIN, 2 * k) * graph.count / living) + 1
    while fetch <= max(FETCH_MAX, 2 * k):
        near = graph.near(vector, fetch)
        near = near[usable[near]]
        if asks is not None:
            near = np.array(
                [
                    slot
                    for slot, label in zip(near.tolist(), seen.labels[near].tolist(), strict=True)
                    if asks(label)
                ],
                dtype=np.int64,
            )
        if len(near) >= enough:
            return near
        fetch *= 4
    return None
