"""The cache in a real Redis: what is kept there, what was lost, and what its errors become."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis

from eventstore import EventStore
from eventstore.outbox import Statement
from eventstore.testing import FixedClock
from projections.cache import CacheView
from projections.cache import redis as redis_module
from projections.cache.scripts import WRITE
from projections.errors import ProjectionError, SinkEmptied, SinkUnavailable
from projections.sinks import Change
from tests.servers.redis import RedisServer

from .conftest import Cache, cache_of, declared, rows


@pytest.fixture
def raw(redis_server: RedisServer, redis_url: str) -> Iterator[redis.Redis]:
    """A client of another program on the same database."""
    with redis_server.client(int(redis_url.rpartition("/")[2])) as client:
        yield client


@pytest_asyncio.fixture
async def cache(store: EventStore, redis_url: str) -> AsyncIterator[Cache]:
    """A cache in the shared server."""
    async with using(store, redis_url) as made:
        yield made


@contextlib.asynccontextmanager
async def using(store: EventStore, url: str, **options: Any) -> AsyncIterator[Cache]:
    """A cache in the server of this URL, created; its connections are closed."""
    view = CacheView(declared(), url, **options)
    try:
        yield await cache_of(store, view)
    finally:
        await view.close()


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server to be flushed, stopped and killed."""
    with RedisServer() as server:
        yield server


def names(raw: redis.Redis) -> list[str]:
    """All keys of the database."""
    return sorted(name.decode() for name in raw.keys("*"))  # type: ignore[union-attr]


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
    assert 86_000 < raw.ttl(name) <= redis_module.TOMBSTONE_SECONDS  # type: ignore[operator]
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
        assert 65_000 < left <= 70_000  # type: ignore[operator]
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


# --- errors


async def test_the_server_is_away_then_the_sink_is_unavailable_until_it_is_back(
    store: EventStore, own_server: RedisServer
) -> None:
    """Nothing is parked for it, and the text says where it is and holds no password."""
    async with using(store, own_server.url()) as cache:
        await cache.put("k", 1, 1)
        own_server.kill()
        for ask in (cache.values("k"), cache.put("k", 2, 2), cache.create(), cache.drop()):
            with pytest.raises(SinkUnavailable) as told:
                await ask
            assert f"127.0.0.1:{own_server.port}" in str(told.value)
            assert own_server.password not in repr(told.value) + str(told.value.__cause__)
        own_server.start()
        await cache.put("k", 2, 2)
        assert await cache.values("k") == {"k": 2}


async def test_the_server_hangs_then_the_sink_is_unavailable_in_time(
    store: EventStore, own_server: RedisServer
) -> None:
    """An answer that does not come is not waited for for ever."""
    async with using(store, f"{own_server.url()}?socket_timeout=0.2") as cache:
        await cache.put("k", 1, 1)
        with own_server.pause(), pytest.raises(SinkUnavailable, match="does not answer"):
            async with asyncio.timeout(20):
                await cache.values("k")
        assert await cache.values("k") == {"k": 1}


async def test_the_password_is_wrong_then_it_is_said_without_it(
    store: EventStore, own_server: RedisServer
) -> None:
    """An operator's mistake parks nothing and shows nothing."""
    url = own_server.url().replace(own_server.password, "hunter2")
    view = CacheView(declared(), url)
    with pytest.raises(SinkUnavailable, match="refuses the user or the password") as told:
        await cache_of(store, view)
    assert "hunter2" not in f"{told.value!r} {told.value.__cause__} {view.sink!r} {view!r}"
    await view.close()


async def test_the_memory_is_full_then_the_sink_is_unavailable_and_shows_no_value(
    store: EventStore, own_server: RedisServer
) -> None:
    """A full server is waited for; what was to be written is not in the message."""
    async with using(store, own_server.url()) as cache:
        with own_server.client() as raw:
            raw.config_set("maxmemory", "1")
            with pytest.raises(SinkUnavailable, match="OOM") as told:
                await cache.put("k", "secret", 1)
            assert "secret" not in str(told.value)
            raw.config_set("maxmemory", "0")
        await cache.put("k", "secret", 1)


@pytest.mark.parametrize(("policy", "expire"), [("allkeys-lru", None), ("volatile-ttl", 60)])
async def test_the_server_would_evict_rows_then_a_build_is_refused(
    store: EventStore, own_server: RedisServer, policy: str, expire: float | None
) -> None:
    """A row that the server took away would be told as one that never was."""
    with own_server.client() as raw:
        raw.config_set("maxmemory", "100mb")
        raw.config_set("maxmemory-policy", policy)
    with pytest.raises(ProjectionError, match=policy):
        async with using(store, own_server.url(), expire_seconds=expire):
            raise AssertionError("it was created")


