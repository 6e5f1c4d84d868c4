"""The outbox: rows of views and the checkpoint of their relay, in one transaction or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ...checkpoints import Lease
from ...errors import InvalidEvent, LogDiverged, RowRefused
from ...outbox import Advance, Outbox, Statement
from ...query import Query
from ...store import EventStore
from ..clocks import FixedClock
from .harness import PATIENCE_SECONDS, Harness, note, notes, positions

_COLUMNS = "tenant_id, embedder, content_hash, vector"


def _place(outbox: Outbox, text: str) -> str:
    """A statement's text: `TABLE` and `?` as the engine has them."""
    prefix = f"{outbox.schema}." if outbox.schema else ""
    text = text.replace("TABLE", f"{prefix}embeddings")
    if outbox.dialect == "postgresql":
        for number in range(1, text.count("?") + 1):
            text = text.replace("?", f"${number}", 1)
    return text


async def _put(outbox: Outbox, *texts: str, expect: int | None = None) -> Statement:
    tenant = await outbox.tenant_id()
    rows = [(tenant, "test", text.encode(), b"vector") for text in texts]
    sql = _place(outbox, f"INSERT INTO TABLE ({_COLUMNS}) VALUES (?, ?, ?, ?)")
    return Statement(sql, rows, expect)


async def _take(outbox: Outbox, text: str, expect: int | None = None) -> Statement:
    sql = _place(outbox, "DELETE FROM TABLE WHERE tenant_id = ? AND content_hash = ?")
    return Statement(sql, ((await outbox.tenant_id(), text.encode()),), expect)


async def _kept(outbox: Outbox) -> list[str]:
    sql = _place(outbox, "SELECT content_hash FROM TABLE WHERE tenant_id = ? ORDER BY 1")
    rows = await outbox.query(sql, (await outbox.tenant_id(),))
    return [bytes(row[0]).decode() for row in rows]


async def _lease(store: EventStore, holder: str = "ann", **place: Any) -> Lease:
    lease = await store.checkpoints.acquire("view/v", holder, seconds=60, **place)
    assert lease is not None
    return lease


async def _stands(store: EventStore) -> int:
    found = await store.checkpoints.load("view/v")
    return 0 if found is None else found.position


