"""The view `session_state`: what the reducer `agent` makes of each stream, as JSON, at hand."""

from __future__ import annotations

from reducers.agent import agent

from ..cache import CacheView
from ..projection import Projection

projection = Projection("session_state", fold=agent)


def session_state(url: str | None = None) -> CacheView:
    """The view, with its values in the store's own database, or in the Redis at `url`."""
    return CacheView(projection, url)
