"""SQLite runs as it was asked to, or the file is not opened."""

from __future__ import annotations

import functools
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from eventstore import Busy, EventStore, InvalidEvent, NewEvent
from eventstore.engines.sqlite import connection as connections
from eventstore.errors import StorageFailed

WAL_BYTES = 64 * 1024 * 1024


async def test_a_file_is_opened_then_the_settings_are_those_of_the_contract(
    store: EventStore, file: Path
) -> None:
    """WAL, synchronous FULL and a bounded WAL, as SQLite itself reads them back."""
    said = store.describe()
    assert (said["journal_mode"], said["synchronous"]) == ("wal", 2)
    assert said["journal_size_limit"] == WAL_BYTES
    assert said["wal_autocheckpoint"] * said["page_size"] <= WAL_BYTES // 4
    assert said["busy_timeout"] == 30_000
    assert file.read_bytes()[18:20] == b"\x02\x02"  # WAL, in the file's own header


async def test_normal_is_asked_for_then_it_is_normal_and_no_less(url: str) -> None:
    """`synchronous="NORMAL"` is the caller's choice, and EXTRA more than FULL."""
    async with EventStore.open(url, synchronous="NORMAL", busy_timeout_seconds=1.5) as store:
        assert store.describe()["synchronous"] == 1
        assert store.describe()["busy_timeout"] == 1_500
    async with EventStore.open(url, synchronous="extra") as store:
        assert store.describe()["synchronous"] == 3


@pytest.mark.parametrize("wanted", ["OFF", "off", "", "0", "FULL; PRAGMA synchronous = OFF"])
async def test_less_than_normal_is_asked_for_then_it_is_refused(
    url: str, file: Path, wanted: str
) -> None:
    """There is no way to ask for commits that are not synced at all; nothing is made."""
    with pytest.raises(InvalidEvent, match="synchronous"):
        await EventStore.open(url, synchronous=wanted)
    assert not file.exists()


class _Careless(sqlite3.Connection):
    """A SQLite that does not do as it is told when it comes to syncing."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql.startswith("PRAGMA synchronous ="):
            sql = "PRAGMA synchronous = OFF"
        return super().execute(sql, parameters)


async def test_sqlite_syncs_less_than_asked_then_the_store_does_not_open(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in force is read back and compared, not assumed."""
    careless = functools.partial(sqlite3.connect, factory=_Careless)
    monkeypatch.setattr(connections.sqlite3, "connect", careless)
    with pytest.raises(StorageFailed, match="synchronous 2") as refused:
        await EventStore.open(url)
    assert refused.value.written == "no"


async def test_the_file_system_cannot_do_wal_then_the_store_does_not_open(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's dot-file locking has no shared memory, as some network file systems have none: it
    answers another journal mode, and that is refused."""
    connect = sqlite3.connect

    def without_shared_memory(path: str, **options: Any) -> sqlite3.Connection:
        return connect(f"file:{path}?vfs=unix-dotfile", uri=True, **options)

    monkeypatch.setattr(connections.sqlite3, "connect", without_shared_memory)
    with pytest.raises(StorageFailed, match="WAL is needed"):
        await EventStore.open(url)
    assert not file.exists() or file.stat().st_size == 0


async def test_another_program_keeps_the_file_in_another_mode_then_it_is_busy(
    url: str, file: Path
) -> None:
    """A file that is in use without WAL cannot be switched: Busy after the time-out, not a store
    that is weaker than asked; afterwards it opens."""
    async with EventStore.open(url) as store:
        await store.append("s", NewEvent("t", 1))
    other = sqlite3.connect(file, isolation_level=None)
    assert other.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    other.execute("BEGIN")
    assert other.execute("SELECT count(*) FROM events").fetchone() == (1,)
    with pytest.raises(Busy):
        await EventStore.open(url, busy_timeout_seconds=0.1)
    other.close()
    async with EventStore.open(url) as store:
        assert store.describe()["journal_mode"] == "wal"
        await store.append("s", NewEvent("t", 1))


async def test_the_folder_is_not_there_then_the_error_names_it(tmp_path: Path) -> None:
    """A path that cannot be is told as such, and nothing is made."""
    with pytest.raises(StorageFailed, match="nowhere does not exist"):
        await EventStore.open(f"sqlite:///{tmp_path}/nowhere/agent.db")
    with pytest.raises(StorageFailed):
        await EventStore.open(f"sqlite:///{tmp_path}")  # a folder
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a b.db", "100%.db", "a?b#c.db", "Fälle/ü.db", "file:x.db"])
async def test_the_path_has_odd_characters_then_that_file_is_used(
    tmp_path: Path, name: str
) -> None:
    """Writer and readers use the same file, whatever stands in its name."""
    from urllib.parse import quote

    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    async with EventStore.open(f"sqlite:///{quote(str(path))}") as store:
        await store.append("s", NewEvent("t", 1))
        assert len(await store.read("s").list()) == 1
    assert path.stat().st_size > 0
