"""Stored states, as bytes: a cache that load may use and that may be dropped at any time.

What a state is, and when one is worth keeping, is the business of `reducers`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .engines.port import Engine, SnapshotRow
from .limits import SNAPSHOT_BYTES_MAX
from .names import check_name


class Snapshot(msgspec.Struct, frozen=True):
    """The state of a stream after event `version` (at `position`), encoded by its reducer."""

    version: int
    position: int
    state: bytes
    state_hash: bytes


class SnapshotInfo(msgspec.Struct, frozen=True):
    """A stored snapshot in a listing; `state_bytes` is its size."""

    stream: str
    reducer: str
    fingerprint: str
    version: int
    position: int
    state_bytes: int
    state_hash: bytes


class Snapshots:
    """One tenant's snapshots; `store.snapshots` is this. Fingerprints live side by side."""

    def __init__(self, engine: Callable[[], Engine], tenant: str) -> None:
        self._engine = engine
        self._tenant = tenant

    async def save(self, stream: str, reducer: str, fingerprint: str, snapshot: Snapshot) -> bool:
        """Keeps a state; False when it was not kept, because it is larger than 64 MiB or the
        stream has no events. If cancelled, it may or may not be kept."""
        check_name("stream", stream)
        check_name("reducer", reducer)
        if len(snapshot.state) > SNAPSHOT_BYTES_MAX:
            return False
        row = SnapshotRow(snapshot.version, snapshot.position, snapshot.state, snapshot.state_hash)
        return await self._engine().save_snapshot(self._tenant, stream, reducer, fingerprint, row)

    async def find(
        self, stream: str, reducer: str, fingerprint: str, *, until: int = 2**62
    ) -> Snapshot | None:
        """The newest state at or below version `until`, or None. If cancelled, nothing is left
        open."""
        check_name("stream", stream)
        check_name("reducer", reducer)
        row = await self._engine().find_snapshot(self._tenant, stream, reducer, fingerprint, until)
        if row is None:
            return None
        return Snapshot(row.version, row.position, row.state, row.state_hash)

    async def list(self, stream: str) -> list[SnapshotInfo]:
        """All snapshots of a stream, of every reducer. If cancelled, nothing is left open."""
        check_name("stream", stream)
        rows = await self._engine().list_snapshots(self._tenant, stream)
        return [SnapshotInfo(stream, *msgspec.structs.astuple(row)) for row in rows]

    async def drop(self, stream: str | None = None) -> int:
        """Forgets a stream's snapshots (None: all of the tenant); returns how many.
        If cancelled, they may or may not be gone."""
        if stream is not None:
            check_name("stream", stream)
        return await self._engine().drop_snapshots(self._tenant, stream)
