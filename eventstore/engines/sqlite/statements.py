"""Every SQL statement of the SQLite engine, named by its verb."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

EVENT_COLUMNS = (
    "e.position, e.stream_id, e.version, e.event_id, e.type_id, e.schema_version, e.recorded_at,"
    " e.occurred_at, e.actor, e.causation_id, e.correlation_id, e.derived_from, e.tags, e.context,"
    " e.payload_format, e.subject_key_id, e.payload, e.hash"
)

# --- judging and writing, on the owner's connection

BEGIN = "BEGIN IMMEDIATE"
FIND_TENANT = "SELECT tenant_id FROM tenants WHERE name = ?"
INSERT_TENANT = "INSERT INTO tenants (name) VALUES (?)"
FIND_HEAD = "SELECT position, hash, recorded_at FROM heads WHERE tenant_id = ?"
UPSERT_HEAD = (
    "INSERT INTO heads (tenant_id, position, hash, recorded_at) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (tenant_id) DO UPDATE SET position = excluded.position, hash = excluded.hash,"
    " recorded_at = excluded.recorded_at"
)
_PARENT = "(SELECT p.name FROM streams p WHERE p.stream_id = s.parent_stream_id)"
FIND_STREAM = (
    f"SELECT s.stream_id, s.version, s.parent_version, {_PARENT} FROM streams s"
    " WHERE s.tenant_id = ? AND s.name = ?"
)
FIRST_RECORDED = "SELECT first_recorded_at FROM streams WHERE stream_id = ?"
LAST_EVENT = "SELECT position, hash FROM events WHERE tenant_id = ? ORDER BY position DESC LIMIT 1"
FIND_STREAM_AND_LAST = (
    "SELECT s.stream_id, s.version,"
    " (SELECT coalesce(max(e.version), 0) FROM events e WHERE e.stream_id = s.stream_id)"
    " FROM streams s WHERE s.tenant_id = ? AND s.name = ?"
)
"""The stream as its row says and, one seek in an index, as its events say."""
LAST_STREAM_ID = (
    "SELECT coalesce((SELECT max(stream_id) FROM streams), 0),"
    " coalesce((SELECT max(stream_id) FROM events), 0)"
)
"""Of the streams, and of the streams that events name."""
UPDATE_STREAMS = (
    "UPDATE streams SET version = moved.value ->> 1, recorded_at = moved.value ->> 2"
    " FROM json_each(?) moved WHERE stream_id = moved.value ->> 0"
)
"""All streams that a batch has moved on, in one statement: [[stream, version, time], ...]."""
FIND_TYPE = "SELECT type_id FROM event_types WHERE name = ?"
INSERT_TYPE = "INSERT INTO event_types (name) VALUES (?)"
FIND_TAG = "SELECT tag_id FROM tags WHERE tenant_id = ? AND name = ?"
INSERT_TAG = "INSERT INTO tags (tenant_id, name) VALUES (?, ?)"


class Insert:
    """An INSERT of many rows by few statements, of those columns only that the rows have.

    One statement for many rows gives up the interpreter's lock once, where `executemany` does so
    at each row, and every time it may have to wait for the event loop's thread to have it back.
    A column that is NULL is left out, because the driver looks for an adapter of each None (and
    of each `bytes`, not of a `bytearray`): 0.5 us a piece, which is 5 us for a plain event.
    """

    def __init__(self, table: str, columns: str, optional: str = "") -> None:
        self._table, self._columns = table, columns
        self._optional = optional.split(", ") if optional else []
        self._by_shape: dict[tuple[bool, ...], tuple[int, list[tuple[int, str]]]] = {}

    def run(
        self, execute: Callable[..., object], values: list[Any], shape: tuple[bool, ...] = ()
    ) -> None:
        """Inserts `values`, the values of all rows one after the other; `shape` says which of the
        optional columns they have, behind the others."""
        width, statements = self._by_shape.get(shape) or self._make(shape)
        start, end = 0, len(values)
        for rows, statement in statements:
            size = rows * width
            while end - start >= size:
                execute(statement, values[start : start + size])
                start += size

    def _make(self, shape: tuple[bool, ...]) -> tuple[int, list[tuple[int, str]]]:
        chosen = [name for name, has in zip(self._optional, shape, strict=False) if has]
        columns = ", ".join([self._columns, *chosen])
        width = columns.count(",") + 1
        head = f"INSERT INTO {self._table} ({columns}) VALUES "
        row = f"({', '.join('?' * width)})"
        sizes = [(rows, head + ", ".join([row] * rows)) for rows in (64, 16, 4, 1)]
        made = self._by_shape[shape] = (width, sizes)
        return made


INSERT_EVENTS = Insert(
    "events",
    "tenant_id, position, stream_id, version, event_id, type_id, schema_version, recorded_at,"
    " payload, hash",
    "occurred_at, actor, causation_id, correlation_id, derived_from, tags, context",
)
INSERT_STREAMS = Insert(
    "streams",
    "stream_id, tenant_id, name, version, first_recorded_at, recorded_at",
    "parent_stream_id, parent_version",
)
INSERT_EVENT_TAGS = Insert("event_tags", "tag_id, position")
INSERT_EVENT_CAUSES = Insert("event_causes", "tenant_id, cause_id, position")
INSERT_KEYS = Insert(
    "idempotency_keys",
    "tenant_id, stream_id, key, content_hash, first_position, event_count",
    "call",
)
KNOWN_KEYS = (
    "SELECT k.tenant_id, k.stream_id, k.key FROM json_each(?) wanted JOIN idempotency_keys k"
    " ON k.tenant_id = wanted.value ->> 0 AND k.stream_id = wanted.value ->> 1"
    " AND k.key = wanted.value ->> 2"
)
"""Which of a batch's keys stand already; [[tenant, stream, key], ...] in, one statement for all."""
FIND_KEY = (
    "SELECT content_hash, first_position, event_count, call FROM idempotency_keys"
    " WHERE tenant_id = ? AND stream_id = ? AND key = ?"
)
FIND_FIRST_OF_KEY = "SELECT version, recorded_at FROM events WHERE tenant_id = ? AND position = ?"

