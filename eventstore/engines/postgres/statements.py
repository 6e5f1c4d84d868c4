"""Every SQL statement of the PostgreSQL engine, named by its verb, for one schema.

Names stand with their schema, because behind a pooler no session setting can be relied on.
"""

from __future__ import annotations

from ...limits import PAGE_BYTES_MAX

EVENT_COLUMNS = (
    "e.position, e.stream_id, e.version, e.event_id, e.type_id, e.schema_version, e.recorded_at,"
    " e.occurred_at, e.actor, e.causation_id, e.correlation_id, e.derived_from, e.tags, e.context,"
    " e.payload_format, e.subject_key_id, e.payload, e.hash"
)
"""In the order in which `engines/rows.py` takes them."""

SET_TENANT = "SELECT set_config('eventstore.tenant', $1, true)"
"""For row-level security: whose rows this transaction may see."""

SETTINGS = (
    "SELECT current_setting('server_version_num')::int AS server_version_num,"
    " current_setting('server_version') AS server_version,"
    " current_setting('server_encoding') AS server_encoding,"
    " current_setting('fsync') AS fsync,"
    " current_setting('full_page_writes') AS full_page_writes,"
    " current_setting('synchronous_commit') AS synchronous_commit,"
    " current_setting('default_transaction_isolation') AS default_transaction_isolation,"
    " current_setting('statement_timeout') AS statement_timeout,"
    " current_setting('lock_timeout') AS lock_timeout,"
    " current_setting('idle_in_transaction_session_timeout')"
    " AS idle_in_transaction_session_timeout"
)
LIST_TABLES = (
    "SELECT c.relname FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm')"
)
FIND_FUNCTIONS = (
    "SELECT obj_description(p.oid, 'pg_proc') FROM pg_catalog.pg_proc p"
    " JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
    " WHERE n.nspname = $1 AND p.proname = 'append_batch'"
)
"""What the comment says of the functions' make; one row, unless somebody made others."""
IS_SQL_WORD = (
    "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_get_keywords() WHERE word = $1"
    " AND catcode IN ('R', 'T'))"
)
"""Whether a name would have to stand in quotes, as `user` and `left` would; the server knows which
words these are in its version."""
FIND_SCHEMA = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1"
NOT_ISOLATED = (
    "SELECT w.name FROM unnest($2::text[]) w(name) WHERE NOT EXISTS (SELECT 1"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = $1 AND c.relname = w.name AND row_security_active(c.oid)"
    " AND (SELECT array_agg((p.polname, p.polcmd, p.polroles = ARRAY[0::oid])::text)"
    "  FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive)"
    " = ARRAY['(own_tenant,*,t)'])"
    " UNION SELECT c.relname::text FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_catalog.pg_policy p ON p.polrelid = c.oid"
    " WHERE n.nspname = $1 AND NOT row_security_active(c.oid) ORDER BY 1"
)
"""Of the tables that must be under their policy alone, and of those that have one, which are not:
for this role, because a table's owner and a superuser are not under it. A second policy that is
permissive would let through what the first one holds back."""


def find_store(schema: str) -> str:
    """The id of the store in a schema, which it was given when it was made."""
    return f'SELECT store_id::text FROM {schema}.store_info WHERE "only" = 1'


NOTIFY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, '')"
"""A transaction of its own, which would wait for the disk otherwise: nothing is lost with it."""

_SCALARS = ("text", "text", "text[]", "bigint", "boolean")
_BATCH = (
    "bigint[] boolean boolean"
    " int[] int[] int[] names names names int[] int[] int[] names int[] bytea[] int[]"
    " int[] bigint[] int[] bigint[] names int[] names int[] int[] bigint[]"
    " names names names names names names bytea[] bytea[] boolean[] int[] int[] int[] names"
)
"""The kinds of `append_batch`'s arguments: those of one value, then the lists. Numbers come as
PostgreSQL writes lists of them, names one a line (see `batch.py`)."""

JOINED_MAX = 4
"""Tags of one query that are joined, so that PostgreSQL may begin with the rarest; the rest are
asked for row by row, because planning a join takes time that grows with every table in it."""


