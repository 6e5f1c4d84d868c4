"""Checkpoints, leases and snapshots: small rows that readers keep beside the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from ...errors import Busy, OutcomeUnknown, StorageFailed
from ...thinning import too_close
from ..port import CheckpointRow, Move, SnapshotEntry, SnapshotRow, Statement
from ..rows import Row
from . import views
from .connections import Connection, transaction
from .errors import is_lost
from .reader import Reader

_MOVES_MAX = 20
"""Tries of one save. Each means that the lease was renewed or another process saved in between."""


class _Standing(msgspec.Struct, frozen=True):
    """A checkpoint's row as it was seen; `row_version` changes with each write of it."""

    position: int
    fencing_token: int
    holder: str | None
    row_version: str

    def belongs_to(self, row: CheckpointRow) -> bool:
        """Whether `row` comes from who may move it: its holder, or anybody if never leased."""
        if self.fencing_token != row.fencing_token:
            return False
        return not row.fencing_token or self.holder == row.holder


class _Sending:
    """A statement to fetch the rows of, and how often it was sent: once, if no answer was lost."""

    def __init__(self, statement: str, args: Sequence[Any]) -> None:
        self._statement, self._args = statement, args
        self.count = 0

    async def __call__(self, connection: Connection) -> list[Row]:
        self.count += 1
        rows: list[Row] = await connection.fetch(self._statement, *self._args)
        return rows


def _fetching(statement: str, args: Sequence[Any]) -> Callable[[Connection], Awaitable[list[Row]]]:
    return lambda connection: connection.fetch(statement, *args)


