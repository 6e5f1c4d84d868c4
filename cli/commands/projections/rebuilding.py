"""``eventstore projections rebuild``: a view made again from the log while it serves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from ...exits import ExitCode, Stop
from ...options import DEFAULT_URL, JsonOption, StoreOption, TenantOption, open_store
from ...relaying import saying_warnings, until_answered
from ...rendering.progress import progress
from ...rendering.screen import Screen
from ...rendering.values import count, short
from ...views import Known, RedisOption, ViewArgument, ViewsOption

if TYPE_CHECKING:
    from projections.relay.comparing import Difference
    from projections.relay.rebuilding import Progress, RebuildReport
    from projections.view import View

DIFFERENCES_SHOWN = 20
"""Rows that differ, listed for a person: a screen; --json has a thousand."""

VALUE_WIDTH = 200
"""Characters of a value: two of them say what differs, or --json does."""

KEY_SECONDS_MAX = 600.0
"""One key is waited for as long as a scan of the whole log may take."""

Where = tuple[str, str | None]


def rebuild_command(
    name: ViewArgument,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Compare the new rows with those that serve; list both."),
    ] = False,
    accept_parked: Annotated[
        bool,
        typer.Option(
            "--accept-parked",
            help="Let the new rows take over though keys are parked that have rows now.",
        ),
    ] = False,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", help="Only the rows of this key.", show_default=False),
    ] = None,
    views: ViewsOption = None,
    redis: RedisOption = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build a view again from the log, beside the rows that serve, and let the new ones take over.
    Interrupted, it is gone on with by the next call. Exit code 1: the new ones do not take over,
    because keys are parked in them that have rows now; or, with --compare, rows differed.

    \b
    Examples:
      $ eventstore projections run --once sessions
      $ eventstore projections rebuild sessions --compare
      $ eventstore projections rebuild sessions --accept-parked
      $ eventstore projections rebuild sessions --key board/7
    """
    view = Known(views, redis).one(name)
    if key is None:
        report = asyncio.run(_rebuild((store, tenant), view, compare, accept_parked, as_json))
        _show(Screen(), report, as_json)
        if not report.serves:
            raise Stop(
                f"view {name!r}: generation {report.generation} does not take over:"
                f" {count(report.parked_anew, 'parked key')} would lose the rows that serve",
                next_step=f"eventstore projections retry {name} --all, or drop, and it takes over"
                " by itself; or rebuild with --accept-parked",
            )
        if report.comparison is not None and report.comparison.differing:
            raise typer.Exit(ExitCode.REFUSED)
    else:
        built = asyncio.run(_rebuild_key((store, tenant), view, key))
        told = {"view": name, "key": built}
        if as_json:
            Screen().json(told)
        else:
            Screen().whole(f"{name}: the rows of {told['key']} are built again")


async def _rebuild(
    where: Where, view: View, compare: bool, accept_parked: bool, quiet: bool
) -> RebuildReport:
    from projections import Relay

    async with open_store(*where) as store:
        with saying_warnings(), progress(f"building {view.name}", rate="events") as advance:

            def told(now: Progress) -> None:
                if not quiet:
                    advance(now.position, now.head)

            async with Relay(store, [view]) as relay:
                (report,) = await relay.rebuild(
                    view.name, compare=compare, accept_parked=accept_parked, progress=told
                )
                return report


async def _rebuild_key(where: Where, view: View, typed: str) -> str:
    """The name of the key whose rows were built: what was typed is how messages write it."""
    from projections import Relay
    from projections.asking import serving
    from projections.projection import key_name, key_of_text

    wanted = key_of_text(typed)
    key = key_name(wanted)

    async with open_store(*where) as store:
        with saying_warnings():
            async with Relay(store, [view]) as relay:
                build, _ = await serving(relay.view(view.name))
                await relay.rebuild_key(view.name, wanted)
                if not await until_answered([build], key, KEY_SECONDS_MAX):
                    raise Stop(
                        f"view {view.name!r}: the rows of key {key!r} are not built yet",
                        next_step="see eventstore projections status",
                    )
                await _refuse_failed(build, view.name, key)
    return key


async def _refuse_failed(build: Any, name: str, key: str) -> None:
    from projections.relay.letters import WHOLE_KEY, load

    for letter in await load(build, key=key):
        if letter.position == WHOLE_KEY and letter.error is not None:
            raise Stop(
                f"view {name!r}: the rows of key {key!r} cannot be built: {letter.error}",
                next_step="mend the projection's code, or name the key that orders its events (a"
                " stream, unless the projection says otherwise); the rows stand as they were",
            )


def _show(screen: Screen, report: RebuildReport, as_json: bool) -> None:
    compared = report.comparison
    if as_json:
        screen.json(msgspec.to_builtins(report))
        return
    took = f"{count(report.positions, 'event')} in {report.seconds:.1f} s"
    rate = f", {report.events_per_second:,.0f} a second" if report.positions else ""
    does, style = ("serves", "green") if report.serves else ("is built", "yellow")
    parked = f"; {count(report.parked_keys, 'key')} parked" if report.parked_keys else ""
    screen.line(
        (f"{report.view}: generation {report.generation} {does}", style), f"  {took}{rate}{parked}"
    )
    if compared is None:
        return
    if not compared.differing:
        screen.line(f"{count(compared.rows, 'row')} compared, all the same")
        return
    screen.line(
        f"{count(compared.rows, 'row')} compared, ", (f"{compared.differing:,} differ", "yellow")
    )
    for difference in compared.differences[:DIFFERENCES_SHOWN]:
        _show_difference(screen, difference)
    more = compared.differing - DIFFERENCES_SHOWN
    if more > 0:
        screen.line(f"and {count(more, 'row')} more; see --json")


def _show_difference(screen: Screen, difference: Difference) -> None:
    from projections.projection import key_text

    screen.whole((key_text(difference.key), "bold cyan"))
    before, after = msgspec.to_builtins(difference.serving), msgspec.to_builtins(difference.built)
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            if before.get(name) != after.get(name):
                screen.text((f"- {name}: {short(before.get(name), VALUE_WIDTH)}", "red"))
                screen.text((f"+ {name}: {short(after.get(name), VALUE_WIDTH)}", "green"))
        return
    for sign, value, style in (("-", before, "red"), ("+", after, "green")):
        screen.text((f"{sign} {'no row' if value is None else short(value, VALUE_WIDTH)}", style))
