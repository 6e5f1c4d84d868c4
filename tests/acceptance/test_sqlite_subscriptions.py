"""Subscriptions on one SQLite file: how soon they wake, what waiting costs, that nothing is missed.

Times are the best of a few rounds: the promise is the store's, and a machine that does other work
at the same moment may spoil a round, never all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from eventstore import EventStore, NewEvent, RecordedEvent
from eventstore.testing import History
from tests.acceptance.sqlite_processes import Process, ask_all, processes
from tests.waiting import PATIENCE_SECONDS

ROUNDS_MAX = 5
WAKE_SAME_PROCESS_MS = 5.0
WAKE_OTHER_PROCESS_MS = 100.0
THREAD_TURNS = 4
"""Questions that a woken reader asks in its connection's thread, at most: the head, the page, and
the names that it does not know yet. Each takes what a bare turn there and back takes at least: 5 ms
hold where that is at most 1.25 ms at the p99 (here 0.6 to 1.1 ms beside other work)."""
IDLE_SHARE_OF_A_CORE = 0.01


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file that does not exist yet."""
    return f"sqlite:///{tmp_path}/followed.db"


@pytest_asyncio.fixture
async def store(url: str) -> AsyncIterator[EventStore]:
    """The store as this process has it open."""
    async with EventStore.open(url) as store:
        yield store


async def _best(measure: Callable[[], Awaitable[float]], wanted: float) -> float:
    """The least of a few rounds; it ends with the first that is good enough."""
    best = float("inf")
    for _ in range(ROUNDS_MAX):
        best = min(best, await measure())
        if best <= wanted:
            break
    return best


async def _arrivals(store: EventStore, after: int, count: int) -> list[int]:
    """When (monotonic ns) each of the next events reached a subscriber."""
    times: list[int] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for _ in store.subscribe(after=after):
            times.append(time.monotonic_ns())
            if len(times) == count:
                break
    return times


@pytest.mark.parametrize("writer", ["the same store", "another store on the file"])
async def test_this_process_appends_then_a_subscriber_wakes_within_5_ms(
    url: str, store: EventStore, writer: str
) -> None:
    """p99 of 200 wake-ups, from the acknowledgement to the event in hand, is at most 5 ms, or what
    as many bare turns of a thread take in the same run where the machine needs more for those."""
    if writer == "the same store":
        await _check_wake_ups(store, store)
    else:
        async with EventStore.open(url) as other:
            await _check_wake_ups(store, other)


async def _check_wake_ups(store: EventStore, writer: EventStore) -> None:
    """Each wake-up stands beside a bare one, so that a machine which is slow to wake anything is
    told from a store which is slow to wake its readers."""
    loop = asyncio.get_running_loop()

    async def measure() -> float:
        after = await store.head()
        delays: list[float] = []
        bare: list[float] = []
        follower = aiter(store.subscribe(after=after))
        for n in range(200):
            waiting = asyncio.ensure_future(anext(follower))
            await asyncio.sleep(0)  # the subscriber is on its way to waiting
            await writer.append("s", NewEvent("t", n))
            acknowledged = time.perf_counter()
            assert (await waiting).data == n
            delays.append((time.perf_counter() - acknowledged) * 1_000)
            begun = time.perf_counter()
            await loop.run_in_executor(None, time.perf_counter)
            bare.append((time.perf_counter() - begun) * 1_000)
        await follower.aclose()
        return _p99(delays) / max(WAKE_SAME_PROCESS_MS, THREAD_TURNS * _p99(bare))

    assert await _best(measure, 1) <= 1


def _p99(values: list[float]) -> float:
    return sorted(values)[len(values) * 99 // 100 - 1]


async def test_another_process_appends_then_a_subscriber_wakes_within_100_ms(
    url: str, store: EventStore
) -> None:
    """The slowest of 20 wake-ups, from the other's acknowledgement on, is at most 100 ms."""
    async with Process(url) as other:
        await other.ask("open_store")

        async def measure() -> float:
            after = await store.head()
            arrivals = asyncio.create_task(_arrivals(store, after, 20))
            answers = [await other.ask("append", stream="s") for _ in range(20)]
            told = zip(await arrivals, answers, strict=True)
            return max((seen - said["acknowledged_ns"]) / 1e6 for seen, said in told)

        assert await _best(measure, WAKE_OTHER_PROCESS_MS) <= WAKE_OTHER_PROCESS_MS


async def test_nothing_comes_then_waiting_costs_less_than_a_hundredth_of_a_core(
    store: EventStore,
) -> None:
    """Two seconds without an event: an idle subscription uses under 1% of a core."""
    await store.append("s", NewEvent("t", 1))

    async def measure() -> float:
        follower = aiter(store.subscribe(after=1))
        used, begun = time.process_time(), time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(follower), 2)
        return (time.process_time() - used) / (time.monotonic() - begun)

    assert await _best(measure, IDLE_SHARE_OF_A_CORE) < IDLE_SHARE_OF_A_CORE


async def test_four_processes_append_then_three_followers_see_each_position_once(
    url: str, store: EventStore
) -> None:
    """While others append 1 or 10 events with random pauses, followers, one of which begins late,
    see every position in order once."""
    seen: list[list[RecordedEvent]] = [[], [], []]
    history = History()

    async def follow(number: int, until: asyncio.Future[int]) -> None:
        async for event in store.subscribe():
            seen[number].append(event)
            if until.done() and event.position >= until.result():
                return

    end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with processes(url, 4) as workers:
        await ask_all(workers, "open_store")
        followers = [asyncio.create_task(follow(0, end)), asyncio.create_task(follow(1, end))]
        writing = [
            asyncio.create_task(
                worker.ask("append_paced", stream=f"s/{number % 2}", appends=100, seed=number)
            )
            for number, worker in enumerate(workers)
        ]
        for turn in range(20):  # this process writes as well, and starts a follower half-way
            history.acknowledged(await store.append("own", NewEvent("t", turn)))
            if turn == 10:
                followers.append(asyncio.create_task(follow(2, end)))
        written = sum(await asyncio.gather(*writing))
    end.set_result(written + 21)
    history.acknowledged(await store.append("own", NewEvent("t", "the end")))
    await asyncio.wait_for(asyncio.gather(*followers), PATIENCE_SECONDS)
    log = await store.read_all().list()
    assert len(log) == written + 21
    history.check_log(log)
    for reader in seen:
        history.check_reader(reader)
        assert reader == log


async def test_a_stream_is_followed_then_only_its_events_come_each_once(
    url: str, store: EventStore
) -> None:
    """A subscription to one stream sees its versions in order, whoever else writes."""
    versions: list[int] = []

    async def follow() -> None:
        async for event in store.subscribe(stream="s/0"):
            versions.append(event.version)
            if event.type == "the.end":
                return

    async with processes(url, 2) as workers:
        await ask_all(workers, "open_store")
        follower = asyncio.create_task(follow())
        written = await asyncio.gather(
            *(
                worker.ask("append_paced", stream=f"s/{number}", appends=50, seed=number)
                for number, worker in enumerate(workers)
            )
        )
    await store.append("s/0", NewEvent("the.end", {}))
    await asyncio.wait_for(follower, PATIENCE_SECONDS)
    assert versions == list(range(1, written[0] + 2))
