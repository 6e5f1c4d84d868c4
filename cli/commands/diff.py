"""``eventstore diff``: what changed between two points of a stream, or between two streams."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
import typer

from eventstore import EventStore, Version
from reducers import Reducer, changes_to_patch, diff, divergence
from reducers.divergence import Divergence
from reducers.forking import version_at

from ..exits import wrong_usage
from ..loading import DEFAULT_REDUCER, find_reducer
from ..moments import Point, check_point, is_point, parse_point
from ..naming import find_stream_at
from ..options import (
    DEFAULT_URL,
    ByOption,
    JsonOption,
    ReducerOption,
    StoreOption,
    StreamArgument,
    TenantOption,
    Where,
    is_by_occurred,
    open_store,
    open_stream,
)
from ..rendering.diffs import (
    AFTER_STYLE,
    BEFORE_STYLE,
    change_json,
    change_line,
    change_lines,
    summary_line,
)
from ..rendering.events import place_json, step_title
from ..rendering.screen import Screen
from ..rendering.values import count
from ..watching import watched

CHANGES_SHOWN = 8
"""Changes shown between the data of two events; --events --json has all."""


_PatchOption = Annotated[
    bool, typer.Option("--patch", help="Print an RFC 6902 patch: applied to A it gives B.")
]
_EventsOption = Annotated[
    bool,
    typer.Option(
        "--events", help="Of two streams only where they part: the first event that differs."
    ),
]
_IgnoreOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="TYPE",
        help="Of two streams, events of this type do not part them. May be repeated.",
        show_default=False,
    ),
]


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
            help="A version (12), @position or ISO time; or another stream, also STREAM2@POINT.",
            show_default=False,
        ),
    ],
    second: Annotated[
        str | None,
        typer.Argument(metavar="B", help="The later point.", show_default="now"),
    ] = None,
    by: ByOption = "recorded",
    patch: _PatchOption = False,
    events: _EventsOption = False,
    ignore: _IgnoreOption = None,
    reducer: ReducerOption = DEFAULT_REDUCER,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what changed in a stream's state between two points, or between two streams.

    Of two streams it also shows at which event they part, forks or not: events are the same when
    their types and data are. Each is taken at its end, or where @ and a point are behind its name.

    \b
    Examples:
      $ eventstore diff board/7 1 3
      $ eventstore diff board/7 @1 2026-03-01T10:00:00Z --by occurred
      $ eventstore diff board/7 board/8 --patch
      $ eventstore diff board/7@3 board/8@2
      $ eventstore diff board/7 board/8 --events --json
      $ eventstore diff board/7 board/8 --events --ignore session.started
    """
    if events and (patch or is_point(first)):
        raise wrong_usage("--events compares two streams, event by event", "name two, no --patch")
    if ignore and is_point(first):
        raise wrong_usage("--ignore is about where two streams part", "name two, or leave it out")
    if ignore and not events and (as_json or patch):
        raise wrong_usage("--ignore is about where two streams part", "add --events, with --json")
    folding = find_reducer(reducer)
    occurred = is_by_occurred(by)
    quiet = as_json or patch
    parting: Divergence | None = None
    if is_point(first):
        start = parse_point(first, occurred=occurred)
        end = None if second is None else parse_point(second, occurred=occurred)
        sides = asyncio.run(_points((store, tenant), folding, stream, (start, end), quiet))
    elif second is None:
        asked = None if events else folding
        pair = _streams((store, tenant), asked, (stream, first), by, quiet, ignore or [])
        sides, parting = asyncio.run(pair)
    else:
        raise wrong_usage(
            f"{first!r} is no point in a stream", "give a version (12), @position, or an ISO time"
        )
    screen = Screen()
    if not quiet:
        screen.whole((f"--- {sides[0].title()}", "bold red"))
        screen.whole((f"+++ {sides[1].title()}", "bold green"))
        if not is_point(first):
            _show_parting(screen, parting)
    if events and as_json:
        screen.json(_parting_json(parting))
    elif not events:
        _show(screen, sides, patch, as_json)


async def _points(
    where: Where,
    reducer: Reducer[Any],
    stream: str,
    points: tuple[Point, Point | None],
    quiet: bool,
) -> tuple[Side, Side]:
    start, end = points
    async with open_stream(where, stream) as (store, name):
        with watched(store, "folding", quiet=quiet) as read:
            return await _side(read, reducer, name, start), await _side(read, reducer, name, end)


async def _streams(
    where: Where,
    reducer: Reducer[Any] | None,
    typed: tuple[str, str],
    by: str,
    quiet: bool,
    ignore: list[str],
) -> tuple[tuple[Side, Side], Divergence | None]:
    """Both streams where they are to be compared, without a state where there is no reducer.
    Where machines ask for the states, it is not looked where the streams part."""
    async with open_store(*where) as store:
        occurred = is_by_occurred(by)
        places = [await find_stream_at(store, each, occurred=occurred) for each in typed]
        with watched(store, "folding", quiet=quiet) as read:
            one, two = [await _side(read, reducer, *place) for place in places]
        if quiet and reducer is not None:
            return (one, two), None  # asked for the changes alone
        # A time of the source's is no version: what stands before the first event that is later
        # may be less than what a state at that time holds.
        ends = [
            Version(side.version) if point is None else point
            for side, (_, point) in zip((one, two), places, strict=True)
        ]
        names = one.stream, two.stream
        found = await divergence(store, *names, at=ends[0], other_at=ends[1], ignore=ignore)
        return (one, two), found


async def _side(
    store: EventStore, reducer: Reducer[Any] | None, stream: str, point: Point | None
) -> Side:
    await check_point(store, stream, point)
    if reducer is None:
        return Side(stream, await version_at(store, stream, point), None)
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
        for change in changes:
            for line in change_lines(change):
                screen.text(*line)
        screen.line((summary_line(changes), "dim"))


def _show_parting(screen: Screen, found: Divergence | None) -> None:
    if found is None:
        screen.line(("the same events", "dim"))
        return
    screen.line((f"first divergence, behind {count(found.common, 'event')} alike", "cyan"))
    for sign, event, style in (("-", found.a, BEFORE_STYLE), ("+", found.b, AFTER_STYLE)):
        if event is None:
            screen.line((f"{sign} no event", style))
        else:
            screen.line((f"{sign} ", style), *step_title(event, screen.width))
    for change in found.changes[:CHANGES_SHOWN]:
        screen.line(*change_line(change, "    ", screen.width))
    if len(found.changes) > CHANGES_SHOWN:
        more = count(len(found.changes) - CHANGES_SHOWN, "more change")
        screen.line("    ", (f"... {more} (--events --json shows them)", "dim"))


def _parting_json(found: Divergence | None) -> dict[str, Any] | None:
    """Where they part, for machines; null where they do not."""
    if found is None:
        return None
    return {
        "common": found.common,
        "a": None if found.a is None else place_json(found.a),
        "b": None if found.b is None else place_json(found.b),
        "changes": [change_json(change) for change in found.changes],
    }
