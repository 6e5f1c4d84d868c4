"""A stream as it was at a version, for what only ever reads the whole of one."""

from __future__ import annotations

from typing import Any, cast

from eventstore import EventStore
from eventstore.reading import Events


def bounded(store: EventStore, stream: str, version: int) -> EventStore:
    """The same store, in which `stream` ends at `version` for whoever reads it forwards."""
    return cast("EventStore", _Bounded(store, stream, version))


class _Bounded:
    """Everything of a store but that one read is the store's own."""

    def __init__(self, store: EventStore, stream: str, version: int) -> None:
        self._store = store
        self._stream = stream
        self._version = version

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(self, stream: str, *, after: int = 0, limit: int | None = None) -> Events:
        """See `EventStore.read`. If cancelled, nothing is left open."""
        if stream == self._stream:
            left = max(self._version - after, 0)
            limit = left if limit is None else min(limit, left)
        return self._store.read(stream, after=after, limit=limit)
