"""Stores of one process on one file: each wakes the others, in whatever loop they live."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sqlite3
import threading
import warnings
import weakref
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, NewEvent
from eventstore.engines.sqlite import engine as engine_module
from eventstore.engines.sqlite import siblings
from eventstore.engines.sqlite.connection import FIRST_SAFE_VERSION
from tests.waiting import PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def never_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for other processes' commits would wake a store as well, only later: here it looks
    once and not again."""
    monkeypatch.setattr(engine_module, "POLL_SECONDS", 3_600.0)


async def _follow(store: EventStore, ready: asyncio.Event) -> list[int]:
    seen: list[int] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for event in store.subscribe():
            seen.append(event.data)
            ready.set()
            if event.data == "last":
                break
    return seen


async def test_another_store_of_the_loop_commits_then_this_one_is_woken(
    file: Path, tmp_path: Path
) -> None:
    """By whichever name the file is opened: the file is known, not its path."""
    other_name = tmp_path / "other-name.db"
    async with EventStore.open(f"sqlite:///{file}") as one:
        other_name.symlink_to(file)
        async with EventStore.open(f"sqlite:///{other_name}") as two:
            await one.append("s", NewEvent("t", "first"))
            ready = asyncio.Event()
            following = asyncio.create_task(_follow(two, ready))
            await ready.wait()
            for n in range(50):
                await one.append("s", NewEvent("t", n))
            await one.append("s", NewEvent("t", "last"))
            assert await following == ["first", *range(50), "last"]


async def test_a_store_of_another_thread_commits_then_this_one_is_woken(url: str) -> None:
    """The other store has a loop of its own, and wakes this one's from there."""

    async def write_elsewhere() -> None:
        async with EventStore.open(url) as other:
            for n in (*range(20), "last"):
                await other.append("s", NewEvent("t", n))

    async with EventStore.open(url) as store:
        await store.append("s", NewEvent("t", "first"))
        ready = asyncio.Event()
        following = asyncio.create_task(_follow(store, ready))
        await ready.wait()
        await asyncio.to_thread(asyncio.run, write_elsewhere())
        assert await following == ["first", *range(20), "last"]


async def test_the_loop_of_a_sibling_is_gone_then_commits_go_on(url: str) -> None:
    """A store that nobody closed, in a loop that has ended, is no hindrance."""
    left: list[EventStore] = []

    async def leave_open() -> None:
        left.append(await EventStore.open(url))

    async with EventStore.open(url) as store:
        await asyncio.to_thread(asyncio.run, leave_open())
        assert (await store.append("s", NewEvent("t", 1))).version == 1


async def test_the_loop_of_a_sibling_stands_still_then_it_is_called_once_and_wakes_later(
    url: str,
) -> None:
    """However many commits it misses, one call waits for it; then it sees them all."""
    resting, here = asyncio.new_event_loop(), asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:

        def there(work: Awaitable[Any]) -> asyncio.Future[Any]:
            return here.run_in_executor(thread, resting.run_until_complete, work)

        async with EventStore.open(url) as store:
            await store.append("s", NewEvent("t", "first"))
            other = await there(_opened(url))
            ready = asyncio.Event()
            following = resting.create_task(_follow(other, ready))
            await there(ready.wait())
            for n in range(100):
                await store.append("s", NewEvent("t", n))
            # What it has to do next; answers of its own connection may wait there too.
            pending = map(repr, resting._ready)  # type: ignore[attr-defined]
            assert sum("_wake_own" in each for each in pending) == 1
            await store.append("s", NewEvent("t", "last"))
            assert await there(following) == ["first", *range(100), "last"]
            await there(other.close())
            await there(resting.shutdown_default_executor())
    resting.close()


async def _opened(url: str) -> EventStore:
    return await EventStore.open(url)


async def test_a_store_is_closed_then_nothing_holds_it_and_no_list_of_its_file_stays(
    url: str,
) -> None:
    """What is open is listed weakly, and what is closed not at all."""
    store = await EventStore.open(url)
    second = await EventStore.open(url)
    engine = weakref.ref(store._core.engine)
    (family,) = [f for f in siblings._families.values() if len(f.members) == 2]
    await store.close()
    assert len(family.members) == 1
    await second.close()
    assert len(family.members) == 0
    gone = weakref.ref(family)
    del store, second, family
    gc.collect()
    assert engine() is None
    assert gone() is None


async def test_the_process_forks_then_the_child_wakes_none_of_its_parents_stores(url: str) -> None:
    """A child that opens the file has siblings of its own only: a loop's wake-up socket is shared
    over a fork, and the list's lock may be held at that instant."""
    async with EventStore.open(url):
        with siblings._lock:
            with warnings.catch_warnings():
                # Python 3.12 and later warn of forks beside threads, which this is about.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                free = siblings._lock.acquire(blocking=False)
                os._exit(0 if free and not siblings._families else 1)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert siblings._families


async def test_stores_of_one_process_see_a_second_writer_then_it_is_told_once_for_the_file(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning for process and file, however many stores are opened on it."""
    with caplog.at_level(logging.WARNING, logger="eventstore"):
        for _ in range(3):
            async with EventStore.open(url) as one, EventStore.open(url) as two:
                for n in range(2):
                    await one.append("s", NewEvent("t", n))
                    await two.append("s", NewEvent("t", n))
    told = [record for record in caplog.records if "WAL-reset" in record.getMessage()]
    assert len(told) == (1 if sqlite3.sqlite_version_info < FIRST_SAFE_VERSION else 0)


async def test_a_sibling_ends_while_commits_wake_it_then_no_commit_fails(url: str) -> None:
    """Stores come and go in other threads while one writes."""
    stop = threading.Event()

    async def come_and_go() -> int:
        opened = 0
        while not stop.is_set():
            async with EventStore.open(url):
                opened += 1
        return opened

    async with EventStore.open(url) as store:
        going = asyncio.create_task(asyncio.to_thread(asyncio.run, come_and_go()))
        for n in range(100):
            await store.append("s", NewEvent("t", n))
        stop.set()
        assert await going >= 1
        assert await store.head() == 100
