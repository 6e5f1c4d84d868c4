"""Views fed from the log through the outbox: relational, cache and vector views that are rebuilt,
never repaired.

An append writes its events once. A `Relay` reads them, applies each view's `Projection` and feeds
its sink, at the view's own pace, with a durable checkpoint; any view can be built again beside the
one that serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import (
    KeyParked,
    ProjectionError,
    SinkEmptied,
    SinkUnavailable,
    ViewNotBuilt,
    ViewStale,
)
from .projection import Delete, Projection, Upsert

if TYPE_CHECKING:
    from .cache import CacheView
    from .recall import VectorView
    from .relational import RelationalView
    from .relay import Relay
    from .view import Answer, View

__all__ = [
    "Answer",
    "CacheView",
    "Delete",
    "KeyParked",
    "Projection",
    "ProjectionError",
    "RelationalView",
    "Relay",
    "SinkEmptied",
    "SinkUnavailable",
    "Upsert",
    "VectorView",
    "View",
    "ViewNotBuilt",
    "ViewStale",
]

_LAZY = {
    "Answer": "view",
    "CacheView": "cache",
    "RelationalView": "relational",
    "Relay": "relay",
    "VectorView": "recall",
    "View": "view",
}
"""SQLAlchemy, sinks and the relay are imported when they are asked for."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
