"""The readers' own parts: names, pages, waking, and what errors leave behind."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from eventstore import Corrupt, EventStore, NewEvent
from eventstore.engines.sqlite import reader as reading
from eventstore.engines.sqlite import statements as sql
from eventstore.errors import StorageFailed
from tests.waiting import PATIENCE_SECONDS, until

from .conftest import Connect
from .inside import engine_of


async def test_more_names_come_than_are_remembered_then_no_page_loses_its_own(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several pages at once, each with more streams than are remembered: forgetting for one must
    not look like damage to another."""
    monkeypatch.setattr(reading, "_NAMES_MAX", 2)
    for n in range(60):
        await store.append(f"s/{n % 20}", NewEvent(f"t/{n % 15}", n))
    for _ in range(5):
        logs = await asyncio.gather(
            *(store.read_all(after=n).list() for n in range(20)),
            *(store.read(f"s/{n}").list() for n in range(20)),
            *(store.read_all(types=[f"t/{n}"]).list() for n in range(15)),
        )
        assert [len(log) for log in logs] == [*range(60, 40, -1), *[3] * 20, *[4] * 15]


async def test_payloads_are_large_then_pages_are_cut_and_nothing_is_left_out(
    store: EventStore,
) -> None:
    """A page ends when its payloads exceed 4 MiB: every way of reading goes on behind it."""
    payload = "x" * 1_500_000
    await store.append("s", [NewEvent("t", [n, payload], tags=["x"]) for n in range(9)])
    due = list(range(9))
    assert [e[0] for e in await store.read("s").list()] == due
    assert [e[0] for e in await store.read("s", backwards=True).list()] == due[::-1]
    assert [e[0] for e in await store.read_all().list()] == due
    assert [e[0] for e in await store.read_all(tags=["x"]).list()] == due
    pages = [len(page) async for page in store.read_all().pages()]
    assert max(pages) <= 3


async def test_the_look_out_for_other_processes_fails_then_waiting_goes_on(
    url: str, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed look wakes those who wait: they look for themselves, and a new look-out begins."""
    reader = engine_of(store)._reader
    look, failures = reader.data_version, []

    def fail_once() -> int:
        if not failures:
            failures.append(1)
            raise StorageFailed("no luck")
        version: int = look()
        return version

    monkeypatch.setattr(reader, "data_version", fail_once)
    coming = asyncio.create_task(anext(aiter(store.subscribe())))
    await until(lambda: failures)
    async with EventStore.open(url) as other:
        await other.append("s", NewEvent("t", 1))
        event = await asyncio.wait_for(coming, PATIENCE_SECONDS)
    assert event.position == 1


async def test_queries_fail_then_the_readers_serve_as_before(
    store: EventStore, connect: Connect
) -> None:
    """An error gives its connection back."""
    await store.append("s", NewEvent("t", 1))
    with connect() as raw:
        raw.execute("ALTER TABLE event_types RENAME TO hidden")
        for _ in range(10):
            with pytest.raises(Corrupt):  # a store without one of its tables
                await store.read_all(types=["t"]).list()
        raw.execute("ALTER TABLE hidden RENAME TO event_types")
    reader = engine_of(store)._reader
    assert reader._free.qsize() == len(reader._connections)
    assert len(await store.read_all(types=["t"]).list()) == 1


async def test_many_readers_are_cancelled_then_the_next_ones_are_served(
    store: EventStore,
) -> None:
    """A query that nobody waits for any more runs to its end; the connection is not lost."""
    await store.append("s", [NewEvent("t", n) for n in range(2_000)])
    for turn in range(30):
        reads = [asyncio.create_task(store.read_all(after=n).list()) for n in range(6)]
        for _ in range(turn):
            await asyncio.sleep(0)
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
    reader = engine_of(store)._reader
    assert reader._free.qsize() == len(reader._connections)
    assert len(await store.read_all().list()) == 2_000


async def test_nobody_waits_any_more_then_the_look_out_ends(store: EventStore) -> None:
    """It runs only while someone waits, and leaves no task behind."""
    follower = asyncio.create_task(anext(aiter(store.subscribe())))
    await until(lambda: engine_of(store)._waiters)
    poller = engine_of(store)._poller
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)
    assert engine_of(store)._waiters == set()
    await until(poller.done)


async def test_an_event_comes_between_looking_and_waiting_then_nobody_waits_for_another(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who begins to wait looks once more, or would sleep until the next event after the missed
    one; here the look-out, which might hide that, never wakes anybody."""
    engine, blind = engine_of(store), asyncio.Event()
    monkeypatch.setattr(engine, "_poll", blind.wait)
    await store.append("s", NewEvent("t", 1))
    await asyncio.wait_for(engine.wait("default", 0), PATIENCE_SECONDS)
    waiting = asyncio.create_task(engine.wait("default", 1))
    await until(lambda: engine._waiters)
    await store.append("s", NewEvent("t", 2))
    await asyncio.wait_for(waiting, PATIENCE_SECONDS)
    blind.set()


@pytest.mark.parametrize("backwards", [False, True])
async def test_the_streams_head_goes_while_its_id_is_known_then_reading_is_corrupt(
    store: EventStore, connect: Connect, backwards: bool
) -> None:
    """A stream that was read before and has no row any more is damage, and told as such."""
    await store.append("s", NewEvent("t", 1))
    assert len(await store.read("s").list()) == 1
    with connect() as raw:
        raw.execute("DELETE FROM streams")
    with pytest.raises(Corrupt) as caught:
        await store.read("s", backwards=backwards).list()
    assert (caught.value.kind, caught.value.stream) == ("head", "s")


@pytest.mark.parametrize("payload", ["x", "x" * 1_500_000], ids=["small", "cut_by_bytes"])
@pytest.mark.parametrize(
    "options",
    [{}, {"backwards": True}, {"backwards": True, "after": 6}, {"after": 3}, {"limit": 9}],
    ids=str,
)
async def test_nothing_was_appended_meanwhile_then_no_page_is_fetched_twice(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, payload: str, options: dict[str, Any]
) -> None:
    """A page costs its rows once; only where the head has moved on in between is it read again."""
    await store.append("s", [NewEvent("t", payload) for _ in range(9)])
    await store.version("s")
    due = await store.read("s", **options).list()
    reader, asked = engine_of(store)._reader, []
    fetch = reader._fetch

    async def note(connection: Any, statement: str, args: Any) -> Any:
        if statement in (sql.READ_STREAM, sql.READ_STREAM_BACKWARDS):
            asked.append(args)
        return await fetch(connection, statement, args)

    monkeypatch.setattr(reader, "_fetch", note)
    assert await store.read("s", **options).list() == due
    assert sorted(asked) == sorted(set(asked))


@pytest.mark.parametrize("tags", [0, 1, 2, 9])
@pytest.mark.parametrize("types", [0, 1, 3])
def test_positions_are_asked_for_then_each_argument_has_a_name(tags: int, types: int) -> None:
    """Numbered ones may not be given a sequence from Python 3.14 on; 3.12 warns of it."""
    if not tags and not types:
        types = 1
    statement = sql.positions_of(tags, types)
    args = sql.numbered([0] * (tags + types + 4))
    named = set(re.findall(r":(\w+)", statement))
    assert "?" not in statement
    # Without types the tenant is not asked for: tags are its own.
    assert args.keys() - named <= {f"p{tags + types + 1}"}
    assert named <= args.keys()
