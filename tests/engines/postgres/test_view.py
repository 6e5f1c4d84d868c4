"""The view for SQL users: what it shows of any payload, and to whom."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import asyncpg
import pytest

from eventstore import EventStore, NewEvent

from .rights import documented, drop_role, role_with_rights

_PIECES = ("\0", "\\", "u0000", "\\u0000", "\\\\u0000", '"', "\n", "\u0001", "u")
_TEXTS = ["".join(pieces) for length in (1, 2, 3) for pieces in product(_PIECES, repeat=length)]
_FORMS: list[Any] = [
    *_TEXTS,
    {"\\u0000": "x", "b": ["\\", "u0000"]},
    {"\0": "x"},
    ["\\\\", {"\\": "\\u0000\\"}],
    ["\\\0", "u0000"],
    {"a": {"\\": "\0"}},
]


async def test_payloads_hold_backslashes_then_only_a_real_nul_is_null_as_jsonb(
    store: EventStore, raw: Any
) -> None:
    """A backslash before `u0000` is text like any other; a NUL is the one thing jsonb lacks."""
    await store.append("s", [NewEvent("n", form) for form in _FORMS])
    rows = await raw.fetch("SELECT data, data_jsonb FROM eventstore.events_json ORDER BY position")
    for form, row in zip(_FORMS, rows, strict=True):
        assert json.loads(row["data"]) == form
        held = "\0" in "".join(_strings(form))
        assert (row["data_jsonb"] is None) is held, row["data"]
        assert held or json.loads(row["data_jsonb"]) == form


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for one in pair for text in _strings(one)]
    return [text for one in value for text in _strings(one)]


@pytest.mark.parametrize("invoker", ["its own", "the owner's"])
async def test_tenants_are_isolated_then_the_view_shows_only_the_tenant_that_was_set(
    store: EventStore, raw: Any, url: str, invoker: str
) -> None:
    """Also where a view has its owner's rights, as every view on PostgreSQL 14, and policies do
    not hold what is read through it."""
    for tenant in ("default", "acme"):
        await store.tenant(tenant).append("s", NewEvent("n", f"{tenant}'s"))
    await raw.execute(documented("Row-level security by tenant"))
    if invoker == "the owner's":
        await raw.execute("ALTER VIEW eventstore.events_json RESET (security_invoker)")
    role = await asyncpg.connect(await role_with_rights(raw, url, "looks"))
    everyone = "SELECT tenant FROM eventstore.events_json ORDER BY tenant"
    assert await role.fetch(everyone) == []
    for tenant in ("acme", "default", "unknown"):
        async with role.transaction():
            await role.fetchval("SELECT set_config('eventstore.tenant', $1, true)", tenant)
            seen = [row[0] for row in await role.fetch(everyone)]
            assert seen == ([] if tenant == "unknown" else [tenant])
    async with role.transaction():
        await role.fetchval("SELECT set_config('eventstore.tenant', 'acme', true)")
        # A condition of one's own may print what it sees: it must see no more than the answer has.
        await role.execute(
            "CREATE FUNCTION pg_temp.tell(tenant text) RETURNS bool LANGUAGE plpgsql COST 0.0001"
            " AS 'BEGIN IF tenant = ''default'' THEN RAISE EXCEPTION ''seen''; END IF;"
            " RETURN true; END'"
        )
        await role.fetch(f"{everyone.replace('ORDER', 'WHERE pg_temp.tell(tenant) ORDER')}")
        if invoker == "the owner's":
            await role.execute("SET LOCAL row_security = off")
            assert [row[0] for row in await role.fetch(everyone)] == ["acme"]
    await role.close()
    assert [row[0] for row in await raw.fetch(everyone)] == ["acme", "default"]
    await drop_role(raw, "looks")


async def test_policies_rest_then_the_view_shows_every_tenant(
    store: EventStore, raw: Any, url: str
) -> None:
    """Who has not switched isolation on has all tenants' events in SQL, whatever the setting."""
    for tenant in ("default", "acme"):
        await store.tenant(tenant).append("s", NewEvent("n", 1))
    role = await asyncpg.connect(await role_with_rights(raw, url, "looks"))
    assert len(await role.fetch("SELECT * FROM eventstore.events_json")) == 2
    await role.close()
    await drop_role(raw, "looks")
