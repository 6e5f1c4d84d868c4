"""The views that every store of agents' events can have: who said what, what was called, what is
remembered, what it cost, and who did what when.

`sessions`, `messages`, `tool_calls`, `memories`, `usage` and `audit` are tables of the store's own
database; `session_state` is a cache; `memory_index` finds memories by what they mean. They are
declared as any view is:

    async with Relay(store, list(stock_views().values())):
        answer = await memories.bind(store).get(("session/42", "likes"), at_least=position)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..errors import ExtraMissing
from ..view import View
from .audit import audit
from .memories import memories
from .memory_index import memory_index
from .messages import messages
from .session_state import session_state
from .sessions import sessions
from .tool_calls import tool_calls
from .usage import usage

if TYPE_CHECKING:
    from ..embedding import Embedder

__all__ = [
    "stock_views",
    "sessions",
    "messages",
    "tool_calls",
    "memories",
    "usage",
    "audit",
    "session_state",
    "memory_index",
]


def stock_views(
    *,
    cache_url: str | None = None,
    with_vectors: bool | None = None,
    embedder: Embedder | Literal["hashing"] | None = None,
) -> dict[str, View]:
    """All stock views by name, for a relay.

    `cache_url` names a Redis for `session_state`; without it the view is a table of the store's own
    database. `with_vectors` says whether `memory_index` is among them: None, where the packages of
    its `embedder` are installed, True always, False never, as for a PostgreSQL without pgvector.
    `embedder` is as in `VectorView`. Raises `ExtraMissing` with `with_vectors` where a package is
    missing.
    """
    views: list[View] = [sessions, messages, tool_calls, memories, usage, audit]
    views.append(session_state(cache_url))
    if with_vectors is not False:
        try:
            views.append(memory_index(embedder))
        except ExtraMissing:
            if with_vectors:
                raise
    return {view.name: view for view in views}
