"""Damage in the tables is seen and named, never served; as with SQLite's file."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest

from eventstore import Corrupt, EventStore, NewEvent, RecordedEvent
from eventstore.testing import SequentialIds
from eventstore.verify import KnownHead
from tests.servers.postgres import PostgresServer

STREAM, VERSION, POSITION, LAST = "b", 3, 6, 10
"""The event that is damaged: versions 1 to 5 of `a` and `b` stand in turns."""

Damage = Callable[..., Coroutine[Any, Any, None]]
Read = Callable[[EventStore], AsyncIterator[RecordedEvent]]
READS: dict[str, Read] = {
    "read": lambda store: aiter(store.read(STREAM)),
    "read from the event on": lambda store: aiter(store.read(STREAM, after=VERSION - 1)),
    "read behind it": lambda store: aiter(store.read(STREAM, after=1, limit=3)),
    "read_all": lambda store: aiter(store.read_all()),
    "read_all by tag": lambda store: aiter(store.read_all(tags=["all"])),
    "read_all by type": lambda store: aiter(store.read_all(types=["note.added"])),
    "subscribe": lambda store: aiter(store.subscribe()),
    "subscribe to the stream": lambda store: aiter(store.subscribe(stream=STREAM)),
    "read backwards": lambda store: aiter(store.read(STREAM, backwards=True)),
}
_THERE = f"WHERE position = {POSITION}"
FLIPS = {
    "a byte of the payload": f"UPDATE events SET payload = '{{\"n\":4}}' {_THERE}",
    "the payload is no text": rf"UPDATE events SET payload = '\xff00' {_THERE}",
    "the hash": f"UPDATE events SET hash = sha256('x') {_THERE}",
    "the hash is gone": f"UPDATE events SET hash = 'x' {_THERE}",
    "a tag": f"UPDATE events SET tags = replace(tags, 'all', 'alm') {_THERE}",
    "the list of tags": f"UPDATE events SET tags = replace(tags, '[', '(') {_THERE}",
    "the id": f"UPDATE events SET event_id = 'event-666666' {_THERE}",
    "the actor": f"UPDATE events SET actor = 'eve' {_THERE}",
    "the time": f"UPDATE events SET recorded_at = recorded_at + 1 {_THERE}",
    "the type": f"UPDATE events SET type_id = 99 {_THERE}",
    "the schema version": f"UPDATE events SET schema_version = 2 {_THERE}",
    "the format": f"UPDATE events SET payload_format = 1 {_THERE}",
}


@functools.cache
def _written(server: PostgresServer) -> tuple[str, KnownHead]:
    """The name of a database with ten events in two streams, and its head as kept elsewhere."""
    url = server.new_url()

    async def write() -> KnownHead:
        async with EventStore.open(url, ids=SequentialIds()) as store:
            for n in range(1, 6):
                for stream in "ab":
                    note = NewEvent("note.added", {"n": n}, tags=["all", stream])
                    await store.append(stream, note, idempotency_key=f"k{n}")
            return (await store.verify()).head

    with ThreadPoolExecutor(1) as thread:
        head = thread.submit(asyncio.run, write()).result()
    return url.rsplit("/", 1)[1], head


@pytest.fixture
def kept(postgres: PostgresServer) -> KnownHead:
    """The head of the log before it was damaged."""
    return _written(postgres)[1]


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """A database with those ten events."""
    made = postgres.new_url(_written(postgres)[0])
    yield made
    postgres.drop(made)


@pytest.fixture
def damage(url: str) -> Damage:
    """Runs statements as the owner, with everything that guards the tables out of the way."""

    async def run(*statements: str) -> None:
        raw = await asyncpg.connect(url)
        await raw.execute("SET search_path = eventstore")
        for table in ("events", "event_tags", "event_causes", "idempotency_keys"):
            await raw.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        for statement in statements:
            assert await raw.execute(statement) not in ("UPDATE 0", "DELETE 0", "INSERT 0 0")
        await raw.close()

    return run


async def _read_until_refused(read: Read, store: EventStore) -> tuple[list[int], Corrupt]:
    served = []
    try:
        async for event in read(store):
            served.append(event.position)
    except Corrupt as exc:
        return served, exc
    pytest.fail(f"everything was served: {served}")


@pytest.mark.parametrize("flip", FLIPS)
async def test_a_stored_value_changed_then_every_read_and_verify_name_it(
    url: str, damage: Damage, flip: str
) -> None:
    """Corrupt with stream and version, and neither the event nor one behind it is served."""
    await damage(FLIPS[flip])
    # What was changed is no longer what a read by its type asks for: verify tells.
    reads = {name for name in READS if (name, flip) != ("read_all by type", "the type")}
    async with EventStore.open(url) as store:
        for name in sorted(reads):
            served, error = await _read_until_refused(READS[name], store)
            assert (error.kind, error.stream, error.version) == ("hash", STREAM, VERSION), name
            assert error.position == POSITION
            assert POSITION not in served
            assert f"stream {STREAM!r} version {VERSION}" in str(error)
        told = (await store.verify()).damages
    assert ("hash", STREAM, VERSION) in [(d.kind, d.stream, d.version) for d in told]


@pytest.mark.parametrize(
    ("gone", "reads"),
    [
        (POSITION, [name for name in READS if name != "read_all by type"]),
        (LAST, ["read", "read backwards", "read_all", "read_all by tag"]),
        (2, ["read backwards"]),
    ],
)
async def test_a_row_is_gone_then_reading_stops_there_and_names_it(
    url: str, damage: Damage, gone: int, reads: list[str]
) -> None:
    """A hole is corruption: at the end of a stream, at its start, in the middle."""
    await damage(f"DELETE FROM events WHERE position = {gone}")
    async with EventStore.open(url) as store:
        for read in reads:
            served, error = await _read_until_refused(READS[read], store)
            assert gone not in served
            assert not [p for p in served if p > gone] or read == "read backwards"
            if "by tag" in read:
                assert error.kind == "index"
            elif read in ("read_all", "subscribe"):
                assert (error.kind, error.position) == ("gap", gone)
            else:
                assert (error.kind, error.stream, error.version) == ("gap", STREAM, gone // 2)
        assert "gap" in [d.kind for d in (await store.verify()).damages]


async def test_two_rows_change_places_then_reading_stops_at_the_first(
    url: str, damage: Damage
) -> None:
    """Each event's hash covers its place and the event before it."""
    await damage(
        "UPDATE events SET position = 99, version = 99 WHERE position = 4",
        "UPDATE events SET position = 4, version = 2 WHERE position = 6",
        "UPDATE events SET position = 6, version = 3 WHERE position = 99",
    )
    async with EventStore.open(url) as store:
        for name in ("read", "read_all", "subscribe"):
            served, error = await _read_until_refused(READS[name], store)
            assert (error.kind, error.stream, error.version) == ("hash", STREAM, 2)
            assert max(served, default=0) < 4
        told = (await store.verify()).damages
        assert ("hash", STREAM, 2) in [(d.kind, d.stream, d.version) for d in told]


