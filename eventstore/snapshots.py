"""Stored states, as bytes: a cache that load may use and that may be dropped at any time.

What a state is, and when one is worth keeping, is the business of `reducers`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .calls import Fork
from .engines.port import Engine, SnapshotRow
from .limits import INTEGER_MAX, SNAPSHOT_BYTES_MAX
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
        self,
        stream: str,
        reducer: str,
        fingerprint: str,
        *,
        until: int = 2**62,
        inherited: bool = False,
    ) -> Snapshot | None:
        """The newest state at or below version `until`, or None.

        With `inherited`, a fork that has none of its own gets one of its parent's, of a version
        that it inherits. If cancelled, nothing is left open.
        """
        check_name("stream", stream)
        check_name("reducer", reducer)
        engine = self._engine()
        row = await engine.find_snapshot(self._tenant, stream, reducer, fingerprint, until)
        if row is None and inherited:
            for fork in await self._forks(stream):
                bound = min(until, fork.version)
                kind = (fork.parent, reducer, fingerprint)
                row = await engine.find_snapshot(self._tenant, *kind, bound)
                if row is not None:
                    break
        if row is None:
            return None
        return Snapshot(row.version, row.position, row.state, row.state_hash)

    async def has_parent(self, stream: str) -> bool:
        """Whether the stream is a fork, so that there may be something to inherit. If cancelled,
        nothing is left open."""
        check_name("stream", stream)
        return await self._engine().find_fork(self._tenant, stream) is not None

    async def list(self, stream: str, *, inherited: bool = False) -> list[SnapshotInfo]:
        """All snapshots of a stream, of every reducer; with `inherited` those of a fork's parents
        too that are of versions which it inherits. If cancelled, nothing is left open."""
        check_name("stream", stream)
        found = [*await self._infos(stream)]
        for fork in await self._forks(stream) if inherited else ():
            infos = await self._infos(fork.parent)
            found += [info for info in infos if info.version <= fork.version]
        return found

    async def _infos(self, stream: str) -> tuple[SnapshotInfo, ...]:
        rows = await self._engine().list_snapshots(self._tenant, stream)
        return tuple([SnapshotInfo(stream, *msgspec.structs.astuple(row)) for row in rows])

    async def _forks(self, stream: str) -> tuple[Fork, ...]:
        """Where a fork leaves its parent, where that one leaves its own, and so on."""
        forks: tuple[Fork, ...] = ()
        bound = INTEGER_MAX
        # Rows that are damaged may go round; they are told when events are read.
        while (fork := await self._engine().find_fork(self._tenant, stream)) is not None:
            if not 0 < fork.version < bound or not fork.parent:
                break
            forks = (*forks, fork)
            stream, bound = fork.parent, fork.version
        return forks

    async def drop(self, stream: str | None = None) -> int:
        """Forgets a stream's snapshots (None: all of the tenant); returns how many.
        If cancelled, they may or may not be gone."""
        if stream is not None:
            check_name("stream", stream)
        return await self._engine().drop_snapshots(self._tenant, stream)
