"""A page of a filtered read: positions that the indexes name, up to where all were looked at.

Engines with tables look positions up and fetch rows by statements of their own; what a page may
hold of them, and how far it has looked then, is the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from ..errors import Corrupt
from ..query import Query
from .rows import Row

_SCAN_POSITIONS = 20_000
"""Positions that one page looks through at most (1 to 2 ms in the index)."""

PositionsOf = Callable[[Query, int, int, int], Awaitable[list[int]]]
"""Of a query: positions that match it behind one position and up to another, in order, at most so
many."""


async def matching_positions(
    queries: Sequence[Query], after: int, until: int, limit: int, positions_of: PositionsOf
) -> tuple[list[int], int]:
    """Positions that match one of the queries, at most `limit`, and the last one looked at. If
    cancelled, nothing is left open."""
    scanned_to = min(until, after + _SCAN_POSITIONS)
    found: set[int] = set()
    for query in queries:
        positions = await positions_of(query, after, scanned_to, limit)
        if len(positions) == limit:
            scanned_to = min(scanned_to, positions[-1])
        found.update(positions)
    wanted = sorted(position for position in found if position <= scanned_to)
    if len(wanted) > limit:  # each query alone kept to it
        wanted = wanted[:limit]
        scanned_to = wanted[-1]
    return wanted, scanned_to


def scanned_with(rows: Sequence[Row], wanted: Sequence[int], scanned_to: int) -> int:
    """The last position looked at by a page of `rows`, which were fetched for `wanted` and may be
    fewer where their payloads are large. Raises `Corrupt` where one is missing."""
    if len(rows) == len(wanted):
        return scanned_to
    if not rows or rows[-1][0] != wanted[len(rows) - 1]:
        raise Corrupt("an index names events that are not in the log", kind="index")
    return int(rows[-1][0])  # the page is full by its bytes
