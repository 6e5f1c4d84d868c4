"""Forks in the tables of both engines that have tables: their bytes, and what damage does."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from eventstore import Corrupt, EventStore, NewEvent
from eventstore.testing import SequentialIds
from tests.engines.databases import tamper, template
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy

DAMAGES = {
    "another parent": "UPDATE streams SET parent_stream_id = 2 WHERE name = 'f'",
    "no such parent": "UPDATE streams SET parent_stream_id = 99 WHERE name = 'f'",
    "its own parent": "UPDATE streams SET parent_stream_id = stream_id WHERE name = 'f'",
    "another version": "UPDATE streams SET parent_version = 1 WHERE name = 'f'",
    "no parent any more": "UPDATE streams SET parent_stream_id = NULL, parent_version = NULL"
    " WHERE name = 'f'",
    "a parent that is none": "UPDATE streams SET parent_stream_id = 2, parent_version = 2"
    " WHERE name = 's'",
}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A store that holds nothing, of each engine with tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/log.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    made = server.new_url(template(server))
    yield made
    server.drop(made)


@pytest.mark.parametrize("statement", DAMAGES.values(), ids=DAMAGES.keys())
async def test_a_parent_is_not_the_one_then_nothing_is_served_and_verify_names_it(
    url: str, statement: str
) -> None:
    """Where a fork leaves its parent has no hash of its own: the fork's first event has."""
    async with EventStore.open(url, ids=SequentialIds()) as store:
        for stream in ("s", "other"):
            await store.append(stream, [NewEvent("n", 1), NewEvent("n", 2), NewEvent("n", 3)])
        await store.fork("s", "f", 2)
        await store.append("f", NewEvent("n", 4))
    await tamper(url, statement)
    name = "s" if "'s'" in statement else "f"
    async with EventStore.open(url) as store:
        for backwards in (False, True):
            with pytest.raises(Corrupt) as corrupt:
                await store.read(name, backwards=backwards).list()
            assert corrupt.value.stream == name
        report = await store.verify()
    assert name in {damage.stream for damage in report.damages}


async def test_a_long_stream_is_forked_then_its_bytes_are_not_copied(url: str) -> None:
    """What a fork takes on the disk does not depend on what it inherits."""
    async with EventStore.open(url) as store:
        await store.append("long", [NewEvent("n", "x" * 2_000) for _ in range(500)])
        before = await _event_rows(url)
        for n in range(20):
            await store.fork("long", f"f{n}", 500)
            assert len(await store.read(f"f{n}").list()) == 501
        rows, size = await _event_rows(url)
    assert rows == before[0] + 20
    assert size - before[1] < 20 * 100


@pytest.mark.parametrize("lost", ["request", "answer"])
@pytest.mark.parametrize("key", [None, "k"])
async def test_the_connection_is_lost_over_a_fork_then_it_is_made_once(
    postgres: PostgresServer, lost: str, key: str | None
) -> None:
    """Whether the server had it or not, the caller hears where it stands."""
    made = postgres.new_url(template(postgres))
    async with Proxy(made) as proxy, EventStore.open(proxy.url) as store:
        await store.append("s", [NewEvent("n", 1), NewEvent("n", 2)])
        proxy.lose = (lost, b"canary")
        forked = asyncio.create_task(store.fork("s", "canary", 1, idempotency_key=key))
        result = await forked
        assert (result.version, result.position, result.duplicate) == (2, 3, False)
        assert [event.version for event in await store.read("canary").list()] == [1, 2]
        assert (await store.append("canary", NewEvent("n", 3), expected=2)).position == 4
        assert (await store.verify()).damages == ()
    postgres.drop(made)


_FORKING = """
import asyncio, sys
from eventstore import Conflict, EventStore, NewEvent

async def main(url, name):
    async with EventStore.open(url) as store:
        print("open", flush=True)
        for n in range(200):
            try:
                await store.fork("s", f"f{n}", n + 1)
                print("made", n, flush=True)
            except Conflict:
                print("stood", n, flush=True)
            await asyncio.gather(*[store.append(to, NewEvent("n", name)) for to in ("s", f"f{n}")])
            if n == 5 and name == "b":
                return

asyncio.run(main(*sys.argv[1:]))
"""
"""A process that makes forks of a stream that grows meanwhile."""


async def test_processes_fork_at_once_and_one_is_killed_then_each_fork_is_whole(url: str) -> None:
    """One of them makes each fork; a SIGKILL leaves a fork that is whole, or none."""
    async with EventStore.open(url) as store:
        await store.append("s", [NewEvent("n", n) for n in range(3)])
        begun = list((await store.read("s").list())[:3])
        first, second = [await _start(url, name) for name in "ab"]
        made: list[bytes] = []
        assert first.stdout is not None
        while len(made) < 4:
            made.append(await first.stdout.readline())
        first.kill()
        rest, _ = await first.communicate()
        other, _ = await second.communicate()
        assert second.returncode == 0
        told = b"".join([*made, rest, other]).split(b"\n")
        wins = [line for line in told if line.startswith(b"made")]
        assert len(wins) == len(set(wins)) >= 3
        assert {b"made %d" % n for n in range(2)} <= set(wins)
        parent = await store.read("s").list()
        assert parent[:3] == begun
        async for info in store.streams(prefix="f"):
            at = int(info.name[1:]) + 1
            events = await store.read(info.name).list()
            assert [e.version for e in events] == list(range(1, info.version + 1))
            assert [e.id for e in events[:at]] == [e.id for e in parent[:at]]
            assert [e.type for e in events[at:]].count("$stream.forked") == 1
            assert events[at].data == {"stream": "s", "version": at}
        assert (await store.verify()).damages == ()


async def _start(url: str, name: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", _FORKING, url, name, stdout=asyncio.subprocess.PIPE
    )


async def _event_rows(url: str) -> tuple[int, int]:
    """How many events stand, and the bytes of their payloads."""
    question = "SELECT count(*), sum(length(payload)) FROM {}events"
    if url.startswith("sqlite"):
        raw = sqlite3.connect(url.removeprefix("sqlite:///"))
        count, size = raw.execute(question.format("")).fetchone()
        raw.close()
        return count, size
    connection = await asyncpg.connect(url)
    count, size = await connection.fetchrow(question.format("eventstore."))
    await connection.close()
    return count, size
