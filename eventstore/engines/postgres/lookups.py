"""Looks everything up by the index that reads and appends use, as the rows of the table say it.

An index is believed: the server does not compare what it leads to with what was asked for, and
without data checksums it does not see a page that was changed. A stream whose name its index has
lost is empty to every reader, and an append begins it anew. So the rows are taken from the table
itself, without an index, and each must be the one that its index leads to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from ...errors import Corrupt
from ...limits import NAMES_CHECKED_MAX
from ..indexes import TOLD_MAX
from ..port import Damage
from ..rows import Row
from .connections import Connection, transaction

BY_INDEXES = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;"
    " SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = off;"
    " SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
)
"""What an index hides is in the table, where a plan that scans the table would find it."""
_STRICTLY = f"{BY_INDEXES}; SET LOCAL enable_sort = off"
"""Rows that are wanted in the order of an index come from it then, and from no other one: in a
small table the server would as soon look through another index as look one row up in the right
one. Bounds that are the same from below and from above are no equality to it, which would make
that order worth nothing, and find as little of what is not where it should be."""
_BY_TABLE = (
    "SET LOCAL enable_seqscan = on; SET LOCAL enable_bitmapscan = off;"
    " SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off"
)

_PAGE_ROWS = 5_000
"""Rows that are looked up at once: about 20 ms, and less than 2 MB of names."""

_PAGE_POSITIONS = 20_000
"""Events that are looked up at once, twice each, inside the server: about 0.2 s."""


class _Names(msgspec.Struct, frozen=True):
    """A table of names. Its columns are cast so that one statement does for all of them."""

    table: str
    what: str
    id: str
    scope: str
    """The tenant's id, where a name is a tenant's own."""


_TABLES = (
    _Names("tenants", "tenant", "tenant_id", "0"),
    _Names("streams", "stream", "stream_id", "t.tenant_id"),
    _Names("event_types", "event type", "type_id", "0"),
    _Names("tags", "tag", "tag_id", "t.tenant_id"),
)


class Lookups:
    """The questions for one schema; each runs in the transaction that is open, and takes the id
    of the tenant whose rows it looks up."""

    def __init__(self, schema: str) -> None:
        self._s = schema

    async def names(self, connection: Connection, tenant_id: int | None) -> list[Damage]:
        """Tenants, streams, types and tags that their names or their numbers do not lead to."""
        damages: list[Damage] = []
        for names in _TABLES:
            damages += await self._names(connection, names, -1 if tenant_id is None else tenant_id)
        return damages

    async def small_tables(self, connection: Connection) -> list[Damage]:
        """The same for all tenants, in tables of at most `NAMES_CHECKED_MAX` rows."""
        damages: list[Damage] = []
        for names in _TABLES:
            rows = await connection.fetchval(
                f"SELECT count(*) FROM (SELECT 1 FROM {self._s}.{names.table} LIMIT $1) few",
                NAMES_CHECKED_MAX + 1,
            )
            if rows <= NAMES_CHECKED_MAX:
                damages += await self._names(connection, names, None)
        return damages

    async def logs(self, connection: Connection, tenant_id: int | None) -> list[Damage]:
        """Heads whose tenant is gone, or that their tenant's id does not lead to: such a log is
        empty to its readers. Nobody knows whose it is, so each tenant is told."""
        del tenant_id
        damages: list[Damage] = []
        lost = (
            "SELECT n.id FROM unnest($1::bigint[]) n(id)"
            f" WHERE NOT EXISTS (SELECT 1 FROM {self._s}.tenants t WHERE t.tenant_id = n.id)"
            f" OR (SELECT array_agg(h.tenant_id) FROM {self._s}.heads h WHERE h.tenant_id = n.id)"
            " IS DISTINCT FROM ARRAY[n.id]"
        )
        async for page in _pages(connection, f"SELECT tenant_id FROM {self._s}.heads"):
            for (number,) in await connection.fetch(lost, [row[0] for row in page]):
                message = f"log number {number}: its head or its tenant's row is not found"
                damages.append(Damage("index", message))
        return damages[: TOLD_MAX + 1]

    async def keys(self, connection: Connection, tenant_id: int | None) -> list[Damage]:
        """Idempotency keys that are not found under their stream and name."""
        lost = 0
        # An index scan does not look at the row: the row has to say the same.
        same = "(k.tenant_id, k.stream_id, k.key) = ($1, n.stream_id, n.key)"
        count = (
            "SELECT count(*) FROM unnest($2::bigint[], $3::text[]) n(stream_id, key)"
            f" WHERE (SELECT count(*) FILTER (WHERE {same}) FROM {self._s}.idempotency_keys k"
            " WHERE k.tenant_id = $1 AND k.stream_id = n.stream_id AND k.key = n.key) <> 1"
        )
        scan = f"SELECT stream_id, key FROM {self._s}.idempotency_keys WHERE tenant_id = $1"
        async for page in _pages(connection, scan, tenant_id):
            streams, keys = [row[0] for row in page], [row[1] for row in page]
            lost += await connection.fetchval(count, tenant_id, streams, keys)
        if not lost:
            return []
        return [Damage("index", f"{lost} idempotency keys are not found by their index")]

    async def events(self, connection: Connection, tenant_id: int | None) -> list[Damage]:
        """Events that are not found by their id or by their type. That the log is found by its
        positions, and streams by their versions, is seen by reading them."""
        s = self._s
        await connection.execute(_STRICTLY)
        by_id = (
            f"SELECT x.position FROM {s}.events x WHERE x.tenant_id = $1"
            " AND x.event_id >= e.event_id AND x.event_id <= e.event_id"
            " ORDER BY x.event_id LIMIT 1"
        )
        by_type = (
            f"SELECT x.position FROM {s}.events x WHERE x.tenant_id = $1"
            " AND (x.type_id, x.position) >= (e.type_id, e.position)"
            " AND (x.type_id, x.position) <= (e.type_id, e.position)"
            " ORDER BY x.type_id, x.position LIMIT 1"
        )
        lost = (
            f"SELECT e.position, s.name, e.version FROM {s}.events e"
            f" LEFT JOIN {s}.streams s USING (stream_id)"
            " WHERE e.tenant_id = $1 AND e.position > $2 AND e.position <= $3"
            f" AND (({by_id}) IS DISTINCT FROM e.position"
            f" OR ({by_type}) IS DISTINCT FROM e.position)"
            f" ORDER BY e.position LIMIT {TOLD_MAX}"
        )
        head = await connection.fetchval(
            f"SELECT position FROM {s}.heads WHERE tenant_id = $1", tenant_id
        )
        damages: list[Damage] = []
        for after in range(0, head or 0, _PAGE_POSITIONS):
            rows = await connection.fetch(lost, tenant_id, after, after + _PAGE_POSITIONS)
            for position, stream, version in rows:
                message = (
                    f"stream {stream!r} version {version} (position {position}):"
                    " the indexes of ids and types do not lead to it"
                )
                damages.append(Damage("index", message, position, stream, version))
            if len(damages) >= TOLD_MAX:
                break
        return damages[:TOLD_MAX]

    async def _names(
        self, connection: Connection, names: _Names, tenant_id: int | None
    ) -> list[Damage]:
        """Of the tenant, or of all for None."""
        table, number = f"{self._s}.{names.table} t", f"t.{names.id}"
        scan = (
            f"SELECT {names.scope}::bigint, {number}, t.name FROM {table}"
            f" WHERE $1::bigint IS NULL OR {names.scope} IN (0, $1)"
        )
        owner = "t.tenant_id = n.tenant_id AND" if names.scope != "0" else ""
        lost = (
            "SELECT n.id, n.name, n.by_name IS DISTINCT FROM n.id FROM (SELECT n.*,"
            f" (SELECT {number} FROM {table} WHERE {owner} t.name >= n.name AND t.name <= n.name"
            "   ORDER BY t.name LIMIT 1) AS by_name,"
            f" (SELECT t.name FROM {table} WHERE {number} >= n.id AND {number} <= n.id"
            f"   ORDER BY {number} LIMIT 1) AS by_id"
            " FROM unnest($1::bigint[], $2::bigint[], $3::text[]) n(tenant_id, id, name)) n"
            " WHERE n.by_name IS DISTINCT FROM n.id OR n.by_id IS DISTINCT FROM n.name"
        )
        damages: list[Damage] = []
        async for page in _pages(connection, scan, tenant_id):
            tenants, ids, texts = ([row[column] for row in page] for column in range(3))
            rows = await connection.fetch(lost, tenants, ids, texts)
            damages += [_lost_name(names, *row) for row in rows]
            if len(damages) > TOLD_MAX:
                return damages[: TOLD_MAX + 1]
        return damages


def _lost_name(names: _Names, number: int, name: str, by_name: bool) -> Damage:
    # Another tenant's name is no business of this one's.
    shown = f"number {number}" if names.table == "tenants" else repr(name)
    index = "names" if by_name else "numbers"
    message = f"{names.what} {shown}: the index of {index} of {names.table} does not lead to it"
    return Damage("index", message, stream=name if names.table == "streams" else None)


async def _pages(connection: Connection, scan: str, *args: Any) -> AsyncIterator[list[Row]]:
    """The rows of a table as the table itself has them; whoever takes a page looks it up by
    indexes. Rows that come meanwhile are not among them."""
    await connection.execute(_BY_TABLE)
    cursor = await connection.cursor(scan, *args)
    await connection.execute(_STRICTLY)
    while rows := await cursor.fetch(_PAGE_ROWS):
        yield rows


async def check_names(connection: Connection, schema: str, where: str) -> None:
    """Raises `Corrupt` where a small table of names is not what its indexes say.

    A server with data checksums sees to that itself. Without them a damaged index makes a stream
    look as if it had never been, and the next append would begin it anew. Tables too large to be
    looked at whenever a store is opened are left to `verify`.
    """
    if await connection.fetchval("SELECT current_setting('data_checksums')") != "off":
        return
    async with transaction(connection):
        damages = await Lookups(schema).small_tables(connection)
    if damages:
        told = damages[0]
        message = f"{where}: {told.message}; nothing is read or written; REINDEX that table"
        raise Corrupt(message, kind="index", stream=told.stream)
