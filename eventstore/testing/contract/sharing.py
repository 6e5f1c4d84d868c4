"""Several stores on one log, as several processes have them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ...errors import Conflict, IdempotencyMismatch
from ...events import Append
from ...query import AppendCondition, Query
from ...store import EventStore
from ..clocks import FixedClock
from ..history import History
from .harness import Harness, note, notes, numbers, positions, take, whole


class SharingContract(Harness):
    """Nothing that one store remembers may blind it to what another has written."""

    @pytest_asyncio.fixture
    async def pair(self, tmp_path: Path) -> AsyncIterator[tuple[EventStore, EventStore]]:
        """Two stores on one log; the same store twice where an engine has but one."""
        url = self.new_url(tmp_path)
        one = await self.open_store(url)
        two = await self.open_store(url) if self.shares else one
        try:
            yield one, two
        finally:
            await one.close()
            await two.close()

    async def test_two_stores_take_turns_then_each_sees_what_the_other_wrote(
        self, pair: tuple[EventStore, EventStore]
    ) -> None:
        """Versions, positions, new streams, types, tags and tenants, in every turn."""
        for turn in range(12):
            store, other = pair if turn % 2 else pair[::-1]
            result = await store.append("s", note(tags=["shared", f"t{turn}"]), expected=turn)
            fresh = await store.append(f"new/{turn}", note(id=f"id-{turn}"), expected=0)
            assert (result.position, fresh.position) == (turn * 2 + 1, turn * 2 + 2)
            assert await other.version("s") == turn + 1
            assert await other.event(f"id-{turn}") == fresh.events[0]
            assert len(await other.read_all(tags=["shared"]).list()) == turn + 1
            await store.tenant(f"tenant/{turn}").append("s", note())
            assert len(await other.tenants()) == turn + 2
        assert await whole(pair[0]) == await whole(pair[1])

    async def test_the_other_store_moved_on_then_this_one_is_told(
        self, pair: tuple[EventStore, EventStore]
    ) -> None:
        """Conflicts, conditions, keys and ids are judged against the log, not a memory of it."""
        one, two = pair
        await one.append("s", notes(1))
        await two.append("s", note(id="x", tags=["t"]), expected=1, idempotency_key="k")
        with pytest.raises(Conflict) as conflict:
            await one.append("s", notes(1), expected=1)
        assert [event.id for event in conflict.value.events] == ["x"]
        with pytest.raises(Conflict):
            await one.append("m", notes(1), condition=AppendCondition(Query(tags=("t",)), after=1))
        with pytest.raises(IdempotencyMismatch):
            await one.append("s", notes(1), idempotency_key="k")
        assert (await one.append("s", note(id="x", tags=["t"]))).duplicate is True
        assert (await two.append_many([Append("s", notes(1), expected=2)]))[0].version == 3

    async def test_both_stores_write_at_once_then_the_log_is_one(
        self, pair: tuple[EventStore, EventStore]
    ) -> None:
        """Dense positions in one order for all, and a key written once whoever is first."""
        history = History()
        readers = [asyncio.create_task(take(store.subscribe(), 8 * 15 + 15)) for store in pair]

        async def write(task: int) -> None:
            for turn in range(15):
                store = pair[(task + turn) % 2]
                history.acknowledged(await store.append(f"s/{turn % 4}", notes(1)))
                key = f"key-{turn}"
                history.acknowledged(await store.append("once", note(key), idempotency_key=key))

        await asyncio.gather(*(write(task) for task in range(8)))
        log = await pair[0].read_all().list()
        history.check_log(log)
        assert len(log) == 8 * 15 + 15
        for reader in readers:
            assert await reader == log

    async def test_the_other_store_appends_then_a_waiting_reader_sees_it(
        self, pair: tuple[EventStore, EventStore]
    ) -> None:
        """A subscription sees what any process commits, however often it has waited."""
        one, two = pair
        seen: list[int] = []
        for turn in range(4):
            reader = asyncio.create_task(take(one.subscribe(after=turn), 1))
            await asyncio.sleep(0)
            await two.append("s", notes(1, start=turn))
            seen += numbers(await reader)
        assert seen == [0, 1, 2, 3]
        follower = asyncio.create_task(take(one.subscribe(), 8))
        for turn in range(4, 8):
            await two.append("s", notes(1, start=turn))
        assert positions(await follower) == list(range(1, 9))

    async def test_the_other_store_holds_the_lease_then_this_one_gets_none(
        self, tmp_path: Path
    ) -> None:
        """Leases are the log's, not a process's."""
        clock = FixedClock()
        url = self.new_url(tmp_path)
        one = await self.open_store(url, clock=clock)
        two = await self.open_store(url, clock=clock) if self.shares else one
        async with one, two:
            await one.append("s", notes(2))
            lease = await one.checkpoints.acquire("work", "one", seconds=10)
            assert lease is not None
            assert await two.checkpoints.acquire("work", "two") is None
            await one.checkpoints.save("work", 1, lease=lease)
            clock.advance(11)
            taken = await two.checkpoints.acquire("work", "two")
            assert taken is not None
            assert (taken.position, taken.fencing_token) == (1, lease.fencing_token + 1)
