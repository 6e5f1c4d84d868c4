"""The engine of an open store, for tests that look inside."""

from __future__ import annotations

from typing import Any

from eventstore import EventStore
from eventstore.engines.sqlite.engine import SqliteEngine


def engine_of(store: EventStore) -> Any:
    """What the store hands its calls to."""
    engine = store._core.engine
    assert isinstance(engine, SqliteEngine)
    return engine


def writer_of(store: EventStore) -> Any:
    """The owner of its write connection."""
    return engine_of(store)._writer