# --- reading

FIND_EVENT_BY_ID = f"SELECT {EVENT_COLUMNS} FROM events e WHERE e.tenant_id = ? AND e.event_id = ?"
READ_STREAM = (
    f"SELECT {EVENT_COLUMNS} FROM events e"
    " WHERE e.stream_id = ? AND e.version > ? ORDER BY e.version LIMIT ?"
)
READ_STREAM_BACKWARDS = (
    f"SELECT {EVENT_COLUMNS} FROM events e"
    " WHERE e.stream_id = ? AND e.version < ? ORDER BY e.version DESC LIMIT ?"
)
READ_LOG = (
    f"SELECT {EVENT_COLUMNS} FROM events e"
    " WHERE e.tenant_id = ? AND e.position > ? AND e.position <= ? ORDER BY e.position LIMIT ?"
)
READ_POSITIONS = (
    f"SELECT {EVENT_COLUMNS} FROM events e WHERE e.tenant_id = ?"
    " AND e.position IN (SELECT value FROM json_each(?)) ORDER BY e.position"
)
READ_CAUSED = (
    f"SELECT {EVENT_COLUMNS} FROM event_causes c"
    " JOIN events e ON e.tenant_id = c.tenant_id AND e.position = c.position"
    " WHERE c.tenant_id = ? AND c.cause_id = ? AND c.position > ? ORDER BY c.position LIMIT ?"
)
HASHES_AT = (
    "SELECT position, hash FROM events"
    " WHERE tenant_id = ? AND position IN (SELECT value FROM json_each(?))"
)
HASH_AT = "SELECT hash FROM events WHERE tenant_id = ? AND position = ?"
NAMES_OF_STREAMS = (
    "SELECT stream_id, name FROM streams WHERE stream_id IN (SELECT value FROM json_each(?))"
)
NAMES_OF_TYPES = (
    "SELECT type_id, name FROM event_types WHERE type_id IN (SELECT value FROM json_each(?))"
)
LIST_STREAMS = (
    f"SELECT s.name, s.version, s.first_recorded_at, s.recorded_at, {_PARENT}, s.parent_version"
    " FROM streams s WHERE s.tenant_id = ? AND s.name > ? AND s.name >= ?"
    " AND (? IS NULL OR s.name < ?) AND s.version > 0 ORDER BY s.name LIMIT ?"
)
LIST_TENANTS = "SELECT t.name FROM tenants t JOIN heads h USING (tenant_id) ORDER BY t.name"
DATA_VERSION = "PRAGMA data_version"

# --- readers' checkpoints, leases and snapshots

