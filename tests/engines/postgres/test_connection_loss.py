"""Connections are lost before the request, behind it, and while nobody looks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventstore import EventStore, NewEvent, OutcomeUnknown, StorageFailed
from tests.servers.proxy import Proxy
from tests.waiting import until


@pytest.mark.parametrize("lost", ["request", "answer"])
@pytest.mark.parametrize("key", [None, "k"])
async def test_a_connection_is_lost_with_a_batch_then_it_is_written_once(
    url: str, lost: str, key: str | None
) -> None:
    """Whether the server had it or not, the caller hears where it stands."""
    async with Proxy(url) as proxy, EventStore.open(proxy.url) as store:
        await store.append("s", NewEvent("n", 1))
        proxy.lose = (lost, b"canary")
        tasks = [
            asyncio.create_task(store.append("s", NewEvent("n", "canary"), idempotency_key=key)),
            asyncio.create_task(store.append("r", NewEvent("n", 2), expected=0)),
        ]
        results = await asyncio.gather(*tasks)
        assert [result.position for result in results] == [2, 3]
        assert (await store.append("s", NewEvent("n", 4))).position == 4
        assert [event.data for event in await store.read_all().list()] == [1, "canary", 2, 4]
        assert (await store.verify()).damages == ()


async def test_all_connections_are_cut_then_reads_and_appends_go_on(url: str) -> None:
    """Idle connections that are gone are found out and replaced."""
    async with Proxy(url) as proxy, EventStore.open(proxy.url) as store:
        for n in range(1, 4):
            assert (await store.append("s", NewEvent("n", n))).position == n
            assert len(await store.read("s").list()) == n
            proxy.cut()


async def test_the_server_is_away_for_a_while_then_appends_that_waited_go_on(url: str) -> None:
    """Reconnecting with a back-off, the queue in its order."""
    async with Proxy(url) as proxy, EventStore.open(proxy.url) as store:
        await store.append("s", NewEvent("n", 0))
        proxy.is_down = True
        proxy.cut()
        tasks = [asyncio.create_task(store.append("s", NewEvent("n", n))) for n in range(1, 30)]
        proxy.lost.clear()
        await asyncio.sleep(0)
        proxy.is_down = False
        await asyncio.gather(*tasks)
        assert [event.data for event in await store.read("s").list()] == list(range(30))


async def test_the_outcome_is_unknown_when_time_is_up_then_the_caller_is_told(url: str) -> None:
    """Neither "written" nor "not written" would be true."""
    async with Proxy(url) as proxy, EventStore.open(proxy.url, busy_timeout_seconds=0.2) as store:
        await store.append("s", NewEvent("n", 1))
        proxy.lose = ("answer", b"canary")
        task = asyncio.create_task(store.append("s", NewEvent("n", "canary")))
        await proxy.lost.wait()
        proxy.is_down = True
        with pytest.raises(OutcomeUnknown) as unknown:
            await task
        assert "canary" not in str(unknown.value)
        with pytest.raises(StorageFailed, match="no connection"):
            await store.append("s", NewEvent("n", 3))
    async with EventStore.open(url) as store:
        assert [event.data for event in await store.read("s").list()] == [1, "canary"]


async def test_the_store_closes_while_an_outcome_is_unknown_then_the_caller_is_told(
    url: str,
) -> None:
    """Closing does not wait for a server that is gone."""
    async with Proxy(url) as proxy:
        store = await EventStore.open(proxy.url)
        await store.append("s", NewEvent("n", 1))
        proxy.lose = ("answer", b"canary")
        task = asyncio.create_task(store.append("s", NewEvent("n", "canary")))
        await proxy.lost.wait()
        proxy.is_down = True
        await asyncio.wait_for(store.close(), 20)
        with pytest.raises(OutcomeUnknown):
            await task


async def test_a_caller_is_cancelled_then_its_commit_goes_on(url: str) -> None:
    """Also over the loss of its connection."""
    async with Proxy(url) as proxy, EventStore.open(proxy.url) as store:
        await store.append("s", NewEvent("n", 1))
        proxy.lose = ("request", b"canary")
        task = asyncio.create_task(store.append("s", NewEvent("n", "canary")))
        await proxy.lost.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await store.append("s", NewEvent("n", 3))).position == 3


async def _listeners(raw: Any) -> list[int]:
    rows = await raw.fetch(
        "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        " AND datname = current_database()"
    )
    return [row[0] for row in rows]


async def test_the_listening_connection_is_ended_then_it_is_replaced_and_nothing_is_missed(
    url: str, raw: Any
) -> None:
    """Polling stands in meanwhile."""
    async with EventStore.open(url) as store, EventStore.open(url) as other:
        seen: list[Any] = []

        async def follow() -> None:
            async for event in store.subscribe():
                seen.append(event.data)

        reader = asyncio.create_task(follow())

        async def find(unlike: list[int]) -> list[int]:
            while not (pids := await _listeners(raw)) or pids == unlike:  # noqa: ASYNC110 - asked
                await asyncio.sleep(0)
            return pids

        found = await asyncio.wait_for(find([]), 20)
        await raw.fetchval("SELECT pg_terminate_backend($1)", found[0])
        await other.append("s", NewEvent("n", 1))
        await until(lambda: seen == [1])
        assert await asyncio.wait_for(find(found), 20) != found
        await other.append("s", NewEvent("n", 2))
        await until(lambda: seen == [1, 2])
        reader.cancel()
