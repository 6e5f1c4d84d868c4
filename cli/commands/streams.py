"""``eventstore streams``: which streams there are."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from eventstore import StreamInfo

from ..options import (
    DEFAULT_URL,
    JsonOption,
    StoreOption,
    TenantOption,
    complete_stream,
    open_store,
)
from ..rendering.events import iso_time, show_time
from ..rendering.screen import Screen
from ..rendering.values import count


def streams_command(
    prefix: Annotated[
        str,
        typer.Argument(
            metavar="PREFIX",
            help="Only streams whose name begins with this.",
            show_default=False,
            autocompletion=complete_stream,
        ),
    ] = "",
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=0, metavar="N", help="At most so many streams.", show_default=False
        ),
    ] = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """List streams by name, with their number of events and the time of the first and last.

    \b
    Examples:
      $ eventstore streams
      $ eventstore streams board/ --json
    """
    asyncio.run(_streams((store, tenant), prefix, limit, as_json))


async def _streams(
    where: tuple[str, str | None], prefix: str, limit: int | None, as_json: bool
) -> None:
    screen = Screen()
    found: list[StreamInfo] = []
    async with open_store(*where) as store:
        if limit == 0:
            return
        async for info in store.streams(prefix):
            if as_json:
                screen.json(_stream_json(info))
            found.append(info)
            if len(found) == limit:
                break
    if as_json:
        return
    rows = [
        (
            info.name,
            f"{info.version:,}",
            show_time(info.first_recorded_at),
            show_time(info.last_recorded_at),
        )
        for info in found
    ]
    if rows:
        columns = ("stream", "events", "first", "last")
        screen.table(columns, rows, right="events", give_way="first last")
    else:
        screen.line(f"{count(0, 'stream')}" + (f" under {prefix!r}" if prefix else ""))


def _stream_json(info: StreamInfo) -> dict[str, object]:
    return {
        "stream": info.name,
        "version": info.version,
        "first_recorded_at": iso_time(info.first_recorded_at),
        "last_recorded_at": iso_time(info.last_recorded_at),
    }
