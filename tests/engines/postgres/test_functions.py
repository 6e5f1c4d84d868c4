"""A schema whose functions are another version's is told from ours, and becomes the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cli import main
from eventstore import EventStore, NewEvent, StorageFailed
from eventstore.schema import NEWEST

from .rights import drop_role, role_with_rights

_IN_SCHEMA = "n.nspname = 'eventstore'"
_EVERYTHING = {
    "columns": "SELECT table_name, ordinal_position, column_name, data_type, is_nullable,"
    " column_default, collation_name FROM information_schema.columns"
    " WHERE table_schema = 'eventstore'",
    "tables": "SELECT c.relname, c.relkind, c.reloptions, c.relrowsecurity, c.relforcerowsecurity,"
    " pg_get_viewdef(c.oid) FROM pg_class c JOIN pg_namespace n"
    f" ON n.oid = c.relnamespace WHERE {_IN_SCHEMA} AND c.relkind IN ('r', 'v', 'S')",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'eventstore'",
    "constraints": "SELECT k.conrelid::regclass::text, k.conname, pg_get_constraintdef(k.oid)"
    f" FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE {_IN_SCHEMA}",
    "functions": "SELECT pg_get_functiondef(p.oid), p.proacl::text, pg_get_userbyid(p.proowner),"
    " obj_description(p.oid, 'pg_proc') FROM pg_proc p JOIN pg_namespace n"
    f" ON n.oid = p.pronamespace WHERE {_IN_SCHEMA}",
    "triggers": "SELECT pg_get_triggerdef(t.oid), t.tgenabled FROM pg_trigger t JOIN pg_class c"
    f" ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_IN_SCHEMA}"
    " AND NOT t.tgisinternal",
    "policies": "SELECT tablename, policyname, permissive, roles::text, cmd, qual, with_check"
    " FROM pg_policies WHERE schemaname = 'eventstore'",
}
_AGED = (
    # As they may have been: an argument less, another body, one that is gone.
    "DROP FUNCTION eventstore.append_batch, eventstore.any_after;"
    "CREATE FUNCTION eventstore.append_batch(p_tenant text) RETURNS bigint LANGUAGE sql"
    " AS 'SELECT 1::bigint';"
    "CREATE OR REPLACE FUNCTION eventstore.refuse_change() RETURNS trigger LANGUAGE plpgsql"
    " AS 'BEGIN RETURN NULL; END'"
)
_FIRST = (
    "DROP TABLE eventstore.views, eventstore.view_progress, eventstore.view_folds,"
    " eventstore.dead_letters, eventstore.embeddings;"
    "UPDATE eventstore.alembic_version SET version_num = '0001'"
)


async def _everything(raw: Any) -> dict[str, list[str]]:
    found = {}
    for what, question in _EVERYTHING.items():
        found[what] = sorted(str(tuple(row)) for row in await raw.fetch(question))
        assert found[what], what
    return found


@pytest.mark.parametrize("aged", [_AGED, f"{_AGED};{_FIRST}"])
async def test_functions_are_older_then_opening_says_so_and_doctor_makes_all_as_in_a_new_database(
    url: str, raw: Any, aged: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Functions, triggers, policies, views, settings and grants; the events stay, and who could
    append can append."""
    granted = await role_with_rights(raw, url, "renewed")
    async with EventStore.open(granted) as store:
        await store.append("s", NewEvent("n", 1))
    fresh = await _everything(raw)
    await raw.execute(aged)
    await raw.execute("GRANT EXECUTE ON FUNCTION eventstore.append_batch TO renewed")
    assert await _everything(raw) != fresh
    with pytest.raises(StorageFailed, match="doctor --migrate") as refused:
        await EventStore.open(url)
    assert refused.value.written == "no"

    code = await asyncio.to_thread(main, ["doctor", "--store", url, "--migrate"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    former = "0001" if _FIRST in aged else f"{NEWEST} with the functions of another version"
    assert f"the schema was at {former}, and is at {NEWEST} now" in " ".join(out.split())
    found = await _everything(raw)
    for what, rows in fresh.items():
        assert found[what] == rows, what
    async with EventStore.open(granted) as store:
        assert (await store.append("s", NewEvent("n", 2))).position == 2
        assert (await store.verify()).damages == ()
    await drop_role(raw, "renewed")
