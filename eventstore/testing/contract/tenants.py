"""Tenants and bound views: what is shared by one store, and what is not."""

from __future__ import annotations

import pytest

from ...errors import Conflict, InvalidEvent
from ...events import Append
from ...points import Expected
from ...snapshots import Snapshot
from ...store import EventStore
from .harness import Harness, note, notes, numbers, positions, whole


class TenantContract(Harness):
    """Nothing of one tenant is seen by another; bound views share one log."""

    async def test_two_tenants_use_the_same_names_then_each_has_a_log_of_its_own(
        self, store: EventStore
    ) -> None:
        """Streams, versions, positions, ids and keys are the tenant's."""
        acme, zeta = store.tenant("acme"), store.tenant("zeta")
        for n, tenant in enumerate((acme, zeta), start=1):
            result = await tenant.append(
                "s", [note(id="same"), *notes(n)], expected=Expected.NO_STREAM, idempotency_key="k"
            )
            assert (result.version, result.position, result.duplicate) == (n + 1, n + 1, False)
        assert (await acme.head(), await zeta.head(), await store.head()) == (2, 3, 0)
        assert positions(await zeta.read_all().list()) == [1, 2, 3]
        assert (acme.tenant_name, zeta.tenant_name) == ("acme", "zeta")

    async def test_another_tenant_has_it_then_no_read_finds_it(self, store: EventStore) -> None:
        """Every way of reading stays within its tenant."""
        acme = store.tenant("acme")
        await acme.append(
            "s", [note(id="x", tags=["t"]), note(causation_id="x")], idempotency_key="k"
        )
        await acme.append_many([Append("t", notes(1))], idempotency_key="many")
        await acme.checkpoints.save("reader", 2)
        await acme.checkpoints.acquire("worker", "me")
        await acme.snapshots.save("s", "r", "f", Snapshot(1, 1, b"state", b"hash"))

        zeta = store.tenant("zeta")
        assert await zeta.read("s").list() == []
        assert await zeta.read("s", backwards=True).list() == []
        assert await zeta.read_all().list() == []
        assert await zeta.read_all(types=["note.added"], tags=["t"]).list() == []
        assert (await zeta.version("s"), await zeta.head()) == (0, 0)
        assert await zeta.lookup("s", "k") is None
        assert await zeta.event("x") is None
        assert [event async for event in zeta.caused_by("x")] == []
        assert [info async for info in zeta.streams()] == []
        assert await zeta.checkpoints.load("reader") is None
        assert await zeta.snapshots.find("s", "r", "f") is None
        assert await zeta.snapshots.list("s") == []
        assert (await zeta.verify()).events == 0
        lease = await zeta.checkpoints.acquire("worker", "you")
        assert lease is not None
        assert lease.fencing_token == 1
        many = await zeta.append_many([Append("t", notes(1))], idempotency_key="many")
        assert many[0].duplicate is False

    async def test_snapshots_of_one_tenant_are_dropped_then_the_others_stay(
        self, store: EventStore
    ) -> None:
        """Dropping all is all of one tenant."""
        acme, zeta = store.tenant("acme"), store.tenant("zeta")
        for tenant in (acme, zeta):
            await tenant.append("s", note())
            await tenant.snapshots.save("s", "r", "f", Snapshot(1, 1, b"state", b"hash"))
        assert await acme.snapshots.drop() == 1
        assert await acme.snapshots.find("s", "r", "f") is None
        assert await zeta.snapshots.find("s", "r", "f") is not None

    async def test_events_are_written_then_their_tenants_are_listed_by_bytes(
        self, store: EventStore
    ) -> None:
        """Only tenants that have events; looking at one does not make it."""
        for name in ("b", "é", "A", "a"):
            await store.tenant(name).append("s", note())
        assert await store.tenant("looked-at").head() == 0
        assert await store.tenant("looked-at").read("s").list() == []
        await store.tenant("checked").append("s", [], expected=0)
        with pytest.raises(Conflict):
            await store.tenant("refused").append("s", note(), expected=1)
        assert await store.tenants() == ["A", "a", "b", "é"]

    async def test_a_reader_is_behind_in_some_tenants_then_one_question_finds_them(
        self, store: EventStore
    ) -> None:
        """Tenants whose head lies beyond the reader's checkpoint, with both positions."""
        for name, count in (("a", 2), ("b", 3), ("c", 1)):
            await store.tenant(name).append("s", notes(count))
        await store.tenant("a").checkpoints.save("reader", 2)
        await store.tenant("b").checkpoints.save("reader", 1)
        await store.tenant("c").checkpoints.save("other", 1)
        behind = await store.checkpoints.tenants_behind("reader")
        assert sorted((b.tenant, b.head, b.position) for b in behind) == [
            ("b", 3, 1),
            ("c", 1, 0),
        ]
        assert len(await store.checkpoints.tenants_behind("reader", limit=1)) == 1
        second = await store.checkpoints.tenants_behind("reader", generation=2)
        assert sorted(b.tenant for b in second) == ["a", "b", "c"]

    async def test_a_bound_view_appends_then_its_defaults_are_taken_where_nothing_is_said(
        self, store: EventStore
    ) -> None:
        """What the append says goes first, what the event says before that."""
        bound = store.bind(
            actor="ann", correlation_id="run", causation_id="c", context={"a": 1}
        ).bind(actor="bob")
        await bound.append("s", note())
        await bound.append("s", note(), actor="carl", context={"b": 2}, causation_id="d")
        await bound.append("s", note(causation_id="own", context={}), correlation_id="other")
        await bound.append_many([Append("s", note()), Append("t", note(), actor="dora")])
        await store.append("s", note())
        fields = [
            (e.actor, e.correlation_id, e.causation_id, e.context)
            for e in await store.read_all().list()
        ]
        assert fields == [
            ("bob", "run", "c", {"a": 1}),
            ("carl", "run", "d", {"b": 2}),
            ("bob", "other", "own", {}),
            ("bob", "run", "c", {"a": 1}),
            ("dora", "run", "c", {"a": 1}),
            (None, None, None, None),
        ]

    async def test_a_tenant_of_a_bound_view_is_taken_then_the_defaults_stay(
        self, store: EventStore
    ) -> None:
        """Views may be taken in any order."""
        view = store.bind(actor="ann").tenant("acme").bind(correlation_id="run")
        (event,) = (await view.append("s", note())).events
        assert (event.actor, event.correlation_id) == ("ann", "run")
        assert (view.tenant_name, await store.head()) == ("acme", 0)
        before = await whole(view)
        assert numbers(await view.tenant("other").read("s").list()) == []
        assert await whole(view) == before

    @pytest.mark.parametrize("name", ["", "a\n", "$system", "e\u0301", "x" * 201, 5, None])
    async def test_a_tenant_has_no_proper_name_then_it_is_refused(
        self, store: EventStore, name: str
    ) -> None:
        """Tenants follow the rule of names."""
        with pytest.raises(InvalidEvent, match="tenant"):
            store.tenant(name)
