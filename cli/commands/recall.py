"""``eventstore recall``: what is remembered that is nearest to a question in meaning."""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from eventstore import EventStore

from ..exits import Stop, wrong_usage
from ..moments import parse_time
from ..options import DEFAULT_URL, JsonOption, StoreOption, TenantOption, open_store
from ..relaying import extent
from ..rendering.safe import one_line
from ..rendering.screen import Screen
from ..rendering.values import count
from ..views import Known, ViewsOption

if TYPE_CHECKING:
    from projections.view import View

VIEW = "memory_index"
"""The view that is searched: the stock one, or the user's own of its projection."""

FOUND_MAX = 1_000
"""Memories in one answer: more is no recall, and the view `memories` lists them all."""

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
            "--until", metavar="TIME", help="Not newer; a day counts whole.", show_default=False
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
    return begin + timedelta(days=1, microseconds=-1) if ends else begin


async def _recall(
    where: tuple[str, str | None],
    view: View,
    query: str,
    k: int,
    wanted: dict[str, Any],
    as_json: bool,
) -> None:
    async with open_store(*where) as store:
        asked: Any = view.bind(store)
        if not hasattr(asked, "search"):
            raise Stop(f"view {VIEW!r} cannot be searched", next_step="make it a VectorView")
        try:
            found = await asked.search(query, k, **wanted)
            await _say_behind(store)
        finally:
            await view.close()
    screen = Screen()
    if as_json:
        for each in found:
            screen.json(msgspec.to_builtins(each))
        return
    if not found:
        screen.line("nothing is remembered that fits")
        return
    for each in found:
        _show(screen, each)


async def _say_behind(store: EventStore) -> None:
    """Tells on stderr that newer memories may be missing."""
    now = await extent(store, [VIEW], all_tenants=False)
    serving = [place for place in now.places if place["state"] == "serving"]
    behind = sum([max(place["head"] - place["position"], 0) for place in serving])
    if behind:
        print(
            f"eventstore: {VIEW} is {count(behind, 'event')} behind;"
            f" eventstore projections run --once {VIEW} feeds it",
            file=sys.stderr,
        )


def _show(screen: Screen, found: Any) -> None:
    """Score, text, and what is known of whose it is and since when."""
    value = found.value if isinstance(found.value, dict) else {}
    known = [str(value[name]) for name in ("user", "type", "created_at") if value.get(name)]
    screen.text((f"{found.score:.2f}", "cyan"), "  ", one_line(found.text, 10 * screen.width))
    stream = found.key[0] if isinstance(found.key, tuple) else found.key
    screen.whole("      ", ("  ".join([*known, str(stream)]), "dim"))
