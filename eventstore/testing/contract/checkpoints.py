"""Checkpoints and leases: a reader's place, and the right to move it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ...errors import InvalidEvent, LeaseLost, LogDiverged
from ...store import EventStore
from ..clocks import FixedClock
from .harness import Harness, notes


class CheckpointContract(Harness):
    """Durable positions, and fencing tokens that keep a stalled holder out."""

    async def test_a_checkpoint_is_saved_then_it_is_loaded(self, store: EventStore) -> None:
        """The position, and the hash of the event there."""
        await store.append("s", notes(3))
        assert await store.checkpoints.load("reader") is None
        saved = await store.checkpoints.save("reader", 2)
        assert (saved.name, saved.position, len(saved.hash)) == ("reader", 2, 32)
        assert await store.checkpoints.load("reader") == saved
        moved = await store.checkpoints.save("reader", 3)
        assert moved.hash != saved.hash
        assert await store.checkpoints.load("reader") == moved

    async def test_a_checkpoint_is_moved_back_then_it_is_there(self, store: EventStore) -> None:
        """Its owner may read again, with a lease and without."""
        await store.append("s", notes(4))
        lease = await store.checkpoints.acquire("leased", "ann", seconds=60)
        for name, own in (("reader", None), ("leased", lease)):
            for position in (3, 1, 4, 2):
                await store.checkpoints.save(name, position, lease=own)
                loaded = await store.checkpoints.load(name)
                assert loaded is not None
                assert loaded.position == position

    async def test_an_owner_saves_many_at_once_then_one_of_them_stands(
        self, store: EventStore
    ) -> None:
        """They are in nobody's way, nor is renewing the lease in between."""
        await store.append("s", notes(6))
        lease = await store.checkpoints.acquire("reader", "ann", seconds=60)
        assert lease is not None
        saved = await asyncio.gather(
            *(store.checkpoints.save("reader", n % 6 + 1, lease=lease) for n in range(30))
        )
        renewed = await asyncio.gather(
            *(store.checkpoints.save("reader", n, lease=lease) for n in range(1, 7)),
            *(store.checkpoints.renew(lease, seconds=60) for _ in range(3)),
        )
        assert len(renewed) == 9
        assert await store.checkpoints.load("reader") in saved

    async def test_generations_and_partitions_then_each_has_a_place_of_its_own(
        self, store: EventStore
    ) -> None:
        """A new build of a view does not move the old one's place."""
        await store.append("s", notes(4))
        place: dict[str, Any] = {"generation": 2, "partition": 3}
        await store.checkpoints.save("reader", 1)
        await store.checkpoints.save("reader", 2, generation=2)
        await store.checkpoints.save("reader", 3, **place)
        await store.checkpoints.save("other", 4)
        loaded = [
            await store.checkpoints.load("reader"),
            await store.checkpoints.load("reader", generation=2),
            await store.checkpoints.load("reader", **place),
            await store.checkpoints.load("other"),
        ]
        assert [c.position for c in loaded if c] == [1, 2, 3, 4]
        assert await store.checkpoints.load("reader", partition=3) is None

    async def test_the_position_is_not_in_the_log_then_it_is_refused(
        self, store: EventStore
    ) -> None:
        """A place that does not exist is never stored."""
        await store.append("s", notes(2))
        with pytest.raises(LogDiverged, match="3"):
            await store.checkpoints.save("reader", 3)
        assert await store.checkpoints.load("reader") is None

    async def test_a_lease_is_held_then_another_holder_gets_none(
        self, store: EventStore, clock: FixedClock
    ) -> None:
        """One holder at a time; a free or run-out lease is given with a higher token."""
        first = await store.checkpoints.acquire("work", "ann", seconds=60)
        assert first is not None
        assert (first.holder, first.position) == ("ann", 0)
        assert await store.checkpoints.acquire("work", "bob", seconds=60) is None
        # A second process of the same name is another one.
        assert await store.checkpoints.acquire("work", "ann", seconds=60) is None
        other = await store.checkpoints.acquire("work", "bob", seconds=60, partition=1)
        assert other is not None
        clock.advance(61)
        second = await store.checkpoints.acquire("work", "bob", seconds=60)
        assert second is not None
        assert second.fencing_token > first.fencing_token
        await store.checkpoints.release(second)
        third = await store.checkpoints.acquire("work", "ann")
        assert third is not None
        assert third.fencing_token > second.fencing_token

    async def test_a_stalled_holder_wakes_up_then_it_is_refused(
        self, store: EventStore, clock: FixedClock
    ) -> None:
        """Its token is no longer the newest: it can neither save nor renew nor release."""
        await store.append("s", notes(5))
        stalled = await store.checkpoints.acquire("work", "ann", seconds=10)
        assert stalled is not None
        await store.checkpoints.save("work", 2, lease=stalled)
        clock.advance(11)
        current = await store.checkpoints.acquire("work", "bob", seconds=60)
        assert current is not None
        assert current.position == 2
        await store.checkpoints.save("work", 4, lease=current)
        with pytest.raises(LeaseLost):
            await store.checkpoints.save("work", 3, lease=stalled)
        with pytest.raises(LeaseLost):
            await store.checkpoints.renew(stalled)
        await store.checkpoints.release(stalled)
        assert await store.checkpoints.acquire("work", "carl") is None
        assert await store.checkpoints.save("work", 5, lease=current)
        loaded = await store.checkpoints.load("work")
        assert loaded is not None
        assert loaded.position == 5

    async def test_a_lease_was_taken_then_saving_without_one_is_refused(
        self, store: EventStore
    ) -> None:
        """A checkpoint that is guarded once stays guarded, also when the lease is released."""
        await store.append("s", notes(2))
        await store.checkpoints.save("work", 1)
        lease = await store.checkpoints.acquire("work", "ann")
        assert lease is not None
        assert lease.position == 1
        await store.checkpoints.release(lease)
        with pytest.raises(LeaseLost):
            await store.checkpoints.save("work", 2)
        loaded = await store.checkpoints.load("work")
        assert loaded is not None
        assert loaded.position == 1

    async def test_a_lease_is_renewed_then_it_runs_longer(
        self, store: EventStore, clock: FixedClock
    ) -> None:
        """The token stays; a lease that ran out is not renewed."""
        lease = await store.checkpoints.acquire("work", "ann", seconds=30)
        assert lease is not None
        clock.advance(20)
        renewed = await store.checkpoints.renew(lease, seconds=60)
        assert renewed.fencing_token == lease.fencing_token
        assert renewed.expires_at > lease.expires_at
        clock.advance(30)
        assert await store.checkpoints.acquire("work", "bob") is None
        clock.advance(60)
        with pytest.raises(LeaseLost):
            await store.checkpoints.renew(renewed)
        taken = await store.checkpoints.acquire("work", "bob")
        assert taken is not None
        assert taken.fencing_token > lease.fencing_token

    async def test_a_lease_of_another_checkpoint_is_given_then_it_is_refused(
        self, store: EventStore
    ) -> None:
        """Tokens are compared within one checkpoint only, so a lease must be for it."""
        await store.append("s", notes(2))
        lease = await store.checkpoints.acquire("a", "ann")
        assert await store.checkpoints.acquire("b", "bob") is not None
        places: list[dict[str, Any]] = [
            {"name": "b"},
            {"name": "a", "generation": 2},
            {"name": "a", "partition": 1},
        ]
        for place in places:
            with pytest.raises(InvalidEvent, match="another checkpoint"):
                await store.checkpoints.save(position=1, lease=lease, **place)

    async def test_many_want_one_lease_at_once_then_one_gets_it(self, store: EventStore) -> None:
        """The lease is given in one step."""
        answers = await asyncio.gather(
            *(store.checkpoints.acquire("work", f"w{n}", seconds=600) for n in range(20))
        )
        assert len([lease for lease in answers if lease is not None]) == 1

    @pytest.mark.parametrize(
        "arguments",
        [
            {"name": "", "position": 0},
            {"name": "r", "position": -1},
            {"name": "r", "position": True},
            {"name": "r", "position": "1"},
            {"name": "r", "position": 0, "generation": -1},
            {"name": "r", "position": 0, "generation": 2**63},
            {"name": "r", "position": 0, "partition": "x"},
        ],
    )
    async def test_a_checkpoint_is_saved_wrongly_then_it_is_refused(
        self, store: EventStore, arguments: dict[str, Any]
    ) -> None:
        """Names are names, places are ints from 0 on."""
        with pytest.raises(InvalidEvent):
            await store.checkpoints.save(**arguments)

    @pytest.mark.parametrize("seconds", [0, -1, 3_601, float("nan"), float("inf")])
    async def test_a_lease_has_no_sensible_length_then_it_is_refused(
        self, store: EventStore, seconds: float
    ) -> None:
        """Longer than an hour is a lock, and its holder's death would go unseen."""
        with pytest.raises(InvalidEvent, match="lease"):
            await store.checkpoints.acquire("work", "ann", seconds=seconds)
        with pytest.raises(InvalidEvent, match="holder"):
            await store.checkpoints.acquire("work", "")

    async def test_the_store_is_opened_again_then_checkpoints_and_tokens_are_there(
        self, tmp_path: Path
    ) -> None:
        """They are as durable as the log; a token is never given twice."""
        url = self.new_url(tmp_path)
        clock = FixedClock()
        first_url = url if self.keeps else self.new_url(tmp_path)
        store = await self.open_store(first_url, clock=clock)
        await store.append("s", notes(2))
        saved = await store.checkpoints.save("reader", 2)
        lease = await store.checkpoints.acquire("work", "ann", seconds=60)
        assert lease is not None
        if self.keeps:
            await store.close()
            store = await self.open_store(url, clock=clock)
        async with store:
            assert await store.checkpoints.load("reader") == saved
            assert await store.checkpoints.acquire("work", "bob", seconds=60) is None
            clock.advance(61)
            taken = await store.checkpoints.acquire("work", "bob", seconds=60)
            assert taken is not None
            assert taken.fencing_token > lease.fencing_token

    async def test_a_lease_is_anothers_with_the_same_token_then_it_moves_and_frees_nothing(
        self, store: EventStore
    ) -> None:
        """Tokens count for each checkpoint: neither another tenant's nor another holder's is
        taken for the own one."""
        await store.append("s", notes(1))
        other = store.tenant("other")
        await other.append("s", notes(1))
        own = await store.checkpoints.acquire("r", "ann")
        foreign = await other.checkpoints.acquire("r", "ann")
        assert own is not None
        assert foreign is not None
        assert own.fencing_token == foreign.fencing_token
        for attempt in (
            store.checkpoints.save("r", 1, lease=foreign),
            store.checkpoints.renew(foreign),
            store.checkpoints.release(foreign),
        ):
            with pytest.raises(InvalidEvent, match="another tenant's"):
                await attempt
        pretended = msgspec.structs.replace(own, holder="bob")
        with pytest.raises(LeaseLost):
            await store.checkpoints.save("r", 1, lease=pretended)
        await store.checkpoints.release(pretended)
        assert await store.checkpoints.acquire("r", "bob") is None
        assert (await store.checkpoints.save("r", 1, lease=own)).position == 1

    async def test_a_checkpoints_place_is_malformed_then_it_is_refused(
        self, store: EventStore
    ) -> None:
        """By every question alike, before the engine is asked."""
        for place in ({"generation": 2**70}, {"generation": -1}, {"partition": "0"}):
            with pytest.raises(InvalidEvent):
                await store.checkpoints.load("r", **place)
        for name, options in (
            ("\ud800", {}),
            ("r", {"generation": 2**70}),
            ("r", {"limit": 2**70}),
        ):
            with pytest.raises(InvalidEvent):
                await store.checkpoints.tenants_behind(name, **options)
