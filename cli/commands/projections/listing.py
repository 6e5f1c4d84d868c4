"""``eventstore projections list``: which views there are, and which of them the store has built."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from eventstore import EventStore

from ...options import DEFAULT_URL, JsonOption, StoreOption, TenantOption, open_store
from ...rendering.screen import Screen
from ...views import Known, RedisOption, ViewsOption, has_code

if TYPE_CHECKING:
    from projections.view import View


def list_command(
    views: ViewsOption = None,
    redis: RedisOption = None,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """List views: the stock ones, those of --views, and those that the store has rows of.

    \b
    Examples:
      $ eventstore projections list
      $ eventstore projections list --json
    """
    known = Known(views, redis)
    asyncio.run(_list((store, tenant), known, as_json))


async def _list(where: tuple[str, str | None], known: Known, as_json: bool) -> None:
    screen = Screen()
    async with open_store(*where) as store:
        stored = {view.name: view for view in await known.stored(store)}
        found = [await _told(store, known, view) for view in ({**known.all, **stored}).values()]
    if as_json:
        for each in found:
            screen.json(each)
        return
    rows = [
        (
            each["view"],
            each["rows_in"] or "-",
            each["from"],
            "not built" if each["generation"] is None else f"generation {each['generation']}",
            "-" if each["position"] is None else f"{each['position']:,}",
        )
        for each in found
    ]
    screen.table(("view", "rows in", "from", "built", "position"), rows, right="position")


async def _told(store: EventStore, known: Known, view: View) -> dict[str, Any]:
    from projections.asking import reached, serving
    from projections.errors import ViewNotBuilt

    origin = "--views" if view.name in known.own else "stock"
    try:
        build, generation = await serving(view.bind(store))
        number, position = generation.generation, (await reached(build))[0]
    except ViewNotBuilt:
        number, position = None, None
    return {
        "view": view.name,
        "rows_in": _place(view),
        "from": origin if has_code(view) else "the store",
        "generation": number,
        "position": position,
    }


def _place(view: View) -> str | None:
    """What a person calls the view's sink."""
    from projections import VectorView
    from projections.cache import CacheView
    from projections.cache.redis import RedisSink
    from projections.relational import RelationalView

    if not has_code(view):
        return None
    if isinstance(view, RelationalView):
        return f"table {view.table.name}"
    if isinstance(view, CacheView):
        return "Redis" if isinstance(view.sink, RedisSink) else "cache in the store"
    return "vectors" if isinstance(view, VectorView) else type(view).__name__
