"""A log that goes back behind the back of an open store, on a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from eventstore import EventStore, LogDiverged, NewEvent, Query, StorageFailed
from tests.servers.pooler import TransactionPooler
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy
from tests.waiting import until

_FOLLOWED: dict[str, dict[str, Any]] = {
    "plain": {},
    "filtered": {"query": Query(tags=("t",))},
    "stream": {"stream": "s"},
}
_END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


def _events(what: str, count: int) -> list[NewEvent]:
    return [NewEvent("n", f"{what} {n}", tags=["t"]) for n in range(count)]


async def test_a_crash_takes_what_was_not_synced_then_every_follower_is_told() -> None:
    """Others appended more than was lost before the followers came back."""
    with PostgresServer(settings={"wal_writer_delay": "10s"}) as server:
        url = server.new_url()
        async with (
            Proxy(f"{url}?notify=off") as proxy,
            EventStore.open(f"{url}?notify=off") as full,
            EventStore.open(f"{url}?notify=off", synchronous="NORMAL") as normal,
            EventStore.open(proxy.url) as reader,
        ):
            seen: dict[str, list[Any]] = {name: [] for name in _FOLLOWED}

            async def follow(name: str) -> None:
                async for event in reader.subscribe(**_FOLLOWED[name]):
                    seen[name].append(event.data)

            tasks = {name: asyncio.create_task(follow(name)) for name in _FOLLOWED}
            await full.append("s", _events("synced", 5))
            await normal.append("s", _events("lost", 3))
            await until(lambda: all(len(given) == 8 for given in seen.values()))
            await reader.read_all(limit=2).list()  # another reader's place is not theirs
            proxy.hold()
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            assert await full.head() == 5
            await full.append("s", _events("new", 5))
            proxy.mend()
            proxy.cut()
            for name, task in tasks.items():
                with pytest.raises(LogDiverged):
                    await asyncio.wait_for(task, 60)
                assert len(seen[name]) == 8


@pytest.mark.parametrize("pooled", [False, True])
async def test_ids_of_tenants_are_given_anew_then_nobody_is_given_anothers_events(
    url: str, raw: Any, pooled: bool
) -> None:
    """Behind a pooler nobody is told that its server is another one."""
    async with TransactionPooler(url) as pooler:
        options = f"{pooler.url}?pooler=on" if pooled else f"{url}?notify=off"
        async with EventStore.open(options) as store:
            for name in ("alice", "bob"):
                await store.tenant(name).append("s", NewEvent(f"of-{name}", name))
                assert len(await store.tenant(name).read_all().list()) == 1
            # What a copy without the last commits has: other tenants, streams and types under the
            # same ids.
            await raw.execute(
                "UPDATE eventstore.tenants SET name = 'x-' || name WHERE name IN ('alice', 'bob');"
                "UPDATE eventstore.tenants SET name = CASE name WHEN 'x-alice' THEN 'bob'"
                " ELSE 'alice' END WHERE name LIKE 'x-%'"
            )
            if not pooled:
                await raw.execute(_END_OTHERS)
            for name, other in (("alice", "bob"), ("bob", "alice")):
                tenant = store.tenant(name)
                assert [event.data for event in await tenant.read_all().list()] == [other]
                assert [event.data for event in await tenant.read("s").list()] == [other]
                assert await tenant.head() == 1
                assert await tenant.version("s") == 1


async def test_ids_of_streams_and_types_are_given_anew_then_events_have_their_own_names(
    url: str, raw: Any, store: EventStore
) -> None:
    """What was remembered does not make a sound log look damaged."""
    await store.append("one", NewEvent("a", 1))
    async with EventStore.open(url) as other:
        assert len(await other.read_all().list()) == 1
        await raw.execute(
            "ALTER TABLE eventstore.events DISABLE TRIGGER ALL;"
            "TRUNCATE eventstore.events, eventstore.streams, eventstore.event_types;"
            "DELETE FROM eventstore.heads;"
            "ALTER TABLE eventstore.events ENABLE TRIGGER ALL;"
            "ALTER SEQUENCE eventstore.streams_stream_id_seq RESTART;"
            "ALTER SEQUENCE eventstore.event_types_type_id_seq RESTART"
        )
        async with EventStore.open(url) as third:
            await third.append("another", NewEvent("b", 2))
        assert [(e.stream, e.type) for e in await other.read_all().list()] == [("another", "b")]


async def test_another_store_stands_there_when_a_connection_is_replaced_then_it_is_told(
    url: str, raw: Any
) -> None:
    """Nothing of it is read, and nothing is written to it."""
    async with EventStore.open(f"{url}?notify=off", busy_timeout_seconds=1) as store:
        await store.append("s", NewEvent("n", 1))
        await raw.execute("DROP SCHEMA eventstore CASCADE")
        async with EventStore.open(url) as other:
            await other.append("s", NewEvent("n", "other's"))
        await raw.execute(_END_OTHERS)
        for work in (
            lambda: store.read_all().list(),
            lambda: store.append("s", NewEvent("n", 2)),
            store.head,
        ):
            with pytest.raises(StorageFailed, match="another store"):
                await work()
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT count(*) FROM eventstore.events") == 1
    await connection.close()
