"""``eventstore fork``: a new stream that begins as another one stood at some point."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from eventstore import AppendResult, Conflict
from reducers.forking import fork, version_at

from ..exits import Stop, check_argument
from ..moments import Point, beginning
from ..options import (
    DEFAULT_URL,
    AtOption,
    ByOption,
    JsonOption,
    StoreOption,
    StreamArgument,
    TenantOption,
    Where,
    open_stream,
    point_at,
)
from ..rendering.screen import Screen


def fork_command(
    stream: StreamArgument,
    into: Annotated[
        str,
        typer.Option("--into", metavar="NEW", help="The new stream's name.", show_default=False),
    ],
    at: AtOption = None,
    by: ByOption = "recorded",
    actor: Annotated[
        str | None, typer.Option("--actor", metavar="WHO", help="Who forks it.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="KEY", help="Idempotency key: the same call again forks nothing new."
        ),
    ] = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a new stream as another one stood at a point, to try what would happen otherwise.

    No event is copied. The new stream's own events go on behind the point; what is appended to
    either does not show in the other.

    \b
    Examples:
      $ eventstore fork board/7 --at 2 --into board/7b
      $ eventstore fork board/7 --into board/7c --actor ann --json
    """
    for name, value, kind in (
        ("--into", into, "stream"),
        ("--actor", actor, "actor"),
        ("--key", key, "idempotency key"),
    ):
        check_argument(name, value, kind)
    point = point_at(at, by)
    parent, result = asyncio.run(_fork((store, tenant), stream, point, into, key, actor))
    _show(Screen(), parent, into, result, as_json)


async def _fork(
    where: Where,
    stream: str,
    point: Point | None,
    into: str,
    key: str | None,
    actor: str | None,
) -> tuple[str, AppendResult]:
    async with open_stream(where, stream, point) as (store, name):
        if point is not None and not await version_at(store, name, point):
            raise Stop(
                f"nothing to fork yet: {await beginning(store, name)}",
                next_step="choose a later point with --at",
            )
        try:
            result = await fork(store, name, into=into, at=point, idempotency_key=key, actor=actor)
        except Conflict as exc:
            raise Stop(
                f"stream {into!r} exists already, at version {exc.actual}",
                next_step="choose another name with --into",
            ) from None
        return name, result


def _show(screen: Screen, parent: str, into: str, result: AppendResult, as_json: bool) -> None:
    at = result.version - 1
    if as_json:
        told: dict[str, Any] = {
            "stream": into,
            "version": result.version,
            "position": result.position,
            "duplicate": result.duplicate,
            "parent": parent,
            "parent_version": at,
            "event": result.events[0].id,
        }
        screen.json(told)
        return
    if result.duplicate:
        screen.line("forked before under this key; this is what was done then:")
    screen.whole(
        (into, "bold cyan"),
        f"  begins as {parent} version {at}; its own events follow version {result.version},"
        f" position {result.position}",
    )
