"""Readers' checkpoints and the leases that guard them: durable, per tenant, with fencing tokens.

A checkpoint belongs to (tenant, name, generation, partition) and holds a position and the hash
of the event there, so that a reader ahead of a restored log is told (`LogDiverged`). A lease on
it has a fencing token that grows with each holder; a holder that wakes up late is refused when it
saves (Kleppmann, "How to do distributed locking", 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from .engines.port import CheckpointRow, Engine
from .envelope import GENESIS
from .errors import InvalidEvent, LeaseLost, LogDiverged
from .limits import INTEGER_MAX, LEASE_SECONDS_MAX
from .names import check_name
from .points import from_microseconds


class Checkpoint(msgspec.Struct, frozen=True):
    """A reader's place: everything up to `position` is done. `hash` is that event's."""

    name: str
    position: int
    hash: bytes
    generation: int = 1
    partition: int = 0


class Lease(msgspec.Struct, frozen=True):
    """The right to move a checkpoint until `expires_at`, as long as `fencing_token` is newest."""

    name: str
    generation: int
    partition: int
    holder: str
    fencing_token: int
    expires_at: datetime
    position: int
    tenant: str


class Behind(msgspec.Struct, frozen=True):
    """A tenant that has events beyond a reader's checkpoint."""

    tenant: str
    head: int
    position: int


