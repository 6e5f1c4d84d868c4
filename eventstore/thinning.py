"""Which snapshots stay: many of the newest versions, fewer the further back. One rule for all
engines."""

from __future__ import annotations

from collections.abc import Iterable

from .limits import (
    SNAPSHOT_STEPS,
    SNAPSHOTS_NEWEST,
    SNAPSHOTS_OLDER_BYTES_EVENT,
    SNAPSHOTS_OLDER_BYTES_MAX,
    SNAPSHOTS_OLDER_BYTES_MIN,
)


def too_close(kept: Iterable[tuple[int, int]]) -> list[int]:
    """The versions that are dropped of `kept`, which are (version, bytes) of the snapshots of one
    stream, reducer and fingerprint, in any order.

    The newest few stay. Of older ones each span of versions keeps its first: spans are as long as
    half the way to the newest version, at most a sixteenth of all, and longer where that many
    would be too many bytes. Their lengths are powers of two and they begin at multiples of them,
    so that, as a stream grows, two of them become one, and never share a part.
    """
    ascending = sorted(kept)
    older, newest = ascending[:-SNAPSHOTS_NEWEST], ascending[-SNAPSHOTS_NEWEST:]
    if not older:
        return []
    head, shortest = newest[-1][0], 1
    firsts = _firsts(older, head, shortest)
    while sum(firsts.values()) > older_bytes_max(head) and shortest <= head:
        shortest *= 2
        firsts = _firsts(older, head, shortest)
    return [version for version, _ in older if version not in firsts]


def older_bytes_max(head: int) -> int:
    """How many bytes the snapshots behind the newest few may take, with the newest at version
    `head`: about as many as the events."""
    grown = SNAPSHOTS_OLDER_BYTES_MIN + head * SNAPSHOTS_OLDER_BYTES_EVENT
    return min(grown, SNAPSHOTS_OLDER_BYTES_MAX)


def _firsts(older: list[tuple[int, int]], head: int, shortest: int) -> dict[int, int]:
    """The first version of each span, and its bytes."""
    spans: dict[tuple[int, int], tuple[int, int]] = {}
    for version, size in older:
        wanted = min((head - version) // 2, head // SNAPSHOT_STEPS)
        span = max(1 << max(wanted.bit_length() - 1, 0), shortest)
        spans.setdefault((span, version // span), (version, size))
    return dict(spans.values())
