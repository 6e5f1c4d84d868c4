"""One SQLite file and several real processes that write it at once."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from eventstore import Busy, EventStore, NewEvent
from eventstore.testing import History
from tests.acceptance.sqlite_processes import Process, ask_all, processes

FIRST_WITHOUT_THE_DEFECT = (3, 51, 3)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file that does not exist yet."""
    return f"sqlite:///{tmp_path}/shared.db"


@pytest_asyncio.fixture
async def store(url: str) -> AsyncIterator[EventStore]:
    """The store as this process has it open."""
    async with EventStore.open(url) as store:
        yield store


async def test_eight_processes_append_a_thousand_each_then_nothing_is_lost(url: str) -> None:
    """8 processes x 20 callers x 50 appends to one new file: no error, every acknowledged event
    where its answer said, dense positions and versions, and the log verifies."""
    async with processes(url, 8) as workers:
        # At once on a file that does not exist: one makes the schema, all of them open it.
        assert await ask_all(workers, "open_store") == [0] * 8
        answers = await asyncio.gather(
            *(
                worker.ask("append_from_callers", name=f"p{number}", callers=20, appends=50)
                for number, worker in enumerate(workers)
            )
        )
        assert await ask_all(workers, "close_store") == [None] * 8
    async with EventStore.open(url) as store:
        log = await store.read_all().list()
        report = await store.verify()
    History().check_log(log)
    acknowledged = sorted(tuple(place) for answer in answers for place in answer)
    stand = sorted((event.id, event.stream, event.version, event.position) for event in log)
    assert stand == acknowledged
    assert (len(log), report.events, report.damages) == (8_000, 8_000, ())


async def test_processes_race_for_a_version_then_one_of_them_wins(
    url: str, store: EventStore
) -> None:
    """For each of 200 expected versions exactly one process succeeds, the others get Conflict."""
    async with processes(url, 4) as workers:
        await ask_all(workers, "open_store")
        winners = [
            sum(await ask_all(workers, "wins", stream="race", expected=version))
            for version in range(200)
        ]
    assert winners == [1] * 200
    assert await store.version("race") == 200


async def test_another_program_holds_the_lock_too_long_then_busy_and_nothing_is_written(
    url: str,
) -> None:
    """Busy says "not written", and that is true; when the lock is free the next append is fine."""
    async with EventStore.open(url, busy_timeout_seconds=0.2) as store, Process(url) as other:
        await store.append("s", NewEvent("t", 1))
        await other.ask("hold_write_lock")
        with pytest.raises(Busy) as refused:
            await store.append("s", NewEvent("t", 2), idempotency_key="k")
        assert refused.value.written == "no"
        # Reading goes on beside the lock.
        assert [event.data for event in await store.read("s").list()] == [1]
        assert await store.lookup("s", "k") is None
        await other.ask("let_go")
        again = await store.append("s", NewEvent("t", 2), idempotency_key="k")
        assert (again.version, again.duplicate) == (2, False)


async def test_one_caller_is_cancelled_while_the_lock_is_awaited_then_the_others_are_written(
    url: str, store: EventStore
) -> None:
    """A cancelled caller takes nobody with it: the rest of its batch is written and answered."""
    async with Process(url) as other:
        await store.append("s", NewEvent("t", 0))
        await other.ask("hold_write_lock")
        callers = [
            asyncio.create_task(store.append(f"s/{n}", NewEvent("t", n), idempotency_key="k"))
            for n in range(10)
        ]
        await asyncio.sleep(0)
        for caller in callers[::3]:
            caller.cancel()
        for caller in callers[::3]:
            with pytest.raises(asyncio.CancelledError):
                await caller
        await other.ask("let_go")
        for n, caller in enumerate(callers):
            if n % 3:
                assert (await caller).version == 1
    for n in range(10):  # and a cancelled one's retry writes once
        await store.append(f"s/{n}", NewEvent("t", n), idempotency_key="k")
        assert await store.version(f"s/{n}") == 1


