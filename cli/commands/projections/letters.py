"""``eventstore projections dead-letters``, ``retry`` and ``drop``: keys of which an event could not
be applied, and what becomes of them."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

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
    from projections.catalog import Generation
    from projections.relay.letters import DeadLetter
    from projections.sinks import Build
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
    """List the keys that are parked, with what failed, also in a generation that is being built.
    JSON has a line for each event, and those that were dropped.

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
    """Try parked events again, in their order, in every generation in which they are parked. Where
    no relay feeds the view, this command does.

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
            for generation, found in await _letters(store, view):
                if as_json:
                    for letter in found:
                        screen.json(_plain(view.name, generation, letter))
                    continue
                waiting = [letter for letter in found if letter.dropped_reason is None]
                for key, group in groupby(waiting, key=lambda each: each.key):
                    keys += 1
                    if shown < KEYS_SHOWN:
                        shown += 1
                        named = view.name, generation, key
                        await _show_key(screen, store, named, list(group))
    if as_json:
        return
    if keys > shown:
        screen.line(f"and {count(keys - shown, 'key')} more; see --json")
    elif not keys:
        screen.line("nothing is parked" if name is None else f"{name}: nothing is parked")


async def _letters(store: EventStore, view: View) -> list[tuple[Generation, list[DeadLetter]]]:
    """What stands among the dead letters of the generation that serves and of those that are being
    built, wishes left out."""
    from projections.relay.generations import living
    from projections.relay.letters import WHOLE_KEY, load

    return [
        (generation, [letter for letter in await load(build) if letter.position > WHOLE_KEY])
        for build, generation in await living(view.bind(store))
    ]


async def _show_key(
    screen: Screen,
    store: EventStore,
    named: tuple[str, Generation, str],
    letters: Sequence[DeadLetter],
) -> None:
    view, generation, key = named
    first = letters[0]
    events = await store.read_all(after=first.position - 1, limit=1).list()
    what = f"{events[0].type} in {events[0].stream}" if events else "an event"
    waits = count(len(letters), "event")
    where = f" in {_name_of(generation)}" if generation.state != "serving" else ""
    screen.whole((view, "bold"), "  ", (shlex.quote(key), "cyan"), f"  {waits} parked{where}")
    screen.text(
        f"  position {first.position:,}, {what}, since {show_time(_moment(first.parked_us))}"
    )
    screen.text(
        "  ",
        (f"{first.error or 'no reason kept'}", "red"),
        f" ({count(first.attempts, 'attempt')})",
    )


def _name_of(generation: Generation) -> str:
    return f"generation {generation.generation} ({generation.state})"


def _plain(view: str, generation: Generation, letter: DeadLetter) -> dict[str, Any]:
    return {
        "view": view,
        "generation": generation.generation,
        "state": generation.state,
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
    from projections.relay.generations import living
    from projections.relay.letters import ask_retry

    async with open_store(*where) as store:
        (view,) = await known.stored(store, [name])
        view, head = view.bind(store), await store.head()
        asked = [
            _Asked(build, generation, await ask_retry(build, key))
            for build, generation in await living(view)
        ]
        told: dict[str, Any] = {"view": name, "key": key, "asked": sum(a.events for a in asked)}
        if not told["asked"] and key is not None:
            raise Stop(
                f"view {name!r}: no dead letter of key {key!r}",
                next_step="see eventstore projections dead-letters",
            )
        return await _settle(store, view, head, asked, told, timeout, as_json)


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
    from projections.relay.dropping import drop, find_failed
    from projections.relay.generations import living

    async with open_store(*where) as store:
        (view,) = await known.stored(store, [name])
        view, head = view.bind(store), await store.head()
        places = await living(view)
        build = places[0][0]
        failed = await find_failed(build, key, position)
        dropped = position if failed is None else failed.position
        behind = [
            [each for each in await waiting_letters(place, key) if each.position != dropped]
            for place, _ in places
        ]
        audit = await drop(build, key, reason, dropped)
        told: dict[str, Any] = {
            "view": name,
            "key": key,
            "dropped": dropped,
            "audit_position": audit,
        }
        asked = [_Asked(*place, len(left)) for place, left in zip(places, behind, strict=True)]
        told["asked"] = sum(each.events for each in asked)
        if not as_json:
            Screen().text(
                f"gave up the event at position {dropped:,}; the reason is kept at position"
                f" {audit:,}, in $views/{name}"
            )
        return await _settle(store, view, head, asked, told, timeout, as_json)


class _Asked(NamedTuple):
    """A generation, and how many events of it a relay was asked for."""

    build: Build
    generation: Generation
    events: int


async def _settle(
    store: EventStore,
    view: View,
    head: int,
    asked: Sequence[_Asked],
    told: dict[str, Any],
    timeout: float,
    as_json: bool,
) -> int:
    """Waits for what was asked of relays, says what came of it, and lets a generation serve that
    waited for nothing else and has what stood in the log (`head`) when it was asked."""
    from projections.relay.letters import is_asked

    key, wanted = told["key"], [each for each in asked if each.events]
    fed: dict[int, str] = {}
    if wanted:
        with saying_warnings():
            async with someone_feeds(store, view, [each.generation for each in wanted]) as fed:
                hoped = [each.build for each in wanted if each.generation.generation in fed]
                await until_answered(hoped, key, timeout)
    elif not as_json:
        Screen().line("nothing waits")
    still: list[DeadLetter] = []
    unanswered = 0
    for each in wanted:
        left = await waiting_letters(each.build, key)
        is_open = await is_asked(each.build, key)
        still += left
        unanswered += is_open
        if not as_json:
            feeder = fed.get(each.generation.generation)
            _say_came(view.name, each, left, feeder, is_open)
    serves = await _let_serve(view, head, asked)
    if as_json:
        error = next((each.error for each in still if each.error), None)
        came = {"answered": not unanswered, "still_parked": len(still), "serves": serves}
        Screen().json({**told, **came, "error": error})
    elif serves is not None:
        Screen().line(f"{view.name}: generation {serves} serves")
    return ExitCode.REFUSED if still and not unanswered else ExitCode.DONE


async def _let_serve(view: View, head: int, asked: Sequence[_Asked]) -> int | None:
    """The number of a generation that took over, now or by a relay's look at the views."""
    from projections.asking import serving
    from projections.relay.switching import switch

    for build, generation, _ in asked:
        if generation.state != "building":
            continue
        await switch(view, build, at_least=head)
        if (await serving(view))[1].generation == generation.generation:
            return generation.generation
    return None


def _say_came(
    name: str, asked: _Asked, left: Sequence[DeadLetter], feeder: str | None, is_open: bool
) -> None:
    """What came of what was asked for in one generation."""
    is_other = asked.generation.state != "serving"
    where = f"{_name_of(asked.generation)}: " if is_other else ""
    if is_open:
        next_step = f"{feeder} has not come to it yet"
        if feeder is None:
            next_step = f"no relay feeds it: eventstore projections run {name}, with its --views"
        Screen().text(f"{where}asked for {count(asked.events, 'event')}; {next_step}")
        return
    Screen().line(f"{where}{count(asked.events - len(left), 'event')} delivered")
    for letter in left:
        if letter.error is not None:
            Screen().text(
                (f"still parked: {shlex.quote(letter.key)}", "bold"),
                f" at position {letter.position:,}: {letter.error}",
            )
