"""Events as a store would have recorded them, without a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from eventstore import NewEvent, RecordedEvent, canonical
from reducers import Reducer, fold

Record = Callable[..., list[RecordedEvent]]


@pytest.fixture(scope="session")
def record() -> Record:
    """Turns `NewEvent`s into recorded ones of one stream, with the ids e1, e2, ..."""

    def recorded(*events: NewEvent, actor: str | None = None) -> list[RecordedEvent]:
        return list(_recorded(events, actor))

    return recorded


def _recorded(events: Iterable[NewEvent], actor: str | None) -> Iterable[RecordedEvent]:
    for version, event in enumerate(events, 1):
        yield RecordedEvent(
            position=version,
            stream="session/1",
            version=version,
            id=event.id or f"e{version}",
            type=event.type,
            schema_version=1,
            payload=canonical.encode(event.data, "$"),
            recorded_us=version,
            actor=actor,
        )


@pytest.fixture(scope="session")
def folded(record: Record) -> Callable[..., Any]:
    """The state after some events: ``folded(reducer, event, event, ...)``."""

    def state_after(reducer: Reducer[Any], *events: NewEvent, actor: str | None = None) -> Any:
        return fold(record(*events, actor=actor), reducer)

    return state_after
