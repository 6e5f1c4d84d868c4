"""``eventstore shadow``: stored sessions folded with an old and a new reducer, and compared."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from eventstore import EventStore
from reducers.shadowing import Shadowed, ShadowReport, shadow

from ..exits import ExitCode, check_argument
from ..loading import named_reducer
from ..options import DEFAULT_URL, JsonOption, StoreOption, TenantOption, Where, open_store
from ..rendering.progress import progress
from ..rendering.screen import Screen
from ..rendering.values import count

ALONE_EVENTS = 50_000
"""Fewer events are folded here: that takes about as long as it takes to start processes."""


def shadow_command(
    old: Annotated[
        str,
        typer.Argument(
            metavar="OLD",
            help="A stock reducer, or path/to/file.py:name or package.module:name.",
            show_default=False,
        ),
    ],
    new: Annotated[
        str,
        typer.Argument(metavar="NEW", help="The one to compare it with.", show_default=False),
    ],
    prefix: Annotated[
        str,
        typer.Option("--prefix", metavar="PART", help="Only streams whose names begin so."),
    ] = "",
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with exit code 1 when any stream differs.")
    ] = False,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fold stored streams with two reducers, and show where the final states differ.

    For a new reducer, before it is shipped: which sessions, and which paths. Many events are
    folded in as many processes as there are processors.

    \b
    Examples:
      $ eventstore shadow tasks tasks --prefix board/
      $ eventstore shadow tasks approvals --prefix board/ --json
    """
    if prefix:
        check_argument("--prefix", prefix.removeprefix("$"), "stream")
    screen = Screen()
    report = asyncio.run(_shadow((store, tenant), old, new, prefix))
    if as_json:
        for each in report.different:
            screen.json(each)
    else:
        _show(screen, report)
    if exit_code and not report.ok:
        raise typer.Exit(ExitCode.REFUSED)


async def _shadow(where: Where, old: str, new: str, prefix: str) -> ShadowReport:
    pair = named_reducer(old, "OLD"), named_reducer(new, "NEW")
    async with open_store(*where) as store:
        streams, events = await _size(store, prefix)
        with progress("folding") as advance:

            def told(done: int, _: int) -> None:
                advance(done, streams)

            if events < ALONE_EVENTS:
                return await shadow(
                    store, pair[0][1], pair[1][1], prefix=prefix, processes=0, progress=told
                )
            return await shadow(store, pair[0][0], pair[1][0], prefix=prefix, progress=told)


async def _size(store: EventStore, prefix: str) -> tuple[int, int]:
    streams = events = 0
    async for info in store.streams(prefix):
        streams, events = streams + 1, events + info.version
    return streams, events


def _show(screen: Screen, report: ShadowReport) -> None:
    for each in report.different:
        screen.whole((each.stream, "bold cyan"), f"  version {each.version}")
        for line in _lines(each):
            screen.line("      ", line)
    style = "green" if report.ok else "yellow"
    differ = "no state differs" if report.ok else f"{count(len(report.different), 'state')} differ"
    if len(report.different) == 1:
        differ = "1 state differs"
    screen.line(
        (differ, style), f" of {count(report.streams, 'stream')}, {count(report.events, 'event')}"
    )


def _lines(each: Shadowed) -> list[str]:
    lines = [f"~ {path or '(the whole state)'}" for path in each.paths]
    if each.more:
        lines.append(f"... {count(each.more, 'more path')}")
    for name, error in (("old", each.old_error), ("new", each.new_error)):
        if error is not None:
            lines.append(f"{name}: {error}")
    return lines