LOAD_CHECKPOINT = (
    "SELECT position, hash, holder, fencing_token, lease_until FROM checkpoints"
    " WHERE tenant_id = ? AND name = ? AND generation = ? AND partition = ?"
)
SAVE_CHECKPOINT = (
    "INSERT INTO checkpoints (tenant_id, name, generation, partition, position, hash)"
    " SELECT :tenant, :name, :generation, :partition, :position, :hash WHERE :token = 0"
    " OR EXISTS (SELECT 1 FROM checkpoints WHERE tenant_id = :tenant AND name = :name"
    "  AND generation = :generation AND partition = :partition)"
    " ON CONFLICT (tenant_id, name, generation, partition) DO UPDATE"
    " SET position = excluded.position, hash = excluded.hash WHERE fencing_token = :token"
    "  AND (:token = 0 OR holder IS :holder)"
)
TAKE_LEASE = (
    "INSERT INTO checkpoints (tenant_id, name, generation, partition, position, hash, holder,"
    " fencing_token, lease_until)"
    " VALUES (:tenant, :name, :generation, :partition, 0, :hash, :holder, 1, :until)"
    " ON CONFLICT (tenant_id, name, generation, partition) DO UPDATE SET"
    " fencing_token = fencing_token + NOT (fencing_token = :token AND holder = :holder"
    "  AND lease_until > :now),"
    " holder = :holder, lease_until = :until"
    " WHERE holder IS NULL OR lease_until <= :now"
    "  OR (fencing_token = :token AND holder = :holder)"
)
END_LEASE = (
    "UPDATE checkpoints SET holder = NULL, lease_until = 0 WHERE tenant_id = ? AND name = ?"
    " AND generation = ? AND partition = ? AND fencing_token = ? AND holder IS ?"
)
TENANTS_BEYOND = (
    "SELECT t.name, h.position, coalesce(min(c.position), 0) FROM heads h"
    " JOIN tenants t USING (tenant_id) LEFT JOIN checkpoints c"
    " ON c.tenant_id = h.tenant_id AND c.name = ? AND c.generation = ?"
    " GROUP BY t.name, h.position HAVING h.position > coalesce(min(c.position), 0)"
    " ORDER BY t.name LIMIT ?"
)
MOVE_CHECKPOINT = (
    "UPDATE checkpoints SET position = ?, hash = ? WHERE tenant_id = ? AND name = ?"
    " AND generation = ? AND partition = ? AND fencing_token = ? AND holder IS ? AND position = ?"
)
SAVE_SNAPSHOT = (
    "INSERT INTO snapshots (stream_id, reducer, fingerprint, version, position, state, state_hash)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET position = excluded.position,"
    " state = excluded.state, state_hash = excluded.state_hash"
)
KEPT_SNAPSHOTS = (
    "SELECT version, length(state) FROM snapshots WHERE stream_id = ? AND reducer = ?"
    " AND fingerprint = ?"
)
DROP_SNAPSHOT = (
    "DELETE FROM snapshots WHERE stream_id = ? AND reducer = ? AND fingerprint = ? AND version = ?"
)
FIND_SNAPSHOT = (
    "SELECT version, position, state, state_hash FROM snapshots WHERE stream_id = ?"
    " AND reducer = ? AND fingerprint = ? AND version <= ? ORDER BY version DESC LIMIT 1"
)
LIST_SNAPSHOTS = (
    "SELECT reducer, fingerprint, version, position, length(state), state_hash FROM snapshots"
    " WHERE stream_id = ? ORDER BY reducer, fingerprint, version"
)
DROP_SNAPSHOTS = (
    "DELETE FROM snapshots WHERE stream_id IN"
    " (SELECT stream_id FROM streams WHERE tenant_id = ? AND (? IS NULL OR name = ?))"
)

# --- verifying

