"""``eventstore lineage``: all that was derived from an event, and what of it may be wrong."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

import typer

from eventstore import EventStore
from reducers import lineage, tainted
from reducers.lineage import Derived, Lineage, Tainted

from ..exits import Stop, check_argument
from ..moments import check_point, parse_point
from ..options import DEFAULT_URL, JsonOption, StoreOption, TenantOption, Where, open_store
from ..rendering.events import place_json, step_title
from ..rendering.screen import Screen
from ..rendering.values import count

VIA = {"causation_id": "caused", "derived_from": "derived"}
_POSITION = re.compile(r"@[0-9]{1,18}")


def lineage_command(
    event: Annotated[
        str,
        typer.Argument(
            metavar="EVENT", help="The event's id, or its @position.", show_default=False
        ),
    ],
    report: Annotated[
        bool,
        typer.Option(
            "--tainted", help="By stream: what it touched, and what a correction builds on."
        ),
    ] = False,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all events that were derived from one, in all streams, however far.

    If that event was wrong, these may be. Nothing is changed: what is wrong is corrected by
    further events, and --tainted says at which version of each stream they are appended.

    \b
    Examples:
      $ eventstore lineage @1
      $ eventstore lineage @1 --tainted --json
    """
    is_position = _POSITION.fullmatch(event) is not None
    if not is_position:
        check_argument("EVENT", event, "event id")
    found = asyncio.run(_lineage((store, tenant), event, is_position, report))
    if isinstance(found, Tainted):
        _show_tainted(Screen(), found, as_json)
    else:
        _show(Screen(), found, as_json)


async def _lineage(where: Where, event: str, is_position: bool, report: bool) -> Lineage | Tainted:
    async with open_store(*where) as store:
        event_id = await _at_position(store, event) if is_position else event
        if await store.event(event_id) is None:
            raise Stop(
                f"no event has the id {event_id!r}",
                next_step="eventstore log --json shows ids, or name it by its @position",
            )
        return await (tainted(store, event_id) if report else lineage(store, event_id))


async def _at_position(store: EventStore, typed: str) -> str:
    await check_point(store, "", parse_point(typed))
    position = int(typed[1:])
    found = await store.read_all(after=max(position - 1, 0), limit=1).list()
    if not position or not found:
        raise Stop(f"there is no position {position}", next_step="see eventstore log")
    return found[0].id


def _show(screen: Screen, found: Lineage, as_json: bool) -> None:
    if as_json:
        for each in found.derived:
            screen.json(_json(each))
        return
    _title(screen, found)
    for each in found.derived:
        via = VIA.get(each.via, each.via)
        title = step_title(each.event, screen.width, names_stream=True)
        screen.line("  " * each.depth, (f"-> {via} ", "dim"), *title)
    if not found.derived:
        screen.text(("nothing was derived from it", "yellow"))
    _rest(screen, found)


def _json(each: Derived) -> dict[str, Any]:
    return place_json(each.event) | {"depth": each.depth, "via": each.via, "of": each.of}


def _show_tainted(screen: Screen, found: Tainted, as_json: bool) -> None:
    if as_json:
        for stream in found.streams:
            screen.json(stream)
        return
    _title(screen, found)
    for stream in found.streams:
        inherited = f", inherited from {stream.forked_from}" if stream.forked_from else ""
        screen.whole(
            (stream.stream, "bold"),
            f"{inherited}  {count(len(stream.event_ids), 'event')}, sound up to version"
            f" {stream.sound_version}; a correction expects version {stream.version}",
        )
        for key in stream.keys:
            screen.line("  ", (key.kind, "yellow"), f" {key.key}")
    _rest(screen, found)


def _title(screen: Screen, found: Lineage | Tainted) -> None:
    screen.line(*step_title(found.event, screen.width, names_stream=True))


def _rest(screen: Screen, found: Lineage | Tainted) -> None:
    if found.truncated:
        screen.text(("... and more, which this does not follow", "yellow"))
