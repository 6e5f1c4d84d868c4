"""What PostgreSQL has beside the tables: functions, triggers, policies, the view for SQL users.

A file for each function, named as it. They name their tables with the schema, because a function
that runs with its owner's rights must not find another one's tables first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy

FUNCTIONS = (
    "refuse_damage",
    "refuse_change",
    "name_tenant",
    "judge_key",
    "any_after",
    "refuse_batch",
    "judge_batch",
    "fork_stream",
    "append_batch",
)
"""In the order in which they are made: the last ones call the first."""

SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)
"""Names of schemas that need no quotes, so that they may stand in functions as they are."""

_WRITES = {
    "append_batch": {
        "__position__": "pos + i",
        "__version__": "o_stream_versions[p_event_streams[i]] + p_event_offsets[i]",
        "__from__": "1",
        "__to__": "cardinality(p_ids)",
        "__from_call__": "1",
        "__to_call__": "cardinality(p_call_parts)",
        "__first__": "p_call_firsts[k] + pos",
        "__said__": "NULL",
    },
    "judge_batch": {
        "__position__": "event_pos[i]",
        "__version__": "event_ver[i]",
        "__from__": "flushed + 1",
        "__to__": "event",
        "__from_call__": "flushed_calls + 1",
        "__to_call__": "c - 1",
        "__first__": "call_first[k]",
        "__said__": "call_said[k]",
    },
}
"""What the words of `write_events.sql` mean in the two functions that it is a part of."""

_APPEND_ONLY = ("events", "event_tags", "event_causes", "idempotency_keys")
_TENANT = "tenant_id = (SELECT t.tenant_id FROM {schema}.tenants t WHERE t.name = {tenant})"
_SETTING = "current_setting('eventstore.tenant', true)"
_POLICIES = {
    "tenants": "name = {tenant}",
    **dict.fromkeys(
        (
            "checkpoints",
            "event_causes",
            "events",
            "heads",
            "idempotency_keys",
            "streams",
            "tags",
        ),
        _TENANT,
    ),
    "event_tags": "EXISTS (SELECT 1 FROM {schema}.tags g WHERE g.tag_id = event_tags.tag_id)",
    "snapshots": "EXISTS (SELECT 1 FROM {schema}.streams s"
    " WHERE s.stream_id = snapshots.stream_id)",
}
"""Rows that a tenant may see and write. Policies rest until row-level security is switched on for
the tables; the last two ask a table that has a policy itself."""

ISOLATED = (
    *_POLICIES,
    "views",
    "view_progress",
    "view_folds",
    "dead_letters",
    "embeddings",
)
"""Every table that holds what is a tenant's own: each has the policy `own_tenant`."""


