"""Whose file it is, which schema it has, and what opening does to it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from eventstore import Busy, Corrupt, EventStore, NewEvent, SchemaTooNew
from eventstore.engines.sqlite.migrating import stored_revision
from eventstore.errors import StorageFailed
from eventstore.schema import NEWEST, TABLES, known_revisions, migrate

from .conftest import Connect

PAGE_BYTES = 4_096
"""SQLite's default; the file's first page says how many there are."""

_SECOND = '''
"""A third revision, as a later version of this code may have."""
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    op.add_column("events", sa.Column("later", sa.Text()))
'''

_BROKEN = _SECOND + '    op.execute("INSERT INTO nowhere VALUES (1)")\n'


async def test_a_new_file_is_made_then_its_tables_are_the_listed_ones(
    store: EventStore, connect: Connect
) -> None:
    """`TABLES` is what tells our files from others: it names all of the schema, and no more."""
    with connect() as raw:
        made = raw.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        assert sorted(name for (name,) in made) == sorted({*TABLES, "alembic_version"})
        assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [(NEWEST,)]
        (store_id,) = raw.execute("SELECT store_id FROM store_info").fetchone()
        assert len(store_id) == 36


async def test_a_newer_file_is_opened_then_it_is_refused_and_untouched(
    url: str, file: Path, connect: Connect
) -> None:
    """SchemaTooNew names both revisions, and not a byte of the file changes."""
    async with EventStore.open(url) as store:
        await store.append("s", NewEvent("t", 1))
    with connect() as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    before = file.read_bytes()
    with pytest.raises(SchemaTooNew, match=f"'9999' is newer than '{NEWEST}'") as refused:
        await EventStore.open(url)
    assert refused.value.written == "no"
    assert file.read_bytes() == before
    with connect() as raw:  # nor where a backup has brought the file out of WAL
        raw.execute("PRAGMA journal_mode = DELETE")
    before = file.read_bytes()
    with pytest.raises(SchemaTooNew):
        await EventStore.open(url)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE events (id INTEGER PRIMARY KEY, what TEXT)",
        "CREATE TABLE tags (name TEXT)",
        "CREATE TABLE snapshots (name TEXT)",
        "CREATE VIEW events_json AS SELECT 1",
        "CREATE TABLE alembic_version (version_num TEXT); CREATE TABLE users (name TEXT)",
        f"CREATE TABLE alembic_version (version_num TEXT); CREATE TABLE tags (name TEXT);"
        f"INSERT INTO alembic_version VALUES ('{NEWEST}')",
    ],
)
async def test_another_programs_tables_are_in_the_way_then_its_file_is_untouched(
    url: str, file: Path, made: str
) -> None:
    """A file with a table of a name that we need, or with another program's revisions, is that
    program's: it is refused, and stays as it is, its journal mode too."""
    with sqlite3.connect(file) as other:
        other.executescript(made)
    other.close()
    before = file.read_bytes()
    with pytest.raises(StorageFailed, match="not an event store's"):
        await EventStore.open(url)
    assert file.read_bytes() == before


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE users (name TEXT)",
        "CREATE VIEW one AS SELECT 1",
        "CREATE TABLE sqlitelike (name TEXT)",
        "CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT)",
    ],
)
async def test_the_file_is_another_programs_then_it_is_refused_and_nothing_is_made(
    url: str, file: Path, connect: Connect, mode: str, made: str
) -> None:
    """A mistyped path must not put a log into somebody's database: not a byte of it changes, and
    no file appears beside it."""
    with connect() as raw:
        raw.execute(f"PRAGMA journal_mode = {mode}")
        raw.execute(made)
    before = file.read_bytes()
    with pytest.raises(StorageFailed, match="holds no store") as refused:
        await EventStore.open(url)
    assert refused.value.next_step == "name another file"
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


async def test_tables_are_added_to_a_store_then_both_live_in_one_file(
    url: str, connect: Connect
) -> None:
    """Views and users' own tables may stand beside the log."""
    async with EventStore.open(url) as store:
        assert await store.head() == 0
    with connect() as raw:
        raw.execute("CREATE TABLE users (name TEXT)")
        raw.execute("INSERT INTO users VALUES ('ann')")
    async with EventStore.open(url) as store:
        await store.append("s", NewEvent("t", 1))
    with connect() as raw:
        assert raw.execute("SELECT name FROM users").fetchall() == [("ann",)]
        assert raw.execute("SELECT count(*) FROM events").fetchone() == (1,)


async def test_the_file_is_empty_then_it_becomes_a_store(url: str, file: Path) -> None:
    """An empty file is what `touch` or a half-done download leaves: a new store."""
    file.touch()
    async with EventStore.open(url) as store:
        assert (await store.append("s", NewEvent("t", 1))).position == 1