class OutboxContract(Harness):
    """What a relay feeds views with."""

    async def test_rows_and_checkpoint_are_changed_together_then_both_stand(
        self, store: EventStore
    ) -> None:
        """A change writes all of its rows and moves its checkpoint."""
        await store.append("s", notes(3))
        outbox, lease = store.outbox, await _lease(store)
        statements = [await _put(outbox, "a", "b"), await _put(outbox, "c")]
        assert await outbox.change(statements, [Advance(lease, 0, 2)])
        assert (await _kept(outbox), await _stands(store)) == (["a", "b", "c"], 2)

    async def test_the_checkpoint_does_not_stand_where_it_is_said_to_then_nothing_is_changed(
        self, store: EventStore
    ) -> None:
        """A page that was written once is not written again, and none is left out."""
        await store.append("s", notes(3))
        outbox, lease = store.outbox, await _lease(store)
        assert await outbox.change([], [Advance(lease, 0, 2)])
        for before in (0, 1, 3):
            put = [await _put(outbox, f"a{before}")]
            assert not await outbox.change(put, [Advance(lease, before, 3)])
        assert (await _kept(outbox), await _stands(store)) == ([], 2)

    async def test_another_one_took_the_lease_then_nothing_is_changed(
        self, store: EventStore, clock: FixedClock
    ) -> None:
        """A worker that wakes up late is refused by its fencing token."""
        await store.append("s", notes(3))
        outbox, late = store.outbox, await _lease(store)
        clock.advance(120)
        new = await _lease(store, "ben")
        assert not await outbox.change([await _put(outbox, "a")], [Advance(late, 0, 1)])
        assert await outbox.change([await _put(outbox, "b")], [Advance(new, 0, 1)])
        assert not await outbox.change([await _put(outbox, "c")], [Advance(late, 1, 2)])
        assert (await _kept(outbox), await _stands(store)) == (["b"], 1)

    async def test_the_lease_was_given_back_then_nothing_is_changed(
        self, store: EventStore
    ) -> None:
        """Who gave the right to move a checkpoint back has it no longer."""
        await store.append("s", notes(1))
        outbox, lease = store.outbox, await _lease(store)
        await store.checkpoints.release(lease)
        assert not await outbox.change([await _put(outbox, "a")], [Advance(lease, 0, 1)])
        assert await _kept(outbox) == []

    async def test_one_of_several_checkpoints_is_elsewhere_then_none_moves(
        self, store: EventStore
    ) -> None:
        """What several workers commit together is one transaction."""
        await store.append("s", notes(3))
        outbox = store.outbox
        one, two = await _lease(store), await _lease(store, partition=1)
        put = [await _put(outbox, "a")]
        assert not await outbox.change(put, [Advance(one, 0, 2), Advance(two, 1, 2)])
        assert (await _kept(outbox), await _stands(store)) == ([], 0)
        assert await outbox.change(put, [Advance(one, 0, 2), Advance(two, 0, 3)])
        other = await store.checkpoints.load("view/v", partition=1)
        assert other is not None
        assert (await _kept(outbox), await _stands(store), other.position) == (["a"], 2, 3)

    async def test_a_statement_misses_what_it_expects_then_nothing_is_changed(
        self, store: EventStore
    ) -> None:
        """An expectation that does not hold undoes all of the transaction."""
        await store.append("s", notes(2))
        outbox, lease = store.outbox, await _lease(store)
        assert await outbox.change([await _put(outbox, "a", expect=1)])
        statements = [await _put(outbox, "b"), await _take(outbox, "gone", expect=1)]
        assert not await outbox.change(statements, [Advance(lease, 0, 1)])
        assert (await _kept(outbox), await _stands(store)) == (["a"], 0)
        assert await outbox.change([await _take(outbox, "a", 1), await _take(outbox, "b", 0)])
        assert await _kept(outbox) == []

    async def test_the_database_refuses_a_row_then_nothing_is_changed_and_no_value_is_told(
        self, store: EventStore
    ) -> None:
        """The error says which statement, and holds nothing of the row."""
        await store.append("s", notes(2))
        outbox, lease = store.outbox, await _lease(store)
        await outbox.change([await _put(outbox, "secret")])
        statements = [await _put(outbox, "b"), await _put(outbox, "c", "secret")]
        with pytest.raises(RowRefused) as refused:
            await outbox.change(statements, [Advance(lease, 0, 1)])
        assert refused.value.statement == 1
        assert "secret" not in str(refused.value)
        assert (await _kept(outbox), await _stands(store)) == (["secret"], 0)

    async def test_a_value_is_none_that_a_driver_takes_then_the_row_is_refused(
        self, store: EventStore
    ) -> None:
        """A value beyond the database's types is the row's fault, and is not told."""
        outbox = store.outbox
        put = await _put(outbox, "a")
        for odd in (2**70, object(), "secret\ud800"):
            row = (put.rows[0][0], odd, b"x", b"y")
            if odd == 2**70:
                row = (odd, "test", b"x", b"y")
            with pytest.raises(RowRefused) as refused:
                await outbox.change([Statement(put.sql, [row])])
            assert "secret" not in str(refused.value)
        assert await _kept(outbox) == []

    async def test_a_position_beyond_the_log_then_it_is_refused(self, store: EventStore) -> None:
        """A checkpoint never stands where there is no event."""
        await store.append("s", notes(2))
        outbox, lease = store.outbox, await _lease(store)
        with pytest.raises(LogDiverged, match="3"):
            await outbox.change([await _put(outbox, "a")], [Advance(lease, 0, 3)])
        assert await _kept(outbox) == []

    async def test_the_lease_is_another_tenants_then_it_is_refused(self, store: EventStore) -> None:
        """A tenant's relay moves no other tenant's checkpoint."""
        await store.append("s", notes(2))
        lease = await _lease(store.tenant("acme"))
        with pytest.raises(InvalidEvent, match="another tenant"):
            await store.outbox.change([], [Advance(lease, 0, 1)])

    async def test_a_checkpoint_moves_back_then_it_stands_there(self, store: EventStore) -> None:
        """A view that is filled again begins at the start of the log."""
        await store.append("s", notes(3))
        outbox, lease = store.outbox, await _lease(store)
        assert await outbox.change([], [Advance(lease, 0, 3)])
        assert await outbox.change([], [Advance(lease, 3, 0)])
        assert await _stands(store) == 0

    async def test_many_change_at_once_then_one_of_each_pair_wins(self, store: EventStore) -> None:
        """Of two that move a checkpoint from the same place, one does."""
        await store.append("s", notes(9))
        outbox, lease = store.outbox, await _lease(store)
        for place in range(3):
            puts = [await _put(outbox, f"{place}{n}") for n in range(4)]
            moved = await asyncio.gather(
                *(outbox.change([put], [Advance(lease, place, place + 1)]) for put in puts)
            )
            assert sorted(moved) == [False, False, False, True]
        assert (len(await _kept(outbox)), await _stands(store)) == (3, 3)

    async def test_a_change_is_cancelled_then_it_is_whole_or_not_there(
        self, store: EventStore
    ) -> None:
        """Rows and checkpoint stand together, whatever becomes of the caller."""
        await store.append("s", notes(40))
        outbox, lease, place = store.outbox, await _lease(store), 0
        for number in range(20):
            put = await _put(outbox, f"{number:02}a", f"{number:02}b")
            task = asyncio.create_task(outbox.change([put], [Advance(lease, place, place + 1)]))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            # What was handed over is done before what is handed over next.
            await outbox.change([])
            place = await _stands(store)
        assert len(await _kept(outbox)) == 2 * place

    async def test_a_page_is_read_then_it_says_how_far_it_looked(self, store: EventStore) -> None:
        """A page without a match moves its reader all the same."""
        await store.append("s", [note(), *notes(3)])
        await store.append("t", [note("b")])
        outbox = store.outbox
        head = await outbox.head()
        page = await outbox.page(0, head.position, [Query(types=("other.type",))])
        assert (page.events, page.scanned_to) == ([], head.position)
        page = await outbox.page(1, 4, limit=2)
        assert (positions(page.events), page.scanned_to) == ([2, 3], 3)

    async def test_more_is_asked_for_than_the_log_has_then_the_page_ends_at_its_head(
        self, store: EventStore
    ) -> None:
        """With and without a filter: what comes later has not been looked at yet."""
        await store.append("s", notes(3))
        for queries in ((), [Query(types=("other.type",))]):
            for after in (0, 3):
                assert (await store.outbox.page(after, 50, queries)).scanned_to == 3
            with pytest.raises(LogDiverged, match="ends at 3"):
                await store.outbox.page(4, 50, queries)
        await store.append("s", notes(2))
        assert (await store.outbox.page(3, 50)).scanned_to == 5

    async def test_something_is_told_then_it_is_an_event_of_the_stores_own(
        self, store: EventStore
    ) -> None:
        """An audit event has a name that no caller can use, and the position that was given."""
        position = await store.outbox.tell("$views/v", "$view.dropped", {"reason": "it is bad"})
        found = await store.read("$views/v").list()
        assert [(e.position, e.type, e.data["reason"]) for e in found] == [
            (position, "$view.dropped", "it is bad")
        ]
        with pytest.raises(InvalidEvent):
            await store.append("$views/v", note())

    async def test_a_reader_waits_then_an_append_wakes_it(self, store: EventStore) -> None:
        """Waiting ends when the head is beyond what is known, and at once where it is already."""
        outbox = store.outbox
        waiting = asyncio.create_task(outbox.wait(0))
        await asyncio.sleep(0)
        await store.append("s", note())
        async with asyncio.timeout(PATIENCE_SECONDS):
            await waiting
            await outbox.wait(0)

    async def test_two_tenants_then_each_has_a_number_and_rows_of_its_own(
        self, store: EventStore
    ) -> None:
        """What is one tenant's is not another's."""
        acme = store.tenant("acme").outbox
        assert await acme.tenant_id() != await store.outbox.tenant_id()
        await acme.change([await _put(acme, "a")])
        assert (await _kept(acme), await _kept(store.outbox)) == (["a"], [])
