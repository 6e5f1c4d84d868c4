"""Damage in the tables is seen and named, never served; as with SQLite's file."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest

from eventstore import Corrupt, EventStore, NewEvent
from eventstore.testing import SequentialIds
from eventstore.verify import KnownHead
from tests.engines import damaged
from tests.engines.damaged import (
    LAST,
    STREAM,
    THERE,
    VERSION,
    write,
)
from tests.servers.postgres import PostgresServer

Damage = Callable[..., Coroutine[Any, Any, None]]
FLIPS = {
    **damaged.FLIPS,
    "a byte of the payload": f"UPDATE events SET payload = '{{\"n\":4}}' {THERE}",
    "the payload is no text": rf"UPDATE events SET payload = '\xff00' {THERE}",
    "the hash": f"UPDATE events SET hash = sha256('x') {THERE}",
}


@functools.cache
def _written(server: PostgresServer) -> tuple[str, KnownHead]:
    """The name of a database with ten events in two streams, and its head as kept elsewhere."""
    url = server.new_url()

    async def fill() -> KnownHead:
        async with EventStore.open(url, ids=SequentialIds()) as store:
            return await write(store)

    with ThreadPoolExecutor(1) as thread:
        head = thread.submit(asyncio.run, fill()).result()
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


@pytest.mark.parametrize("flip", FLIPS)
async def test_a_stored_value_changed_then_every_read_and_verify_name_it(
    url: str, damage: Damage, flip: str
) -> None:
    """Corrupt with stream and version, and neither the event nor one behind it is served."""
    await damage(FLIPS[flip])
    await damaged.every_read_and_verify_name_it(url, flip)


@pytest.mark.parametrize(("gone", "reads"), damaged.GONE)
async def test_a_row_is_gone_then_reading_stops_there_and_names_it(
    url: str, damage: Damage, gone: int, reads: list[str]
) -> None:
    """A hole is corruption: at the end of a stream, at its start, in the middle."""
    await damage(f"DELETE FROM events WHERE position = {gone}")
    await damaged.reads_stop_at_the_hole(url, gone, reads)


async def test_two_rows_change_places_then_reading_stops_at_the_first(
    url: str, damage: Damage
) -> None:
    """Each event's hash covers its place and the event before it."""
    await damage(*damaged.EXCHANGED)
    await damaged.reads_stop_at_the_first_exchanged(url)


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
        (f"DELETE FROM event_tags {THERE}", "index"),
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
    await damage(f"DELETE FROM events {THERE}")
    async with EventStore.open(url) as store:
        with pytest.raises(Corrupt):
            await store.lookup(STREAM, f"k{VERSION}")
        note = NewEvent("note.added", {"n": VERSION}, tags=["all", STREAM])
        with pytest.raises(Corrupt):
            await store.append(STREAM, note, idempotency_key=f"k{VERSION}")
        assert await store.head() == LAST