class Checkpoints:
    """One tenant's checkpoints and leases; `store.checkpoints` is this."""

    def __init__(self, engine: Callable[[], Engine], tenant: str, clock: Callable[[], int]) -> None:
        self._engine = engine
        self._tenant = tenant
        self._clock = clock

    async def load(
        self, name: str, *, generation: int = 1, partition: int = 0
    ) -> Checkpoint | None:
        """The checkpoint, or None. Raises `LogDiverged` when it does not lie in this log.
        If cancelled, nothing is left open."""
        check_name("checkpoint", name)
        _check_place(name, generation, partition)
        row = await self._engine().load_checkpoint(self._tenant, name, generation, partition)
        if row is None or (row.position == 0 and row.fencing_token == 0):
            return None
        if row.position:
            found = await self._engine().hash_at(self._tenant, row.position)
            if found != row.hash:
                what = "is beyond the log's end" if found is None else "holds another event"
                raise LogDiverged(
                    f"checkpoint {name!r} at position {row.position}: that position {what}"
                )
        return Checkpoint(name, row.position, row.hash, generation, partition)

    async def save(
        self,
        name: str,
        position: int,
        *,
        generation: int = 1,
        partition: int = 0,
        lease: Lease | None = None,
    ) -> Checkpoint:
        """Moves the checkpoint to `position`, durably; back as well, for a reader that wants to
        read again. A save that comes late, because its connection was lost and it was sent again,
        undoes none that came after it.

        Raises `LeaseLost` when `lease` is no longer the newest, or when none is given and one was
        taken before; `LogDiverged` for a position beyond the log; `Busy` when others without a
        lease move it all the time; `OutcomeUnknown` when the connection is lost and does not
        come back in time, or another one without a lease has saved since it was lost. Then, and if
        cancelled, it may or may not have moved; load it to know.
        """
        check_name("checkpoint", name)
        _check_place(name, generation, partition)
        if not isinstance(position, int) or isinstance(position, bool) or position < 0:
            raise InvalidEvent(f"checkpoint {name!r}: position is an int from 0 on")
        if lease is not None and (lease.name, lease.generation, lease.partition) != (
            name,
            generation,
            partition,
        ):
            raise InvalidEvent(f"checkpoint {name!r}: the lease is for another checkpoint")
        if lease is not None:
            self._check_own(lease)
        digest = GENESIS if position == 0 else await self._engine().hash_at(self._tenant, position)
        if digest is None:
            raise LogDiverged(f"checkpoint {name!r}: no event at position {position}")
        token, holder = (0, None) if lease is None else (lease.fencing_token, lease.holder)
        row = CheckpointRow(name, generation, partition, position, digest, holder, token, 0)
        if not await self._engine().save_checkpoint(self._tenant, row):
            raise LeaseLost(f"checkpoint {name!r}: fencing token {token} is not the newest")
        return Checkpoint(name, position, digest, generation, partition)

    async def acquire(
        self,
        name: str,
        holder: str,
        *,
        seconds: float = 30.0,
        generation: int = 1,
        partition: int = 0,
    ) -> Lease | None:
        """Takes the lease for `holder`, or None while another one holds it. Every success has a
        higher fencing token than all before. `holder` names one process or task and no other one
        (a process id alone is not enough, of two machines): a second one of the same name is None
        as well, but where an answer is lost on its way, the lease that it took is told by that
        name and its end. If cancelled, it may be held until it runs out."""
        return await self._take(name, generation, partition, holder, seconds, token=-1)

    async def renew(self, lease: Lease, *, seconds: float = 30.0) -> Lease:
        """Extends a lease that is still held. Raises `LeaseLost`. Cancellation as in `acquire`."""
        self._check_own(lease)
        renewed = await self._take(
            lease.name,
            lease.generation,
            lease.partition,
            lease.holder,
            seconds,
            token=lease.fencing_token,
        )
        if renewed is None or renewed.fencing_token != lease.fencing_token:
            if renewed is not None:
                await self.release(renewed)
            raise LeaseLost(f"lease {lease.name!r}: fencing token {lease.fencing_token} ran out")
        return renewed

    async def release(self, lease: Lease) -> None:
        """Frees the lease if it is still held. If cancelled, it runs out by itself."""
        self._check_own(lease)
        row = CheckpointRow(
            lease.name,
            lease.generation,
            lease.partition,
            0,
            GENESIS,
            lease.holder,
            lease.fencing_token,
            0,
        )
        await self._engine().end_lease(self._tenant, row)

    async def held_by(self, name: str, *, generation: int = 1, partition: int = 0) -> str | None:
        """Who holds the lease now; None where nobody does. If cancelled, nothing is left open."""
        check_name("checkpoint", name)
        _check_place(name, generation, partition)
        row = await self._engine().load_checkpoint(self._tenant, name, generation, partition)
        return None if row is None or row.lease_until_us <= self._clock() else row.holder

    async def tenants_behind(
        self, name: str, *, generation: int = 1, limit: int = 1_000
    ) -> list[Behind]:
        """Tenants of the whole store that have something new for this reader: one query.
        If cancelled, nothing is left open."""
        check_name("checkpoint", name)
        _check_place(name, generation, 0)
        if type(limit) is not int or not 0 <= limit <= INTEGER_MAX:
            raise InvalidEvent("tenants_behind: limit is an int from 0 on")
        rows = await self._engine().tenants_beyond(name, generation, limit)
        return [Behind(*row) for row in rows]

    async def _take(
        self, name: str, generation: int, partition: int, holder: str, seconds: float, token: int
    ) -> Lease | None:
        check_name("lease", name)
        _check_place(name, generation, partition)
        check_name("lease holder", holder)
        if not 0 < seconds <= LEASE_SECONDS_MAX:
            raise InvalidEvent(f"lease {name!r}: {seconds} s, at most {LEASE_SECONDS_MAX:g}")
        now = self._clock()
        until = now + int(seconds * 1_000_000)
        wanted = CheckpointRow(name, generation, partition, 0, GENESIS, holder, token, until)
        row = await self._engine().take_lease(self._tenant, wanted, now)
        if row is None:
            return None
        return Lease(
            name,
            generation,
            partition,
            holder,
            row.fencing_token,
            from_microseconds(row.lease_until_us),
            row.position,
            self._tenant,
        )

    def _check_own(self, lease: Lease) -> None:
        if lease.tenant != self._tenant:
            raise InvalidEvent(f"lease {lease.name!r}: it is another tenant's")


def _check_place(name: str, generation: object, partition: object) -> None:
    for what, value in (("generation", generation), ("partition", partition)):
        if type(value) is not int or not 0 <= value <= INTEGER_MAX:
            raise InvalidEvent(f"checkpoint {name!r}: {what} is an int from 0 on")