CHECK_PAGES = "PRAGMA integrity_check(20)"
# A damaged list is not JSON any more, and is told by its event's hash.
_SAID_TAGS = "events e, json_each(CASE WHEN json_valid(e.tags) THEN e.tags END) said"
_SAID_CAUSES = (
    "events e, json_each(CASE WHEN json_valid(e.derived_from) THEN e.derived_from END) said"
)
MISSING_TAGS = (
    f"SELECT e.position, s.name, e.version, said.value FROM {_SAID_TAGS}"
    " LEFT JOIN streams s USING (stream_id) WHERE e.tenant_id = :tenant"
    " AND NOT EXISTS (SELECT 1 FROM tags t JOIN event_tags x USING (tag_id)"
    "  WHERE t.tenant_id = :tenant AND t.name = said.value AND x.position = e.position)"
    " ORDER BY e.position LIMIT :limit"
)
"""Events that bear a tag by which the index does not know them: none. So with the next three."""
# A row whose tag is no tenant's is told to each.
SURPLUS_TAGS = (
    "SELECT x.position, s.name, e.version, t.name FROM event_tags x LEFT JOIN tags t USING (tag_id)"
    " LEFT JOIN events e ON e.tenant_id = t.tenant_id AND e.position = x.position"
    " LEFT JOIN streams s ON s.stream_id = e.stream_id"
    " WHERE (t.tenant_id = :tenant OR t.tag_id IS NULL) AND NOT EXISTS (SELECT 1 FROM"
    "  json_each(CASE WHEN json_valid(e.tags) THEN e.tags END) said WHERE said.value = t.name)"
    " ORDER BY x.position LIMIT :limit"
)
_NOT_CAUSED_BY = (
    " LEFT JOIN streams s USING (stream_id) WHERE e.tenant_id = :tenant AND {0} IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM event_causes c WHERE c.tenant_id = :tenant"
    "  AND c.cause_id = {0} AND c.position = e.position)"
)
MISSING_CAUSES = (
    "SELECT e.position, s.name, e.version, e.causation_id FROM events e"
    + _NOT_CAUSED_BY.format("e.causation_id")
    + f" UNION SELECT e.position, s.name, e.version, said.value FROM {_SAID_CAUSES}"
    + _NOT_CAUSED_BY.format("said.value")
    + " ORDER BY 1 LIMIT :limit"
)
SURPLUS_CAUSES = (
    "SELECT c.position, s.name, e.version, c.cause_id FROM event_causes c"
    " LEFT JOIN events e ON e.tenant_id = c.tenant_id AND e.position = c.position"
    " LEFT JOIN streams s ON s.stream_id = e.stream_id"
    " WHERE c.tenant_id = :tenant AND e.causation_id IS NOT c.cause_id AND NOT EXISTS (SELECT 1"
    "  FROM json_each(CASE WHEN json_valid(e.derived_from) THEN e.derived_from END) said"
    "  WHERE said.value = c.cause_id) ORDER BY c.position LIMIT :limit"
)
COUNT_BEYOND_HEAD = (
    "SELECT coalesce((SELECT max(position) FROM events WHERE tenant_id = :tenant), 0)"
    " - coalesce((SELECT position FROM heads WHERE tenant_id = :tenant), 0)"
)
"""Positions that the log has beyond its head: none. (Those it lacks are seen by reading it.)"""
_FIRST_AND_LAST = (
    "SELECT 1 FROM events f JOIN events l ON l.stream_id = f.stream_id WHERE f.tenant_id = :tenant"
)
COUNT_LOST_KEYS = (
    "SELECT (SELECT count(*) FROM idempotency_keys k WHERE k.tenant_id = :tenant"
    f"  AND k.stream_id <> 0 AND NOT EXISTS ({_FIRST_AND_LAST} AND f.position = k.first_position"
    "   AND f.stream_id = k.stream_id AND l.version = f.version + k.event_count - 1))"
    " + (SELECT count(*) FROM idempotency_keys k WHERE k.tenant_id = :tenant AND k.stream_id = 0"
    "  AND NOT coalesce(json_valid(k.call), 0))"
    " + (SELECT count(*) FROM idempotency_keys k,"
    "   json_each(CASE WHEN json_valid(k.call) THEN k.call -> 1 END) part"
    "  WHERE k.tenant_id = :tenant AND k.stream_id = 0 AND part.value ->> 2 > 0"
    f"  AND NOT EXISTS ({_FIRST_AND_LAST} AND f.position = part.value ->> 1"
    "   AND f.version = part.value ->> 0 AND l.version = f.version + (part.value ->> 2) - 1))"
)
"""Keys whose first or last event is not in the log: none."""


_JOINS_MAX = 8
"""Tags of one query that are joined, so that SQLite may begin with the rarest; the rest are asked
row by row, because it joins at most 64 tables."""


def positions_of(tags: int, types: int) -> str:
    """Positions of one query, ascending; what it is given is made by `numbered` of (tag ids...,
    type ids..., tenant, after, until, limit)."""
    if tags:
        joins = "".join(
            f" JOIN event_tags t{n} ON t{n}.tag_id = :p{n + 1} AND t{n}.position = t0.position"
            for n in range(1, min(tags, _JOINS_MAX))
        )
        source = f"FROM event_tags t0{joins}"
        where, position = "t0.tag_id = :p1", "t0.position"
        for n in range(_JOINS_MAX, tags):
            where += (
                f" AND EXISTS (SELECT 1 FROM event_tags WHERE tag_id = :p{n + 1}"
                " AND position = t0.position)"
            )
        if types:
            source += (
                f" JOIN events e ON e.tenant_id = :p{tags + types + 1} AND e.position = t0.position"
            )
    else:
        source, where, position = "FROM events e", f"e.tenant_id = :p{types + 1}", "e.position"
    if types:
        slots = ", ".join(f":p{tags + n + 1}" for n in range(types))
        where += f" AND e.type_id IN ({slots})"
    base = tags + types + 1
    return (
        f"SELECT {position} {source} WHERE {where} AND {position} > :p{base + 1}"
        f" AND {position} <= :p{base + 2} ORDER BY {position} LIMIT :p{base + 3}"
    )


def numbered(args: Sequence[Any]) -> dict[str, Any]:
    """Arguments by their places from 1 on: ``?1`` and the like may not be given a sequence from
    Python 3.14 on."""
    return {f"p{place}": value for place, value in enumerate(args, 1)}
