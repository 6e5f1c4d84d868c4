"""The embedded cache: what is in the store's own database, and what goes from it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from eventstore import EventStore
from eventstore.testing import FixedClock
from projections.cache import CacheView
from projections.cache import table as table_module
from projections.errors import SinkEmptied
from projections.sinks import Change

from .conftest import Cache, cache_of, declared, rows

HOUR_US = 3_600_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest) -> EventStore:
    """A store in each database."""
    name = "store" if request.param == "sqlite" else "postgres_store"
    store: EventStore = request.getfixturevalue(name)
    return store


async def stored(cache: Cache) -> list[tuple[Any, ...]]:
    """The rows of the table, served or not."""
    schema = cache.store.outbox.schema
    table = f"{schema}.cache_brief_1" if schema else "cache_brief_1"
    found: list[tuple[Any, ...]] = await cache.store.outbox.query(
        f"SELECT key, expires_at FROM {table} ORDER BY key"
    )
    return found


async def tenants_of(table: str, store: EventStore) -> list[int]:
    """Whose the rows of a table are, markers too."""
    outbox = store.outbox
    name = f"{outbox.schema}.{table}" if outbox.schema else table
    return [row[0] for row in await outbox.query(f"SELECT tenant_id FROM {name}")]


async def test_rows_are_written_then_they_are_there_with_the_checkpoint_and_not_before(
    either: EventStore,
) -> None:
    """The sink only says what is to be done: it is done in the relay's transaction."""
    cache = await cache_of(either, CacheView(declared()))
    written = await cache.sink.write(cache.build, [Change("k", 1, 1, 0)])
    assert await cache.values("k") == {}
    await either.outbox.change(written.statements)
    assert await cache.values("k") == {"k": 1}


async def test_rows_expire_then_later_writes_sweep_them_in_bounded_steps(
    either: EventStore, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write takes twice its own rows and a few more away, and never one that is good."""
    monkeypatch.setattr(table_module, "_SWEPT_MORE", 1)
    cache = await cache_of(either, CacheView(declared("brief"), expire_seconds=10))
    now = either.outbox.now()
    await cache.write(*[Change(f"old/{n}", n, n + 1, now) for n in range(7)])
    clock.advance(10)
    for left in (4, 1, 0):
        await cache.put("new", left, 100 - left, either.outbox.now())
        assert [key.startswith("old") for key, _ in await stored(cache)].count(True) == left
    assert await cache.values("new") == {"new": 0}


async def test_nothing_expires_then_no_write_sweeps(either: EventStore) -> None:
    """A view without a time has no rows to look for."""
    cache = await cache_of(either, CacheView(declared()))
    written = await cache.sink.write(cache.build, rows(3))
    assert [each.sql.split()[0] for each in written.statements] == ["INSERT"]


async def test_the_last_tenant_drops_a_generation_then_its_table_is_gone(
    either: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generation leaves nothing behind, and takes nothing from another tenant."""
    monkeypatch.setattr(table_module, "_DROPPED_ROWS", 2)
    cache = await cache_of(either, CacheView(declared()))
    other = await cache.other("acme")
    await cache.write(*rows(7))
    await other.write(*rows(2))
    await cache.drop()
    assert set(await tenants_of("cache_hot_1", either)) == {other.build.tenant_id}
    with pytest.raises(SinkEmptied):
        await cache.pages()
    assert [len(page) for page in await other.pages()] == [2]
    await other.drop()
    await other.drop()
    assert not await other.sink._exists(other.build)


async def test_another_incarnation_takes_the_table_then_old_rows_go_in_bounded_steps(
    either: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left before a view was fed elsewhere is not served; a second worker that makes the
    place harms no row of the first, and another tenant keeps its own."""
    monkeypatch.setattr(table_module, "_DROPPED_ROWS", 2)
    cache = await cache_of(either, CacheView(declared()))
    other = await cache.other("acme")
    await cache.write(*rows(7))
    await other.write(*rows(2))
    later = await cache.other(incarnation="later")
    assert await later.pages() == []
    await later.put("k", 1, 1)
    await later.create()
    assert await later.values("k") == {"k": 1}
    assert [len(page) for page in await other.pages()] == [2]


async def test_many_make_the_same_table_at_once_then_all_succeed(either: EventStore) -> None:
    """Tenants that begin a generation together do not fail at the database's catalog."""
    first = await cache_of(either, CacheView(declared()))
    await first.drop()
    tenants = [f"tenant/{n}" for n in range(6)]
    made = await asyncio.gather(*[first.other(tenant) for tenant in tenants])
    await asyncio.gather(*[each.put("k", each.build.tenant_id, 1) for each in made])
    for each in made:
        assert await each.values("k") == {"k": each.build.tenant_id}


async def test_a_table_is_made_then_postgresql_guards_it_as_the_logs_own(
    postgres_store: EventStore,
) -> None:
    """A tenant's policy is that of the store's other tables; it rests until it is switched on."""
    await cache_of(postgres_store, CacheView(declared()))
    found = await postgres_store.outbox.query(
        "SELECT tablename::text, qual, with_check FROM pg_policies WHERE policyname = 'own_tenant'"
        " AND schemaname = $1 AND tablename IN ('views', 'cache_hot_1')",
        [postgres_store.outbox.schema],
    )
    rules = {name: (qual, check) for name, qual, check in found}
    assert rules["cache_hot_1"] == rules["views"]


async def test_a_thousand_rows_are_written_and_read_then_both_are_a_short_time(
    either: EventStore,
) -> None:
    """A page is no reason to wait: some 10 ms here, and a second is a defect."""
    cache = await cache_of(either, CacheView(declared()))
    page = rows(1_000, value={"text": "x" * 200})
    begun = time.perf_counter()
    await cache.write(*page)
    written = time.perf_counter() - begun
    found = await cache.values(*[change.key for change in page])
    assert len(found) == 1_000
    print(f"written in {written * 1_000:.1f} ms, read too: {time.perf_counter() - begun:.3f} s")
    assert time.perf_counter() - begun < 1
