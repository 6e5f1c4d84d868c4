"""Nothing is appended to a log whose heads are not its events'."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import Append, Corrupt, EventStore, InvalidEvent, NewEvent
from eventstore.testing import SequentialIds

from .conftest import Connect

COPY = (
    "INSERT INTO events SELECT tenant_id, {position}, {stream}, {version}, 'other', type_id,"
    " schema_version, recorded_at, occurred_at, actor, causation_id, correlation_id, derived_from,"
    " tags, context, payload, payload_format, subject_key_id, hash FROM events WHERE position = 3"
)
DAMAGES = {
    "the log's head is beyond it": "UPDATE heads SET position = 7",
    "the log's head is set back": "UPDATE heads SET position = 2",
    "the head's hash is another": "UPDATE heads SET hash = zeroblob(32)",
    "the log has no head": "DELETE FROM heads",
    "the last event is gone": "DELETE FROM events WHERE position = 3",
    "all events are gone": "DELETE FROM events",
    "the stream's head is beyond it": "UPDATE streams SET version = 5 WHERE name = 's'",
    "the stream's head is set back": "UPDATE streams SET version = 1 WHERE name = 's'",
    "the stream has no head": "DELETE FROM streams WHERE name = 's'",
    "an event stands behind the head": COPY.format(position=4, stream=2, version=3),
    "an event stands behind the stream's": COPY.format(position=0, stream=2, version=3),
}


@pytest.fixture(autouse=True)
async def written(url: str) -> None:
    """t at version 1 (position 1), s at 2 (positions 2 and 3); the store is closed."""
    async with EventStore.open(url, ids=SequentialIds()) as store:
        for stream in "tss":
            await store.append(stream, NewEvent("note", {"n": 1}))


def _damage(connect: Connect, statement: str) -> None:
    with connect() as raw:
        for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            raw.execute(f"DROP TRIGGER {name}")
        raw.execute(statement)


def _rows(connect: Connect) -> list[Any]:
    with connect() as raw:
        return [
            raw.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("events", "heads", "streams")
        ]


@pytest.mark.parametrize("statement", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("open_before", [False, True])
async def test_heads_are_not_the_events_then_an_append_is_corrupt_and_writes_nothing(
    url: str, connect: Connect, statement: str, open_before: bool
) -> None:
    """Whether the store was open while the file was damaged, or is opened on it."""
    if not open_before:
        _damage(connect, statement)
    async with EventStore.open(url) as store:
        if open_before:
            await store.version("s")
            _damage(connect, statement)
        before = _rows(connect)
        with pytest.raises(Corrupt) as caught:
            await store.append("s", NewEvent("note", {"n": 2}))
        assert caught.value.kind == "head"
        assert "position" in str(caught.value) or "stream" in str(caught.value)
        assert _rows(connect) == before


@pytest.mark.parametrize("guarded", [True, False])
async def test_the_factory_repeats_an_id_then_the_id_is_blamed(
    url: str, connect: Connect, guarded: bool
) -> None:
    """Not the log: whether the trigger tells or, without it, the unique index."""
    if not guarded:
        _damage(connect, "SELECT 1")
    async with EventStore.open(url, ids=SequentialIds()) as store:
        with pytest.raises(InvalidEvent, match="id factory"):
            await store.append("s", NewEvent("note", {"n": 2}))


async def test_an_event_takes_the_next_place_unseen_then_the_append_is_corrupt(
    url: str, connect: Connect
) -> None:
    """What is remembered between batches is not asked anew: the database itself tells."""
    async with EventStore.open(url) as store:
        await store.append_many([Append("u", [NewEvent("note", 1)])])
        _damage(
            connect,
            "CREATE TRIGGER foreign_row AFTER UPDATE ON heads WHEN NEW.position = 5 BEGIN "
            + COPY.format(position=6, stream="(SELECT max(stream_id) FROM streams)", version=9)
            + "; END",
        )
        await store.append("u", NewEvent("note", 2))
        with pytest.raises(Corrupt) as caught:
            await store.append("u", NewEvent("note", 3))
        assert caught.value.kind == "head"
