"""``eventstore projections status``: how far views are, who feeds them, what is wrong with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from eventstore import EventStore

from ...options import DEFAULT_URL, JsonOption, StoreOption, TenantOption, open_store
from ...rendering.screen import Screen
from ...rendering.values import count
from ...views import Known, ViewsOption, has_code

if TYPE_CHECKING:
    from projections.status import ViewStatus
    from projections.view import View

WATCH_SECONDS = 1.0
"""Between two looks with --watch: rates over less jump about."""

RATE_SECONDS = 0.5
"""Between the two looks that a rate is reckoned from, where something is being fed."""

Where = tuple[str, str | None]


def status_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Which views; without names all that the store has rows of.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again every second, until Ctrl-C.")
    ] = False,
    views: ViewsOption = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far views are: lag, rate, writes for an event, parked keys, generation, worker.

    \b
    Examples:
      $ eventstore projections run --once
      $ eventstore projections status
      $ eventstore projections status sessions --json
    """
    known = Known(views)
    asyncio.run(_status((store, tenant), known, names, watch, as_json))


async def _status(
    where: Where, known: Known, names: Sequence[str] | None, watch: bool, as_json: bool
) -> None:
    screen = Screen()
    async with open_store(*where) as store:
        chosen = await known.stored(store, names)
        now = await _look(store, chosen)
        if not watch:
            if any(each.lag_events and each.workers for each in now):
                await asyncio.sleep(RATE_SECONDS)
                now = await _look(store, chosen, now)
            _draw(screen, now, as_json)
            return
        with screen.redrawn() as redraw:
            while True:
                redraw(lambda on, seen=now: _draw(on, seen, as_json))  # type: ignore[misc]
                screen.flush()
                await asyncio.sleep(WATCH_SECONDS)
                chosen = await known.stored(store, names)
                now = await _look(store, chosen, now)


async def _look(
    store: EventStore, views: Sequence[View], before: Sequence[ViewStatus] = ()
) -> list[ViewStatus]:
    from projections.status import status

    known = {view.name for view in views if has_code(view)}
    found = await status(store, views, before=before)
    # Without its code nobody can say whether it has changed.
    return [
        each if each.view in known else msgspec.structs.replace(each, code_changed=False)
        for each in found
    ]


def _draw(screen: Screen, found: Sequence[ViewStatus], as_json: bool) -> None:
    if as_json:
        for each in found:
            screen.json(_plain(each))
        return
    if not found:
        screen.line("no view is built yet; eventstore projections run builds the stock ones")
        return
    columns = ("view", "gen", "state", "behind", "seconds", "events/s", "w/event", "parked")
    screen.table(
        columns,
        [_row(each) for each in found],
        right="gen behind seconds events/s w/event parked",
    )
    for worker, group in groupby(sorted(found, key=_workers), key=_workers):
        views = ", ".join(dict.fromkeys(each.view for each in group))
        screen.text((f"fed by {worker}" if worker else "fed by nobody", "dim"), f": {views}")
    for each in found:
        if each.last_error is not None and each.feeding != "running":
            screen.text((f"{each.view}: {each.feeding}", "bold red"), f": {each.last_error}")
        if each.code_changed and each.state == "serving":
            screen.text(
                (f"{each.view}: its code changed without a new version", "yellow"),
                f"; eventstore projections rebuild {each.view}",
            )
        if each.state in ("building", "comparing"):
            _draw_unfinished(screen, each)


def _draw_unfinished(screen: Screen, each: ViewStatus) -> None:
    """Why a generation does not take over, and what to do."""
    named = f"{each.view}: generation {each.generation}"
    if each.parked_anew:
        screen.text(
            (f"{named} does not take over", "yellow"),
            f": {count(each.parked_anew, 'parked key')} would lose the rows that serve; retry or"
            f" drop them, or eventstore projections rebuild {each.view} --accept-parked",
        )
    if not each.workers:
        screen.text(
            (f"{named}, of version {each.version}, is being built by nobody", "yellow"),
            "; a relay with its code goes on with it; where other code is fed, it is dropped after"
            f" a day, or at once by eventstore projections rebuild {each.view}",
        )


def _workers(each: ViewStatus) -> str:
    return ", ".join(each.workers)


def _row(each: ViewStatus) -> tuple[str, ...]:
    writes = each.writes_per_event
    return (
        each.view,
        f"{each.generation}",
        each.state if each.feeding == "running" else each.feeding,
        f"{each.lag_events:,}",
        _seconds(each.lag_seconds),
        "-" if each.rate is None else f"{each.rate:,.0f}",
        "-" if writes is None else f"{writes:.2f}",
        f"{each.parked_keys:,}",
    )


def _seconds(seconds: float) -> str:
    """Tenths where they matter; minutes, hours and days beyond."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 10 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f}" if seconds else "0"


def _plain(each: ViewStatus) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(each)
    plain["lag_events"] = each.lag_events
    plain["writes_per_event"] = each.writes_per_event
    return plain
