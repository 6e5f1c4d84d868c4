"""The write-ahead log beside the file: bounded whatever our own readers do."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

from eventstore import EventStore, NewEvent

WAL_BYTES_PROMISED = 64 * 1024 * 1024
_PAYLOAD = "x" * 200_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the store lies."""
    return tmp_path / "log.db"


def _wal_bytes(file: Path) -> int:
    return file.with_name(f"{file.name}-wal").stat().st_size


async def _append(store: EventStore, megabytes: int, file: Path) -> int:
    """Appends so much, from eight callers at once; the largest that the WAL ever was."""
    largest = 0
    per_caller = megabytes * 1_000_000 // len(_PAYLOAD) // 8

    async def call(caller: int) -> None:
        nonlocal largest
        for _ in range(per_caller):
            await store.append(f"load/{caller}", NewEvent("load.added", _PAYLOAD))
            largest = max(largest, _wal_bytes(file))

    await asyncio.gather(*(call(caller) for caller in range(8)))
    return largest


async def test_a_reader_stalls_then_the_wal_stays_within_64_mib(file: Path) -> None:
    """Our readers hold nothing between pages: iterators that stand still while 200 MB are
    appended keep no checkpoint from its work, and go on afterwards as if nothing had been."""
    async with EventStore.open(f"sqlite:///{file}") as store:
        await store.append("s", [NewEvent("t", n) for n in range(1_500)])
        readers = [
            aiter(store.read_all()),
            aiter(store.read("s")),
            aiter(store.subscribe()),
        ]
        for reader in readers:
            for n in range(700):  # in the middle of a page, with another one due
                assert (await anext(reader)).data == n
        assert await _append(store, 200, file) <= WAL_BYTES_PROMISED
        for reader in readers:
            assert [(await anext(reader)).data for _ in range(800)] == list(range(700, 1_500))
            await reader.aclose()
        assert (await store.verify()).damages == ()


async def test_a_foreign_reader_holds_a_transaction_then_the_wal_grows_and_shrinks_after(
    file: Path,
) -> None:
    """Nobody can checkpoint past a transaction that another program keeps open: appends go on,
    the WAL grows, and it is cut back to its bound once the transaction is over."""
    async with EventStore.open(f"sqlite:///{file}") as store:
        await store.append("s", NewEvent("t", 1))
        foreign = sqlite3.connect(file, isolation_level=None)
        try:
            foreign.execute("BEGIN")
            assert foreign.execute("SELECT count(*) FROM events").fetchone() == (1,)
            assert await _append(store, 80, file) > WAL_BYTES_PROMISED
            assert foreign.execute("SELECT count(*) FROM events").fetchone() == (1,)
        finally:
            foreign.close()
        await store.append("s", NewEvent("t", 2))  # folds the long log into the file
        await store.append("s", NewEvent("t", 3))  # begins it anew, and cuts it
        assert _wal_bytes(file) <= WAL_BYTES_PROMISED
        assert await store.version("s") == 3


async def test_the_last_store_closes_then_one_file_holds_everything(file: Path) -> None:
    """After closing there is no WAL left: the file alone is the log, and may be copied."""
    async with EventStore.open(f"sqlite:///{file}") as store:
        await store.append("s", [NewEvent("t", n) for n in range(100)])
    assert not file.with_name(f"{file.name}-wal").exists()
    copy = file.with_name("copy.db")
    shutil.copyfile(file, copy)
    async with EventStore.open(f"sqlite:///{copy}") as store:
        assert await store.version("s") == 100
        assert (await store.verify()).damages == ()
