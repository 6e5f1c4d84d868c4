"""An append whose first answer was lost is answered as what it is, and told to those who wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventstore import Append, EventStore, NewEvent
from tests.servers.proxy import Proxy

CHANNEL = "eventstore_eventstore"


@pytest.mark.parametrize("key", [None, "k"])
async def test_the_answer_is_lost_then_the_call_that_wrote_is_no_duplicate(
    url: str, key: str | None
) -> None:
    """Its caller hears that it wrote; only who comes after it with the same key is a duplicate."""
    async with Proxy(url) as proxy, EventStore.open(proxy.url) as store:
        await store.append("s", NewEvent("n", 1))
        proxy.lose = ("answer", b"canary")
        result = await store.append("s", NewEvent("n", "canary"), idempotency_key=key)
        assert proxy.lose is None
        assert (result.version, result.position, result.duplicate) == (2, 2, False)
        assert [event.data for event in result.events] == ["canary"]
        if key is not None:
            again = await store.append("s", NewEvent("n", "canary"), idempotency_key=key)
            assert (again.version, again.duplicate) == (2, True)


async def test_the_answer_to_many_is_lost_then_none_of_them_is_a_duplicate(url: str) -> None:
    """One call, one answer."""
    async with Proxy(url) as proxy, EventStore.open(proxy.url) as store:
        await store.append("s", NewEvent("n", 1))
        proxy.lose = ("answer", b"canary")
        results = await store.append_many(
            [Append("a", [NewEvent("n", "canary")]), Append("b", [NewEvent("n", 2)])],
            idempotency_key="k",
        )
        assert proxy.lose is None
        assert [(result.position, result.duplicate) for result in results] == [
            (2, False),
            (3, False),
        ]


async def test_the_answer_to_a_duplicate_is_lost_then_it_is_one_still(url: str) -> None:
    """The event that stands bears the id of the call that wrote it, which was another one."""
    async with Proxy(url) as proxy, EventStore.open(proxy.url) as store:
        first = await store.append("s", NewEvent("n", "canary"), idempotency_key="k")
        proxy.lose = ("answer", b"canary")
        again = await store.append("s", NewEvent("n", "canary"), idempotency_key="k")
        assert proxy.lose is None
        assert again.duplicate
        assert again.events == first.events


async def test_all_ids_were_given_and_the_answer_is_lost_then_it_counts_as_a_duplicate(
    url: str,
) -> None:
    """Whether they stood before the first sending cannot be told; it is written once."""
    async with Proxy(url) as proxy, EventStore.open(proxy.url) as store:
        await store.append("s", NewEvent("n", 1))
        proxy.lose = ("answer", b"canary")
        result = await store.append("s", NewEvent("n", "canary", id="mine"))
        assert proxy.lose is None
        assert (result.position, result.duplicate) == (2, True)


async def test_the_answer_is_lost_then_other_processes_are_notified(url: str, raw: Any) -> None:
    """Of what the lost sending wrote nobody has heard, so that the second one tells."""
    heard: asyncio.Queue[None] = asyncio.Queue()

    def hear(*_: Any) -> None:
        heard.put_nowait(None)

    await raw.add_listener(CHANNEL, hear)
    async with Proxy(url) as proxy, EventStore.open(proxy.url) as store:
        async with asyncio.timeout(20):
            await store.append("s", NewEvent("n", 1))
            await heard.get()
            proxy.lose = ("answer", b"canary")
            await store.append("s", NewEvent("n", "canary"))
            assert proxy.lose is None
            await heard.get()
    await raw.remove_listener(CHANNEL, hear)
