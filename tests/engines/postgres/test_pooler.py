"""Behind a transaction pooler: nothing of a session lasts, and everything is as without one."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from eventstore import (
    Append,
    AppendCondition,
    ConditionFailed,
    Conflict,
    EventStore,
    NewEvent,
    Query,
    StorageFailed,
)
from eventstore.snapshots import Snapshot
from tests.servers.pooler import PgBouncer, TransactionPooler, bouncer
from tests.waiting import until

from .rights import documented, drop_role, role_with_rights

POOLERS = [TransactionPooler, PgBouncer] if bouncer() else [TransactionPooler]
"""Ours runs everywhere; PgBouncer itself where the machine has it."""

pytestmark = pytest.mark.parametrize("kind", POOLERS)


async def _twice(prepared: Any) -> None:
    await prepared.fetchval()
    await prepared.fetchval()


async def test_a_session_is_used_then_nothing_of_it_lasts(url: str, kind: Any) -> None:
    """The pooler of these tests is one: what a store may not rely on is gone with it."""
    async with kind(url) as pooler:
        clients = [await asyncpg.connect(pooler.url, statement_cache_size=0) for _ in range(6)]
        asked = [client.fetchval("SELECT pg_backend_pid(), pg_sleep(0.1)") for client in clients]
        assert len(set(await asyncio.gather(*asked))) == 2
        client = clients[0]
        assert len({await client.fetchval("SELECT pg_backend_pid()") for _ in range(6)}) == 2
        async with client.transaction():
            assert len({await client.fetchval("SELECT pg_backend_pid()") for _ in range(6)}) == 1
        prepared = await client.prepare("SELECT 1", name="mine")
        with pytest.raises(asyncpg.InvalidSQLStatementNameError):
            await _twice(prepared)  # prepared in one session, asked for in both
        for client in clients:
            await client.close()


async def test_the_url_says_nothing_of_it_then_opening_says_what_to_do(url: str, kind: Any) -> None:
    """Settings of a session cannot be had."""
    async with kind(url) as pooler:
        with pytest.raises(StorageFailed, match="pooler=on"):
            await EventStore.open(pooler.url)


async def test_the_role_has_no_bounds_then_opening_warns_until_it_has(
    url: str, raw: Any, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A lock or a statement without a bound would hold up others for ever."""
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    whose = f'ROLE eventstore IN DATABASE "{url.rsplit("/", 1)[1]}"'
    for is_set in (False, True):
        async with kind(url) as pooler, EventStore.open(f"{pooler.url}?pooler=on"):
            pass
        told = [record.message for record in caplog.records if "no bound" in record.message]
        assert len(told) == (0 if is_set else 1)
        assert is_set or all(name in told[0] for name in (*names, "ALTER ROLE"))
        caplog.clear()
        for name in names:
            await raw.execute(f"ALTER {whose} SET {name} = '90s'")


async def test_all_that_a_store_does_is_done_then_it_is_as_without_a_pooler(
    url: str, kind: Any
) -> None:
    """More callers than the pooler has connections, appends and reads, keys and conditions."""
    async with kind(url) as pooler, EventStore.open(f"{pooler.url}?pooler=on&schema=s") as store:
        sent = [
            store.append(f"s{n % 5}", NewEvent("n", n, tags=[f"t{n % 3}"]), idempotency_key=f"k{n}")
            for n in range(60)
        ]
        results = await asyncio.gather(*sent)
        assert sorted(result.position for result in results) == list(range(1, 61))
        again = await store.append("s0", NewEvent("n", 0, tags=["t0"]), idempotency_key="k0")
        assert (again.duplicate, again.position) == (True, results[0].position)
        with pytest.raises(Conflict):
            await store.append("s0", NewEvent("n", 0), expected=1)
        condition = AppendCondition(Query(tags=("t1",)), after=1)
        with pytest.raises(ConditionFailed):
            await store.append("s0", NewEvent("n", 0), condition=condition)
        many = [Append("a", [NewEvent("n", 61)]), Append("b", [NewEvent("n", 62)])]
        assert [result.position for result in await store.append_many(many)] == [61, 62]
        reads = await asyncio.gather(*(store.read_all().list() for _ in range(8)))
        assert all([event.position for event in read] == list(range(1, 63)) for read in reads)
        assert len(await store.read_all(tags=["t1"]).list()) == 20
        lease = await store.checkpoints.acquire("reader", "me")
        assert lease is not None
        assert (await store.checkpoints.save("reader", 62, lease=lease)).position == 62
        assert await store.snapshots.save("a", "r", "f", Snapshot(1, 61, b"x", b"y"))
        assert (await store.verify()).damages == ()


async def test_another_process_appends_then_a_subscriber_sees_it(url: str, kind: Any) -> None:
    """Without LISTEN, by polling."""
    seen: list[Any] = []
    async with (
        kind(url) as pooler,
        EventStore.open(f"{pooler.url}?pooler=on") as store,
        EventStore.open(url) as other,
    ):

        async def follow() -> None:
            async for event in store.subscribe():
                seen.append(event.data)

        assert store.describe()["notify"] is False
        reader = asyncio.create_task(follow())
        for n in range(3):
            await other.append("s", NewEvent("n", n))
            await until(lambda n=n: seen == list(range(n + 1)))
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def test_tenants_are_isolated_then_no_session_carries_one_to_another(
    store: EventStore, raw: Any, url: str, kind: Any
) -> None:
    """Each transaction says its tenant itself; the sessions are shared by all."""
    granted = await role_with_rights(raw, url, "pooled_tenants")
    await raw.execute(documented("Row-level security by tenant"))
    async with (
        kind(granted) as pooler,
        EventStore.open(f"{pooler.url}?pooler=on&tenant_isolation=on") as app,
    ):
        names = [f"tenant-{n}" for n in range(8)]

        async def work(name: str) -> list[Any]:
            mine = app.tenant(name)
            for n in range(5):
                await mine.append("s", NewEvent("n", [name, n]))
                await mine.read("s").list()
            return [event.data for event in await mine.read_all().list()]

        for name, read in zip(names, await asyncio.gather(*map(work, names)), strict=True):
            assert read == [[name, n] for n in range(5)]
        client = await asyncpg.connect(pooler.url, statement_cache_size=0)
        for _ in range(4):
            assert await client.fetchval("SELECT count(*) FROM eventstore.events") == 0
        await client.close()
    await drop_role(raw, "pooled_tenants")


async def test_a_server_session_is_ended_then_the_store_goes_on(
    url: str, raw: Any, kind: Any
) -> None:
    """The pooler's own words for it are understood, and nothing is written twice."""
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with kind(url) as pooler, EventStore.open(f"{pooler.url}?pooler=on") as store:
        for turn in range(4):
            sent = [
                asyncio.create_task(store.append("s", NewEvent("n", [turn, n]))) for n in range(10)
            ]
            await raw.execute(end)
            await asyncio.gather(*sent)
            assert len(await store.read("s").list()) == 10 * (turn + 1)
        assert (await store.verify()).damages == ()
