"""Options and names that cannot be kept to are told at the door, on every engine alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import EventStore, InvalidEvent, NewEvent, event_type
from eventstore.testing import isolated_registry


@pytest.mark.parametrize(
    "options",
    [
        {"synchronous": None},
        {"busy_timeout_seconds": "x"},
        {"busy_timeout_seconds": -1},
        {"queue_appends_max": 0},
        {"queue_appends_max": "x"},
        {"queue_bytes_max": True},
    ],
    ids=str,
)
async def test_an_option_is_out_of_bounds_then_its_name_is_told(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """The error names the option, and no file is made."""
    with pytest.raises(InvalidEvent, match=next(iter(options))):
        await EventStore.open(f"sqlite:///{tmp_path}/a.db", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
async def test_a_question_cannot_be_asked_then_it_is_refused_as_input(
    tmp_path: Path, engine: str
) -> None:
    """Lone surrogates and numbers beyond 64 bits are InvalidEvent wherever they come in."""
    url = "memory://" if engine == "memory" else f"sqlite:///{tmp_path}/a.db"
    async with EventStore.open(url) as store:
        await store.append("s", NewEvent("t", 1))
        with pytest.raises(InvalidEvent):
            await store.event("\ud800")
        with pytest.raises(InvalidEvent):
            [event async for event in store.caused_by("\ud800")]
        with pytest.raises(InvalidEvent):
            await store.snapshots.list("\ud800")
        with pytest.raises(InvalidEvent):
            await store.read("s", after=2**70).list()


def test_a_schema_version_is_beyond_the_column_then_it_is_refused() -> None:
    """What the databases could not hold is refused when it is registered."""
    with isolated_registry(), pytest.raises(InvalidEvent, match="versions"):

        @event_type("t", version=2**63)
        class Sent(msgspec.Struct, frozen=True):
            to: str
