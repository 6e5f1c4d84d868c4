"""Checkpoints, leases and snapshots: small rows that readers keep beside the log."""

from __future__ import annotations

from typing import Any

from ...limits import SNAPSHOTS_KEPT
from ..port import CheckpointRow, SnapshotRow
from .connections import Connection
from .reader import Reader


class Keeping:
    """See `Engine` for what each method promises. Each is one short transaction."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._sql = reader.sql

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
        """See `Engine`."""
        place = await self._place(tenant, row)
        args = (row.position, row.hash, row.fencing_token, row.holder)
        return bool(await self._reader.fetch(tenant, self._sql.save_checkpoint, *place, *args))

    async def take_lease(
        self, tenant: str, row: CheckpointRow, now_us: int
    ) -> CheckpointRow | None:
        """See `Engine`."""
        place = await self._place(tenant, row)
        args = (row.hash, row.holder, row.lease_until_us, now_us, row.fencing_token)
        rows = await self._reader.fetch(tenant, self._sql.take_lease, *place, *args)
        return CheckpointRow(row.name, row.generation, row.partition, *rows[0]) if rows else None

    async def end_lease(self, tenant: str, row: CheckpointRow) -> None:
        """See `Engine`."""
        place = await self._place(tenant, row)
        await self._reader.fetch(tenant, self._sql.end_lease, *place, row.fencing_token, row.holder)

    async def tenants_beyond(
        self, name: str, generation: int, limit: int
    ) -> list[tuple[str, int, int]]:
        """See `Engine`."""
        rows = await self._reader.fetch("", self._sql.tenants_beyond, name, generation, limit)
        return [(row[0], row[1], row[2]) for row in rows]

    async def save_snapshot(
        self, tenant: str, stream: str, reducer: str, fingerprint: str, row: SnapshotRow
    ) -> bool:
        """See `Engine`."""
        found = await self._reader.find_stream(tenant, stream)
        if found is None:
            return False
        kind = (found[0], reducer, fingerprint)

        async def save(connection: Connection) -> None:
            async with connection.transaction():
                await connection.execute(
                    self._sql.save_snapshot,
                    *kind,
                    row.version,
                    row.position,
                    row.state,
                    row.state_hash,
                )
                await connection.execute(self._sql.prune_snapshots, *kind, SNAPSHOTS_KEPT)

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

    async def list_snapshots(self, tenant: str, stream: str) -> list[tuple[str, str, SnapshotRow]]:
        """See `Engine`."""
        found = await self._reader.find_stream(tenant, stream)
        if found is None:
            return []
        rows = await self._reader.fetch(tenant, self._sql.list_snapshots, found[0])
        return [(row[0], row[1], SnapshotRow(*row[2:])) for row in rows]

    async def drop_snapshots(self, tenant: str, stream: str | None) -> int:
        """See `Engine`."""
        tenant_id = await self._reader.find_tenant(tenant)
        rows = await self._reader.fetch(tenant, self._sql.drop_snapshots, tenant_id, stream)
        return int(rows[0][0])

    async def _place(self, tenant: str, row: CheckpointRow) -> tuple[Any, ...]:
        """Tenant, name, generation and partition; the tenant is made where it is new."""
        tenant_id = await self._reader.find_tenant(tenant)
        if tenant_id is None:
            rows = await self._reader.fetch(tenant, self._sql.name_tenant, tenant)
            tenant_id = rows[0][0]
        return tenant_id, row.name, row.generation, row.partition
