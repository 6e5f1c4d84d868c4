"""``eventstore replay``: a stream step by step, and what each event changed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from eventstore import EventStore, Version
from reducers import Reducer, Step, replay

from ..exits import Stop, wrong_usage
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
from ..rendering.events import place_json, step_title
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
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write one page that works offline, to send to a colleague.",
            show_default=False,
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Print the steps, also on a terminal.")
    ] = False,
    reducer: ReducerOption = DEFAULT_REDUCER,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show each event of a stream with what it changed in the state.

    On a terminal it is stepped through, from --from on; ? shows the keys. In a pipe, and with
    --plain, --to or --json, the steps are printed.

    \b
    Examples:
      $ eventstore replay board/7
      $ eventstore replay board/7 --plain
      $ eventstore replay board/7 --from 2 --to 3 --reducer tasks --json
      $ eventstore replay board/7 --html board.html
    """
    if end is not None and end < start:
        raise wrong_usage(f"--to {end} lies before --from {start}", "swap them")
    folding = find_reducer(reducer)
    where, bounds = (store, tenant), (start, end)
    if html is not None:
        if html.is_dir():
            raise wrong_usage(f"--html: {str(html)!r} is a folder", "name a file in it")
        asyncio.run(_page(where, stream, bounds, folding, html, as_json))
    elif not (plain or as_json or end is not None) and _is_interactive():
        asyncio.run(_step_through(where, stream, start, folding))
    else:
        asyncio.run(_replay(where, stream, bounds, folding, as_json))


def _is_interactive() -> bool:
    """Whether a person sits at a terminal that can be drawn on."""
    terminals = sys.stdin.isatty() and sys.stdout.isatty()
    return terminals and os.environ.get("TERM", "") not in ("", "dumb")


async def _step_through(
    where: tuple[str, str | None], stream: str, start: int, reducer: Reducer[Any]
) -> None:
    async with open_store(*where) as store:
        name = await find_stream(store, stream)
        await check_point(store, name, Version(start))
        # Only who sees it waits for its import.
        from ..stepper.running import step_through

        await step_through(store, name, reducer, start)


async def _replay(
    where: tuple[str, str | None],
    stream: str,
    bounds: tuple[int, int | None],
    reducer: Reducer[Any],
    as_json: bool,
) -> None:
    screen = Screen()
    async with open_store(*where) as store:
        name, state = await _beginning(store, stream, bounds[0], reducer, as_json)
        if not as_json:
            screen.whole((name, "bold cyan"), (f"  reducer {reducer.name}", "dim"))
        with watched(store, "replaying", quiet=as_json, prints=True) as read:
            async for step in _steps(read, name, bounds, reducer, state):
                _show(screen, step, as_json)


async def _beginning(
    store: EventStore, stream: str, start: int, reducer: Reducer[Any], quiet: bool
) -> tuple[str, Any]:
    """The stream's name and its state before `start`. What lies before is folded, not replayed:
    nobody looks at those steps."""
    name = await find_stream(store, stream)
    await check_point(store, name, Version(start))
    with watched(store, "folding", quiet=quiet) as read:
        return name, (await reducer.load(read, name, at=Version(start - 1))).state


async def _steps(
    store: EventStore, name: str, bounds: tuple[int, int | None], reducer: Reducer[Any], state: Any
) -> AsyncIterator[Step[Any]]:
    start, end = bounds
    limit = None if end is None else end - start + 1
    async for page in store.read(name, after=start - 1, limit=limit).pages():
        for step in replay(page, reducer, state):
            state = step.after
            yield step


async def _page(
    where: tuple[str, str | None],
    stream: str,
    bounds: tuple[int, int | None],
    reducer: Reducer[Any],
    target: Path,
    as_json: bool,
) -> None:
    """Writes the page beside its place first: what stood there stays until it is whole."""
    from ..html import PAGE_BYTES_MAX, PageTooLarge, ReplayPage

    part, number = target.with_name(f".{target.name}.part"), 0
    async with open_store(*where) as store:
        name, state = await _beginning(store, stream, bounds[0], reducer, as_json)
        try:
            with part.open("wb") as file, watched(store, "writing", quiet=as_json) as read:
                page = ReplayPage(file, name, reducer, bounds[0], state)
                async for step in _steps(read, name, bounds, reducer, state):
                    page.add(step)
                    number += 1
                size = page.end()
            part.replace(target)
        except PageTooLarge as exc:
            part_step = f"write a part, for example --from {bounds[0]} --to {exc.version - 1}"
            raise Stop(
                f"a page holds at most {PAGE_BYTES_MAX:,} bytes: version {exc.version} of {name!r}"
                " does not go in",
                next_step=part_step if exc.version > bounds[0] else "use a --reducer of less state",
            ) from None
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
    screen = Screen()
    if as_json:
        screen.json({"stream": name, "file": str(target), "steps": number, "bytes": size})
    else:
        screen.whole((str(target), "bold"), f"  {count(number, 'step')}, {size:,} bytes")


def _show(screen: Screen, step: Step[Any], as_json: bool) -> None:
    event = step.event
    if as_json:
        screen.json(
            place_json(event) | {"changes": [change_json(change) for change in step.changes]}
        )
        return
    screen.line(*step_title(event, screen.width))
    for change in step.changes[:CHANGES_SHOWN]:
        screen.line(*change_line(change, INDENT, screen.width))
    if len(step.changes) > CHANGES_SHOWN:
        more = count(len(step.changes) - CHANGES_SHOWN, "more change")
        screen.line(INDENT, (f"... {more} (--json shows them)", "dim"))
