"""``eventstore export``: what a stream was made of, or its events, for another program."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from eventstore import EventStore

from ..exits import Stop, wrong_usage
from ..importers import NoSource, export_document, export_source
from ..naming import find_stream
from ..options import (
    DEFAULT_URL,
    JsonOption,
    StoreOption,
    StreamArgument,
    TenantOption,
    open_store,
)
from ..rendering.events import event_json
from ..rendering.screen import Screen
from ..watching import watched

FORMS = ("source", "document", "events")


def export_command(
    stream: StreamArgument,
    form: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="source|document|events",
            help="The source's records, one a line; the whole file; or the stream's events.",
        ),
    ] = "source",
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write out a stream: as the source that it was imported from, or as events.

    Records come in the source's order, each equal as JSON to what was imported; one that was kept
    as bytes comes back byte for byte. A document holds the fields beside the records too, and can
    be imported again. All forms are JSON (or JSON Lines), with and without --json.

    \b
    Examples:
      $ eventstore export session/42 --as source
      $ eventstore export session/42 --as document > session.json
      $ eventstore export session/42 --as events --json
    """
    if form not in FORMS:
        raise wrong_usage(f"--as: {form!r} is no form", f"use {', '.join(FORMS)}")
    asyncio.run(_export((store, tenant), stream, form, as_json))


async def _export(where: tuple[str, str | None], typed: str, form: str, as_json: bool) -> None:
    async with open_store(*where) as store:
        stream = await find_stream(store, typed)
        # A document is written when all of it was read.
        prints = form != "document"
        with watched(store, "exporting", quiet=as_json, prints=prints) as read:
            if form == "events":
                screen = Screen()
                async for event in read.read(stream):
                    screen.json(event_json(event))
                return
            await _export_source(read, stream, form)


async def _export_source(store: EventStore, stream: str, form: str) -> None:
    written = False
    if form == "source":
        async for record in export_source(store, stream):
            _write(record + b"\n")
            written = True
    else:
        try:
            _write(await export_document(store, stream))
            written = True
        except NoSource:
            written = False
    if not written:
        raise Stop(
            f"stream {stream!r} holds nothing that was imported",
            next_step="use --as events",
        )


def _write(content: bytes) -> None:
    """Writes bytes as they are: a refused record may be no text in any encoding."""
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(content.decode(errors="backslashreplace"))
        return
    sys.stdout.flush()
    buffer.write(content)
