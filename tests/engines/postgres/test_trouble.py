"""The writer and the listener in trouble: everybody is answered, and nothing is left behind."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from eventstore import Busy, EventStore, NewEvent, OutcomeUnknown, StorageFailed
from eventstore.engines.postgres import connections, watch, writer
from tests.servers.proxy import Proxy
from tests.waiting import until


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_the_writer_fails_then_those_who_wait_for_room_are_let_in(
    url: str, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """A fault of the store's own costs the batch that it hit and no other."""

    def fail(*_: Any) -> Any:
        monkeypatch.undo()
        raise error

    async with EventStore.open(url, queue_appends_max=1) as store:
        monkeypatch.setattr(writer, "outcomes_of", fail)
        async with asyncio.timeout(20):
            results = await asyncio.gather(
                *(store.append("s", NewEvent("n", n)) for n in range(3)), return_exceptions=True
            )
        assert isinstance(results[0], OutcomeUnknown)
        assert not any(isinstance(result, BaseException) for result in results[1:])


async def test_a_writer_is_ended_then_those_laid_out_ahead_are_answered_too(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch behind the one in flight was not sent, and its callers hear that."""

    def fail(*_: Any) -> Any:
        monkeypatch.undo()
        raise asyncio.CancelledError

    async with EventStore.open(url) as store:
        await store.append("s", NewEvent("n", 0))
        monkeypatch.setattr(writer, "outcomes_of", fail)
        async with asyncio.timeout(20):
            results = await asyncio.gather(
                *(store.append("s", NewEvent("n", n)) for n in range(64)), return_exceptions=True
            )
        assert [type(result) for result in results] == [OutcomeUnknown] * 32 + [StorageFailed] * 32
        assert (await store.append("s", NewEvent("n", 1))).version == 34


async def test_callers_come_again_and_again_then_each_is_judged_in_the_order_it_came(
    url: str,
) -> None:
    """Also those who were laid out while others were in flight."""
    async with EventStore.open(url) as store:
        order: list[int] = []

        async def call(caller: int) -> None:
            for _ in range(5):
                number = len(order)
                order.append(number)
                await store.append("s", NewEvent("n", number))

        async with asyncio.timeout(60):
            await asyncio.gather(*(call(caller) for caller in range(64)))
        assert [event.data for event in await store.read("s").list()] == order


async def test_a_head_is_held_then_all_who_wait_for_it_are_told_at_once(url: str, raw: Any) -> None:
    """A whole batch waits for the lock once, and not each of its calls once more."""
    async with EventStore.open(url, busy_timeout_seconds=0.5) as store:
        await store.append("s", NewEvent("n", 0))
        async with raw.transaction():
            await raw.fetch("SELECT * FROM eventstore.heads FOR UPDATE")
            async with asyncio.timeout(3):
                results = await asyncio.gather(
                    *(store.append("s", NewEvent("n", n)) for n in range(20)),
                    return_exceptions=True,
                )
        assert {type(result) for result in results} == {Busy}
        assert (await store.append("s", NewEvent("n", 1))).position == 2


async def test_listening_fails_on_a_live_connection_then_it_is_ended(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each try would leave one more connection on the server."""
    refused: asyncio.Queue[Any] = asyncio.Queue()

    async def refuse(connection: Any, *_: Any) -> None:
        refused.put_nowait(connection)
        raise asyncpg.InsufficientPrivilegeError("no")

    monkeypatch.setattr(asyncpg.Connection, "add_listener", refuse)
    async with EventStore.open(url) as store:
        reader = asyncio.ensure_future(anext(aiter(store.subscribe())))
        async with asyncio.timeout(20):
            first = await refused.get()
            await refused.get()
        assert first.is_closed()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def test_connections_fall_silent_then_reads_and_subscribers_go_on(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that loses everything without a word is found out by the time that passes."""
    monkeypatch.setattr(connections, "STATEMENT_MS", 0)
    monkeypatch.setattr(connections, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(watch, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(watch, "_PROBE_SECONDS", 0.2)
    seen: list[Any] = []
    async with (
        Proxy(url) as proxy,
        EventStore.open(proxy.url, busy_timeout_seconds=1.0) as store,
        EventStore.open(url) as other,
    ):

        async def follow() -> None:
            async for event in store.subscribe():
                seen.append(event.data)

        reader = asyncio.create_task(follow())
        await other.append("s", NewEvent("n", 1))
        await until(lambda: seen == [1])
        proxy.silence()
        await other.append("s", NewEvent("n", 2))
        async with asyncio.timeout(20):
            assert [event.data for event in await store.read("s").list()] == [1, 2]
        await until(lambda: seen == [1, 2])
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
