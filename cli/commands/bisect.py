"""``eventstore bisect``: the first event after which something holds of a stream's state."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import typer

from reducers import Reducer, ReducerError
from reducers.bisecting import Found

from ..exits import Stop
from ..expressions import Expression
from ..loading import DEFAULT_REDUCER, find_reducer
from ..options import (
    DEFAULT_URL,
    JsonOption,
    ReducerOption,
    StoreOption,
    StreamArgument,
    TenantOption,
    Where,
    open_stream,
)
from ..rendering.diffs import change_json, show_changes
from ..rendering.events import place_json, step_title
from ..rendering.screen import Screen
from ..watching import watched

INDENT = "      "
CHANGES_SHOWN = 12
"""Changes shown of one event; --json has all."""


def bisect_command(
    stream: StreamArgument,
    expression: Annotated[
        str,
        typer.Argument(
            metavar="EXPR",
            help='What is asked of the state, like "usage.cost > 0.05" or "len(errors.errors)".',
            show_default=False,
        ),
    ],
    every: Annotated[
        bool, typer.Option("--every", help="All events at which the answer changes.")
    ] = False,
    monotone: Annotated[
        bool,
        typer.Option(
            "--monotone", help="Once it holds it goes on to hold: skip ahead by snapshots."
        ),
    ] = False,
    reducer: ReducerOption = DEFAULT_REDUCER,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the first event after which an expression holds of the state.

    The expression names members of the state: and, or, not, comparisons, + - * / // %, in,
    indices, and the functions len, any, all, sum, min, max, keys, values, abs, round, lower,
    startswith and endswith. What is not there yet is None. Nothing of Python is run.

    \b
    Examples:
      $ eventstore bisect board/7 "len(tasks.tasks) >= 2"
      $ eventstore bisect board/7 'tasks["1"].status == "completed"' --reducer tasks --every
    """
    asked = Expression(expression)
    folding = find_reducer(reducer)
    name, found = asyncio.run(
        _bisect((store, tenant), stream, folding, asked, (monotone, every), as_json)
    )
    _show(Screen(), name, asked, found, as_json)


async def _bisect(
    where: Where,
    stream: str,
    reducer: Reducer[Any],
    asked: Expression,
    how: tuple[bool, bool],
    quiet: bool,
) -> tuple[str, list[Found[Any]]]:
    monotone, every = how
    async with open_stream(where, stream) as (store, name):
        with watched(store, "asking", quiet=quiet) as read:
            try:
                if every:
                    return name, await reducer.bisect(
                        read, name, asked, monotone=monotone, every=True
                    )
                found = await reducer.bisect(read, name, asked, monotone=monotone)
            except ReducerError as exc:
                # What is wrong with the expression is said by the expression.
                if isinstance(exc.__cause__, Stop):
                    raise exc.__cause__ from None
                raise
            return name, [] if found is None else [found]


def _show(
    screen: Screen, name: str, asked: Expression, found: list[Found[Any]], as_json: bool
) -> None:
    if not found and asked.never_found:
        missed = ", ".join(asked.never_found)
        print(f"eventstore: no state had {missed}; see eventstore state {name}", file=sys.stderr)
    if as_json:
        for each in found:
            told = [change_json(change) for change in each.changes]
            screen.json(place_json(each.event) | {"holds": each.holds, "changes": told})
        return
    screen.whole((name, "bold cyan"), f"  {asked.text}")
    if not found:
        screen.text(("it holds after no event", "yellow"))
    for each in found:
        answer = ("holds    ", "green") if each.holds else ("no more  ", "red")
        screen.line(answer, *step_title(each.event, screen.width))
        show_changes(screen, each.changes, INDENT, CHANGES_SHOWN)
