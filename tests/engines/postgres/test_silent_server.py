"""A server that keeps its connections and says nothing, and a machine that is gone."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from eventstore import EventStore, EventStoreError, NewEvent, OutcomeUnknown, StorageFailed
from eventstore.engines.postgres import connections
from tests.servers.proxy import Proxy

from .inside import engine_of


async def test_the_server_says_nothing_then_all_are_told_within_the_patience_and_a_grace(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not when the longest statement's time is over as well."""
    monkeypatch.setattr(connections, "GRACE_SECONDS", 1.0)
    async with (
        Proxy(url) as proxy,
        EventStore.open(f"{proxy.url}?notify=off", busy_timeout_seconds=2) as store,
    ):
        await store.append("s", NewEvent("n", 1))
        await store.checkpoints.save("reader", 1)
        assert len(await store.read("s").list()) == 1

        async def told(work: Any) -> tuple[type[EventStoreError], float]:
            clock = asyncio.get_running_loop().time
            began = clock()
            try:
                await work
            except EventStoreError as exc:
                return type(exc), clock() - began
            pytest.fail("somebody was answered")

        proxy.hold()
        found = await asyncio.gather(
            told(store.append("s", NewEvent("n", 2))),
            told(store.read("s").list()),
            told(store.read_all().list()),
            told(store.head()),
        )
        assert [kind for kind, _ in found] == [OutcomeUnknown] + [StorageFailed] * 3
        assert max(seconds for _, seconds in found) < 2 + 1 + 10  # the last: for a busy machine
        proxy.mend()
        proxy.cut()
    async with EventStore.open(url) as store:
        assert await store.head() in (1, 2)


async def test_a_connection_is_opened_then_the_kernel_tells_when_its_machine_is_gone(
    store: EventStore,
) -> None:
    """Packets that nobody acknowledges end it after ten seconds, sent or awaited."""
    found = await engine_of(store)._reading.run(lambda connection: _options(connection))
    assert found["SO_KEEPALIVE"] == 1
    assert found["TCP_USER_TIMEOUT"] == 10_000
    assert found["TCP_KEEPIDLE"] + found["TCP_KEEPINTVL"] * found["TCP_KEEPCNT"] == 10


async def _options(connection: Any) -> dict[str, int]:
    opened = connection._transport.get_extra_info("socket")
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
    found = {name: opened.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names}
    return {**found, "SO_KEEPALIVE": opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)}