async def test_the_tail_is_lost_then_only_a_head_kept_elsewhere_tells(
    url: str, damage: Damage, kept: KnownHead
) -> None:
    """A log that was cut consistently, as an older backup is, is a shorter log; against the kept
    head it is damaged, also when it has grown again."""
    await damage(
        "DELETE FROM event_tags WHERE position > 8",
        "DELETE FROM idempotency_keys WHERE first_position > 8",
        "DELETE FROM events WHERE position > 8",
        "UPDATE streams SET version = 4",
        "UPDATE heads SET position = 8, hash = (SELECT hash FROM events WHERE position = 8)",
    )
    async with EventStore.open(url) as store:
        assert (await store.verify()).damages == ()
        (told,) = (await store.verify(head=kept)).damages
        assert (told.kind, told.position) == ("tail", 8)
        await store.append("a", [NewEvent("note.added", {"n": n}) for n in range(5)])
        (told,) = (await store.verify(head=kept)).damages
        assert (told.kind, told.position) == ("head", kept.position)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("UPDATE tags SET name = 'alm' WHERE name = 'all'", "index"),
        (f"DELETE FROM event_tags {_THERE}", "index"),
        ("INSERT INTO event_tags SELECT tag_id, 9 FROM tags WHERE name = 'b'", "index"),
        (f"UPDATE streams SET version = 4 WHERE name = '{STREAM}'", "head"),
        (f"UPDATE streams SET version = 7 WHERE name = '{STREAM}'", "gap"),
        ("UPDATE heads SET hash = sha256('x')", "head"),
        ("UPDATE heads SET position = 12", "gap"),
        ("UPDATE heads SET position = 9", "index"),
        ("INSERT INTO idempotency_keys VALUES (1, 1, 'k', 'x', 99, 1, NULL)", "index"),
        ("INSERT INTO idempotency_keys VALUES (1, 1, 'k', 'x', 10, 1, NULL)", "index"),
        ("INSERT INTO idempotency_keys VALUES (1, 0, 'k', 'x', 9, 1, '[')", "index"),
    ],
)
async def test_a_head_or_an_index_is_wrong_then_verify_says_so(
    url: str, damage: Damage, change: str, kind: str
) -> None:
    """A filtered read trusts its index, an append its head: verify holds both against the log."""
    await damage(change)
    async with EventStore.open(url) as store:
        assert kind in [d.kind for d in (await store.verify()).damages]


async def test_the_index_of_causes_lacks_a_row_then_verify_says_so(
    url: str, damage: Damage
) -> None:
    """`caused_by` trusts its index in the same way."""
    async with EventStore.open(url) as store:
        await store.append("a", NewEvent("t", 1, causation_id="event-000001"))
        await store.append("a", NewEvent("t", 1, derived_from=["event-000002", "event-000003"]))
        assert (await store.verify()).damages == ()
    await damage("DELETE FROM event_causes WHERE cause_id = 'event-000003'")
    async with EventStore.open(url) as store:
        assert [d.kind for d in (await store.verify()).damages] == ["index"]


@pytest.mark.parametrize(
    "change",
    [
        f"DELETE FROM events WHERE position = {LAST}",
        "UPDATE heads SET position = 12",
        "UPDATE heads SET hash = sha256('x')",
        f"UPDATE streams SET version = 4 WHERE name = '{STREAM}'",
    ],
)
async def test_the_end_of_the_log_is_damaged_then_nothing_is_appended(
    url: str, damage: Damage, change: str
) -> None:
    """Nothing goes on from damage; whoever tries is told what it is."""
    await damage(change)
    async with EventStore.open(url) as store:
        for _ in range(2):  # nor the second time
            with pytest.raises(Corrupt) as refused:
                await store.append(STREAM, NewEvent("note.added", {"n": 6}))
            assert refused.value.kind == "head"


async def test_a_key_stands_for_a_missing_event_then_it_is_corrupt(
    url: str, damage: Damage
) -> None:
    """The answer of a first use cannot be given again: that is told, and nothing is written."""
    await damage(f"DELETE FROM events {_THERE}")
    async with EventStore.open(url) as store:
        with pytest.raises(Corrupt):
            await store.lookup(STREAM, f"k{VERSION}")
        note = NewEvent("note.added", {"n": VERSION}, tags=["all", STREAM])
        with pytest.raises(Corrupt):
            await store.append(STREAM, note, idempotency_key=f"k{VERSION}")
        assert await store.head() == LAST
