"""The engine of an open store, for tests that look inside."""

from __future__ import annotations

from eventstore import EventStore
from eventstore.engines.postgres.engine import PostgresEngine


def engine_of(store: EventStore) -> PostgresEngine:
    """What the store hands its calls to."""
    engine = store._core.engine
    assert isinstance(engine, PostgresEngine)
    return engine
