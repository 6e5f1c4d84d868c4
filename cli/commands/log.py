"""``eventstore log``: the events of a stream or of the whole log, one line each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
import typer

from eventstore import EventStore, Position, Query, RecordedEvent, Version

from ..exits import check_argument, wrong_usage
from ..moments import check_point, parse_point
from ..naming import find_stream
from ..options import (
    DEFAULT_URL,
    JsonOption,
    StoreOption,
    TenantOption,
    complete_stream,
    open_store,
)
from ..rendering.events import SUMMARY_WIDTH, Listing, event_json, oneline
from ..rendering.screen import Screen
from ..rendering.summaries import Told, tool_ids, tool_words

EVENTS_BEHIND = 8
"""Events looked at behind a message, and two more for each of its tool calls: an importer writes
calls and results right behind the message that names them."""

BACKWARDS_ROWS = 1_000
"""Positions looked at together when the whole log is read from its end."""


class Wanted(msgspec.Struct, frozen=True):
    """Which events are asked for, and in which order."""

    stream: str | None
    query: Query
    after: Version | Position
    limit: int | None
    reverse: bool
    follow: bool

    def takes(self, event: RecordedEvent) -> bool:
        """Whether an event is one of those asked for."""
        return not self.is_before(event) and self.query.matches(event.type, event.tags)

    def is_before(self, event: RecordedEvent) -> bool:
        """Whether an event stands at or before the point of --after."""
        place = event.version if isinstance(self.after, Version) else event.position
        return place <= self.after


def log_command(
    stream: Annotated[
        str | None,
        typer.Argument(
            metavar="STREAM",
            help="A stream, or a part of its beginning; without it, the whole log.",
            show_default=False,
            autocompletion=complete_stream,
        ),
    ] = None,
    type_name: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Only this type; may be repeated."),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="T", help="Only events with all of these tags."),
    ] = None,
    after: Annotated[
        str,
        typer.Option(
            "--after",
            metavar="N|@N",
            help="Begin behind this version (whole log: position); @N is always a position.",
        ),
    ] = "0",
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=0, metavar="N", help="At most so many events.", show_default=False
        ),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Newest first.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with events as they come.")
    ] = False,
    short: Annotated[
        bool, typer.Option("--oneline", help="Position, version, type and summary, nothing else.")
    ] = False,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show events: position, version, time, type, actor and a summary of the data.

    \b
    Examples:
      $ eventstore log board/7 --limit 10
      $ eventstore log --type task.changed --reverse --json
      $ eventstore log board/7 --oneline
      $ eventstore log board/7 --follow --limit 2
    """
    point = parse_point(after)
    if not isinstance(point, Version | Position):
        raise wrong_usage("--after: a version or @position", "for example --after @900")
    if follow and reverse:
        raise wrong_usage("--follow and --reverse exclude each other", "leave one out")
    # Without a stream a bare number can only be a position.
    place = Position(point) if stream is None else point
    for name, kind, values in (("--type", "type", type_name), ("--tag", "tag", tag)):
        for value in values or ():
            check_argument(name, value.removeprefix("$"), kind)
    query = Query(types=tuple(type_name or ()), tags=tuple(tag or ()))
    wanted = Wanted(stream, query, place, limit, reverse, follow)
    asyncio.run(_log((store, tenant), wanted, short, as_json))


async def _log(where: tuple[str, str | None], wanted: Wanted, short: bool, as_json: bool) -> None:
    screen = Screen()
    async with open_store(*where) as store:
        if wanted.stream is not None:
            name = await find_stream(store, wanted.stream)
            wanted = msgspec.structs.replace(wanted, stream=name)
        if isinstance(wanted.after, Position):
            await check_point(store, wanted.stream or "", wanted.after)
        listing = Listing(screen, names_streams=wanted.stream is None)
        left = wanted.limit
        if left == 0:
            return
        async for event in _events(store, wanted):
            if as_json:
                screen.json(event_json(event))
            elif short:
                names = wanted.stream is None
                screen.line(*oneline(event, names_stream=names, width=SUMMARY_WIDTH))
            else:
                listing.show(event, await _told(store, event))
            if wanted.follow:
                screen.flush()
            left = None if left is None else left - 1
            if left == 0:
                return


async def _told(store: EventStore, event: RecordedEvent) -> Told:
    """What the tool calls and results that a message names hold, from the events behind it."""
    told: dict[tuple[str, str], str] = {}
    wanted = tool_ids(event)
    if wanted:
        limit = EVENTS_BEHIND + 2 * len(wanted)
        async for behind in store.read(event.stream, after=event.version, limit=limit):
            told |= tool_words(behind, SUMMARY_WIDTH)
    return told


async def _events(store: EventStore, wanted: Wanted) -> AsyncIterator[RecordedEvent]:
    if wanted.reverse:
        source = _whole_log_backwards(store, wanted)
        if wanted.stream is not None:
            source = aiter(store.read(wanted.stream, backwards=True))
        async for event in source:
            if wanted.is_before(event):
                return
            if wanted.takes(event):
                yield event
        return
    async for event in _forwards(store, wanted):
        if wanted.takes(event):
            yield event


def _forwards(store: EventStore, wanted: Wanted) -> AsyncIterator[RecordedEvent]:
    """Oldest first; positions and versions that lie below --after are skipped where that is one
    look into an index, otherwise the caller skips them."""
    from_position = int(wanted.after) if isinstance(wanted.after, Position) else 0
    query = wanted.query if wanted.query != Query() else None
    if wanted.follow:
        return aiter(store.subscribe(after=from_position, stream=wanted.stream, query=query))
    if wanted.stream is None:
        return aiter(store.read_all(after=from_position, query=query))
    from_version = int(wanted.after) if isinstance(wanted.after, Version) else 0
    return aiter(store.read(wanted.stream, after=from_version))


async def _whole_log_backwards(store: EventStore, wanted: Wanted) -> AsyncIterator[RecordedEvent]:
    """The log from its end, a window of positions at a time."""
    until = await store.head()
    while until > wanted.after:
        low = max(until - BACKWARDS_ROWS, int(wanted.after))
        window = await store.read_all(after=low, limit=until - low).list()
        for event in reversed(window):
            yield event
        until = low
