"""When Redis does not answer, refuses, or is not what it must be: what its errors become."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis

from eventstore import EventStore
from projections.cache import CacheView
from projections.errors import ProjectionError, SinkUnavailable
from tests.servers.redis import RedisServer

from .conftest import Cache, cache_of, declared, rows, using


@pytest_asyncio.fixture
async def cache(store: EventStore, redis_url: str) -> AsyncIterator[Cache]:
    """A cache in the shared server."""
    async with using(store, redis_url) as made:
        yield made


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