class Statements:
    """The statements, with the names of one schema."""

    def __init__(self, schema: str) -> None:
        s = schema
        own = self._own = f"(SELECT t.tenant_id FROM {s}.tenants t WHERE t.name = $1)"
        self.append_batch = f"SELECT * FROM {s}.append_batch({_append_slots()})"
        self.find_revision = f"SELECT version_num FROM {s}.alembic_version"
        self.insert_store = (
            f'INSERT INTO {s}.store_info ("only", store_id) VALUES (1, $1) ON CONFLICT DO NOTHING'
        )

        # --- reading
        self.find_tenant = f"SELECT tenant_id FROM {s}.tenants WHERE name = $1"
        self.name_tenant = f"SELECT {s}.name_tenant($1)"
        self.find_head = (
            "SELECT position, hash, recorded_at"
            f" FROM {s}.heads WHERE tenant_id = {own} AND position > 0"
        )
        self.heads_of = (
            f"SELECT t.name, h.position FROM {s}.tenants t JOIN {s}.heads h USING (tenant_id)"
            " WHERE t.name = ANY ($1::text[])"
        )
        self.find_stream = (
            f"SELECT stream_id, version, tenant_id FROM {s}.streams"
            f" WHERE tenant_id = {own} AND name = $2"
        )
        self.fork_stream = f"SELECT {s}.fork_stream($1, $2, $3, $4)"
        parent = f"(SELECT p.name FROM {s}.streams p WHERE p.stream_id = s.parent_stream_id)"
        self.find_fork = (
            f"SELECT {parent}, s.parent_version FROM {s}.streams s"
            f" WHERE s.tenant_id = {own} AND s.name = $2 AND s.parent_version IS NOT NULL"
        )
        self.find_event_by_id = (
            f"SELECT {EVENT_COLUMNS} FROM {s}.events e"
            f" WHERE e.tenant_id = {own} AND e.event_id = $2"
        )
        self.read_stream = self._stream_page(s, "e.version > $3", "e.version")
        self.read_stream_backwards = self._stream_page(s, "e.version < $3", "e.version DESC")
        self.read_log = _bounded(
            f"SELECT {EVENT_COLUMNS} FROM {s}.events e WHERE e.tenant_id = {own}"
            " AND e.position > $2 AND e.position <= $3 ORDER BY e.position LIMIT $4",
            "e.position",
        )
        self.read_positions = _bounded(
            f"SELECT {EVENT_COLUMNS} FROM {s}.events e WHERE e.tenant_id = {own}"
            " AND e.position = ANY ($2::bigint[]) ORDER BY e.position",
            "e.position",
        )
        self.read_caused = _bounded(
            f"SELECT {EVENT_COLUMNS} FROM {s}.event_causes c JOIN {s}.events e"
            " ON e.tenant_id = c.tenant_id AND e.position = c.position"
            f" WHERE c.tenant_id = {own} AND c.cause_id = $2 AND c.position > $3"
            " ORDER BY c.position LIMIT $4",
            "e.position",
        )
        self.hashes_at = (
            f"SELECT position, hash FROM {s}.events"
            f" WHERE tenant_id = {own} AND position = ANY ($2::bigint[])"
        )
        self.judge_key = f"SELECT detail FROM {s}.judge_key($1, $2, $3, $4, '')"
        self._schema = schema
        self._set_names(s)
        self._set_keeping(s)
        self._set_snapshots(s)

    def _set_names(self, s: str) -> None:
        """Names by their ids, ids by their names, and lists of names."""
        own = self._own
        self.names_of_streams = (
            f"SELECT stream_id, name FROM {s}.streams WHERE stream_id = ANY ($1::bigint[])"
        )
        self.names_of_types = (
            f"SELECT type_id, name FROM {s}.event_types WHERE type_id = ANY ($1::bigint[])"
        )
        self.ids_of_tags = (
            f"SELECT tag_id FROM {s}.tags WHERE tenant_id = {own} AND name = ANY ($2::text[])"
        )
        self.ids_of_types = f"SELECT type_id FROM {s}.event_types WHERE name = ANY ($1::text[])"
        self.list_streams = (
            "SELECT s.name, s.version, s.first_recorded_at, s.recorded_at,"
            f" (SELECT p.name FROM {s}.streams p WHERE p.stream_id = s.parent_stream_id),"
            f" s.parent_version FROM {s}.streams s"
            f" WHERE s.tenant_id = {own} AND s.name > $2 AND s.name >= $3"
            " AND ($4::text IS NULL OR s.name < $4)"
            " AND s.version > 0 ORDER BY s.name LIMIT $5"
        )
        self.list_tenants = (
            f"SELECT t.name FROM {s}.tenants t JOIN {s}.heads h USING (tenant_id)"
            " WHERE h.position > 0 ORDER BY t.name"
        )

    def _stream_page(self, s: str, where: str, order: str) -> str:
        """Rows of a stream, and its version as the same snapshot has it, and where a fork leaves
        its parent; one row without an event where no event matches."""
        page = _bounded(
            f"SELECT {EVENT_COLUMNS} FROM {s}.events e WHERE e.stream_id = s.stream_id AND {where}"
            f" ORDER BY {order} LIMIT $4",
            order,
        )
        return (
            f"SELECT {EVENT_COLUMNS}, s.version, s.parent_version FROM {s}.streams s"
            f" LEFT JOIN LATERAL ({page}) e ON true"
            f" WHERE s.tenant_id = {self._own} AND s.name = $2"
            f" ORDER BY {order}"
        )

    def positions_of(self, tags: int, types: int) -> str:
        """Positions of one query, ascending: (tenant, after, until, limit, tags..., types).

        The last of the tags is a list of all that are not joined.
        """
        s = self._schema
        where = ""
        if tags:
            source, position = f"{s}.event_tags t0", "t0.position"
            where = "t0.tag_id = $5"
            for n in range(1, min(tags, JOINED_MAX)):
                source += (
                    f" JOIN {s}.event_tags t{n} ON t{n}.tag_id = ${n + 5}"
                    f" AND t{n}.position = t0.position"
                )
            if tags > JOINED_MAX:
                tags = JOINED_MAX + 1
                where += (
                    f" AND NOT EXISTS (SELECT 1 FROM unnest(${tags + 4}::bigint[]) r(tag_id)"
                    f" WHERE NOT EXISTS (SELECT 1 FROM {s}.event_tags x"
                    " WHERE x.tag_id = r.tag_id AND x.position = t0.position))"
                )
            if types:
                source += (
                    f" JOIN {s}.events e ON e.tenant_id = {self._own} AND e.position = t0.position"
                )
            else:
                where += " AND $1::text IS NOT NULL"
        else:
            source, position, where = f"{s}.events e", "e.position", f"e.tenant_id = {self._own}"
        if types:
            where += f" AND e.type_id = ANY (${tags + 5}::bigint[])"
        return (
            f"SELECT {position} FROM {source} WHERE {where} AND {position} > $2"
            f" AND {position} <= $3 ORDER BY {position} LIMIT $4"
        )

    def _set_keeping(self, s: str) -> None:
        """Checkpoints and leases."""
        place = "tenant_id = $1 AND name = $2 AND generation = $3 AND partition = $4"
        self.load_checkpoint = (
            "SELECT position, hash, holder, fencing_token, lease_until"
            f" FROM {s}.checkpoints WHERE {place}"
        )
        self.find_checkpoint = (
            f"SELECT position, fencing_token, holder, xmin::text FROM {s}.checkpoints WHERE {place}"
        )
        self.make_checkpoint = (
            f"INSERT INTO {s}.checkpoints"
            " (tenant_id, name, generation, partition, position, hash)"
            " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING true"
        )
        # xmin names the transaction that wrote the row as it was seen: none of ours comes late.
        self.replace_checkpoint = (
            f"UPDATE {s}.checkpoints SET position = $5, hash = $6 WHERE {place}"
            " AND xmin = $7::text::xid RETURNING true"
        )
        own = "c.fencing_token = $9 AND c.holder = $6"
        self.take_lease = (
            f"INSERT INTO {s}.checkpoints AS c (tenant_id, name, generation, partition, position,"
            " hash, holder, fencing_token, lease_until)"
            " VALUES ($1, $2, $3, $4, 0, $5, $6, 1, $7)"
            " ON CONFLICT (tenant_id, name, generation, partition) DO UPDATE SET"
            f" fencing_token = c.fencing_token + CASE WHEN {own} AND c.lease_until > $8"
            "  THEN 0 ELSE 1 END, holder = $6, lease_until = $7"
            f" WHERE c.holder IS NULL OR c.lease_until <= $8 OR {own}"
            " RETURNING position, hash, holder, fencing_token, lease_until"
        )
        self.end_lease = (
            f"UPDATE {s}.checkpoints SET holder = NULL, lease_until = 0 WHERE {place}"
            " AND fencing_token = $5 AND holder IS NOT DISTINCT FROM $6"
        )
        self.move_checkpoint = (
            f"UPDATE {s}.checkpoints SET position = $1, hash = $2 WHERE tenant_id = $3"
            " AND name = $4 AND generation = $5 AND partition = $6 AND fencing_token = $7"
            " AND holder IS NOT DISTINCT FROM $8::text AND position = $9 RETURNING true"
        )
        self.tenants_beyond = (
            f"SELECT t.name, h.position, coalesce(min(c.position), 0) FROM {s}.heads h"
            f" JOIN {s}.tenants t USING (tenant_id) LEFT JOIN {s}.checkpoints c"
            " ON c.tenant_id = h.tenant_id AND c.name = $1 AND c.generation = $2"
            " GROUP BY t.name, h.position HAVING h.position > coalesce(min(c.position), 0)"
            " ORDER BY t.name LIMIT $3"
        )

    def _set_snapshots(self, s: str) -> None:
        kind = "stream_id = $1 AND reducer = $2 AND fingerprint = $3"
        self.save_snapshot = (
            f"INSERT INTO {s}.snapshots"
            " (stream_id, reducer, fingerprint, version, position, state, state_hash)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)"
            " ON CONFLICT (stream_id, reducer, fingerprint, version) DO UPDATE"
            " SET position = excluded.position, state = excluded.state,"
            " state_hash = excluded.state_hash"
        )
        self.kept_snapshots = f"SELECT version, octet_length(state) FROM {s}.snapshots WHERE {kind}"
        self.drop_some_snapshots = (
            f"DELETE FROM {s}.snapshots WHERE {kind} AND version = ANY($4::bigint[])"
        )
        self.find_snapshot = (
            f"SELECT version, position, state, state_hash FROM {s}.snapshots"
            f" WHERE {kind} AND version <= $4 ORDER BY version DESC LIMIT 1"
        )
        self.list_snapshots = (
            "SELECT reducer, fingerprint, version, position, octet_length(state), state_hash"
            f" FROM {s}.snapshots WHERE stream_id = $1 ORDER BY reducer, fingerprint, version"
        )
        self.drop_snapshots = (
            f"WITH gone AS (DELETE FROM {s}.snapshots WHERE stream_id IN (SELECT stream_id"
            f" FROM {s}.streams WHERE tenant_id = $1 AND ($2::text IS NULL OR name = $2))"
            " RETURNING 1) SELECT count(*) FROM gone"
        )


