"""``eventstore projections show``: one row of a view, and what it is good for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from ...exits import Stop, wrong_usage
from ...options import DEFAULT_URL, JsonOption, StoreOption, TenantOption, open_store
from ...rendering.events import iso_time, show_time
from ...rendering.screen import Screen
from ...views import Known, RedisOption, ViewArgument, ViewsOption, keys_of

if TYPE_CHECKING:
    from projections.projection import Key
    from projections.view import Answer, View


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
    keys = keys_of(view, key)
    position = _position(at_least)

    async def ask() -> tuple[Key, Answer]:
        async with open_store(store, tenant) as opened:
            try:
                bound = view.bind(opened)
                await _check_place(bound)
                for wanted in keys:
                    answer = await bound.get(wanted, at_least=position, timeout_seconds=timeout)
                    if answer.value is not None:
                        return wanted, answer
                return keys[0], answer
            finally:
                await view.close()

    _show(Screen(), name, *asyncio.run(ask()), as_json)


def _position(typed: str | None) -> int | None:
    if typed is None:
        return None
    number = typed.removeprefix("@")
    if not number.isdecimal() or len(number) > 18:
        raise wrong_usage(f"--at-least: {typed!r} is no position", "give a number, such as 42")
    return int(number)


async def _check_place(view: View) -> None:
    """Refuses to look for rows in the store where they were never put there, such as those of a
    view that is fed with --redis."""
    from projections.asking import serving
    from projections.cache.table import CacheTableSink

    if not isinstance(view.sink, CacheTableSink):
        return
    build, generation = await serving(view)
    outbox, table = build.outbox, f"cache_{view.name}_{generation.generation}"
    if outbox.dialect == "sqlite":
        found = await outbox.query("SELECT 1 FROM sqlite_master WHERE name = ?", (table,))
    else:
        found = await outbox.query(
            "SELECT 1 FROM pg_tables WHERE schemaname = $1 AND tablename = $2",
            (outbox.schema, table),
        )
    if not found:
        raise Stop(
            f"view {view.name!r}: its rows are not in the store",
            next_step="where they are in Redis, name it with --redis URL",
        )


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
