"""Checkpoints and leases whose connection is lost: kept once, undone by nothing that comes late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventstore import EventStore, LeaseLost, NewEvent, OutcomeUnknown, StorageFailed
from eventstore.engines.port import CheckpointRow, Statement
from eventstore.outbox import Advance
from eventstore.testing import FixedClock
from tests.servers.proxy import Proxy
from tests.waiting import until

HOLDER = "canary-holder"


async def _hash_at(store: EventStore, position: int) -> bytes:
    found = await store._core.engine.hash_at("default", position)
    assert found is not None
    return found


async def _place(store: EventStore) -> int:
    found = await store.checkpoints.load("reader")
    assert found is not None
    return found.position


async def test_the_answer_to_acquire_is_lost_then_the_lease_is_its_holders(url: str) -> None:
    """Else nobody would have it until it runs out."""
    async with Proxy(url) as proxy, EventStore.open(proxy.url) as store:
        await store.append("s", NewEvent("n", 1))
        proxy.lose = ("answer", HOLDER.encode())
        lease = await store.checkpoints.acquire("reader", HOLDER, seconds=600)
        assert proxy.lose is None
        assert lease is not None
        assert lease.fencing_token == 1
        assert await store.checkpoints.acquire("reader", "other") is None
        assert (await store.checkpoints.save("reader", 1, lease=lease)).position == 1


async def test_the_lease_is_anothers_and_an_answer_is_lost_then_there_is_none(url: str) -> None:
    """Also where that one has the same name: a lease that was held before is not taken twice."""
    clock = FixedClock()
    async with Proxy(url) as proxy, EventStore.open(proxy.url, clock=clock) as store:
        assert await store.checkpoints.acquire("reader", HOLDER, seconds=600) is not None
        clock.advance(1)
        for holder in (HOLDER, f"{HOLDER}-2"):
            proxy.lose = ("answer", HOLDER.encode())
            assert await store.checkpoints.acquire("reader", holder, seconds=600) is None
            assert proxy.lose is None


async def test_a_lease_ran_out_and_the_answer_to_renew_is_lost_then_it_is_free(url: str) -> None:
    """What the lost sending took under a new token is given back."""
    clock = FixedClock()
    async with Proxy(url) as proxy, EventStore.open(proxy.url, clock=clock) as store:
        lease = await store.checkpoints.acquire("reader", HOLDER, seconds=10)
        assert lease is not None
        clock.advance(11)
        proxy.lose = ("answer", HOLDER.encode())
        with pytest.raises(LeaseLost):
            await store.checkpoints.renew(lease, seconds=600)
        assert proxy.lose is None
        assert await store.checkpoints.acquire("reader", "other") is not None


@pytest.mark.parametrize("leased", [False, True])
async def test_the_answer_to_a_save_is_lost_then_it_is_saved(url: str, leased: bool) -> None:
    """Forward and back alike."""
    async with Proxy(url) as proxy, EventStore.open(proxy.url) as store:
        await store.append("s", [NewEvent("n", n) for n in range(5)])
        lease = await store.checkpoints.acquire("reader", HOLDER) if leased else None
        for position in (3, 5, 2):
            proxy.lose = ("answer", await _hash_at(store, position))
            await store.checkpoints.save("reader", position, lease=lease)
            assert proxy.lose is None
            assert await _place(store) == position


@pytest.mark.parametrize("leased", [False, True])
@pytest.mark.parametrize(("late", "later"), [(3, 5), (1, 4), (5, 1)])
async def test_a_save_comes_late_then_it_undoes_no_later_one(
    url: str, leased: bool, late: int, later: int
) -> None:
    """Neither does it take a reader back, nor forward over what it was set back to read again."""
    async with Proxy(url) as proxy, EventStore.open(proxy.url) as store:
        await store.append("s", [NewEvent("n", n) for n in range(5)])
        lease = await store.checkpoints.acquire("reader", HOLDER) if leased else None
        await store.checkpoints.save("reader", 2, lease=lease)
        proxy.lose = ("late", await _hash_at(store, late))
        await store.checkpoints.save("reader", late, lease=lease)
        assert proxy.lose is None
        await store.checkpoints.save("reader", later, lease=lease)
        async with asyncio.timeout(20):
            await proxy.deliver()
        assert await _place(store) == later


async def test_the_first_save_comes_late_then_it_undoes_no_later_one(url: str) -> None:
    """There was no row when it was sent."""
    async with Proxy(url) as proxy, EventStore.open(proxy.url) as store:
        await store.append("s", [NewEvent("n", n) for n in range(5)])
        proxy.lose = ("late", await _hash_at(store, 3))
        await store.checkpoints.save("reader", 3)
        assert proxy.lose is None
        await store.checkpoints.save("reader", 1)
        async with asyncio.timeout(20):
            await proxy.deliver()
        assert await _place(store) == 1


async def test_the_answer_to_a_save_is_lost_and_another_saves_then_it_does_not_come_twice(
    url: str, store: EventStore
) -> None:
    """Sent again behind the other one's it would undo that."""
    async with Proxy(url) as proxy, EventStore.open(f"{proxy.url}?notify=off") as slow:
        await slow.append("s", [NewEvent("n", n) for n in range(5)])
        await slow.checkpoints.save("reader", 1)
        proxy.lost.clear()
        proxy.lose = ("answer", await _hash_at(slow, 3))
        save = asyncio.create_task(slow.checkpoints.save("reader", 3))
        await proxy.lost.wait()
        proxy.is_down = True
        await until(lambda: _stands_at(store, 3))
        await store.checkpoints.save("reader", 5)
        proxy.is_down = False
        with pytest.raises(OutcomeUnknown):
            await save
        assert await _place(store) == 5