async def test_the_file_is_no_database_then_it_is_refused_and_untouched(
    url: str, file: Path
) -> None:
    """A text file or a cut database is not opened as if it were new."""
    file.write_bytes(b"Dear diary, this is not a database at all. " * 50)
    before = file.read_bytes()
    with pytest.raises(Corrupt):
        await EventStore.open(url)
    assert file.read_bytes() == before


async def test_an_older_file_is_opened_then_it_is_migrated_and_keeps_its_events(
    url: str, connect: Connect, become_newer: Callable[[str], None]
) -> None:
    """A later version of this code brings an older file to its schema at open, once."""
    async with EventStore.open(url) as store:
        await store.append("s", NewEvent("t", 1))
    become_newer(_SECOND)
    for position in (2, 3):
        async with EventStore.open(url) as store:
            assert (await store.append("s", NewEvent("t", 1))).position == position
            assert (await store.verify()).damages == ()
    with connect() as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("0003",)]
        assert raw.execute("SELECT count(later) FROM events").fetchone() == (0,)


async def test_a_migration_fails_then_the_file_is_as_it_was(
    url: str, connect: Connect, become_newer: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration is one transaction: there is no half-made schema, and the error is the
    store's, not a library's."""
    async with EventStore.open(url) as store:
        await store.append("s", NewEvent("t", 1))
    with connect() as raw:
        before = raw.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    become_newer(_BROKEN)
    with pytest.raises(StorageFailed):
        await EventStore.open(url)
    with connect() as raw:
        assert raw.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall() == before
    monkeypatch.undo()
    async with EventStore.open(url) as store:
        assert await store.version("s") == 1


async def test_many_open_a_new_file_at_once_then_all_of_them_have_it(url: str) -> None:
    """One makes the schema; those who look while it is being made wait, and are not refused."""
    stores = await asyncio.gather(*(EventStore.open(url)._open() for _ in range(8)))
    try:
        await asyncio.gather(*(store.append("s", NewEvent("t", 1)) for store in stores))
        assert [await store.head() for store in stores] == [8] * 8
    finally:
        await asyncio.gather(*(store.close() for store in stores))


async def test_another_program_writes_while_a_new_file_is_made_then_busy(
    url: str, connect: Connect
) -> None:
    """The lock that a migration needs may be taken: that is Busy too, and the next try works."""
    with connect() as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA user_version = 1")  # so that there is a file
        raw.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy):
            await EventStore.open(url, busy_timeout_seconds=0.1)
        raw.execute("ROLLBACK")
    async with EventStore.open(url, busy_timeout_seconds=0.1) as store:
        assert await store.head() == 0


@pytest.fixture
def become_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes this code what a later version may be, with one more revision."""

    def become(second: str) -> None:
        folder = tmp_path / "schema"
        shutil.copytree(migrate._HERE, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / "0003_later.py").write_text(second)
        monkeypatch.setattr(migrate, "_HERE", folder)
        for place in ("eventstore.schema.migrate", "eventstore.engines.sqlite.migrating"):
            monkeypatch.setattr(f"{place}.NEWEST", "0003")
        assert known_revisions() == ["0001", "0002", "0003"]

    return become


async def test_another_process_folds_its_log_in_then_the_file_is_not_taken_for_damaged(
    url: str, file: Path, tmp_path: Path
) -> None:
    """Who only reads looks into the file alone at first. In the middle of a checkpoint its first
    page says a size that it has not reached yet; with the log beside it, it is whole."""
    async with EventStore.open(url) as store:
        await store.append("s", NewEvent("t", 0))
    midway, link = tmp_path / "midway.db", tmp_path / "elsewhere" / "link.db"
    async with EventStore.open(url) as store:
        await store.append("s", [NewEvent("t", "x" * 1_000) for _ in range(200)])
        for end in ("", "-wal"):
            shutil.copy(f"{file}{end}", f"{midway}{end}")
    with midway.open("r+b") as half_done:
        half_done.write(file.read_bytes()[:PAGE_BYTES])
    assert file.stat().st_size > midway.stat().st_size
    assert stored_revision(str(midway)) == NEWEST
    link.parent.mkdir()
    link.symlink_to(midway)
    assert stored_revision(str(link)) == NEWEST


async def test_a_new_store_is_only_in_its_log_then_it_is_found_by_a_link_too(
    url: str, file: Path, tmp_path: Path
) -> None:
    """The log lies beside the real file, whichever name that is asked for by."""
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(file)
    async with EventStore.open(url) as store:
        assert await store.head() == 0
        assert stored_revision(str(link)) == NEWEST
