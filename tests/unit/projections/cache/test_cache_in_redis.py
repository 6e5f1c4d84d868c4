"""The cache in a real Redis: what is kept there, what was lost, and what its errors become."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis

from eventstore import EventStore
from eventstore.outbox import Statement
from eventstore.testing import FixedClock
from projections.cache import redis as redis_module
from projections.cache.scripts import WRITE
from projections.errors import SinkEmptied
from projections.sinks import Change
from tests.servers.redis import RedisServer

from .conftest import Cache, rows, using


@pytest_asyncio.fixture
async def cache(store: EventStore, redis_url: str) -> AsyncIterator[Cache]:
    """A cache in the shared server."""
    async with using(store, redis_url) as made:
        yield made


def names(raw: redis.Redis) -> list[str]:
    """All keys of the database."""
    return sorted(name.decode() for name in raw.keys("*"))


# --- what is kept


async def test_a_row_is_written_then_other_programs_can_read_it(
    cache: Cache, raw: redis.Redis
) -> None:
    """The form of names and rows is a promise."""
    await cache.put("session/1", {"b": 1, "a": "ü"}, 42)
    digest = cache.sink.marker(cache.build).split(":")[4].rstrip("}")
    start = f"eventstore:{{default:hot:1:{digest}}}:"
    assert names(raw) == [f"{start}marker", f"{start}row:session/1"]
    body = raw.get(f"{start}row:session/1")
    assert body == b"%019d%019d" % (42, 0) + '{"a":"ü","b":1}'.encode()
    assert raw.hgetall(f"{start}marker") == {b"incarnation": b"first", b"writes:0": b"1"}


async def test_names_would_be_ambiguous_then_they_are_told_apart(
    store: EventStore, redis_url: str, raw: redis.Redis
) -> None:
    """A tenant's name with the separators in it is not another tenant's generation."""
    async with using(store, redis_url, prefix="mine") as cache:
        await cache.other("a}:b*")
        start = [name.rpartition(":")[0] for name in names(raw)]
    assert [name.split(":")[:2] for name in start] == [
        ["mine", "{a%7D%3Ab%2A"],
        ["mine", "{default"],
    ]


async def test_two_stores_share_a_database_then_their_rows_are_apart(
    store: EventStore, redis_url: str
) -> None:
    """The same tenant, view and generation of another store is another place."""
    async with using(store, redis_url) as mine:
        theirs = await mine.other(incarnation="theirs")
        await mine.put("k", "mine", 5)
        await theirs.put("k", "theirs", 3)
        await mine.drop()
        assert await theirs.values("k") == {"k": "theirs"}


async def test_a_row_is_deleted_then_a_tombstone_stays_for_a_day(
    cache: Cache, raw: redis.Redis
) -> None:
    """A late write finds the position of the delete."""
    await cache.write(Change("k", None, 5, 0))
    name = cache.sink.row_name(cache.build, "k")
    assert raw.get(name) == b"%019d%019d" % (5, 0)
    assert 86_000 < raw.ttl(name) <= redis_module.TOMBSTONE_SECONDS
    await cache.put("k", "late", 4)
    assert await cache.values("k") == {}
    await cache.put("k", "new", 6)
    assert raw.ttl(name) == -1


async def test_rows_expire_then_redis_forgets_them_a_minute_later(
    store: EventStore, redis_url: str, raw: redis.Redis, clock: FixedClock
) -> None:
    """The store's clock says what is served; the server's own only takes away what is long over."""
    async with using(store, redis_url, expire_seconds=10) as cache:
        await cache.put("k", 1, 1, store.outbox.now())
        await cache.put("over", 1, 2, store.outbox.now() - 10_000_000)
        left = raw.pttl(cache.sink.row_name(cache.build, "k"))
        assert 65_000 < left <= 70_000
        assert raw.get(cache.sink.row_name(cache.build, "over")) == b"%019d%019d" % (2, 0)


async def test_a_build_is_dropped_then_nothing_of_it_is_left(
    cache: Cache, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, tombstones, the marker and the counts go, in bounded steps."""
    monkeypatch.setattr(redis_module, "_DROPPED_KEYS", 50)
    await cache.write(*rows(300), Change("gone", None, 1_000, 0))
    raw.set("somebody's", "own")
    await cache.drop()
    assert names(raw) == ["somebody's"]
    assert await cache.store.outbox.query("SELECT count(*) FROM cache_writes") == [(0,)]
    with pytest.raises(SinkEmptied):
        await cache.put("k", "a zombie's", 2_000)
    assert names(raw) == ["somebody's"]


