"""``eventstore diff``: what changed between two points of a stream, or between two streams."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
import typer

from eventstore import EventStore
from reducers import Reducer, changes_to_patch, diff

from ..exits import wrong_usage
from ..loading import DEFAULT_REDUCER, find_reducer
from ..moments import Point, check_point, is_point, parse_point
from ..naming import find_stream
from ..options import (
    DEFAULT_URL,
    ByOption,
    JsonOption,
    ReducerOption,
    StoreOption,
    StreamArgument,
    TenantOption,
    is_by_occurred,
    open_store,
)
from ..rendering.diffs import change_json, change_lines, summary_line
from ..rendering.screen import Screen
from ..watching import watched


class Side(msgspec.Struct, frozen=True):
    """One of the two states, and where it stands."""

    stream: str
    version: int
    state: Any

    def title(self) -> str:
        """How the side is named above the changes."""
        early = "" if self.version else " (before its first event)"
        return f"{self.stream} version {self.version}{early}"


def diff_command(
    stream: StreamArgument,
    first: Annotated[
        str,
        typer.Argument(
            metavar="A|STREAM2",
            help="A version (12), @position or ISO time; or another stream.",
            show_default=False,
        ),
    ],
    second: Annotated[
        str | None,
        typer.Argument(metavar="B", help="The later point.", show_default="now"),
    ] = None,
    by: ByOption = "recorded",
    patch: Annotated[
        bool,
        typer.Option("--patch", help="Print an RFC 6902 patch: applied to A it gives B."),
    ] = False,
    reducer: ReducerOption = DEFAULT_REDUCER,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what changed in a stream's state between two points, or between two streams.

    \b
    Examples:
      $ eventstore diff board/7 1 3
      $ eventstore diff board/7 @1 2026-03-01T10:00:00Z --by occurred
      $ eventstore diff board/7 board/8 --patch
    """
    folding = find_reducer(reducer)
    occurred = is_by_occurred(by)
    quiet = as_json or patch
    if is_point(first):
        start = parse_point(first, occurred=occurred)
        end = None if second is None else parse_point(second, occurred=occurred)
        sides = asyncio.run(_points((store, tenant), folding, stream, (start, end), quiet))
    elif second is None:
        sides = asyncio.run(_streams((store, tenant), folding, (stream, first), quiet))
    else:
        raise wrong_usage(
            f"{first!r} is no point in a stream", "give a version (12), @position, or an ISO time"
        )
    _show(Screen(), sides, patch, as_json)


async def _points(
    where: tuple[str, str | None],
    reducer: Reducer[Any],
    stream: str,
    points: tuple[Point, Point | None],
    quiet: bool,
) -> tuple[Side, Side]:
    start, end = points
    async with open_store(*where) as store:
        name = await find_stream(store, stream)
        with watched(store, "folding", quiet=quiet) as read:
            return await _side(read, reducer, name, start), await _side(read, reducer, name, end)


async def _streams(
    where: tuple[str, str | None], reducer: Reducer[Any], typed: tuple[str, str], quiet: bool
) -> tuple[Side, Side]:
    async with open_store(*where) as store:
        one, two = await find_stream(store, typed[0]), await find_stream(store, typed[1])
        with watched(store, "folding", quiet=quiet) as read:
            return await _side(read, reducer, one, None), await _side(read, reducer, two, None)


async def _side(store: EventStore, reducer: Reducer[Any], stream: str, point: Point | None) -> Side:
    await check_point(store, stream, point)
    loaded = await reducer.load(store, stream, at=point)
    return Side(stream, loaded.version, loaded.state)


def _show(screen: Screen, sides: tuple[Side, Side], patch: bool, as_json: bool) -> None:
    before, after = sides
    changes = diff(before.state, after.state)
    if patch:
        # One document, whoever reads it: a patch is an array in RFC 6902.
        screen.json(changes_to_patch(changes))
    elif as_json:
        for change in changes:
            screen.json(change_json(change))
    else:
        screen.whole((f"--- {before.title()}", "bold red"))
        screen.whole((f"+++ {after.title()}", "bold green"))
        for change in changes:
            for line in change_lines(change):
                screen.text(*line)
        screen.line((summary_line(changes), "dim"))