async def test_the_store_closes_while_the_lock_is_held_elsewhere_then_what_was_accepted_is_written(
    url: str,
) -> None:
    """Closing waits for the lock as the appends do, and answers every one of them."""
    async with Process(url) as other:
        store = await EventStore.open(url)
        await other.ask("hold_write_lock")
        callers = [asyncio.create_task(store.append("s", NewEvent("t", n))) for n in range(10)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        await other.ask("let_go")
        await closing
        assert [(await caller).version for caller in callers] == list(range(1, 11))
    async with EventStore.open(url) as again:
        assert await again.version("s") == 10


async def test_no_file_may_grow_then_the_append_fails_and_a_retry_writes_once(url: str) -> None:
    """The operating system refuses to write in the middle of a commit: the caller is told that it
    is not written or not known, everything before stands, and the retry is written once."""
    async with Process(url) as process:
        await process.ask("open_store")
        for n in range(5):
            await process.ask("append_large", stream="s", key=f"k{n}", size=1_000)
        await process.ask("limit_files", size=1_000_000)
        refused = await process.ask("append_large", stream="s", key="large", size=3_000_000)
        assert refused["error"] in ("StorageFailed", "OutcomeUnknown")
        again = await process.ask("append_large", stream="s", key="k4", size=1_000)
        assert again == {"version": 5, "duplicate": True}
        await process.ask("limit_files", size=None)
        again = await process.ask("append_large", stream="s", key="large", size=3_000_000)
        assert again["version"] == 6
        again = await process.ask("append_large", stream="s", key="large", size=3_000_000)
        assert again == {"version": 6, "duplicate": True}
    async with EventStore.open(url) as store:
        assert [len(event.data) for event in await store.read("s").list()] == [
            *[1_000] * 5,
            3_000_000,
        ]
        assert (await store.verify()).damages == ()


async def test_two_processes_want_one_lease_then_tokens_keep_the_late_one_out(url: str) -> None:
    """A lease is the log's: one holder at a time by the clock that was handed in, and a holder
    that comes back late is refused by its fencing token."""
    async with processes(url, 2) as workers:
        one, two = workers
        await ask_all(workers, "open_store", fixed_clock=True)
        await ask_all(workers, "set_clock", seconds=1_000)
        await one.ask("append", stream="s", events=3)
        assert await one.ask("acquire", holder="one", seconds=10) == 1
        assert await two.ask("acquire", holder="two", seconds=10) is None
        assert await one.ask("save", position=1) == 1
        await two.ask("set_clock", seconds=1_011)
        assert await two.ask("acquire", holder="two", seconds=10) == 2
        assert await one.ask("save", position=2) == {"error": "LeaseLost"}
        assert await two.ask("save", position=3) == 3
        await one.ask("set_clock", seconds=1_022)
        assert await one.ask("acquire", holder="one", seconds=10) == 3
        assert await two.ask("save", position=2) == {"error": "LeaseLost"}


async def test_another_program_writes_the_file_then_the_defect_is_told_once(
    url: str, store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite 3.7.0 to 3.51.2 has the WAL-reset defect: where a second writer is seen, one warning
    names the versions; a newer SQLite is not warned of."""
    with caplog.at_level(logging.WARNING, logger="eventstore"):
        await store.append("s", NewEvent("t", 1))
        for n in range(3):
            with sqlite3.connect(url.removeprefix("sqlite:///")) as foreign:
                foreign.execute(f"CREATE TABLE mine_{n} (x)")
            foreign.close()
            await store.append("s", NewEvent("t", 2))
    told = [record.getMessage() for record in caplog.records if "WAL-reset" in record.getMessage()]
    if sqlite3.sqlite_version_info >= FIRST_WITHOUT_THE_DEFECT:
        assert told == []
    else:
        assert len(told) == 1
        assert sqlite3.sqlite_version in told[0]
        assert "3.51.3" in told[0]
