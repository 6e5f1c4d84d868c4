"""``eventstore recall``: what is remembered that is nearest to a question in meaning."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from eventstore import EventStore

from ..exits import wrong_usage
from ..moments import parse_time
from ..options import DEFAULT_URL, JsonOption, StoreOption, TenantOption, open_store
from ..rendering.events import show_time
from ..rendering.safe import one_line
from ..rendering.screen import Screen
from ..rendering.values import count
from ..views import Known, ViewsOption

if TYPE_CHECKING:
    from projections.recall import Found
    from projections.view import View

VIEW = "memory_index"
"""The view that is searched: the stock one, or the user's own of its projection."""

FOUND_MAX = 1_000
"""Memories in one answer: more is no recall, and the view `memories` lists them all."""

TEXT_CHARACTERS = 1_000
"""Of a memory's text, for a person; --json has all of it."""

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def recall_command(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="A question, or words.", show_default=False)
    ],
    user: Annotated[
        str | None,
        typer.Option(
            "--user", metavar="NAME", help="Only this user's memories.", show_default=False
        ),
    ] = None,
    type_name: Annotated[
        str | None,
        typer.Option(
            "--type", metavar="TYPE", help="Only memories of this type.", show_default=False
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="Not older: a day, or an ISO time.", show_default=False
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="TIME",
            help="From before this time; a day counts whole.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[
        int, typer.Option("-k", min=1, max=FOUND_MAX, metavar="N", help="At most so many.")
    ] = 5,
    views: ViewsOption = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search memories by meaning and by words, the best first. What was forgotten is not found.

    \b
    Examples:
      $ eventstore projections run --once memory_index
      $ eventstore recall "what does Ben eat?" -k 3
      $ eventstore recall "holidays by the sea" --user ben --since 2026-01-01 --json
    """
    if not query.strip():
        raise wrong_usage("QUERY: it is empty", "ask for something")
    view = Known(views).one(VIEW)
    wanted = {
        "user": user,
        "type": type_name,
        "since": None if since is None else _moment(since, ends=False),
        "until": None if until is None else _moment(until, ends=True),
    }
    asyncio.run(_recall((store, tenant), view, query, k, wanted, as_json))


def _moment(typed: str, *, ends: bool) -> datetime:
    """The time that is meant: of a day its beginning, or its end; days are those of UTC."""
    if not _DAY.fullmatch(typed):
        return parse_time(typed)
    begin = parse_time(f"{typed}T00:00:00Z")
    return begin + timedelta(days=1) if ends else begin


async def _recall(
    where: tuple[str, str | None],
    view: View,
    query: str,
    k: int,
    wanted: dict[str, Any],
    as_json: bool,
) -> None:
    from projections import VectorView

    if not isinstance(view, VectorView):
        raise wrong_usage(f"--views: {VIEW!r} cannot be searched", "make it a VectorView")
    async with open_store(*where) as store:
        asked = view.bind(store)
        try:
            found = await asked.search(query, k, **wanted)
            await _say_behind(store, found.position)
            _show(Screen(), found, as_json)
            await asked.settle()  # an index that was built for this is kept for the next
        finally:
            await asked.close()


async def _say_behind(store: EventStore, position: int) -> None:
    """Tells on stderr that newer memories may be missing."""
    behind = await store.head() - position
    if behind > 0:
        print(
            f"eventstore: {VIEW} is {count(behind, 'event')} behind;"
            f" eventstore projections run --once {VIEW} feeds it",
            file=sys.stderr,
        )


def _show(screen: Screen, found: Sequence[Found], as_json: bool) -> None:
    """Each with its score, its text, whose it is and since when."""
    for each in found:
        value = each.value if isinstance(each.value, dict) else {}
        if as_json:
            screen.json(
                {
                    "key": each.key,
                    "score": each.score,
                    "text": each.text,
                    "value": msgspec.to_builtins(value),
                    "position": each.position,
                }
            )
            continue
        said = [value.get(name) for name in ("user", "type")]
        time = value.get("time")
        known = [str(part) for part in said if part]
        if isinstance(time, datetime):
            known.append(show_time(time))
        key = each.key if isinstance(each.key, tuple) else (each.key,)
        screen.text((f"{each.score:.2f}", "cyan"), "  ", one_line(each.text, TEXT_CHARACTERS))
        screen.whole("      ", ("  ".join([*known, str(key[0])]), "dim"))
    if not found and not as_json:
        screen.line("nothing is remembered that fits")
    screen.flush()
