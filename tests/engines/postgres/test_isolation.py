"""Opening with `tenant_isolation=on`: no table with a tenant's rows is without its policy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from eventstore import EventStore, NewEvent, StorageFailed
from eventstore.schema.postgres import ISOLATED

from .rights import documented, drop_role, role_with_rights

_ROLE = "isolated"
_SHARED = {"alembic_version", "event_types", "store_info", "superseded_batches"}
"""Tables that hold no tenant's rows, beside names of event types, which all tenants share."""


@pytest_asyncio.fixture
async def isolated(url: str, raw: Any) -> AsyncIterator[str]:
    """The URL of a role with the documented rights, in a schema that is isolated as documented."""
    role = await role_with_rights(raw, url, _ROLE)
    await raw.execute(documented("Row-level security by tenant"))
    yield f"{role}?tenant_isolation=on"
    await drop_role(raw, _ROLE)


async def test_the_schema_is_new_then_every_table_is_shared_or_isolated(raw: Any, url: str) -> None:
    """A table that is added is on one of the two lists."""
    rows = await raw.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'eventstore'")
    tables = {row[0] for row in rows}
    assert tables == _SHARED | set(ISOLATED)
    assert not _SHARED & set(ISOLATED)


@pytest.mark.parametrize("table", ISOLATED)
async def test_a_table_is_not_under_its_policy_alone_then_the_store_does_not_open(
    isolated: str, raw: Any, table: str
) -> None:
    """Switched off, dropped, or undone by a second one that lets everything through."""
    async with EventStore.open(isolated) as store:
        await store.tenant("zed").append("s", NewEvent("n", 1))
    where = f"eventstore.{table}"
    own = await raw.fetchval(
        "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = $1::regclass", where
    )
    for broken, mended in (
        (f"ALTER TABLE {where} DISABLE ROW LEVEL SECURITY",
         f"ALTER TABLE {where} ENABLE ROW LEVEL SECURITY"),
        (f"CREATE POLICY wide ON {where} USING (true)", f"DROP POLICY wide ON {where}"),
        (f"DROP POLICY own_tenant ON {where}",
         f"CREATE POLICY own_tenant ON {where} USING ({own}) WITH CHECK ({own})"),
        (f"DROP POLICY own_tenant ON {where}; ALTER TABLE {where} DISABLE ROW LEVEL SECURITY",
         f"CREATE POLICY own_tenant ON {where} USING ({own}) WITH CHECK ({own});"
         f"ALTER TABLE {where} ENABLE ROW LEVEL SECURITY"),
    ):  # fmt: skip
        await raw.execute(broken)
        with pytest.raises(StorageFailed, match=rf"row-level security.*'{table}'"):
            await EventStore.open(isolated)
        await raw.execute(mended)
    async with EventStore.open(isolated) as store:
        assert await store.tenant("zed").head() == 1
