"""Holds the indexes, the keys and the heads of a log against its events, inside the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import asyncpg

from ...errors import Corrupt
from ..indexes import TOLD_MAX, missing_rows, surplus_rows
from ..port import Damage
from .connections import Connection, transaction
from .errors import is_lost
from .lookups import BY_INDEXES, Lookups
from .reader import Reader

_Check = Callable[[Connection, int | None], Awaitable[list[Damage]]]


async def check_integrity(reader: Reader, schema: str, tenant: str) -> list[Damage]:
    """See `Engine`. Pages are the server's to check: it says so by an error when it reads."""
    checks, lookups = _Checks(schema), Lookups(schema)
    damages: list[Damage] = []
    tenant_id: int | None = None
    try:
        tenant_id = await reader.find_tenant(tenant)
    except Corrupt as exc:
        damages.append(Damage(exc.kind, str(exc)))
    for check in (
        *(lookups.names, lookups.logs, lookups.keys, lookups.events),
        *(checks.streams, checks.indexes, checks.beyond_head, checks.keys),
    ):
        try:
            work = partial(_by_indexes, check, tenant_id)
            damages += await reader.run(tenant, work, is_long=True)
        except Corrupt as exc:  # so damaged that the server gives up
            return [*damages, Damage(exc.kind, str(exc))]
    return damages


async def _by_indexes(check: _Check, tenant_id: int | None, connection: Connection) -> list[Damage]:
    """What a check finds when the server looks everything up as reads do."""
    try:
        async with transaction(connection):
            await connection.execute(BY_INDEXES)
            return await check(connection, tenant_id)
    except asyncpg.InternalServerError as exc:
        if is_lost(exc):
            raise
        return [Damage("page", f"PostgreSQL gives up over its tables or indexes ({exc.sqlstate})")]


