"""``eventstore blame``: which events gave a part of a stream's state its value."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from eventstore import Version
from reducers import Loaded, Reducer, to_json
from reducers.blaming import CAUSES_MAX, Blamed
from reducers.forking import version_at

from ..loading import DEFAULT_REDUCER, find_reducer
from ..moments import Point
from ..options import (
    DEFAULT_URL,
    AtOption,
    ByOption,
    JsonOption,
    ReducerOption,
    StoreOption,
    StreamArgument,
    TenantOption,
    Where,
    open_stream,
    point_at,
)
from ..pointers import check_pointer, resolve
from ..rendering.diffs import change_json, show_changes
from ..rendering.events import place_json, step_title
from ..rendering.screen import Screen
from ..watching import watched

INDENT = "      "
CHANGES_SHOWN = 8
"""Changes shown of one event; --json has all."""

VIA = {"causation_id": "caused by", "derived_from": "derived from"}


def blame_command(
    stream: StreamArgument,
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A JSON pointer into the state, like /tasks/tasks/1/status.",
            show_default=False,
        ),
    ],
    at: AtOption = None,
    by: ByOption = "recorded",
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=1, metavar="N", help="At most so many events.", show_default=False
        ),
    ] = None,
    causes: Annotated[
        bool,
        typer.Option("--causes/--no-causes", help="Follow what an event came from, too."),
    ] = True,
    reducer: ReducerOption = DEFAULT_REDUCER,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the events that gave a path of the state its value, newest first.

    Below each come the events that it was caused by or derived from, in whatever stream they
    stand. An item of a list is followed to where it stood before.

    \b
    Examples:
      $ eventstore blame board/7 /tasks/tasks/1/status
      $ eventstore blame board/7 /tasks/1/title --reducer tasks --at 2 --json
    """
    check_pointer(path)
    point = point_at(at, by)
    folding = find_reducer(reducer)
    name, loaded, found = asyncio.run(
        _blame((store, tenant), stream, folding, path, point, causes, as_json)
    )
    if not found:
        resolve(to_json(loaded.state), path)  # says what is there, where there is no such path
    _show(Screen(), name, path, found if limit is None else found[:limit], as_json)


async def _blame(
    where: Where,
    stream: str,
    reducer: Reducer[Any],
    path: str,
    point: Point | None,
    causes: bool,
    quiet: bool,
) -> tuple[str, Loaded[Any], list[Blamed]]:
    """The stream's name, the state that was looked at where nothing is to blame, and the events."""
    async with open_stream(where, stream, point) as (store, name):
        version = await version_at(store, name, point)
        with watched(store, "folding", quiet=quiet) as read:
            at = None if point is None else Version(version)
            most = CAUSES_MAX if causes else 0
            found = await reducer.blame(read, name, path, at=at, causes_max=most)
            if not causes:  # nobody wanted them followed
                found = [replace(each, unfollowed=False) for each in found]
            loaded: Loaded[Any] = Loaded(reducer.initial, 0, 0)
            if not found and version:
                loaded = await reducer.load(read, name, at=Version(version))
            return name, loaded, found


def _show(screen: Screen, name: str, path: str, found: list[Blamed], as_json: bool) -> None:
    if as_json:
        for each in found:
            screen.json(_json(each))
        return
    screen.whole((name, "bold cyan"), f"  {path or '(the whole state)'}")
    if not found:
        screen.text(("no event changed it: it stands there from the beginning", "yellow"))
    for each in found:
        if each.depth:
            indent = INDENT + "  " * (each.depth - 1)
            via = VIA.get(each.via or "", "from")
            title = step_title(each.event, screen.width, names_stream=each.event.stream != name)
            screen.line(indent, (f"<- {via} ", "dim"), *title)
        else:
            screen.line(*step_title(each.event, screen.width))
            show_changes(screen, each.changes, INDENT, CHANGES_SHOWN)
        if each.unfollowed:
            screen.line(INDENT, ("... it came of more events than were followed", "dim"))


def _json(each: Blamed) -> dict[str, Any]:
    found = place_json(each.event) | {"depth": each.depth}
    if each.depth:
        found["via"] = each.via
    else:
        found |= {
            "path": each.path,
            "before": to_json(each.before),
            "after": to_json(each.after),
            "changes": [change_json(change) for change in each.changes],
        }
    if each.unfollowed:
        found["unfollowed"] = True
    return found
