"""``eventstore projections show``: one row of a view, and what it is good for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from ...exits import wrong_usage
from ...options import DEFAULT_URL, JsonOption, StoreOption, TenantOption, open_store
from ...rendering.events import iso_time, show_time
from ...rendering.screen import Screen
from ...views import Known, RedisOption, ViewArgument, ViewsOption, key_of

if TYPE_CHECKING:
    from projections.projection import Key
    from projections.view import Answer


def show_command(
    name: ViewArgument,
    key: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY...",
            help="The row's key; several parts where it has several columns, or a JSON array.",
            show_default=False,
        ),
    ],
    at_least: Annotated[
        str | None,
        typer.Option(
            "--at-least",
            metavar="POSITION",
            help="Wait until the view has this position, such as one that append printed.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait.")
    ] = 5.0,
    views: ViewsOption = None,
    redis: RedisOption = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a row of a view, with the position and the time that it is good for.

    \b
    Examples:
      $ eventstore projections run --once audit session_state
      $ eventstore projections show audit 1
      $ eventstore projections show session_state board/7 --at-least 4 --json
    """
    view = Known(views, redis).one(name)
    wanted = key_of(view, key)
    position = _position(at_least)

    async def ask() -> Answer:
        async with open_store(store, tenant) as opened:
            try:
                return await view.bind(opened).get(
                    wanted, at_least=position, timeout_seconds=timeout
                )
            finally:
                await view.close()

    _show(Screen(), name, wanted, asyncio.run(ask()), as_json)


def _position(typed: str | None) -> int | None:
    if typed is None:
        return None
    number = typed.removeprefix("@")
    if not number.isdecimal() or len(number) > 18:
        raise wrong_usage(f"--at-least: {typed!r} is no position", "give a number, such as 42")
    return int(number)


def _show(screen: Screen, name: str, key: Key, answer: Answer, as_json: bool) -> None:
    value: Any = msgspec.to_builtins(answer.value)
    if as_json:
        screen.json(
            {
                "view": name,
                "key": key,
                "value": value,
                "position": answer.position,
                "recorded_at": iso_time(answer.recorded_at),
                "stale": answer.stale,
            }
        )
        return
    from projections.projection import key_text

    from ...rendering.trees import outline

    good_for = f"position {answer.position:,}"
    if answer.recorded_at is not None:
        good_for += f", {show_time(answer.recorded_at)}"
    screen.whole((f"{name} {key_text(key)}", "bold cyan"), (f"  good for {good_for}", "dim"))
    if answer.stale:
        screen.line(("stale: the view is further behind than its budget", "yellow"))
    if value is None:
        screen.line("no row")
        return
    for line in outline(value, screen.width):
        screen.line(*line)