def complete(connection: sqlalchemy.Connection) -> None:
    """Adds to the tables of the first revision what only PostgreSQL has, in the current schema."""
    run = connection.exec_driver_sql
    schema = str(run("SELECT current_schema()").scalar_one())
    if not SCHEMA_NAME.fullmatch(schema):
        raise ValueError("a schema's name has small letters, digits and _ only")
    run(
        "CREATE TABLE superseded_batches ("
        ' attempt text COLLATE "C" PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())'
    )
    make_functions(connection)
    # Payloads keep PostgreSQL's own storage, which compresses rows from 2 KB on: recorded sessions
    # in payloads of 20 KB took 11 MB where they take 36 uncompressed, and were inserted at 17 MB/s
    # instead of 37 and read at 200 MB/s instead of 270. With 400 bytes there is no difference.
    # An update of an indexed row stays on its page while there is room: heads and streams are
    # updated by nearly every batch.
    run("ALTER TABLE heads SET (fillfactor = 20)")
    run("ALTER TABLE streams SET (fillfactor = 40)")
    run("ALTER TABLE checkpoints SET (fillfactor = 50)")
    for table in _APPEND_ONLY:
        run(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_change()"
        )
        run(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only")
    for table, rule in _POLICIES.items():
        rule = rule.format(schema=schema, tenant=_SETTING)
        run(f"CREATE POLICY own_tenant ON {table} USING ({rule}) WITH CHECK ({rule})")
    _create_view(connection)


def make_functions(connection: sqlalchemy.Connection) -> None:
    """Puts the functions of this program in place of what stands in the current schema, and says
    so in a comment. Who might call the former ones may call these."""
    run = connection.exec_driver_sql
    schema = str(run("SELECT current_schema()").scalar_one())
    wanted = ", ".join(f"'{name}'" for name in FUNCTIONS)
    standing = (
        "pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace{}"
        f" WHERE n.nspname = '{schema}' AND p.proname IN ({wanted})"
    )
    grants = run(
        "SELECT DISTINCT p.proname, quote_ident(pg_get_userbyid(a.grantee)) FROM "
        + standing.format(", LATERAL aclexplode(p.proacl) a")
        + " AND a.grantee NOT IN (0, p.proowner) AND a.privilege_type = 'EXECUTE'"
    ).all()
    # Under other arguments a former one would stand beside the new one. Triggers hold on to the
    # one that they call, which has none.
    former = run(
        "SELECT format('%I.%I(%s)', n.nspname, p.proname,"
        " pg_get_function_identity_arguments(p.oid)) FROM "
        + standing.format("")
        + " AND p.prorettype <> 'trigger'::regtype"
    ).all()
    for row in former:
        run(f"DROP FUNCTION {row[0]}")
    for name in FUNCTIONS:
        run(function_text(name, schema).replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
    for name in ("append_batch", "fork_stream", "name_tenant"):
        # They run with their owner's rights: only roles that were granted them may call.
        run(f"REVOKE ALL ON FUNCTION {schema}.{name} FROM PUBLIC")
    who_append = [("fork_stream", role) for name, role in grants if name == "append_batch"]
    for name, role in (*grants, *who_append):  # whoever may append may fork
        run(f"GRANT EXECUTE ON FUNCTION {schema}.{name} TO {role}")
    run(f"COMMENT ON FUNCTION {schema}.append_batch IS '{functions_digest()}'")


@cache
def functions_digest() -> str:
    """What tells these functions from those of another version of this program."""
    texts = [_read(name) for name in (*FUNCTIONS, "write_events")]
    return f"functions {sha256(repr((texts, _WRITES)).encode()).hexdigest()[:16]}"


def isolate(connection: sqlalchemy.Connection, tables: Sequence[str]) -> None:
    """Gives tables with a tenant_id the policy that the log's tables have, in the current schema.
    It rests until row-level security is switched on for the tables."""
    run = connection.exec_driver_sql
    schema = str(run("SELECT current_schema()").scalar_one())
    rule = _TENANT.format(schema=schema, tenant=_SETTING)
    for table in tables:
        run(f"CREATE POLICY own_tenant ON {table} USING ({rule}) WITH CHECK ({rule})")


def function_text(name: str, schema: str) -> str:
    """The CREATE FUNCTION statement of one of `FUNCTIONS`, for a schema."""
    text = _read(name)
    for place, words in _WRITES.items():
        if name == place:
            shared = _read("write_events")
            for word, meaning in words.items():
                shared = shared.replace(word, meaning)
            text = text.replace("            __write_events__\n", shared)
    return text.replace("__schema__", schema)


def _read(name: str) -> str:
    return (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")


def _create_view(connection: sqlalchemy.Connection) -> None:
    """`events_json` says the payload as text, because `jsonb` cannot hold a NUL character, and
    `json` fails as soon as it is looked into; `data_jsonb` is there for all others. A NUL is an
    escape, and a backslash in the text is two: without those pairs what is left of it is one.

    It has the rights of whoever asks, where PostgreSQL can. Before 15 it cannot, and tables let
    the owner's view pass their policies by: so the view asks itself whether they are in force for
    whoever looks, and heeds the same setting."""
    run = connection.exec_driver_sql
    version = int(str(run("SELECT current_setting('server_version_num')").scalar_one()))
    rights = "security_barrier = true"
    if version >= 150_000:
        rights += ", security_invoker = true"
    in_force = " OR ".join(
        f"row_security_active('{table}'::regclass)" for table in ("events", "streams", "tenants")
    )
    payload = "convert_from(e.payload, 'UTF8')"
    run(
        f"CREATE VIEW events_json WITH ({rights}) AS SELECT t.name AS tenant, e.position,"
        " s.name AS stream, e.version, e.event_id AS id, y.name AS type, e.schema_version,"
        f" CASE WHEN e.payload_format = 0 THEN {payload} END AS data,"
        " e.actor, e.causation_id, e.derived_from, e.correlation_id, e.tags, e.context,"
        " e.occurred_at, e.recorded_at, CASE WHEN e.payload_format = 0"
        rf" AND position('\u0000' IN replace({payload}, '\\', '')) = 0"
        f" THEN {payload}::jsonb END AS data_jsonb"
        " FROM events e JOIN tenants t USING (tenant_id) JOIN streams s USING (stream_id)"
        " JOIN event_types y USING (type_id)"
        f" WHERE t.name = {_SETTING} OR (SELECT NOT ({in_force}))"
    )
