"""``eventstore state``: what a stream amounts to, now or at any earlier point."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import typer

from reducers import Loaded, to_json

from ..loading import DEFAULT_REDUCER, find_reducer
from ..moments import beginning
from ..options import (
    DEFAULT_URL,
    AtOption,
    ByOption,
    JsonOption,
    ReducerOption,
    StoreOption,
    StreamArgument,
    TenantOption,
    open_stream,
    point_at,
)
from ..pointers import resolve
from ..rendering.screen import Screen
from ..watching import watched


def state_command(
    stream: StreamArgument,
    at: AtOption = None,
    by: ByOption = "recorded",
    reducer: ReducerOption = DEFAULT_REDUCER,
    path: Annotated[
        str | None,
        typer.Option(
            "--path",
            metavar="POINTER",
            help="Only what stands there, whole; a JSON pointer like /tasks/tasks.",
            show_default=False,
        ),
    ] = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a stream's state, computed from its events by a reducer.

    \b
    Examples:
      $ eventstore state board/7
      $ eventstore state board/7 --at 1 --json
      $ eventstore state board/7 --reducer tasks --path /tasks/1/title
    """
    point = point_at(at, by)
    folding = find_reducer(reducer)

    async def load() -> tuple[str, Loaded[Any], str]:
        async with open_stream((store, tenant), stream, point) as (opened, name):
            with watched(opened, "folding", quiet=as_json) as read:
                loaded = await folding.load(read, name, at=point)
            early = "" if loaded.version else f"nothing yet: {await beginning(opened, name)}"
            return name, loaded, early

    name, loaded, early = asyncio.run(load())
    _show(Screen(), name, reducer, loaded, path, as_json, early)


def _show(
    screen: Screen,
    name: str,
    reducer: str,
    loaded: Loaded[Any],
    path: str | None,
    as_json: bool,
    early: str,
) -> None:
    if as_json:
        value = to_json(loaded.state)
        screen.json(
            {
                "stream": name,
                "version": loaded.version,
                "position": loaded.position,
                "reducer": reducer,
                "state": value if path is None else resolve(value, path),
            }
        )
        return
    if path is not None:
        from ..rendering.values import indented

        if early:  # what is printed is one JSON value, whoever reads it
            print(f"eventstore: {early}", file=sys.stderr)
        screen.text(indented(resolve(to_json(loaded.state), path)))
        return
    screen.whole(
        (name, "bold cyan"),
        (f"  version {loaded.version}, position {loaded.position}, reducer {reducer}", "dim"),
    )
    if early:
        screen.text((early, "yellow"))
        if reducer == DEFAULT_REDUCER:
            return
    for line in _lines(reducer, loaded.state, screen.width):
        screen.line(*line)


def _lines(reducer: str, state: Any, width: int) -> Any:
    """The stock state has an overview of its own; any other is an outline."""
    if reducer == DEFAULT_REDUCER:
        from ..rendering.agent_state import overview

        return overview(state, width)
    from ..rendering.trees import outline

    return outline(to_json(state), width)