class _Checks:
    """The questions, each with what its answer means."""

    def __init__(self, schema: str) -> None:
        self._s = schema

    async def streams(self, connection: Connection, tenant_id: int | None) -> list[Damage]:
        """Streams of which fewer events are found than their heads say. Appended events move a
        head in the same transaction, so that one statement sees both or none."""
        rows = await connection.fetch(self._short_streams(), tenant_id, TOLD_MAX)
        return [
            Damage(
                "index",
                f"stream {row[0]!r}: its head says version {row[1]}, by its index it has {row[2]}",
                stream=row[0],
            )
            for row in rows
        ]

    async def indexes(self, connection: Connection, tenant_id: int | None) -> list[Damage]:
        """Rows that an index lacks, and rows that it has too many."""
        damages: list[Damage] = []
        try:
            for index, missing, surplus in (
                ("tags", self._missing_tags(), self._surplus_tags()),
                ("causes", self._missing_causes(), self._surplus_causes()),
            ):
                rows = await connection.fetch(missing, tenant_id, TOLD_MAX + 1)
                damages += missing_rows(index, [tuple(row) for row in rows])
                rows = await connection.fetch(surplus, tenant_id, TOLD_MAX + 1)
                damages += surplus_rows(index, [tuple(row) for row in rows])
        except asyncpg.DataError:
            # The events' hashes say which one it is.
            damages.append(Damage("index", "an event's list of tags or causes is not JSON"))
        return damages

    async def beyond_head(self, connection: Connection, tenant_id: int | None) -> list[Damage]:
        """Positions that the log has beyond its head; those it lacks are seen by reading it."""
        beyond = await connection.fetchval(
            f"SELECT coalesce((SELECT max(position) FROM {self._s}.events WHERE tenant_id = $1), 0)"
            f" - coalesce((SELECT position FROM {self._s}.heads WHERE tenant_id = $1), 0)",
            tenant_id,
        )
        if beyond <= 0:
            return []
        return [Damage("index", f"the log goes on for {beyond} positions beyond its head")]

    async def keys(self, connection: Connection, tenant_id: int | None) -> list[Damage]:
        """Keys whose first or last event is not in the log."""
        try:
            count = await connection.fetchval(self._lost_keys(), tenant_id)
        except asyncpg.DataError:
            return [Damage("index", "an idempotency key's list of streams is not JSON")]
        if not count:
            return []
        message = f"{count} idempotency keys stand for events that are not in the log"
        return [Damage("index", message)]

    def _short_streams(self) -> str:
        """What is counted is what the rows say: a damaged index points to other ones."""
        s = self._s
        return (
            f"SELECT s.name, s.version, found.versions FROM {s}.streams s CROSS JOIN LATERAL"
            " (SELECT count(DISTINCT e.version) FILTER (WHERE e.stream_id = s.stream_id)"
            f"  AS versions FROM {s}.events e WHERE e.stream_id = s.stream_id"
            "  AND e.version BETWEEN coalesce(s.parent_version, 0) + 1 AND s.version) found"
            " WHERE s.tenant_id = $1"
            " AND found.versions <> s.version - coalesce(s.parent_version, 0)"
            " ORDER BY s.name LIMIT $2"
        )

    def _missing_tags(self) -> str:
        """Without the OFFSET, where statistics are old, the server joins all tags with all of
        their events first and looks through the whole of that for each event."""
        s = self._s
        return (
            f"SELECT e.position, s.name, e.version, said.name FROM {s}.events e"
            " CROSS JOIN LATERAL jsonb_array_elements_text(e.tags::jsonb) said(name)"
            f" LEFT JOIN {s}.streams s USING (stream_id) WHERE e.tenant_id = $1"
            f" AND NOT EXISTS (SELECT 1 FROM {s}.tags t JOIN {s}.event_tags x USING (tag_id)"
            "  WHERE t.tenant_id = $1 AND t.name = said.name AND x.position = e.position OFFSET 0)"
            " ORDER BY e.position LIMIT $2"
        )

    def _surplus_tags(self) -> str:
        """A row whose tag is no tenant's is told to each."""
        s = self._s
        return (
            f"SELECT x.position, s.name, e.version, t.name FROM {s}.event_tags x"
            f" LEFT JOIN {s}.tags t USING (tag_id)"
            f" LEFT JOIN {s}.events e ON e.tenant_id = t.tenant_id AND e.position = x.position"
            f" LEFT JOIN {s}.streams s USING (stream_id)"
            " WHERE (t.tenant_id = $1 OR t.tag_id IS NULL)"
            " AND NOT coalesce(e.tags::jsonb ? t.name, false) ORDER BY x.position LIMIT $2"
        )

    def _missing_causes(self) -> str:
        s = self._s
        return (
            f"SELECT e.position, s.name, e.version, said.name FROM {s}.events e"
            " CROSS JOIN LATERAL (SELECT e.causation_id UNION"
            "  SELECT jsonb_array_elements_text(e.derived_from::jsonb)) said(name)"
            f" LEFT JOIN {s}.streams s USING (stream_id)"
            " WHERE e.tenant_id = $1 AND said.name IS NOT NULL"
            f" AND NOT EXISTS (SELECT 1 FROM {s}.event_causes c WHERE c.tenant_id = $1"
            "  AND c.cause_id = said.name AND c.position = e.position OFFSET 0)"
            " ORDER BY e.position LIMIT $2"
        )

    def _surplus_causes(self) -> str:
        s = self._s
        return (
            f"SELECT c.position, s.name, e.version, c.cause_id FROM {s}.event_causes c"
            f" LEFT JOIN {s}.events e ON e.tenant_id = c.tenant_id AND e.position = c.position"
            f" LEFT JOIN {s}.streams s USING (stream_id)"
            " WHERE c.tenant_id = $1 AND e.causation_id IS DISTINCT FROM c.cause_id"
            " AND NOT coalesce(e.derived_from::jsonb ? c.cause_id, false)"
            " ORDER BY c.position LIMIT $2"
        )

    def _lost_keys(self) -> str:
        s = self._s
        ends = (
            f"SELECT 1 FROM {s}.events f JOIN {s}.events l ON l.stream_id = f.stream_id"
            " WHERE f.tenant_id = $1"
        )
        return (
            f"SELECT (SELECT count(*) FROM {s}.idempotency_keys k WHERE k.tenant_id = $1"
            f"  AND k.stream_id <> 0 AND NOT EXISTS ({ends} AND f.position = k.first_position"
            "   AND f.stream_id = k.stream_id AND l.version = f.version + k.event_count - 1"
            "   OFFSET 0))"
            f" + (SELECT count(*) FROM {s}.idempotency_keys k, LATERAL"
            "   jsonb_array_elements(coalesce(k.call, '[[],[]]')::jsonb -> 1) part"
            "  WHERE k.tenant_id = $1 AND k.stream_id = 0 AND (part ->> 2)::bigint > 0"
            f"  AND NOT EXISTS ({ends} AND f.position = (part ->> 1)::bigint"
            "   AND f.version = (part ->> 0)::bigint"
            "   AND l.version = f.version + (part ->> 2)::bigint - 1 OFFSET 0))"
        )
