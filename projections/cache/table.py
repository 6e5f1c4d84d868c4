"""The embedded cache: a table of the store's own database, written with the checkpoint.

Rows and checkpoint move together, so the table loses nothing; but the view may be fed elsewhere for
a while, into a Redis, and come back. So the table says whose rows it has: its marker, a row with an
empty key, holds the incarnation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec
import sqlalchemy as sa

from eventstore.canonical import decode_mutable
from eventstore.outbox import Statement

from ..catalog import ask, tables
from ..errors import SinkEmptied
from ..projection import Key, key_of_text, key_text
from ..sinks import Build, Change, Row, Written
from .rows import askable_keys, encode_value, expires_us, stored_key
from .statements import made, place_of, rows_sql, writes_sql

_ASKED_KEYS = 500
"""Keys in one question: 500 values of 8 KiB are 4 MiB at once."""

_SCANNED_ROWS = 500
"""Rows of a page when a view is compared, for the same reason."""

_DROPPED_ROWS = 10_000
"""Rows of one transaction when a generation goes: about 50 ms in which nobody else writes."""

_SWEPT_MORE = 100
"""Expired rows that a write takes away beyond twice its own rows: sweeping keeps ahead of writing,
and is paid by those who write."""

_REMEMBERED = 10_000
"""Builds that are remembered; beyond it all are forgotten, which costs a question each."""


class CacheTableSink:
    """The sink of a `CacheView` without a URL."""

    def __init__(self, view: str, expire_us: int | None) -> None:
        self.view = view
        self._expire_us = expire_us
        # Incarnations that the table was seen to hold, and whether all partitions feed it.
        self._seen: dict[str, bool] = {}

    async def create(self, build: Build) -> Sequence[Statement]:
        """See `Sink`: what it has of another incarnation goes, in bounded transactions, before
        that of this one comes. If cancelled, call it again."""
        sql, tenant = rows_sql(build), build.tenant_id
        mine = (tenant, build.incarnation.encode())
        if await self._exists(build):
            while not await self._is_marked(build):
                edge = await build.outbox.query(sql.boundary, (tenant, _DROPPED_ROWS))
                if not edge:
                    break
                gone = Statement(sql.forget_until, ((tenant, edge[0][0], *mine),))
                await build.outbox.change([*made(sql.alone), gone])
        forget = Statement(sql.forget_all, ((tenant, *mine),))
        return [*made(sql.create), forget, Statement(sql.mark, (mine,))]

    async def write(self, build: Build, changes: Sequence[Change]) -> Written:
        """See `Sink`: nothing is written yet, the statements do it. Raises `ProjectionError` for a
        key or a value that is not one."""
        sql, tenant = rows_sql(build), build.tenant_id
        rows, gone, size = [], [], 0
        for change in changes:
            key = stored_key(self.view, change.key)
            if change.value is None:
                gone.append((tenant, key, change.position))
                continue
            value = encode_value(self.view, change)
            size += len(value)
            until = expires_us(change, self._expire_us)
            rows.append((tenant, key, value, change.position, until))
        statements = []
        if gone:
            statements.append(Statement(sql.delete, gone))
        if rows:
            statements.append(Statement(sql.upsert, rows))
        if self._expire_us is not None and changes:
            now = build.outbox.now()
            limit = 2 * len(changes) + _SWEPT_MORE
            statements.append(Statement(sql.sweep, ((tenant, now, tenant, now, limit),)))
        return Written(statements, len(rows) + len(gone), size)

    async def find(self, build: Build, keys: Sequence[Key]) -> list[Row]:
        """See `Sink`. If cancelled, nothing is left open."""
        await self._look(build, is_read=True)
        outbox, sql = build.outbox, rows_sql(build).find
        asked = askable_keys(keys)
        texts = list(asked)
        found = []
        for start in range(0, len(texts), _ASKED_KEYS):
            part = texts[start : start + _ASKED_KEYS]
            among = msgspec.json.encode(part).decode() if outbox.dialect == "sqlite" else part
            for key, value, position in await outbox.query(
                sql, (build.tenant_id, among, outbox.now())
            ):
                found.append(Row(asked[key], decode_mutable(bytes(value)), position))
        return found

    async def scan(self, build: Build) -> AsyncIterator[list[Row]]:
        """See `Sink`. If cancelled, nothing is left open."""
        await self._look(build, is_read=True)
        sql, after = rows_sql(build).scan, ""
        while True:
            page = [
                Row(key_of_text(key), decode_mutable(bytes(value)), position)
                for key, value, position in await build.outbox.query(
                    sql, (build.tenant_id, after, build.outbox.now(), _SCANNED_ROWS)
                )
            ]
            if page:
                yield page
            if len(page) < _SCANNED_ROWS:
                return
            after = key_text(page[-1].key)

    async def drop(self, build: Build) -> Sequence[Statement]:
        """See `Sink`: rows go in bounded transactions, so that it may be called again after it was
        cut short. The table goes with its last tenant."""
        outbox, sql, tenant = build.outbox, rows_sql(build), build.tenant_id
        if not await self._exists(build):
            return []
        while edge := await outbox.query(sql.boundary, (tenant, _DROPPED_ROWS)):
            await outbox.change([Statement(sql.delete_until, ((tenant, edge[0][0]),))])
        if await self._is_shared(build):
            every = Statement(sql.delete_all, ((tenant,),))
            return [every]
        return [Statement(sql.drop)]

    async def check(self, build: Build) -> None:
        """Raises `SinkEmptied` where the build was last fed elsewhere. If cancelled, call it
        again."""
        await self._look(build, is_read=False)

    async def close(self) -> None:
        """See `Sink`: it has no connections of its own."""

    async def _look(self, build: Build, *, is_read: bool) -> None:
        """Raises `SinkEmptied` where the rows are not those of the build's incarnation; for a
        reader also while a partition has not begun to fill the table. Asked once: who feeds the
        build elsewhere gives it another incarnation."""
        is_fed = self._seen.get(build.incarnation)
        if is_fed or (is_fed is False and not is_read):
            return
        where = f"view {self.view!r}: the table of the store's own database"
        if not (await self._exists(build) and await self._is_marked(build)):
            raise SinkEmptied(f"{where} has none of its rows: they were put elsewhere")
        if is_read:
            args = (*place_of(build), build.incarnation)
            if await build.outbox.query(writes_sql(build).elsewhere, args):
                raise SinkEmptied(f"{where} is being filled again")
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen[build.incarnation] = is_read

    async def _is_marked(self, build: Build) -> bool:
        args = (build.tenant_id, build.incarnation.encode())
        return bool(await build.outbox.query(rows_sql(build).marked, args))

    async def _exists(self, build: Build) -> bool:
        sql = rows_sql(build)
        return bool(await build.outbox.query(sql.exists, sql.named))

    async def _is_shared(self, build: Build) -> bool:
        """Whether another tenant has a generation of this number, with rows or about to."""
        v = tables(build.outbox.schema).views
        others = sa.select(sa.literal(1)).where(
            v.c.name == build.view,
            v.c.generation == build.generation,
            v.c.tenant_id != build.tenant_id,
        )
        return bool(await ask(build.outbox, others.limit(1)))
