"""``eventstore projections dead-letters``, ``retry`` and ``drop``: keys of which an event could not
be applied, and what becomes of them."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventstore import EventStore
from eventstore.points import from_microseconds

from ...exits import ExitCode, Stop, wrong_usage
from ...options import DEFAULT_URL, JsonOption, StoreOption, TenantOption, open_store
from ...relaying import saying_warnings, someone_feeds, until_answered, waiting_letters
from ...rendering.events import iso_time, show_time
from ...rendering.screen import Screen
from ...rendering.values import count
from ...views import Known, RedisOption, ViewArgument, ViewsOption, key_text_of

if TYPE_CHECKING:
    from projections.relay.letters import DeadLetter
    from projections.view import View

KEYS_SHOWN = 50
"""Keys listed for a person: a few screens; --json has all."""

TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait for the relay."),
]
Where = tuple[str, str | None]


def dead_letters_command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="The view; without it, every view.", show_default=False
        ),
    ] = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the keys that are parked, with what failed. JSON has a line for each event, and those
    that were dropped.

    \b
    Examples:
      $ eventstore projections dead-letters
      $ eventstore projections run --once audit
      $ eventstore projections dead-letters audit
    """
    asyncio.run(_list((store, tenant), name, as_json))


def retry_command(
    name: ViewArgument,
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="KEY", help="The parked key, as dead-letters shows it.", show_default=False
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every parked key of the view.")] = False,
    timeout: TimeoutOption = 10.0,
    views: ViewsOption = None,
    redis: RedisOption = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try parked events again, in their order. Where no relay feeds the view, this command does.

    \b
    Examples:
      $ eventstore projections run --once memories
      $ eventstore projections retry memories --all
    """
    if (key is None) != every:
        raise wrong_usage("which key", "name one, or give --all")
    known = Known(views, redis)
    text = None if key is None else key_text_of(key)
    code = asyncio.run(_retry((store, tenant), known, name, text, timeout, as_json))
    if code:
        raise typer.Exit(code)


def drop_command(
    name: ViewArgument,
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY", help="The parked key, as dead-letters shows it.", show_default=False
        ),
    ],
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="TEXT", help="Why; it is kept in the log.", show_default=False
        ),
    ],
    position: Annotated[
        int | None,
        typer.Option(
            "--position",
            min=1,
            metavar="POSITION",
            help="Of the event; needed where the view stopped at it.",
            show_default=False,
        ),
    ] = None,
    timeout: TimeoutOption = 10.0,
    views: ViewsOption = None,
    redis: RedisOption = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give up the event that a key is parked for, and try those that wait behind it. The event
    stays in the log; the view goes on without it, and so does every later build of it.

    \b
    Examples:
      $ eventstore projections drop notes s0 --reason "a test of last week"
    """
    if not reason.strip():
        raise wrong_usage("--reason: it is empty", "say why the event is given up")
    known = Known(views, redis)
    text = key_text_of(key)
    code = asyncio.run(
        _drop((store, tenant), known, name, text, reason, position, timeout, as_json)
    )
    if code:
        raise typer.Exit(code)


async def _list(where: Where, name: str | None, as_json: bool) -> None:
    screen, shown, keys = Screen(), 0, 0
    async with open_store(*where) as store:
        known = Known(None)
        for view in await known.stored(store, None if name is None else [name]):
            found = await _letters(store, view)
            if as_json:
                for letter in found:
                    screen.json(_plain(view.name, letter))
                continue
            waiting = [letter for letter in found if letter.dropped_reason is None]
            for key, group in groupby(waiting, key=lambda each: each.key):
                keys += 1
                if shown < KEYS_SHOWN:
                    shown += 1
                    await _show_key(screen, store, view.name, key, list(group))
    if as_json:
        return
    if keys > shown:
        screen.line(f"and {count(keys - shown, 'key')} more; see --json")
    elif not keys:
        screen.line("nothing is parked" if name is None else f"{name}: nothing is parked")


async def _letters(store: EventStore, view: View) -> list[DeadLetter]:
    """What stands among the dead letters of the generation that serves, wishes left out."""
    from projections.asking import serving
    from projections.relay.letters import WHOLE_KEY, load

    build, _ = await serving(view.bind(store))
    return [letter for letter in await load(build) if letter.position > WHOLE_KEY]


async def _show_key(
    screen: Screen, store: EventStore, view: str, key: str, letters: Sequence[DeadLetter]
) -> None:
    first = letters[0]
    events = await store.read_all(after=first.position - 1, limit=1).list()
    what = f"{events[0].type} in {events[0].stream}" if events else "an event"
    waits = count(len(letters), "event")
    screen.whole((view, "bold"), "  ", (shlex.quote(key), "cyan"), f"  {waits} parked")
    screen.text(
        f"  position {first.position:,}, {what}, since {show_time(_moment(first.parked_us))}"
    )
    screen.text(
        "  ",
        (f"{first.error or 'no reason kept'}", "red"),
        f" ({count(first.attempts, 'attempt')})",
    )


def _plain(view: str, letter: DeadLetter) -> dict[str, Any]:
    return {
        "view": view,
        "key": letter.key,
        "position": letter.position,
        "parked_at": iso_time(_moment(letter.parked_us)),
        "attempts": letter.attempts,
        "error": letter.error,
        "retry_asked_at": _iso_or_none(letter.retry_asked),
        "dropped_reason": letter.dropped_reason,
    }


def _iso_or_none(us: int | None) -> str | None:
    return None if us is None else iso_time(_moment(us))


def _moment(us: int) -> Any:
    return from_microseconds(us)


async def _retry(
    where: Where, known: Known, name: str, key: str | None, timeout: float, as_json: bool
) -> int:
    from projections.asking import serving
    from projections.relay.letters import ask_retry

    async with open_store(*where) as store:
        (view,) = await known.stored(store, [name])
        build, generation = await serving(view.bind(store))
        asked = await ask_retry(build, key)
        if not asked and key is not None:
            raise Stop(
                f"view {name!r}: no dead letter of key {key!r}",
                next_step="see eventstore projections dead-letters",
            )
        told: dict[str, Any] = {"view": name, "key": key, "asked": asked}
        return await _settle(store, view, build, generation, told, timeout, as_json)


async def _drop(
    where: Where,
    known: Known,
    name: str,
    key: str,
    reason: str,
    position: int | None,
    timeout: float,
    as_json: bool,
) -> int:
    from projections.asking import serving
    from projections.relay.dropping import drop

    async with open_store(*where) as store:
        (view,) = await known.stored(store, [name])
        build, generation = await serving(view.bind(store))
        waiting = await waiting_letters(build, key)
        audit = await drop(build, key, reason, position)
        dropped = waiting[0].position if position is None else position
        told: dict[str, Any] = {
            "view": name,
            "key": key,
            "dropped": dropped,
            "audit_position": audit,
            "asked": len([each for each in waiting if each.position != dropped]),
        }
        if not as_json:
            Screen().text(
                f"gave up the event at position {dropped:,}; the reason is kept at position"
                f" {audit:,}, in $views/{name}"
            )
        return await _settle(store, view, build, generation, told, timeout, as_json)


async def _settle(
    store: EventStore,
    view: View,
    build: Any,
    generation: Any,
    told: dict[str, Any],
    timeout: float,
    as_json: bool,
) -> int:
    """Waits for what was asked of the relay, and says what came of it."""
    feeder, answered = None, not told["asked"]
    if not answered:
        with saying_warnings():
            async with someone_feeds(store, view, generation) as feeder:
                if feeder is not None:
                    answered = await until_answered(build, told["key"], timeout)
    left = await waiting_letters(build, told["key"])
    told |= {"answered": answered, "still_parked": len(left)}
    if as_json:
        Screen().json({**told, "error": next((each.error for each in left if each.error), None)})
    elif not told["asked"]:
        Screen().line("nothing waits")
    elif not answered:
        _say_asked(view.name, feeder, told["asked"])
    else:
        Screen().line(f"{count(told['asked'] - len(left), 'event')} delivered")
        for letter in left:
            if letter.error is not None:
                Screen().text(
                    (f"still parked: {shlex.quote(letter.key)}", "bold"),
                    f" at position {letter.position:,}: {letter.error}",
                )
    return ExitCode.REFUSED if answered and left else ExitCode.DONE


def _say_asked(name: str, feeder: str | None, asked: int) -> None:
    if feeder is None:
        next_step = f"no relay feeds it: eventstore projections run {name}, with its --views"
    else:
        next_step = f"{feeder} has not come to it yet"
    Screen().text(f"asked for {count(asked, 'event')}; {next_step}")
