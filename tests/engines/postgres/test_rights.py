"""Who may do what: the documented roles and policies, as the page says them."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from eventstore import EventStore, InvalidEvent, NewEvent, StorageFailed
from eventstore.snapshots import Snapshot

from .rights import documented, drop_role, role_with_rights

APPEND_ONLY = ("events", "event_tags", "event_causes", "idempotency_keys")


@pytest.mark.parametrize("table", APPEND_ONLY)
async def test_a_row_is_changed_by_the_owner_then_the_database_refuses(
    store: EventStore, raw: Any, table: str
) -> None:
    """UPDATE, DELETE, TRUNCATE, and an INSERT that would become an UPDATE."""
    await store.append("s", NewEvent("n", 1, tags=["t"], causation_id="c"), idempotency_key="k")
    before = await raw.fetch(f"SELECT * FROM eventstore.{table}")
    assert before
    column = before[0].keys().__iter__().__next__()
    for statement in (
        f"UPDATE eventstore.{table} SET {column} = {column}",
        f"DELETE FROM eventstore.{table}",
        f"TRUNCATE eventstore.{table}",
        f"TRUNCATE eventstore.{table} CASCADE",
        f"INSERT INTO eventstore.{table} SELECT * FROM eventstore.{table}"
        f" ON CONFLICT ON CONSTRAINT {_primary(table)} DO UPDATE SET {column} = excluded.{column}",
        f"SET session_replication_role = replica; DELETE FROM eventstore.{table}",
    ):
        with pytest.raises(asyncpg.PostgresError, match="append-only"):
            await raw.execute(statement)
        await raw.execute("RESET session_replication_role")
    with pytest.raises(asyncpg.UniqueViolationError):
        await raw.execute(f"INSERT INTO eventstore.{table} SELECT * FROM eventstore.{table}")
    assert await raw.fetch(f"SELECT * FROM eventstore.{table}") == before


def _primary(table: str) -> str:
    return {
        "events": "events_by_position",
        "event_tags": "event_tags_by_tag",
        "event_causes": "event_causes_by_cause",
        "idempotency_keys": "keys_by_stream",
    }[table]


async def test_a_role_has_the_documented_rights_then_it_appends_and_reads_and_changes_nothing(
    store: EventStore, raw: Any, url: str
) -> None:
    """The whole store works for it, checkpoints and snapshots too; no table of the log does."""
    await store.append("s", NewEvent("n", 0))
    granted = await role_with_rights(raw, url, "least")
    async with EventStore.open(granted) as app:
        await app.append("s", NewEvent("n", 1, tags=["t"]), idempotency_key="k", expected=1)
        acme = app.tenant("acme")
        await acme.append("s", NewEvent("n", 2))
        assert [e.data for e in await app.read_all().list()] == [0, 1]
        assert len(await app.read_all(tags=["t"]).list()) == 1
        await app.tenant("new").checkpoints.acquire("reader", "me")
        await app.checkpoints.save("reader", 2)
        assert await app.snapshots.save("s", "r", "f", Snapshot(1, 1, b"x", b"y"))
        assert await app.snapshots.drop() == 1
        assert (await app.fork("s", "f", 2)).version == 3
        assert (await app.verify()).damages == ()
    role = await asyncpg.connect(granted)
    for table in (*APPEND_ONLY, "heads", "streams", "tenants", "tags", "event_types"):
        for statement in (
            f"INSERT INTO eventstore.{table} SELECT * FROM eventstore.{table}",
            f"DELETE FROM eventstore.{table}",
            f"TRUNCATE eventstore.{table}",
            f"ALTER TABLE eventstore.{table} DISABLE TRIGGER ALL",
            f"DROP TABLE eventstore.{table}",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await role.execute(statement)
    await role.close()
    await drop_role(raw, "least")


async def test_a_role_has_no_rights_then_opening_says_so_and_no_password(
    store: EventStore, raw: Any, url: str
) -> None:
    """`StorageFailed`, not written; what is wrong, but no secret."""
    granted = await role_with_rights(raw, url, "powerless")
    await drop_role(raw, "powerless")
    with pytest.raises(StorageFailed) as refused:
        await EventStore.open(granted)
    assert "canary-password" not in f"{refused.value!r} {refused.value.__cause__!r}"


async def test_tenants_are_isolated_then_a_pooled_connection_sees_only_its_transactions_tenant(
    store: EventStore, raw: Any, url: str
) -> None:
    """The store works as before; SQL that names no tenant sees nothing, in the same sessions."""
    await store.append("s", NewEvent("n", "default's", tags=["t"]))
    await store.tenant("acme").append("s", NewEvent("n", "acme's", tags=["t"]))
    granted = await role_with_rights(raw, url, "isolated")
    with pytest.raises(StorageFailed, match="row-level security"):
        await EventStore.open(f"{granted}?tenant_isolation=on")
    await raw.execute(documented("Row-level security by tenant"))
    with pytest.raises(StorageFailed, match="its owner and a superuser"):
        await EventStore.open(f"{url}?tenant_isolation=on")
    async with EventStore.open(f"{granted}?tenant_isolation=on&pooler=on") as app:
        for name, other in (("default", "acme"), ("acme", "default"), ("new", "acme")):
            mine = app.tenant(name)
            await mine.append("s", NewEvent("n", f"{name}'s", tags=["t"]), idempotency_key="k")
            seen = [e.data for e in await mine.read_all(tags=["t"]).list()]
            assert set(seen) == {f"{name}'s"}
            assert f"{other}'s" not in seen
            await mine.fork("s", "f", 1)
            assert [e.stream for e in await mine.read("f").list()] == ["f", "f"]
            with pytest.raises(InvalidEvent):
                await mine.fork(f"{other}'s own", "g", 1)
            await mine.append(f"{name}'s own", NewEvent("n", 1))
            await mine.checkpoints.save("reader", 1)
            assert (await mine.verify()).damages == ()
        assert await app.tenants() == []
    role = await asyncpg.connect(granted)
    assert await role.fetchval("SELECT count(*) FROM eventstore.events") == 0
    assert await role.fetchval("SELECT count(*) FROM eventstore.event_tags") == 0
    async with role.transaction():
        await role.fetchval("SELECT set_config('eventstore.tenant', 'acme', true)")
        found = await role.fetch("SELECT DISTINCT tenant FROM eventstore.events_json")
        assert [row[0] for row in found] == ["acme"]
    assert await role.fetchval("SELECT count(*) FROM eventstore.events_json") == 0
    await role.close()
    await drop_role(raw, "isolated")


async def test_the_pages_other_statements_are_run_then_they_do_what_it_says(
    store: EventStore, raw: Any, url: str
) -> None:
    """The settings of a pooled role, and the view."""
    await store.append("s", NewEvent("n", {"text": "hello"}))
    (event,) = await raw.fetch(documented("The events in SQL"))
    assert tuple(event) == (1, "s", 1, "n", "hello")
    granted = await role_with_rights(raw, url, "pooled")
    await raw.execute(documented("Behind a transaction pooler").replace("ROLE app", "ROLE pooled"))
    async with EventStore.open(f"{granted}?pooler=on") as app:
        assert app.describe()["lock_timeout"] == "30s"
        assert app.describe()["notify"] is False
        assert (await app.append("s", NewEvent("n", 1))).position == 2
    await drop_role(raw, "pooled")
