"""Damage in the file is seen and named, never served."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from eventstore import Append, Corrupt, EventStore, NewEvent
from eventstore.engines.sqlite.unwritable import open_for_reading
from eventstore.testing import SequentialIds
from eventstore.verify import KnownHead
from tests.engines import damaged
from tests.engines.damaged import (
    LAST,
    POSITION,
    READS,
    STREAM,
    THERE,
    VERSION,
    read_until_refused,
    write,
)

from .conftest import Connect


@pytest.fixture(autouse=True)
async def written(url: str) -> KnownHead:
    """A closed store with ten events in two streams; its head, as kept elsewhere."""
    async with EventStore.open(url, ids=SequentialIds()) as store:
        return await write(store)


@pytest.fixture
def damage(connect: Connect) -> Callable[..., None]:
    """Runs statements on the file, with everything that guards it out of the way."""

    def run(*statements: str) -> None:
        with connect() as raw:
            guards = raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for (name,) in guards:
                raw.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                raw.execute(statement)

    return run


FLIPS = {
    **damaged.FLIPS,
    "a byte of the payload": f"UPDATE events SET payload = CAST('{{\"n\":4}}' AS BLOB) {THERE}",
    "the payload's kind": f"UPDATE events SET payload = 7 {THERE}",
    "the hash": f"UPDATE events SET hash = randomblob(32) {THERE}",
}


@pytest.mark.parametrize("flip", FLIPS)
async def test_a_stored_value_changed_then_every_read_and_verify_name_it(
    url: str, damage: Callable[..., None], flip: str
) -> None:
    """Corrupt with stream and version, and neither the event nor one behind it is served."""
    damage(FLIPS[flip])
    await damaged.every_read_and_verify_name_it(url, flip)


@pytest.mark.parametrize("column", ["event_id", "actor", "correlation_id", "tags", "context"])
async def test_bytes_are_no_text_any_more_then_the_event_that_has_them_is_named(
    url: str, damage: Callable[..., None], column: str
) -> None:
    """A text that is not UTF-8 cannot be fetched as it is; reads and verify name it all the same,
    and the connections read other events as before."""
    damage(f"UPDATE events SET {column} = CAST(x'61ff' AS TEXT) {THERE}")
    async with EventStore.open(url) as store:
        for read in READS.values():
            served, error = await read_until_refused(read, store)
            assert (error.kind, error.stream, error.version) == ("hash", STREAM, VERSION)
            assert (error.position, POSITION in served) == (POSITION, False)
        told = (await store.verify()).damages
        assert ("hash", STREAM, VERSION) in [(d.kind, d.stream, d.version) for d in told]
        assert len(await store.read("a").list()) == 5


async def test_the_name_of_a_stream_is_no_text_any_more_then_its_first_event_is_named(
    url: str, damage: Callable[..., None]
) -> None:
    """What is named can be printed: the odd bytes are escaped."""
    damage(f"UPDATE streams SET name = CAST(x'62ff' AS TEXT) WHERE name = '{STREAM}'")
    async with EventStore.open(url) as store:
        served, error = await read_until_refused(READS["read_all"], store)
        assert 2 not in served
        assert (error.kind, error.stream, error.version) == ("hash", "b\\xff", 1)
        told = (await store.verify()).damages
        assert ("hash", "b\\xff", 1) in [(d.kind, d.stream, d.version) for d in told]


@pytest.mark.parametrize(("gone", "reads"), damaged.GONE)
async def test_a_row_is_gone_then_reading_stops_there_and_names_it(
    url: str, damage: Callable[..., None], gone: int, reads: list[str]
) -> None:
    """A hole is corruption: at the end of a stream, at its start, in the middle."""
    damage(f"DELETE FROM events WHERE position = {gone}")
    await damaged.reads_stop_at_the_hole(url, gone, reads)


async def test_two_rows_change_places_then_reading_stops_at_the_first(
    url: str, damage: Callable[..., None]
) -> None:
    """Each event's hash covers its place and the event before it."""
    damage(*damaged.EXCHANGED)
    await damaged.reads_stop_at_the_first_exchanged(url)


