"""Row-level security of views: a role sees its tenant's rows, in every table that relays make."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
import sqlalchemy as sa

from eventstore import EventStore, NewEvent
from projections import CacheView, Projection, RelationalView, Relay, Upsert

from .rights import documented, drop_role, role_with_rights

_ROLE = "reader_of_views"


def notes(version: int = 1) -> RelationalView:
    """A row for each stream."""
    table = sa.Table(
        "notes",
        sa.MetaData(),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("text", sa.Text),
    )
    made = Projection(
        "notes",
        version=version,
        types=["noted"],
        map=lambda event: Upsert(event.stream, {"text": event.data}),
    )
    return RelationalView(made, table)


def hot() -> CacheView:
    """A value for each stream."""
    made = Projection("hot", types=["noted"], map=lambda event: Upsert(event.stream, event.data))
    return CacheView(made)


@pytest_asyncio.fixture
async def role(store: EventStore, raw: Any, url: str) -> AsyncIterator[str]:
    """The URL of a role that reads, in a store with two tenants' views that were made before row-
    level security was switched on as documented."""
    for name in ("default", "acme"):
        await store.tenant(name).append("s", NewEvent("noted", f"{name}'s"))
    await Relay(store, [notes(), hot()], all_tenants=True).run_once()
    made = await role_with_rights(raw, url, _ROLE)
    await raw.execute(documented("Row-level security by tenant"))
    page = documented("Tables of views under row-level security")
    await raw.execute(page.replace("TO app", f"TO {_ROLE}"))
    yield made
    await drop_role(raw, _ROLE)


@pytest.mark.parametrize("version", [1, 2])
async def test_tenants_are_isolated_then_a_view_shows_a_role_its_tenants_rows(
    store: EventStore, role: str, version: int
) -> None:
    """The table of a generation that was there, and of one that was made since; the database view
    under the declared name; and what the view itself answers."""
    await Relay(store, [notes(version), hot()], all_tenants=True).run_once()
    reader = await asyncpg.connect(role)
    try:
        for place in (f"view_notes_{version}", "notes", "cache_hot_1"):
            assert await reader.fetch(f"SELECT * FROM eventstore.{place}") == [], place
            for name in ("acme", "default"):
                async with reader.transaction():
                    await reader.fetchval("SELECT set_config('eventstore.tenant', $1, true)", name)
                    rows = await reader.fetch(f"SELECT * FROM eventstore.{place}")
                    # A cache has a row of its own beside the one: its mark.
                    assert len([row for row in rows if row.get("key") != ""]) == 1, place
                    if place == "notes":
                        assert tuple(rows[0]) == (name, "s", f"{name}'s")
    finally:
        await reader.close()
    async with EventStore.open(f"{role}?tenant_isolation=on") as app:
        for name in ("acme", "default"):
            view = notes(version).bind(app.tenant(name))
            found = await view.query(sa.select(view.table.c.text))
            assert found == [{"text": f"{name}'s"}]
            assert (await hot().bind(app.tenant(name)).get("s")).value == f"{name}'s"


async def test_nothing_is_isolated_then_the_database_view_shows_all_tenants(
    store: EventStore, raw: Any, url: str
) -> None:
    """To its owner, and to a role that was granted the tables."""
    await store.tenant("acme").append("s", NewEvent("noted", "theirs"))
    await store.append("s", NewEvent("noted", "mine"))
    await Relay(store, [notes()], all_tenants=True).run_once()
    granted = await role_with_rights(raw, url, "sees_all")
    reader = await asyncpg.connect(granted)
    try:
        for one in (raw, reader):
            found = await one.fetch("SELECT tenant, text FROM eventstore.notes ORDER BY tenant")
            assert [tuple(row) for row in found] == [("acme", "theirs"), ("default", "mine")]
    finally:
        await reader.close()
        await drop_role(raw, "sees_all")