async def _stands_at(store: EventStore, position: int) -> bool:
    return await _place(store) == position


async def test_the_answer_is_lost_and_no_connection_comes_back_then_the_outcome_is_unknown(
    url: str,
) -> None:
    """It may be saved, taken or freed; "nothing was written" would not be true."""
    async with (
        Proxy(url) as proxy,
        EventStore.open(f"{proxy.url}?notify=off", busy_timeout_seconds=0.2) as store,
    ):
        await store.append("s", [NewEvent("n", n) for n in range(3)])
        lease = await store.checkpoints.acquire("other", HOLDER)
        assert lease is not None
        digest = await _hash_at(store, 3)
        for work, needle in (
            (lambda: store.checkpoints.save("reader", 3), digest),
            (lambda: store.checkpoints.acquire("leased", HOLDER), HOLDER.encode()),
            (lambda: store.checkpoints.release(lease), HOLDER.encode()),
        ):
            assert await store.checkpoints.load("nothing") is None
            proxy.lost.clear()
            proxy.lose = ("answer", needle)
            task = asyncio.ensure_future(work())
            await proxy.lost.wait()
            proxy.is_down = True
            proxy.cut()
            with pytest.raises(OutcomeUnknown):
                await task
            with pytest.raises(StorageFailed, match="nothing was written"):
                await store.checkpoints.save("reader", 1)
            proxy.is_down = False
        assert await _place(store) == 3


async def test_a_save_is_overtaken_by_a_new_lease_then_its_holder_is_told(
    url: str, store: EventStore
) -> None:
    """Whatever became of the sending that was lost."""
    clock = FixedClock()
    async with (
        Proxy(url) as proxy,
        EventStore.open(f"{proxy.url}?notify=off", clock=clock) as slow,  # reads on one connection
    ):
        await slow.append("s", [NewEvent("n", n) for n in range(5)])
        lease = await slow.checkpoints.acquire("reader", HOLDER, seconds=10)
        assert lease is not None
        proxy.lose = ("late", await _hash_at(slow, 3))
        proxy.lost.clear()
        proxy.is_down = True
        save = asyncio.create_task(slow.checkpoints.save("reader", 3, lease=lease))
        await proxy.lost.wait()
        taken = await store.checkpoints.acquire("reader", "other", seconds=600)
        assert taken is not None
        proxy.is_down = False
        with pytest.raises(LeaseLost):
            await save
        await proxy.deliver()
        row = await store._core.engine.load_checkpoint("default", "reader", 1, 0)
        assert isinstance(row, CheckpointRow)
        assert (row.position, row.holder, row.fencing_token) == (0, "other", 2)


async def test_the_answer_to_a_change_is_lost_then_it_is_not_made_again_behind_a_reset(
    url: str, store: EventStore, raw: Any
) -> None:
    """Its COMMIT comes late, its rows are locked until then, and who sets the checkpoint back to
    where the change began comes behind it: the change is made once, and does not move it again."""
    await raw.execute("CREATE TABLE counted (n int)")
    async with Proxy(url) as proxy, EventStore.open(f"{proxy.url}?notify=off") as slow:
        await slow.append("s", [NewEvent("n", n) for n in range(3)])
        lease = await slow.checkpoints.acquire("reader", HOLDER, seconds=600)
        assert lease is not None
        row = Statement("INSERT INTO counted VALUES ($1)", ((1,),))
        proxy.lose = ("late", b"COMMIT")
        async with asyncio.timeout(20):
            assert not await slow.outbox.change([row], [Advance(lease, 0, 2)])
            reset = asyncio.create_task(store.checkpoints.save("reader", 0, lease=lease))
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            while not await raw.fetchval(waiting):
                assert not reset.done()
            await proxy.deliver()
            await reset
        assert await _place(slow) == 0
        assert await raw.fetchval("SELECT count(*) FROM counted") == 1


async def test_no_connection_comes_back_behind_a_commit_then_the_change_is_unknown(
    url: str, raw: Any
) -> None:
    """The rows may stand; "nothing was written" would not be true."""
    async with (
        Proxy(url) as proxy,
        EventStore.open(f"{proxy.url}?notify=off", busy_timeout_seconds=0.2) as store,
    ):
        await store.outbox.tenant_id()
        await raw.execute("CREATE TABLE counted (n int)")
        proxy.lose = ("answer", b"COMMIT")
        task = asyncio.ensure_future(
            store.outbox.change([Statement("INSERT INTO counted VALUES ($1)", ((1,),))])
        )
        await proxy.lost.wait()
        proxy.is_down = True
        with pytest.raises(OutcomeUnknown):
            await task
        assert await raw.fetchval("SELECT count(*) FROM counted") == 1
        proxy.is_down = False