def _append_slots() -> str:
    slots = [f"${n}::{kind}" for n, kind in enumerate(_SCALARS, start=1)]
    for n, kind in enumerate(_BATCH.split(), start=len(slots) + 1):
        if kind == "names":
            slots.append(f"string_to_array(${n}::text, E'\\n', '')")
        elif kind in ("int[]", "bigint[]"):
            slots.append(f"${n}::text::{kind}")
        else:
            slots.append(f"${n}::{kind}")
    return ", ".join(slots)


def _bounded(page: str, order: str) -> str:
    """The rows of `page` up to the bytes of a page, and one beyond them.

    The size of a payload that lies outside its row is known without fetching it, compressed or
    not. Nearly every page is small enough as a whole, which its sum says in a tenth of the time
    that the sums of all its beginnings take; of the two halves below only one is run.
    """
    return (
        "WITH whole AS MATERIALIZED"
        f" (SELECT coalesce(sum(octet_length(e.payload)), 0) AS bytes FROM ({page}) e)"
        f" SELECT * FROM ({page}) w WHERE (SELECT bytes FROM whole) <= {PAGE_BYTES_MAX}"
        f" UNION ALL SELECT {EVENT_COLUMNS} FROM ("
        f"SELECT e.*, sum(octet_length(e.payload)) OVER (ORDER BY {order}"
        " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - octet_length(e.payload)"
        f" AS bytes_before FROM ({page}) e) e"
        f" WHERE (SELECT bytes FROM whole) > {PAGE_BYTES_MAX}"
        f" AND e.bytes_before <= {PAGE_BYTES_MAX}"
    )