async def test_the_tail_is_lost_then_only_a_head_kept_elsewhere_tells(
    url: str, damage: Callable[..., None], written: KnownHead
) -> None:
    """A log that was cut consistently is a shorter log; against the kept head it is damaged, and
    a checkpoint beyond its end is refused."""
    damage(
        "DELETE FROM event_tags WHERE position > 8",
        "DELETE FROM idempotency_keys WHERE first_position > 8",
        "DELETE FROM events WHERE position > 8",
        "UPDATE streams SET version = 4",
        "UPDATE heads SET position = 8, hash = (SELECT hash FROM events WHERE position = 8)",
    )
    async with EventStore.open(url) as store:
        assert (await store.verify()).damages == ()
        (told,) = (await store.verify(head=written)).damages
        assert (told.kind, told.position) == ("tail", 8)
        await store.append("a", [NewEvent("note.added", {"n": n}) for n in range(5)])
        (told,) = (await store.verify(head=written)).damages  # longer than before, and another log
        assert (told.kind, told.position) == ("head", written.position)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE tags SET name = 'alm' WHERE name = 'all'",
        f"DELETE FROM event_tags WHERE position = {POSITION}",
        "INSERT INTO event_tags SELECT tag_id, 9 FROM tags WHERE name = 'b'",
        f"UPDATE event_tags SET position = 9 WHERE position = {POSITION} AND tag_id ="
        " (SELECT tag_id FROM tags WHERE name = 'b')",
    ],
)
async def test_the_index_of_tags_is_wrong_then_verify_says_so(
    url: str, damage: Callable[..., None], change: str
) -> None:
    """A filtered read trusts the index: verify holds it against what the events say."""
    damage(change)
    async with EventStore.open(url) as store:
        assert "index" in [d.kind for d in (await store.verify()).damages]


async def test_the_index_of_causes_is_wrong_then_verify_says_so(
    url: str, damage: Callable[..., None]
) -> None:
    """`caused_by` trusts its index in the same way."""
    async with EventStore.open(url) as store:
        await store.append("a", NewEvent("t", 1, causation_id="event-000001"))
        await store.append("a", NewEvent("t", 1, derived_from=["event-000002", "event-000003"]))
        assert (await store.verify()).damages == ()
    damage("DELETE FROM event_causes WHERE cause_id = 'event-000003'")
    async with EventStore.open(url) as store:
        assert [d.kind for d in (await store.verify()).damages] == ["index"]


@pytest.mark.parametrize("version", [4, 7])
async def test_a_streams_head_is_wrong_then_verify_names_the_stream(
    url: str, damage: Callable[..., None], version: int
) -> None:
    """Too low or too high: the head is held against the stream's events."""
    damage(f"UPDATE streams SET version = {version} WHERE name = '{STREAM}'")
    async with EventStore.open(url) as store:
        (told,) = (await store.verify()).damages
        assert (told.kind in ("head", "gap"), told.stream) == (True, STREAM)


async def test_the_logs_head_is_wrong_then_verify_says_so(
    url: str, damage: Callable[..., None]
) -> None:
    """Position and hash of the head are the last event's."""
    damage("UPDATE heads SET hash = zeroblob(32)")
    async with EventStore.open(url) as store:
        assert [d.kind for d in (await store.verify()).damages] == ["head"]
    damage("UPDATE heads SET position = 12")
    async with EventStore.open(url) as store:
        assert "gap" in [d.kind for d in (await store.verify()).damages]
        with pytest.raises(Corrupt):
            await store.read_all().list()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            "INSERT INTO events SELECT tenant_id, 99, stream_id, 99, 'other', type_id,"
            " schema_version, recorded_at, occurred_at, actor, causation_id, correlation_id,"
            " derived_from, NULL, context, payload, payload_format, subject_key_id, hash"
            f" FROM events {THERE}",
            "beyond its head",
        ),
        ("INSERT INTO idempotency_keys VALUES (1, 1, 'k', x'00', 99, 1, NULL)", "keys"),
        ("INSERT INTO idempotency_keys VALUES (1, 1, 'k', x'00', 9, 2, NULL)", "keys"),
        ("INSERT INTO idempotency_keys VALUES (1, 1, 'k', x'00', 10, 1, NULL)", "keys"),
        ("INSERT INTO idempotency_keys VALUES (1, 0, 'k', x'00', 9, 1, NULL)", "keys"),
        (
            "INSERT INTO idempotency_keys"
            " VALUES (1, 0, 'k', x'00', 9, 3, '[[\"a\",\"c\"],[[5,9,1],[0,10,0],[1,11,3]]]')",
            "keys",
        ),
    ],
)
async def test_a_row_stands_for_what_the_log_does_not_have_then_verify_says_so(
    url: str, damage: Callable[..., None], change: str, says: str
) -> None:
    """An event beyond the head; a key whose events are not there, or are another stream's."""
    async with EventStore.open(url) as store:
        sent = [Append("a", [], expected=5), Append("c", [NewEvent("t", n) for n in range(2)])]
        await store.append_many(sent, idempotency_key="call")
        assert (await store.verify()).damages == ()
    damage(change)
    async with EventStore.open(url) as store:
        (told,) = (await store.verify()).damages
    assert (told.kind, says in told.message) == ("index", True)


