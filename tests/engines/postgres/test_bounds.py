"""How long the store waits at the most: for a silent server, for a connection, for a lock."""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import Any

import pytest

from eventstore import Busy, EventStore, NewEvent, OutcomeUnknown, StorageFailed, StoreClosed
from eventstore.engines.postgres import connections, migrating, watch, writer
from eventstore.engines.postgres.address import parse_address
from eventstore.engines.postgres.connections import Connections
from tests.servers.proxy import Proxy
from tests.waiting import until

from .inside import engine_of
from .rights import PAGE, documented, drop_role, role_with_rights

OTHERS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


async def _until_found(raw: Any, question: str, wanted: Any) -> None:
    async with asyncio.timeout(20):
        while await raw.fetchval(question) != wanted:  # noqa: ASYNC110 - asked of the server
            await asyncio.sleep(0)


async def test_the_server_is_silent_then_closing_does_not_wait_for_its_answer(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads hears that the store is closed; a statement's own bound is 100 s."""
    monkeypatch.setattr(connections, "CLOSE_SECONDS", 0.3)
    async with Proxy(url) as proxy:
        store = await EventStore.open(proxy.url)
        await store.append("s", NewEvent("n", 1))
        assert len(await store.read("s").list()) == 1
        proxy.silence()
        reader = asyncio.create_task(store.read("s").list())
        await until(lambda: proxy.dropped)
        async with asyncio.timeout(20):
            await store.close()
        with pytest.raises(StoreClosed):
            await reader


async def test_the_server_is_silent_with_appends_in_flight_then_closing_ends_within_its_bound(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a batch may take and a few seconds, however many wait behind the one in flight."""
    for module in (connections, writer):
        monkeypatch.setattr(module, "CLOSE_SECONDS", 0.5)
    async with Proxy(url) as proxy:
        store = await EventStore.open(f"{proxy.url}?notify=off", busy_timeout_seconds=1)
        for n in range(3):  # so that several connections are there, and are silent
            await asyncio.gather(
                *(store.tenant(f"t{m}").append("s", NewEvent("n", n)) for m in "ab")
            )
        engine_of(store)._writing.answer_seconds = 1.5
        proxy.hold()
        sent = asyncio.create_task(store.append("s", NewEvent("n", "sent")))
        await until(lambda: engine_of(store)._writer._sent > 6)
        waiting = asyncio.create_task(store.append("s", NewEvent("n", "waiting")))
        await asyncio.sleep(0)
        async with asyncio.timeout(1 + 2 * 0.5 + 3):  # the last: for a busy machine
            await store.close()
        with pytest.raises(OutcomeUnknown, match="may be written"):
            await sent
        with pytest.raises(StorageFailed, match="nothing was written"):
            await waiting


async def test_the_server_works_longer_than_the_patience_then_closing_waits_for_its_answer(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that is with the server has the time that it would have without a closing."""
    for module in (connections, writer):
        monkeypatch.setattr(module, "CLOSE_SECONDS", 0.1)
    async with Proxy(url) as proxy:
        store = await EventStore.open(f"{proxy.url}?notify=off", busy_timeout_seconds=0.1)
        await store.append("s", NewEvent("n", 1))
        proxy.hold()
        sent = asyncio.create_task(store.append("s", NewEvent("n", "sent")))
        await until(lambda: engine_of(store)._writer._sent > 1)
        asyncio.get_running_loop().call_later(0.5, proxy.mend)
        await store.close()
        assert (await sent).version == 2


async def test_all_connections_are_in_use_then_who_waits_is_told_in_time(url: str) -> None:
    """`Busy`, and not a wait without end; when one is free again, it is used."""
    pool = Connections(parse_address(url, "FULL"), 1, 0.1)
    deadline = asyncio.get_running_loop().time()
    async with pool.borrow(deadline):
        async with asyncio.timeout(20):
            with pytest.raises(Busy, match="in use"):
                await pool.run(lambda connection: connection.fetchval("SELECT 1"))
    assert await pool.run(lambda connection: connection.fetchval("SELECT 1")) == 1
    await pool.close()


async def test_the_listening_connection_is_silent_then_the_probe_replaces_it(
    url: str, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is ever sent on it, so nobody else would find out; polling is too slow here."""
    monkeypatch.setattr(watch, "_PROBE_SECONDS", 0.1)
    monkeypatch.setattr(watch, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(watch, "_POLL_LISTENING_SECONDS", 600.0)
    monkeypatch.setattr(connections, "STATEMENT_MS", 0)  # other connections are silent as well
    monkeypatch.setattr(connections, "GRACE_SECONDS", 0.0)
    async with Proxy(url) as proxy, EventStore.open(proxy.url, busy_timeout_seconds=1.0) as store:
        looks = engine_of(store)._watch
        reader = asyncio.create_task(anext(aiter(store.subscribe())))
        await until(lambda: looks._hears)
        first = looks._listener
        proxy.silence()
        await until(lambda: looks._hears and looks._listener is not first)
        assert first.is_closed()
        async with EventStore.open(url) as other:
            await other.append("s", NewEvent("n", 1))
        async with asyncio.timeout(20):
            assert (await reader).data == 1


async def test_a_poll_is_not_answered_then_the_next_one_is_soon_on_another_connection(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a millisecond, and does not wait as long as a query of any size may."""
    monkeypatch.setattr(watch, "ANSWER_SECONDS", 0.3)
    async with (
        Proxy(url) as proxy,
        EventStore.open(f"{proxy.url}?notify=off") as store,
        EventStore.open(url) as other,
    ):
        await other.append("s", NewEvent("n", 1))
        assert await store.head() == 1
        waiting = asyncio.ensure_future(engine_of(store).wait("default", 1))
        proxy.silence()
        await until(lambda: proxy.dropped)
        await other.append("s", NewEvent("n", 2))
        async with asyncio.timeout(20):
            await waiting


async def test_nobody_waits_any_more_then_the_listening_connection_stays_until_closing(
    url: str, raw: Any
) -> None:
    """Readers come and go; a connection for each of them would cost more than one that stays."""
    async with EventStore.open(url) as store:
        looks = engine_of(store)._watch
        for n in range(1, 4):
            reader = asyncio.create_task(anext(aiter(store.subscribe(after=n - 1))))
            await until(lambda: looks._hears)
            listener = looks._listener
            await store.append("s", NewEvent("n", n))
            assert (await reader).data == n
        assert looks._listener is listener
        assert not listener.is_closed()
    assert listener.is_closed()


async def test_an_isolated_store_loses_its_connection_without_a_word_then_it_is_found_out_soon(
    store: EventStore, raw: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What begins its transactions takes no time, and does not wait as long as a query may."""
    monkeypatch.setattr(connections, "ANSWER_SECONDS", 0.3)
    await store.append("s", NewEvent("n", 1))
    granted = await role_with_rights(raw, url, "cut_off")
    await raw.execute(documented("Row-level security by tenant"))
    async with (
        Proxy(granted) as proxy,
        EventStore.open(f"{proxy.url}?tenant_isolation=on&notify=off") as app,
    ):
        assert len(await app.read("s").list()) == 1
        proxy.silence()
        async with asyncio.timeout(20):
            assert len(await app.read("s").list()) == 1
    await drop_role(raw, "cut_off")


async def test_a_transaction_is_ended_while_the_server_is_silent_then_nobody_waits_for_a_rollback(
    url: str,
) -> None:
    """Such a connection is ended, which undoes the transaction as well."""
    async with Proxy(url) as proxy:
        pool = Connections(parse_address(proxy.url, "FULL"), 1, 30.0)
        begun = asyncio.Event()

        async def work(connection: Any) -> None:
            async with connections.transaction(connection):
                proxy.silence()
                begun.set()
                await connection.fetchval("SELECT 1")

        task = asyncio.create_task(pool.run(work))
        await begun.wait()
        async with asyncio.timeout(5):  # less than the bound of a rollback, if one were sent
            await pool.abort()
        with pytest.raises(StoreClosed):
            await task


async def test_opening_is_cancelled_while_another_makes_the_schema_then_it_gives_up_at_once(
    url: str, raw: Any
) -> None:
    """It does not wait for the lock, and leaves no connection behind."""
    number = zlib.crc32(b"another") - 2**31
    await raw.execute(f"SELECT pg_advisory_lock({migrating._LOCK_SPACE}, {number})")
    opening = asyncio.ensure_future(EventStore.open(f"{url}?schema=another"))
    await _until_found(raw, WAITING, 1)
    opening.cancel()
    async with asyncio.timeout(5):  # closing would wait for 10
        with pytest.raises(asyncio.CancelledError):
            await opening
    await _until_found(raw, OTHERS, 0)
    await raw.execute(f"SELECT pg_advisory_unlock({migrating._LOCK_SPACE}, {number})")
    async with EventStore.open(f"{url}?schema=another") as store:
        assert await store.head() == 0


async def test_all_that_a_store_does_is_done_at_once_then_it_takes_the_connections_that_are_said(
    url: str, raw: Any
) -> None:
    """Nobody who sets `max_connections` by the page is refused a connection."""
    said = re.search(r"at most (\d+) connections", PAGE.read_text(encoding="utf-8"))
    assert said is not None
    async with EventStore.open(url) as store:
        follower = asyncio.create_task(anext(aiter(store.subscribe(stream="never"))))
        tenants = [store.tenant(f"t{n}") for n in range(12)]
        for _ in range(2):
            await asyncio.gather(*(tenant.append("s", NewEvent("n", 1)) for tenant in tenants))
            await asyncio.gather(*(tenant.read("s").list() for tenant in tenants))
        await _until_found(raw, OTHERS, int(said[1]))
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