class Keeping:
    """See `Engine` for what each method promises. Each is one short transaction."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._sql = reader.sql
        self._saving: WeakValueDictionary[tuple[Any, ...], asyncio.Lock] = WeakValueDictionary()

    async def load_checkpoint(
        self, tenant: str, name: str, generation: int, partition: int
    ) -> CheckpointRow | None:
        """See `Engine`."""
        tenant_id = await self._reader.find_tenant(tenant)
        rows = await self._reader.fetch(
            tenant, self._sql.load_checkpoint, tenant_id, name, generation, partition
        )
        return CheckpointRow(name, generation, partition, *rows[0]) if rows else None

    async def save_checkpoint(self, tenant: str, row: CheckpointRow) -> bool:
        """See `Engine`. Each sending names the row that it was judged by, so that one that comes
        late (its connection was lost, its caller gone) finds another one and moves nothing."""
        place = await self._place(tenant, row)
        async with self._saving.setdefault(place, asyncio.Lock()):
            return await self._save(tenant, place, row)

    async def _save(self, tenant: str, place: tuple[Any, ...], row: CheckpointRow) -> bool:
        for _ in range(_MOVES_MAX):
            stands = await self._standing(tenant, place)
            if stands is None:
                if row.fencing_token:
                    return False
                statement, seen = self._sql.make_checkpoint, []
            elif not stands.belongs_to(row):
                return False
            else:
                statement, seen = self._sql.replace_checkpoint, [stands.row_version]
            sending = _Sending(statement, (*place, row.position, row.hash, *seen))
            if await self._write(tenant, row, sending):
                return True
            if sending.count > 1 and not row.fencing_token:
                return await self._settle(tenant, place, row)
            # Somebody changed the row; or we did, and the answer was lost: under a lease, whose
            # saves wait for each other here, nobody can have come in between.
        raise Busy(f"checkpoint {row.name!r}: others move it all the time; try again")

    async def _settle(self, tenant: str, place: tuple[Any, ...], row: CheckpointRow) -> bool:
        """What to say of a save without a lease whose first sending was lost, when the row is not
        any more what it was judged by. Sent again it might undo what came behind it."""
        stands = await self._standing(tenant, place)
        if stands is None or not stands.belongs_to(row):
            return False
        if stands.position == row.position:
            return True
        raise OutcomeUnknown(
            f"checkpoint {row.name!r}: the connection was lost after sending, and another save came"
            " since; load it"
        )

    async def take_lease(
        self, tenant: str, row: CheckpointRow, now_us: int
    ) -> CheckpointRow | None:
        """See `Engine`."""
        place = await self._place(tenant, row)
        args = (row.hash, row.holder, row.lease_until_us, now_us, row.fencing_token)
        sendings = 0

        async def take(connection: Connection) -> list[Row]:
            nonlocal sendings
            sendings += 1
            rows: list[Row] = await connection.fetch(self._sql.take_lease, *place, *args)
            if rows or sendings == 1:
                return rows
            # The answer of a sending before may have been lost: held by this holder, until the
            # very microsecond that was asked for, it is what that sending took.
            rows = await connection.fetch(self._sql.load_checkpoint, *place)
            return [found for found in rows if (found[2], found[4]) == args[1:3]]

        rows = await self._write(tenant, row, take)
        return CheckpointRow(row.name, row.generation, row.partition, *rows[0]) if rows else None

    async def end_lease(self, tenant: str, row: CheckpointRow) -> None:
        """See `Engine`."""
        place = await self._place(tenant, row)
        args = (*place, row.fencing_token, row.holder)
        await self._write(tenant, row, _fetching(self._sql.end_lease, args))

    async def tenants_beyond(
        self, name: str, generation: int, limit: int
    ) -> list[tuple[str, int, int]]:
        """See `Engine`."""
        rows = await self._reader.fetch("", self._sql.tenants_beyond, name, generation, limit)
        return [(row[0], row[1], row[2]) for row in rows]

    async def place_tenant(self, tenant: str) -> int:
        """See `Engine`."""
        tenant_id = await self._reader.find_tenant(tenant)
        if tenant_id is None:
            rows = await self._reader.fetch(tenant, self._sql.name_tenant, tenant)
            tenant_id = int(rows[0][0])
        return tenant_id

    async def change_views(
        self, tenant: str, statements: Sequence[Statement], moves: Sequence[Move]
    ) -> bool:
        """See `Engine`. False as well where the answer to its COMMIT was lost: whoever moves a
        checkpoint loads it then. The rows stay locked until that COMMIT comes or the session ends,
        so that nobody overtakes it; sent again behind somebody who then sets the checkpoint back,
        it would be made twice."""
        tenant_id = await self.place_tenant(tenant)
        is_committing = False

        async def change(connection: Connection) -> bool:
            nonlocal is_committing
            if is_committing and moves:
                return False
            is_committing = False
            try:
                async with transaction(connection):
                    await views.change(
                        connection, self._sql.move_checkpoint, tenant_id, statements, moves
                    )
                    is_committing = True
            except views.Missed:
                return False
            return True

        try:
            return await self._reader.run(tenant, change, is_long=True)
        except StorageFailed as exc:
            if is_committing and exc.__cause__ is not None and is_lost(exc.__cause__):
                unknown = "views: the connection was lost at the commit; load the checkpoint"
                raise OutcomeUnknown(unknown) from exc.__cause__
            raise

    async def query_views(
        self, tenant: str, sql: str, args: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        """See `Engine`."""
        rows = await self._reader.run(tenant, _fetching(sql, args), is_long=True)
        return [tuple(row) for row in rows]

    async def save_snapshot(
        self, tenant: str, stream: str, reducer: str, fingerprint: str, row: SnapshotRow
    ) -> bool:
        """See `Engine`."""
        found = await self._reader.find_stream(tenant, stream)
        if found is None:
            return False
        kind = (found[0], reducer, fingerprint)

        async def save(connection: Connection) -> None:
            async with transaction(connection):
                await connection.execute(
                    self._sql.save_snapshot,
                    *kind,
                    row.version,
                    row.position,
                    row.state,
                    row.state_hash,
                )
                rows = await connection.fetch(self._sql.kept_snapshots, *kind)
                dropped = too_close((version, size) for version, size in rows)
                if dropped:
                    await connection.execute(self._sql.drop_some_snapshots, *kind, dropped)

        await self._reader.run(tenant, save)
        return True

    async def find_snapshot(
        self, tenant: str, stream: str, reducer: str, fingerprint: str, until: int
    ) -> SnapshotRow | None:
        """See `Engine`."""
        found = await self._reader.find_stream(tenant, stream)
        if found is None:
            return None
        args = (found[0], reducer, fingerprint, until)
        rows = await self._reader.fetch(tenant, self._sql.find_snapshot, *args)
        return SnapshotRow(*rows[0]) if rows else None

    async def list_snapshots(self, tenant: str, stream: str) -> list[SnapshotEntry]:
        """See `Engine`."""
        found = await self._reader.find_stream(tenant, stream)
        if found is None:
            return []
        rows = await self._reader.fetch(tenant, self._sql.list_snapshots, found[0])
        return [SnapshotEntry(*row) for row in rows]

    async def drop_snapshots(self, tenant: str, stream: str | None) -> int:
        """See `Engine`."""
        tenant_id = await self._reader.find_tenant(tenant)
        rows = await self._reader.fetch(tenant, self._sql.drop_snapshots, tenant_id, stream)
        return int(rows[0][0])

    async def _write(
        self, tenant: str, row: CheckpointRow, work: Callable[[Connection], Awaitable[list[Row]]]
    ) -> list[Row]:
        """The rows that `work`, which writes, gives. Where it was sent and no connection came back
        to ask what became of it, "nothing was written" would not be true."""
        is_sent = False

        async def send(connection: Connection) -> list[Row]:
            nonlocal is_sent
            is_sent = True
            return await work(connection)

        try:
            return await self._reader.run(tenant, send)
        except StorageFailed as exc:
            if not is_sent or exc.__cause__ is None or not is_lost(exc.__cause__):
                raise
            unknown = f"checkpoint {row.name!r}: the connection was lost after sending; load it"
            raise OutcomeUnknown(unknown) from exc.__cause__

    async def _standing(self, tenant: str, place: tuple[Any, ...]) -> _Standing | None:
        rows = await self._reader.fetch(tenant, self._sql.find_checkpoint, *place)
        return _Standing(*rows[0]) if rows else None

    async def _place(self, tenant: str, row: CheckpointRow) -> tuple[Any, ...]:
        """Tenant, name, generation and partition; the tenant is made where it is new."""
        return await self.place_tenant(tenant), row.name, row.generation, row.partition