async def test_the_server_is_a_replica_then_the_sink_is_unavailable(
    store: EventStore, own_server: RedisServer
) -> None:
    """READONLY is a failover in progress: waited for."""
    async with using(store, own_server.url()) as cache:
        with own_server.client() as raw:
            raw.replicaof("127.0.0.1", "1")
            with pytest.raises(SinkUnavailable, match="READONLY"):
                await cache.put("k", 1, 1)
            raw.replicaof("NO", "ONE")
        await cache.put("k", 1, 1)


async def test_a_name_holds_something_else_then_the_write_is_an_error_and_not_waited_for(
    cache: Cache, raw: redis.Redis
) -> None:
    """What no waiting mends is told as such, without the value."""
    raw.lpush(cache.sink.row_name(cache.build, "k"), "a list")
    with pytest.raises(ProjectionError, match="WRONGTYPE") as told:
        await cache.put("k", "secret", 1)
    assert not isinstance(told.value, SinkUnavailable)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("url", ["http://u:hunter2@x", "redis://u:hunter2@x:port", "", 7])
def test_a_url_is_no_redis_then_it_is_refused_and_not_shown(url: Any) -> None:
    """A declaration is refused at once, without the password."""
    with pytest.raises(ProjectionError) as told:
        CacheView(declared(), url)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("prefix", ["", "a b", "a*", "{x}", "x" * 101])
def test_a_prefix_has_odd_characters_then_it_is_refused(prefix: str) -> None:
    """A prefix means the same in a name and in a pattern."""
    with pytest.raises(ProjectionError, match="prefix"):
        CacheView(declared(), "redis://localhost", prefix=prefix)


async def test_the_url_names_a_socket_file_then_it_is_used(
    store: EventStore, tmp_path: Path
) -> None:
    """A server of the same machine needs no port."""
    path = tmp_path / "s"
    with RedisServer({"unixsocket": str(path)}) as server:
        async with using(store, f"unix://:{server.password}@{path}?db=3") as cache:
            await cache.put("k", 1, 1)
            assert await cache.values("k") == {"k": 1}
            server.kill()
            with pytest.raises(SinkUnavailable) as told:
                await cache.values("k")
            assert str(path) in str(told.value)
            assert server.password not in str(told.value)


def test_one_view_is_used_in_two_event_loops_then_each_has_its_own_connections(
    tmp_path: Path, redis_url: str
) -> None:
    """A view is declared once, wherever it is used."""
    view = CacheView(declared(), redis_url)

    async def use() -> dict[Any, Any]:
        async with EventStore.open(f"sqlite:///{tmp_path}/{id(use)}.db") as opened:
            cache = await cache_of(opened, view)
            await cache.put("k", 1, 1)
            found: dict[Any, Any] = await cache.values("k")
            await view.close()
            return found

    assert [asyncio.run(use()), asyncio.run(use())] == [{"k": 1}, {"k": 1}]


async def test_the_client_is_not_installed_then_the_extra_is_named(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A declaration needs no client; using it says what brings one."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Without("redis"), *sys.meta_path])
    view = CacheView(declared(), "redis://localhost")
    with pytest.raises(ImportError, match=r"agent-eventstore\[redis\]"):
        await cache_of(store, view)


class _Without:
    """An import system in which a package is not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Refuses the package, and leaves others to the next finder."""
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {self.package!r}", name=self.package)


async def test_a_sink_was_closed_then_it_opens_again(cache: Cache) -> None:
    """Closing frees connections, and asking makes new ones."""
    await cache.put("k", 1, 1)
    await cache.view.close()
    await cache.view.close()
    assert await cache.values("k") == {"k": 1}


async def test_many_ask_at_once_then_all_are_answered(cache: Cache) -> None:
    """More callers than connections wait for one."""
    await cache.put("k", 1, 1)
    found = await asyncio.gather(*[cache.values("k") for _ in range(200)])
    assert found == [{"k": 1}] * 200


async def test_a_thousand_rows_are_written_and_read_then_both_are_a_short_time(
    cache: Cache,
) -> None:
    """A page is no reason to wait: some 10 ms here, and a second is a defect."""
    page = rows(1_000, value={"text": "x" * 200})
    begun = time.perf_counter()
    await cache.write(*page)
    written = time.perf_counter() - begun
    found = await cache.values(*[change.key for change in page])
    assert len(found) == 1_000
    print(f"written in {written * 1_000:.1f} ms, read too: {time.perf_counter() - begun:.3f} s")
    assert time.perf_counter() - begun < 1
