"""The views that every store of agents' events can have: who said what, what was called, what is
remembered, what it cost, and who did what when.

`sessions`, `messages`, `tool_calls`, `memories`, `usage` and `audit` are tables of the store's own
database; `session_state` is a cache. They are declared as any view is:

    async with Relay(store, list(stock_views().values())):
        answer = await memories.bind(store).get(("session/42", "likes"), at_least=position)
"""

from __future__ import annotations

from ..view import View
from .audit import audit
from .memories import memories
from .messages import messages
from .session_state import session_state
from .sessions import sessions
from .tool_calls import tool_calls
from .usage import usage

__all__ = [
    "stock_views",
    "sessions",
    "messages",
    "tool_calls",
    "memories",
    "usage",
    "audit",
    "session_state",
]


def stock_views(*, cache_url: str | None = None) -> dict[str, View]:
    """All stock views by name, for a relay. `cache_url` names a Redis for `session_state`;
    without it the view is a table of the store's own database."""
    views = (sessions, messages, tool_calls, memories, usage, audit, session_state(cache_url))
    return {view.name: view for view in views}