async def test_a_page_is_large_then_it_is_sent_in_bounded_runs(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is held up for one run at a time; each is counted."""
    monkeypatch.setattr(redis_module, "_WRITTEN_ROWS", 10)
    monkeypatch.setattr(redis_module, "_WRITTEN_BYTES", 500)
    page = [*rows(25), Change("large", "x" * 2_000, 90, 0), *rows(5, position=100)]
    written = await cache.write(*page)
    assert written.writes == 31
    assert len(await cache.values("large", *[f"key/{n:06}" for n in range(25)])) == 26
    counted = await cache.store.outbox.query("SELECT partition, writes FROM cache_writes")
    assert counted[0][1] > 3


async def test_the_server_forgets_its_scripts_then_the_next_write_brings_them_back(
    cache: Cache, raw: redis.Redis
) -> None:
    """SCRIPT FLUSH costs one longer command."""
    await cache.put("a", 1, 1)
    raw.script_flush()
    assert raw.script_exists(WRITE.sha) == [False]
    await cache.put("a", 2, 2)
    assert raw.script_exists(WRITE.sha) == [True]
    assert await cache.values("a") == {"a": 2}


# --- what was lost


async def test_the_server_is_flushed_then_nothing_is_written_and_no_absence_is_told(
    store: EventStore, own_server: RedisServer
) -> None:
    """A read must not answer "no row" for one that was lost; a new incarnation starts anew."""
    async with using(store, own_server.url()) as cache:
        await cache.put("k", 1, 1)
        assert await cache.values("k") == {"k": 1}
        own_server.flush()
        with pytest.raises(SinkEmptied, match="has lost its marker"):
            await cache.values("k")
        with pytest.raises(SinkEmptied):
            await cache.pages()
        with pytest.raises(SinkEmptied):
            await cache.sink.check(cache.build)
        with pytest.raises(SinkEmptied):
            await cache.put("k", 2, 2)
        with own_server.client() as raw:
            assert names(raw) == []
        again = await cache.other(incarnation="second")
        await again.put("k", 1, 1)
        assert await again.values("k") == {"k": 1}


async def test_the_server_is_restarted_then_reading_and_writing_go_on(
    store: EventStore, own_server: RedisServer
) -> None:
    """Idle connections that died are no error, and what was kept is served."""
    async with using(store, own_server.url()) as cache:
        await cache.put("k", 1, 1)
        own_server.restart()
        assert await cache.values("k") == {"k": 1}
        own_server.kill()
        own_server.start()
        await cache.put("k", 2, 2)
        await cache.sink.check(cache.build)
        assert await cache.values("k") == {"k": 2}


async def _lose_the_last_write(cache: Cache, server: RedisServer) -> None:
    """The server comes back as it was before its last write: its file was not on the disk yet."""
    kept = server.folder / "appendonlydir"
    [log] = kept.glob("*.incr.aof")
    before = log.stat().st_size
    await cache.put("lost", 1, 2)
    server.kill()
    os.truncate(log, before)
    server.start()


@pytest.mark.parametrize("seen", ["find", "scan", "check", "write", "write anew"])
async def test_the_server_lost_its_last_second_then_that_is_noticed(
    store: EventStore, own_server: RedisServer, seen: str
) -> None:
    """The marker stands, but counts fewer writes than the store knows were acknowledged."""
    async with using(store, own_server.url()) as cache:
        await cache.put("k", 1, 1)
        await cache.values("k")
        await _lose_the_last_write(cache, own_server)
        if seen == "write anew":  # by a process that was started since
            cache.sink._acknowledged.clear()
        ask = {
            "find": lambda: cache.values("k"),
            "scan": cache.pages,
            "check": lambda: cache.sink.check(cache.build),
        }.get(seen, lambda: cache.put("next", 1, 3))
        with pytest.raises(SinkEmptied, match="has lost writes that it acknowledged"):
            await ask()
        with own_server.client() as raw:
            is_reading = seen in ("find", "scan")
            assert (names(raw) == []) is not is_reading
        with pytest.raises(SinkEmptied):
            await ask()


async def test_a_key_was_tried_again_and_that_was_lost_then_it_is_noticed_too(
    store: EventStore, own_server: RedisServer
) -> None:
    """Writes are counted, because a parked key comes with old positions."""
    async with using(store, own_server.url()) as cache:
        await cache.put("far", 1, 1_000)
        await _lose_the_last_write(cache, own_server)
        with pytest.raises(SinkEmptied):
            await cache.put("far", 2, 1_001)


async def test_an_answer_was_lost_then_redis_is_ahead_and_the_page_is_sent_again(
    cache: Cache,
) -> None:
    """A worker that died before its checkpoint left a count that the store does not know."""
    await cache.sink.write(cache.build, rows(2))
    cache.sink._acknowledged.clear()
    await cache.sink.check(cache.build)
    await cache.write(*rows(2))
    assert len(await cache.values("key/000000", "key/000001")) == 2


async def test_the_store_is_in_postgresql_then_it_counts_what_redis_acknowledged(
    postgres_store: EventStore, redis_url: str, raw: redis.Redis
) -> None:
    """The count stands in the store's own database, whichever it is."""
    async with using(postgres_store, redis_url) as cache:
        await cache.put("k", 1, 1)
        assert await cache.values("k") == {"k": 1}
        await cache.create()
        cache.sink._acknowledged.clear()
        raw.hset(cache.sink.marker(cache.build), "writes:0", 0)
        with pytest.raises(SinkEmptied):
            await cache.put("k", 2, 2)
        await cache.drop()
        assert names(raw) == []


async def test_partitions_write_then_each_has_its_own_count(cache: Cache, raw: redis.Redis) -> None:
    """What one partition writes does not cover up what another has lost."""
    for partition, times in ((0, 3), (1, 1)):
        for n in range(times):
            await cache.write(Change(f"{partition}", n, n + 1, 0, partition))
    raw.hset(cache.sink.marker(cache.build), "writes:1", 0)
    await cache.write(Change("0", 9, 9, 0, 0))
    with pytest.raises(SinkEmptied):
        await cache.write(Change("1", 9, 9, 0, 1))


async def _note(cache: Cache, partition: int) -> None:
    """What a relay's worker notes of its partition when it begins."""
    build = cache.build
    gone = "DELETE FROM view_progress WHERE partition = ?"
    noted = (
        "INSERT INTO view_progress (tenant_id, name, generation, partition, incarnation)"
        " VALUES (?, ?, ?, ?, ?)"
    )
    row = (build.tenant_id, build.view, build.generation, partition, build.incarnation)
    statements = [Statement(gone, ((partition,),)), Statement(noted, (row,))]
    assert await cache.store.outbox.change(statements)


async def test_one_partition_fills_again_then_reads_wait_for_the_others(cache: Cache) -> None:
    """Rows of a partition that has not begun are not told as rows that never were."""
    for partition in (0, 1):
        await cache.write(Change(f"{partition}", 1, 1, 0, partition))
        await _note(cache, partition)
    assert await cache.values("0", "1") == {"0": 1, "1": 1}
    again = await cache.other(incarnation="second")
    await again.sink.check(again.build)
    await again.write(Change("0", 1, 1, 0, 0))
    await _note(again, 0)
    for _ in range(2):
        with pytest.raises(SinkEmptied, match="is being filled again"):
            await again.values("1")
    with pytest.raises(SinkEmptied):
        await again.pages()
    await again.sink.check(again.build)
    await _note(again, 1)
    assert await again.values("0", "1") == {"0": 1}
