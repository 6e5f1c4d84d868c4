"""``eventstore replay``: a stream step by step, and what each event changed."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from eventstore import Version
from reducers import Reducer, Step, replay

from ..exits import wrong_usage
from ..loading import DEFAULT_REDUCER, find_reducer
from ..moments import check_point
from ..naming import find_stream
from ..options import (
    DEFAULT_URL,
    JsonOption,
    ReducerOption,
    StoreOption,
    StreamArgument,
    TenantOption,
    open_store,
)
from ..rendering.diffs import change_json, change_line
from ..rendering.events import iso_time, step_title
from ..rendering.screen import Screen
from ..rendering.values import count
from ..watching import watched

INDENT = "      "
CHANGES_SHOWN = 12
"""Changes shown of one step; --json has all."""


def replay_command(
    stream: StreamArgument,
    start: Annotated[
        int, typer.Option("--from", metavar="N", min=1, help="The first version to show.")
    ] = 1,
    end: Annotated[
        int | None,
        typer.Option(
            "--to", metavar="N", min=1, help="The last version to show.", show_default="the last"
        ),
    ] = None,
    reducer: ReducerOption = DEFAULT_REDUCER,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show each event of a stream with what it changed in the state.

    \b
    Examples:
      $ eventstore replay board/7
      $ eventstore replay board/7 --from 2 --to 3 --reducer tasks --json
    """
    if end is not None and end < start:
        raise wrong_usage(f"--to {end} lies before --from {start}", "swap them")
    folding = find_reducer(reducer)
    asyncio.run(_replay((store, tenant), stream, (start, end), folding, as_json))


async def _replay(
    where: tuple[str, str | None],
    stream: str,
    bounds: tuple[int, int | None],
    reducer: Reducer[Any],
    as_json: bool,
) -> None:
    start, end = bounds
    screen = Screen()
    async with open_store(*where) as store:
        name = await find_stream(store, stream)
        await check_point(store, name, Version(start))
        # What lies before is folded, not replayed: nobody looks at those steps.
        with watched(store, "folding", quiet=as_json) as read:
            state = (await reducer.load(read, name, at=Version(start - 1))).state
        limit = None if end is None else end - start + 1
        if not as_json:
            screen.whole((name, "bold cyan"), (f"  reducer {reducer.name}", "dim"))
        with watched(store, "replaying", quiet=as_json, prints=True) as read:
            async for page in read.read(name, after=start - 1, limit=limit).pages():
                for step in replay(page, reducer, state):
                    state = step.after
                    _show(screen, step, as_json)


def _show(screen: Screen, step: Step[Any], as_json: bool) -> None:
    event = step.event
    if as_json:
        screen.json(
            {
                "stream": event.stream,
                "version": event.version,
                "position": event.position,
                "id": event.id,
                "type": event.type,
                "actor": event.actor,
                "recorded_at": iso_time(event.recorded_at),
                "changes": [change_json(change) for change in step.changes],
            }
        )
        return
    screen.line(*step_title(event, screen.width))
    for change in step.changes[:CHANGES_SHOWN]:
        screen.line(*change_line(change, INDENT, screen.width))
    if len(step.changes) > CHANGES_SHOWN:
        more = count(len(step.changes) - CHANGES_SHOWN, "more change")
        screen.line(INDENT, (f"... {more} (--json shows them)", "dim"))