async def test_a_key_stands_for_a_missing_event_then_it_is_corrupt(
    url: str, damage: Callable[..., None]
) -> None:
    """The answer of a first use cannot be given again: that is told, and nothing is written."""
    damage(f"DELETE FROM events WHERE position = {POSITION}")
    async with EventStore.open(url) as store:
        with pytest.raises(Corrupt):
            await store.lookup(STREAM, f"k{VERSION}")
        note = NewEvent("note.added", {"n": VERSION}, tags=["all", STREAM])
        with pytest.raises(Corrupt):
            await store.append(STREAM, note, idempotency_key=f"k{VERSION}")
        assert await store.head() == LAST


async def test_pages_of_the_file_are_overwritten_then_it_is_corrupt_and_no_other_error(
    url: str, file: Path
) -> None:
    """Whatever page is destroyed, reading says Corrupt or is not touched by it, and verify or
    opening tells."""
    whole = file.read_bytes()
    size = 4096
    for page in range(1, len(whole) // size):
        file.write_bytes(whole[: page * size] + b"\xa5" * size + whole[(page + 1) * size :])
        try:
            async with EventStore.open(url) as store:
                assert (await store.verify()).damages
                for read in READS.values():
                    try:
                        async for event in read(store):
                            if event.position == LAST:
                                break
                    except Corrupt:
                        continue
        except Corrupt:
            continue
    file.write_bytes(whole)
    with sqlite3.connect(file) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()


async def test_a_page_of_names_is_emptied_then_the_store_does_not_open(
    url: str, connect: Connect
) -> None:
    """A damaged index says of every stream that it was never there; nobody is told so."""
    path = Path(url.removeprefix("sqlite:///"))
    with connect() as raw:
        (size,) = raw.execute("PRAGMA page_size").fetchone()
        (page,) = raw.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_streams_1'"
        ).fetchone()
    damaged = bytearray(path.read_bytes())
    damaged[(page - 1) * size + 4] = 0  # its count of cells
    path.write_bytes(damaged)
    with pytest.raises(Corrupt, match="streams"):
        await EventStore.open(url)
    with pytest.raises(Corrupt, match="streams"):  # where it may not be written, neither
        open_for_reading(str(path), 1.0)


@pytest.mark.parametrize("text", [b"ON events", b"CREATE TABLE events"])
async def test_the_schema_s_own_text_is_damaged_then_the_store_does_not_open(
    file: Path, url: str, text: bytes
) -> None:
    """SQLite quotes the text that it cannot read, also where it is no text any more."""
    whole = file.read_bytes()
    assert text in whole
    file.write_bytes(whole.replace(text, text[:-1] + b"\xf3"))
    with pytest.raises(Corrupt, match="damaged file"):
        await EventStore.open(url)


async def test_the_schema_names_another_column_then_verify_says_so(file: Path, url: str) -> None:
    """A damaged name of a column that few statements need is damage, and told as such."""
    file.write_bytes(file.read_bytes().replace(b"first_recorded_at", b"first_rmcorded_at"))
    async with EventStore.open(url) as store:
        assert len(await store.read_all().list()) == LAST
        damages = (await store.verify()).damages
        assert [damage.kind for damage in damages] == ["page"]
        with pytest.raises(Corrupt, match="a table or column of the store is missing"):
            await store.append("new", NewEvent("note.added", {}))
