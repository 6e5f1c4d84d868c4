"""Views in the store's own file: what they cost the log, and what they must not cost it."""

from __future__ import annotations

import sqlite3

import pytest

from eventstore import Corrupt, EventStore, NewEvent
from eventstore.engines.sqlite import ledger
from eventstore.outbox import Advance, Statement

from .inside import writer_of

FULL, NORMAL = 2, 1
TABLE = Statement("CREATE TABLE IF NOT EXISTS mine (n INTEGER)")


def _synchronous(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("PRAGMA synchronous").fetchone()[0]
    return found


async def _advance(store: EventStore) -> None:
    """A view of its own moves on."""
    lease = await store.checkpoints.acquire("mine", "me", seconds=60)
    assert lease is not None
    to = await store.head()
    assert await store.outbox.change([TABLE], [Advance(lease, lease.position, to)])
    await store.checkpoints.release(lease)


BESIDE = {
    "the stream is gone": "DELETE FROM streams",
    "the last event is gone": "DELETE FROM events",
    "the last event is another": "UPDATE events SET hash = zeroblob(32)",
}


@pytest.mark.parametrize(("asked", "appends"), [("FULL", FULL), ("NORMAL", NORMAL)])
async def test_a_view_moves_on_then_its_commit_alone_does_not_wait_for_the_disk(
    url: str, asked: str, appends: int
) -> None:
    """What can be made again is not synced; whatever comes behind it is as it was asked for."""
    async with EventStore.open(url, synchronous=asked) as store:
        writer, seen = writer_of(store), []
        await store.append("s", NewEvent("n", 1))
        for is_derived in (False, True, True, False):
            seen.append(await writer.run(_synchronous, is_derived=is_derived))
        assert seen == [appends, NORMAL, NORMAL, appends]
        await _advance(store)
        commit, at_append = writer._commit, []
        writer._commit = lambda: (at_append.append(_synchronous(writer._connection)), commit())
        await store.append("s", NewEvent("n", 2))
        assert at_append == [appends]


async def test_others_write_views_then_what_is_known_of_the_log_is_kept(url: str) -> None:
    """To ask for each stream anew after each page of a view would slow the appends."""
    async with EventStore.open(url) as store, EventStore.open(url) as other:
        await store.append("s", NewEvent("n", 1))
        streams = writer_of(store)._ledger._streams
        known = streams[1, "s"]
        await _advance(other)
        await store.append("s", NewEvent("n", 2))
        assert writer_of(store)._ledger._streams[1, "s"] is known
        await other.append("t", NewEvent("n", 3))
        await store.append("s", NewEvent("n", 4))
        assert writer_of(store)._ledger._streams[1, "s"] is not known
        assert (await store.verify()).damages == ()


async def test_others_write_views_then_what_is_remembered_stays_bounded(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One append, one page of views, and again: the usual case beside a relay. Ids of types are
    all tenants', so that no head stands for them."""
    monkeypatch.setattr(ledger, "_REMEMBERED_MAX", 5)
    async with EventStore.open(url) as store, EventStore.open(url) as other:
        for number in range(12):
            await store.append(f"s{number}", NewEvent("n", number))
            await _advance(other)
            assert len(writer_of(store)._ledger._streams) <= 6
        await store.append("s0", [], expected=1)
        assert writer_of(store)._ledger._types == {}


async def test_another_tenant_grows_elsewhere_then_new_streams_do_not_meet(url: str) -> None:
    """Numbers of streams are of all tenants, also of those that this process has not seen."""
    async with EventStore.open(url) as store, EventStore.open(url) as other:
        await store.append("s", NewEvent("n", 1))
        await other.tenant("acme").append("theirs", NewEvent("n", 2))
        await store.append("new", NewEvent("n", 3))
        assert [event.data for event in await store.read("new").list()] == [3]
        assert [event.data for event in await other.tenant("acme").read("theirs").list()] == [2]
        assert (await store.verify()).damages == ()


@pytest.mark.parametrize("statement", BESIDE.values(), ids=BESIDE.keys())
async def test_rows_are_damaged_while_the_head_stands_then_an_append_is_corrupt(
    url: str, statement: str
) -> None:
    """What is known of the log is kept while its head is the same, and nothing goes on from damage
    all the same."""
    async with EventStore.open(url) as store:
        await store.append("s", NewEvent("n", 1))
        with sqlite3.connect(url.removeprefix("sqlite:///")) as raw:
            guards = raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for (name,) in guards.fetchall():
                raw.execute(f"DROP TRIGGER {name}")
            assert raw.execute(statement).rowcount == 1
        raw.close()
        with pytest.raises(Corrupt):
            await store.append("s", NewEvent("n", 2))
        assert await store.head() == 1
