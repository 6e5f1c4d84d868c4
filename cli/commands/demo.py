"""``eventstore demo``: two users and an agent on one store, told from what the log holds."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from eventstore import EventStore

from ..demo.acting import perform
from ..demo.script import SCRIPT, Script
from ..demo.telling import Telling
from ..options import JsonOption, TenantOption, open_store, shown_store
from ..rendering.events import event_json
from ..rendering.screen import Screen
from ..rendering.values import count

DEMO_PATH = "eventstore-demo.db"


def demo_command(
    store: Annotated[
        str,
        typer.Option("--store", metavar="URL", help="Where to play it: a URL or a path."),
    ] = DEMO_PATH,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Play a session: two users and an agent share a task board and a memory.

    Without a model or a network it shows appends, a conflict that is merged and told to the user,
    a tool that fails and is retried under one idempotency key, then state, diff and replay. The
    file stays; played again, it holds one more session. $EVENTSTORE_URL is not heeded, so that no
    real store is played in.

    \b
    Examples:
      $ eventstore demo
      $ eventstore demo --store elsewhere.db --json
    """
    asyncio.run(play((store, tenant), SCRIPT, Screen(), as_json))


async def play(
    where: tuple[str, str | None], script: Script, screen: Screen, as_json: bool
) -> None:
    """Plays a script into the store and shows it; with `as_json` only the events it wrote."""
    url, tenant = where
    async with open_store(url, tenant, create=True) as store:
        stream = await _free_stream(store, script.session)
        if as_json:
            async for _ in perform(store, stream, script):
                pass
            async for event in store.read(stream):
                screen.json(event_json(event))
            return
        telling = Telling(screen, store, stream)
        telling.heading(f"what is appended to {stream}", shown_store(url))
        async for moment in perform(store, stream, script):
            await telling.moment(moment)
            screen.flush()
        await telling.afterwards()
        telling.heading(
            "go on from here",
            f"{shown_store(url)} holds {count(await store.head(), 'event')}",
        )
        for command in telling.commands(shown_store(url), tenant):
            screen.whole("  ", command)


async def _free_stream(store: EventStore, session: str) -> str:
    """A stream that does not exist yet: the demo may be played any number of times."""
    stream, number = f"session/{session}", 1
    while await store.version(stream):
        number += 1
        stream = f"session/{session}-{number}"
    return stream
