"""The disk is full, or SQLite fails: what was acknowledged stands, and work goes on after."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest

from eventstore import Busy, Corrupt, EventStore, NewEvent
from eventstore.engines.sqlite.errors import translate
from eventstore.errors import EventStoreError, OutcomeUnknown, StorageFailed

from .inside import writer_of


def _connection(store: EventStore) -> sqlite3.Connection:
    writer = writer_of(store)
    connection: sqlite3.Connection = writer._connection
    return connection


def _leave_pages(store: EventStore, count: int) -> None:
    """Makes the file full but for so many pages."""
    connection = _connection(store)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + count}")


async def test_the_file_is_full_then_the_append_fails_and_the_rest_stands(
    store: EventStore,
) -> None:
    """StorageFailed says "not written", and it is so, the key too; with room again it goes on."""
    await store.append("s", NewEvent("t", 1), idempotency_key="first")
    _leave_pages(store, 4)
    large = NewEvent("t", "x" * 400_000)
    with pytest.raises(StorageFailed, match="full") as refused:
        await store.append("s", large, idempotency_key="k")
    assert refused.value.written == "no"
    assert await store.lookup("s", "k") is None
    assert [event.data for event in await store.read("s").list()] == [1]
    assert (await store.append("s", NewEvent("t", 1), idempotency_key="first")).duplicate
    _leave_pages(store, 10_000)
    again = await store.append("s", large, idempotency_key="k")
    assert (again.version, again.duplicate) == (2, False)
    assert (await store.verify()).damages == ()


async def test_one_of_a_turn_does_not_fit_then_its_neighbours_are_written(
    store: EventStore,
) -> None:
    """The batch fails as one and is written one by one: only what does not fit is refused."""
    await store.append("s", NewEvent("t", 0))
    _leave_pages(store, 20)
    answers = await asyncio.gather(
        store.append("s", NewEvent("t", 1)),
        store.append("s", NewEvent("t", "x" * 400_000)),
        store.append("s", NewEvent("t", 2)),
        return_exceptions=True,
    )
    assert [type(answer).__name__ for answer in answers] == [
        "AppendResult",
        "StorageFailed",
        "AppendResult",
    ]
    assert [event.data for event in await store.read("s").list()] == [0, 1, 2]
    assert (await store.verify()).damages == ()


async def test_the_file_is_full_then_checkpoints_and_leases_say_so_too(store: EventStore) -> None:
    """Jobs of the same owner fail with the same error, and the owner lives on."""
    await store.append("s", NewEvent("t", 1))
    _leave_pages(store, 0)

    async def fill() -> None:
        for n in range(1_000):  # a new page is needed sooner or later
            await store.checkpoints.save(f"reader/{n:0180}", 1)

    with pytest.raises(StorageFailed):
        await fill()
    _leave_pages(store, 10_000)
    assert (await store.checkpoints.save("reader", 1)).position == 1
    assert (await store.append("s", NewEvent("t", 2))).version == 2


class _FailingCommit:
    """The writer's connection, where the syncs of the next commits fail."""

    def __init__(self, connection: sqlite3.Connection, failures: int) -> None:
        self._connection = connection
        self.failures = failures

    def execute(self, statement: str, *args: Any) -> sqlite3.Cursor:
        if statement == "COMMIT" and self.failures:
            self.failures -= 1
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        return self._connection.execute(statement, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def _let_syncs_fail(store: EventStore, count: int) -> None:
    writer = writer_of(store)
    writer._connection = _FailingCommit(writer._connection, count)


async def test_the_sync_of_a_commit_fails_once_then_it_is_sent_again_and_nobody_hears_of_it(
    store: EventStore,
) -> None:
    """A call whose outcome is not known is sent again with the same event ids, inside."""
    _let_syncs_fail(store, 1)
    assert (await store.append("s", NewEvent("t", 1))).version == 1
    assert [event.data for event in await store.read("s").list()] == [1]


async def test_the_sync_of_a_commit_fails_twice_then_the_outcome_is_unknown_and_a_retry_writes_once(
    store: EventStore,
) -> None:
    """Nobody can say whether it reached the disk: that is what the caller hears, and the same key
    sent again is written exactly once."""
    await store.append("s", NewEvent("t", 0))
    _let_syncs_fail(store, 2)
    with pytest.raises(OutcomeUnknown) as told:
        await store.append("s", NewEvent("t", 1), idempotency_key="k")
    assert told.value.written == "unknown"
    for _ in range(2):
        await store.append("s", NewEvent("t", 1), idempotency_key="k")
    assert [event.data for event in await store.read("s").list()] == [0, 1]
    assert (await store.verify()).damages == ()


async def test_the_sync_of_a_batch_fails_then_each_call_is_sent_again_and_written_once(
    store: EventStore,
) -> None:
    """The batch is sent again call by call with the same event ids: failed syncs are not heard of
    but by the call that fails twice alone."""
    _let_syncs_fail(store, 3)
    answers = await asyncio.gather(
        *(store.append("s", NewEvent("t", n), idempotency_key=f"k{n}") for n in range(3)),
        return_exceptions=True,
    )
    assert [type(answer).__name__ for answer in answers] == [
        "OutcomeUnknown",
        "AppendResult",
        "AppendResult",
    ]
    await store.append("s", NewEvent("t", 0), idempotency_key="k0")
    assert [event.data for event in await store.read("s").list()] == [1, 2, 0]
    assert (await store.verify()).damages == ()


async def test_the_sync_of_a_checkpoint_fails_then_its_outcome_is_unknown(
    store: EventStore,
) -> None:
    """A checkpoint may stand or not after a failed sync, and that is said; the owner lives on."""
    await store.append("s", NewEvent("t", 1))
    _let_syncs_fail(store, 1)
    with pytest.raises(OutcomeUnknown):
        await store.checkpoints.save("reader", 1)
    assert (await store.checkpoints.save("reader", 1)).position == 1


async def test_a_job_fails_where_it_begins_then_the_write_lock_is_given_back(
    store: EventStore,
) -> None:
    """Whatever fails inside a job, no transaction stays open, and appends go on."""
    await store.append("s", NewEvent("t", 1))
    writer = writer_of(store)
    begin = writer._ledger.begin

    def fail() -> None:
        writer._ledger.begin = begin
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    writer._ledger.begin = fail
    with pytest.raises(StorageFailed):
        await store.checkpoints.save("reader", 1)
    assert (await store.append("s", NewEvent("t", 2))).version == 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY, Busy),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Busy),
        (sqlite3.SQLITE_LOCKED, Busy),
        (sqlite3.SQLITE_FULL, StorageFailed),
        (sqlite3.SQLITE_IOERR_READ, StorageFailed),
        (sqlite3.SQLITE_READONLY_DBMOVED, StorageFailed),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, StorageFailed),
        (sqlite3.SQLITE_NOMEM, StorageFailed),
        (sqlite3.SQLITE_TOOBIG, StorageFailed),
        (sqlite3.SQLITE_ERROR, StorageFailed),
        (sqlite3.SQLITE_CORRUPT_INDEX, Corrupt),
        (sqlite3.SQLITE_NOTADB, Corrupt),
        (sqlite3.SQLITE_CONSTRAINT_TRIGGER, Corrupt),
    ],
)
def test_sqlite_fails_then_the_error_is_of_the_closed_set(
    code: int, kind: type[EventStoreError]
) -> None:
    """Each code has its class, the file is named, and SQLite's text, which may hold data, is not
    passed on."""
    error = sqlite3.OperationalError("near SECRET: failed")
    error.sqlite_errorcode = code
    error.sqlite_errorname = "SQLITE_X"
    told = translate(error, "agent.db")
    assert type(told) is kind
    assert str(told).startswith("agent.db: ")
    assert "SECRET" not in str(told)
    assert told.written == "no"
