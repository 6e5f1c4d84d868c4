"""Subscriptions: what is there, then what comes; nothing left out, nothing twice."""

from __future__ import annotations

import asyncio

import pytest

from ...errors import LogDiverged, StoreClosed
from ...events import NewEvent, RecordedEvent
from ...query import Query
from ...reading import Events
from ...store import EventStore
from ..history import History
from .harness import PATIENCE_SECONDS, Harness, note, notes, numbers, positions, take


class SubscribingContract(Harness):
    """Catch up, then live, by position, whatever the writers do."""

    async def test_events_are_there_and_more_come_then_the_reader_sees_all_in_order(
        self, store: EventStore
    ) -> None:
        """Catching up passes into live without a gap."""
        await store.append("a", notes(3))
        reader = asyncio.create_task(take(store.subscribe(), 6))
        await store.append("b", notes(2, start=4))
        await store.append("a", notes(1, start=6))
        seen = await reader
        assert positions(seen) == [1, 2, 3, 4, 5, 6]
        assert numbers(seen) == [1, 2, 3, 4, 5, 6]

    async def test_the_log_is_empty_then_the_reader_waits_for_the_first_event(
        self, store: EventStore
    ) -> None:
        """A subscription on nothing is a subscription."""
        reader = asyncio.create_task(take(store.subscribe(), 1))
        await asyncio.sleep(0)
        assert not reader.done()
        await store.append("s", note("first"))
        assert (await reader)[0].data == {"text": "first"}

    async def test_the_reader_starts_behind_a_position_then_it_sees_what_follows(
        self, store: EventStore
    ) -> None:
        """`after` excludes the position it names; a checkpoint is one too."""
        await store.append("s", notes(4))
        assert positions(await take(store.subscribe(after=2), 2)) == [3, 4]
        checkpoint = await store.checkpoints.save("reader", 3)
        assert positions(await take(store.subscribe(after=checkpoint), 1)) == [4]
        reader = asyncio.create_task(take(store.subscribe(after=4), 1))
        await store.append("s", notes(1))
        assert positions(await reader) == [5]

    async def test_many_write_while_many_read_then_no_reader_misses_or_repeats(
        self, store: EventStore
    ) -> None:
        """Readers that start before, during and after the writing all see 1..n."""
        history = History()
        total = 12 * 20 * 2

        async def write(task: int) -> None:
            for turn in range(20):
                result = await store.append(f"s/{(task + turn) % 3}", notes(2))
                history.acknowledged(result)

        readers = [asyncio.create_task(take(store.subscribe(), total)) for _ in range(4)]
        writers = [asyncio.create_task(write(task)) for task in range(12)]
        await store.append("late", [])
        readers += [asyncio.create_task(take(store.subscribe(), total)) for _ in range(4)]
        await asyncio.gather(*writers)
        readers += [asyncio.create_task(take(store.subscribe(), total)) for _ in range(2)]
        log = await store.read_all().list()
        history.check_log(log)
        for seen in await asyncio.gather(*readers):
            history.check_reader(seen)
            assert seen == log

    async def test_a_stream_is_followed_then_only_its_events_come(self, store: EventStore) -> None:
        """By version, and by position, whatever is written beside it."""
        for n in range(1, 4):
            await store.append("s", notes(1, start=n))
            await store.append("other", notes(2))
        reader = asyncio.create_task(take(store.subscribe(stream="s"), 6))
        behind = asyncio.create_task(take(store.subscribe(stream="s", after=4), 4))
        for n in range(4, 7):
            await store.append("other", notes(2))
            await store.append("s", notes(1, start=n))
        assert numbers(await reader) == [1, 2, 3, 4, 5, 6]
        seen = await behind
        assert numbers(seen) == [3, 4, 5, 6]
        assert [event.version for event in seen] == [3, 4, 5, 6]
        assert all(event.stream == "s" for event in seen)

    @pytest.mark.parametrize("after", range(8))
    async def test_a_stream_is_followed_from_any_position_then_its_next_event_comes(
        self, store: EventStore, after: int
    ) -> None:
        """`after` is a position of the log, also for a subscription to one stream."""
        for stream in "sotsots":
            await store.append(stream, note())
        reader = asyncio.create_task(take(store.subscribe(stream="s", after=after), 1))
        await store.append("o", note())
        await store.append("s", note())
        due = min(position for position in (1, 4, 7, 9) if position > after)
        assert positions(await reader) == [due]

    async def test_a_stream_does_not_exist_yet_then_the_reader_waits_for_it(
        self, store: EventStore
    ) -> None:
        """A subscription may be there before its stream."""
        reader = asyncio.create_task(take(store.subscribe(stream="s"), 2))
        await store.append("other", notes(3))
        await store.append("s", notes(2))
        assert positions(await reader) == [4, 5]

    async def test_a_query_is_followed_then_only_matching_events_come(
        self, store: EventStore
    ) -> None:
        """A query filters what was there and what comes; with a stream, both must hold."""
        query = [Query(types=("a",)), Query(tags=("x",))]

        async def write(first: int) -> None:
            await store.append("s", [NewEvent("a", first), NewEvent("b", first + 1)])
            await store.append("t", [NewEvent("b", first + 2, tags=["x", "y"])])
            await store.append("t", [NewEvent("c", first + 3, tags=["y"])])

        await write(1)
        both = asyncio.create_task(take(store.subscribe(query=query), 4))
        one = asyncio.create_task(take(store.subscribe(query=query, stream="t"), 2))
        none = asyncio.create_task(take(store.subscribe(query=Query(types=("zz",))), 1))
        await write(11)
        assert [event.data for event in await both] == [1, 3, 11, 13]
        assert [event.data for event in await one] == [3, 13]
        assert not none.done()
        none.cancel()

    async def test_few_events_match_in_a_long_log_then_they_all_come(
        self, store: EventStore
    ) -> None:
        """A filtered reader gets past any number of events that do not match."""
        await store.append("s", [*notes(2_300), NewEvent("rare", 1)])
        reader = asyncio.create_task(take(store.subscribe(query=Query(types=("rare",))), 2))
        await store.append("s", [*notes(1_300), NewEvent("rare", 2)])
        assert positions(await reader) == [2_301, 3_602]

    async def test_the_reader_is_beyond_the_log_then_it_is_told(self, store: EventStore) -> None:
        """A restored log is shorter than its readers; they must not wait in silence."""
        await store.append("s", notes(2))
        for events in (store.subscribe(after=3), store.subscribe(after=3, stream="s")):
            with pytest.raises(LogDiverged, match="3"):
                await take(events, 1)

    async def test_a_checkpoint_of_another_log_is_given_then_it_is_told(
        self, store: EventStore
    ) -> None:
        """Also where the position exists: the event there is another one."""
        await store.append("s", notes(2))
        other = store.tenant("other")
        await other.append("s", notes(2, start=9))
        foreign = await other.checkpoints.save("reader", 2)
        with pytest.raises(LogDiverged, match="another event"):
            await take(store.subscribe(after=foreign), 1)

    @pytest.mark.parametrize("stream", [None, "s"])
    async def test_the_store_is_closed_then_its_subscriptions_end(
        self, store: EventStore, stream: str | None
    ) -> None:
        """A reader that waits is told; it neither hangs nor spins."""
        await store.append("s", notes(1))
        seen: list[RecordedEvent] = []
        live = asyncio.Event()

        async def follow(events: Events) -> None:
            async for event in events:
                seen.append(event)
                live.set()

        reader = asyncio.create_task(follow(store.subscribe(stream=stream)))
        await live.wait()
        await store.close()
        with pytest.raises(StoreClosed):
            await asyncio.wait_for(reader, PATIENCE_SECONDS)
        assert positions(seen) == [1]

    async def test_a_waiting_reader_is_cancelled_then_others_go_on(self, store: EventStore) -> None:
        """A cancelled subscription leaves nothing behind that could disturb the next one."""
        for _ in range(20):
            reader = asyncio.create_task(take(store.subscribe(), 1))
            await asyncio.sleep(0)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
        survivor = asyncio.create_task(take(store.subscribe(), 1))
        await store.append("s", note())
        assert positions(await survivor) == [1]

    async def test_another_tenant_writes_then_the_reader_sees_only_its_own(
        self, store: EventStore
    ) -> None:
        """A subscription belongs to one tenant's log."""
        acme = store.tenant("acme")
        reader = asyncio.create_task(take(acme.subscribe(), 2))
        for n in range(3):
            await store.append("s", notes(1, start=n))
        await acme.append("s", notes(2, start=50))
        assert numbers(await reader) == [50, 51]
