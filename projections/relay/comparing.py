"""Two generations of a view, row by row."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from ..asking import reached
from ..projection import Key, key_text
from ..sinks import Build, Row
from ..view import View

DIFFERENCES_MAX = 1_000
"""Differences that are told one by one; all are counted."""

_LOOKS = 20
"""How often rows that differ are looked at again while both generations go on."""

_LOOK_SECONDS = 0.1
"""Between two such looks: a live view is not further behind."""


class Difference(msgspec.Struct, frozen=True):
    """A row that differs: its value (None: there is no row) and the position of the event that
    made it, in the generation that serves and in the other one."""

    key: Key
    serving: Any
    built: Any
    serving_position: int | None
    built_position: int | None


class Comparison(msgspec.Struct, frozen=True):
    """What comparing came to: rows that are in both or in one of them, how many differ, and the
    first `DIFFERENCES_MAX` differences; beyond those a row that is only a page behind is counted
    too."""

    rows: int
    differing: int
    differences: list[Difference]


async def compare(view: View, serving: Build, built: Build) -> Comparison:
    """Compares all rows of two generations. Rows that differ are looked at again once both have
    what stood in the log, so that one which is a page behind is no difference. Raises
    `SinkUnavailable`. If cancelled, nothing is left open."""
    count, odd = 0, []
    async for page in view.sink.scan(serving):
        count += len(page)
        odd += await _odd(view, page, built)
    async for page in view.sink.scan(built):
        there = {key_text(row.key) for row in await _find(view, serving, page)}
        alone = [row.key for row in page if key_text(row.key) not in there]
        count += len(alone)
        odd += alone
    told, untold = odd[:DIFFERENCES_MAX], len(odd[DIFFERENCES_MAX:])
    differences = await _settle(view, serving, built, told)
    return Comparison(count, len(differences) + untold, differences)


async def _odd(view: View, page: Sequence[Row], other: Build) -> list[Key]:
    """Keys of a page whose rows are not the same in the other build."""
    found = {key_text(row.key): row for row in await _find(view, other, page)}
    return [row.key for row in page if not _same(row, found.get(key_text(row.key)))]


async def _find(view: View, build: Build, rows: Sequence[Row]) -> list[Row]:
    return await view.sink.find(build, [row.key for row in rows])


def _same(one: Row | None, other: Row | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(one.value == other.value)


def _changed_since(head: int, pairs: Sequence[tuple[Key, Row | None, Row | None]]) -> bool:
    """Whether one of the rows is of an event after `head`: two looks at a row that goes on
    changing, one after the other, may each find another state of it."""
    return any(row is not None and row.position > head for pair in pairs for row in pair[1:])


async def _settle(view: View, serving: Build, built: Build, odd: Sequence[Key]) -> list[Difference]:
    """Those that still differ when both builds have passed the log's end as it is now, and have
    not changed since; a build that is fed no more is waited for in vain, and compared as it
    stands."""
    keys, head = list(odd), (await serving.outbox.head()).position
    for look in range(_LOOKS):
        if not keys:
            return []
        places = [(await reached(build))[0] for build in (serving, built)]
        found = [
            {key_text(row.key): row for row in await view.sink.find(build, keys)}
            for build in (serving, built)
        ]
        pairs = [(key, found[0].get(key_text(key)), found[1].get(key_text(key))) for key in keys]
        differing = [pair for pair in pairs if not _same(pair[1], pair[2])]
        keys = [pair[0] for pair in differing]
        if look and min(places) >= head and not _changed_since(head, differing):
            break
        await asyncio.sleep(_LOOK_SECONDS)
    return [
        Difference(
            key,
            None if one is None else one.value,
            None if other is None else other.value,
            None if one is None else one.position,
            None if other is None else other.position,
        )
        for key, one, other in differing
    ]
