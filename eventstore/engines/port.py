"""What the store asks of an engine. Each engine is a folder beside this file.

An engine owns durability, order and its own threads and connections. It takes checked calls and
answers with outcomes; it knows nothing of classes, reducers or command lines. Every coroutine may
be cancelled: a commit that was handed over goes on, a read leaves nothing open.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import msgspec

from ..calls import Call, Fork, Outcome, Prepared
from ..events import RecordedEvent
from ..judge import StoredKey
from ..query import Query


class Head(msgspec.Struct, frozen=True):
    """The end of a tenant's log: last position, its hash (32 bytes), its recorded_at in us."""

    position: int
    hash: bytes
    recorded_us: int


class Damage(msgspec.Struct, frozen=True):
    """One thing that is not as it was written. `stream` and `version` where they are known."""

    kind: str
    message: str
    position: int | None = None
    stream: str | None = None
    version: int | None = None


class StreamRow(msgspec.Struct, frozen=True):
    """A stream as listings need it; times in microseconds. Of a fork the first one is that of the
    first event that it inherits, and `fork_version` says where it leaves `parent`."""

    name: str
    version: int
    first_us: int
    last_us: int
    parent: str | None = None
    fork_version: int | None = None


class LogPage(msgspec.Struct):
    """A page of the log. `scanned_to`: every position up to here was looked at. `hash` is that of
    the event there, for a page without a filter."""

    events: list[RecordedEvent]
    scanned_to: int
    hash: bytes | None = None


class CheckpointRow(msgspec.Struct, frozen=True):
    """A reader's durable position, and the lease that guards it; times in microseconds."""

    name: str
    generation: int
    partition: int
    position: int
    hash: bytes
    holder: str | None
    fencing_token: int
    lease_until_us: int


class SnapshotRow(msgspec.Struct, frozen=True):
    """A stored state. It is a cache: losing it costs time, never truth."""

    version: int
    position: int
    state: bytes
    state_hash: bytes


class SnapshotEntry(msgspec.Struct, frozen=True):
    """A stored state in a listing, which reads no states."""

    reducer: str
    fingerprint: str
    version: int
    position: int
    state_bytes: int
    state_hash: bytes


class Statement(msgspec.Struct, frozen=True):
    """SQL in the engine's dialect, run once for each row of its positional arguments.

    With `expect`, a single run must change that many rows, or all of the transaction is undone.
    """

    sql: str
    rows: Sequence[tuple[Any, ...]] = ((),)
    expect: int | None = None


class Move(msgspec.Struct, frozen=True):
    """A checkpoint that shall go from one position to another. It does only while it stands at
    `before`, and fencing token and holder are still the row's."""

    row: CheckpointRow
    before: int


class EngineOptions(Protocol):
    """The options of `EventStore.open` that an engine heeds."""

    @property
    def synchronous(self) -> str: ...
    @property
    def busy_timeout_seconds(self) -> float: ...
    @property
    def queue_appends_max(self) -> int: ...
    @property
    def queue_bytes_max(self) -> int: ...


class Engine(Protocol):
    """One open log."""

    url: str
    dialect: str
    """What its views are written in: sqlite or postgresql."""
    schema: str | None
    """The schema that its tables stand in; None where there are no schemas."""

    def commit(self, call: Call) -> Awaitable[Outcome]:
        """Writes the call, or says why not. Raises `Busy`, `StorageFailed`, `StoreClosed`,
        `OutcomeUnknown`. If cancelled, the commit goes on."""

    async def stream_page(
        self, tenant: str, stream: str, after: int, limit: int, backwards: bool
    ) -> list[RecordedEvent]:
        """Events after (backwards: before) version `after`, at most `limit`, in that order. Those
        that a fork inherits are among them, under its name."""

    async def log_page(
        self,
        tenant: str,
        after: int,
        until: int,
        queries: Sequence[Query],
        limit: int,
        digest: bytes | None = None,
    ) -> LogPage:
        """Events after position `after` up to `until`, at most `limit` rows scanned. `digest` is
        the hash at `after` as the reader knows it: without a filter, `Corrupt` is raised where the
        first event is not chained onto it."""

    async def head(self, tenant: str) -> Head:
        """The end of the log."""

    async def hash_at(self, tenant: str, position: int) -> bytes | None:
        """The hash of the event at a position; None where there is none."""

    async def stream_version(self, tenant: str, stream: str) -> int:
        """The stream's head version; 0 where there is none."""

    async def find_fork(self, tenant: str, stream: str) -> Fork | None:
        """Where a fork leaves its parent, as its row says; None for any other stream."""

    async def streams_page(
        self, tenant: str, prefix: str, after: str, limit: int
    ) -> list[StreamRow]:
        """Streams whose name begins with `prefix` and comes after `after`, ordered by bytes."""

    async def find_key(self, tenant: str, stream: str, key: str) -> StoredKey | None:
        """What a key of this stream was first used for."""

    async def find_by_cause(
        self, tenant: str, event_id: str, after: int, limit: int
    ) -> list[RecordedEvent]:
        """Events after position `after` that name this id as causation id or derived_from."""

    async def find_by_id(self, tenant: str, event_id: str) -> RecordedEvent | None:
        """The event with this id."""

    async def wait(self, tenant: str, after: int) -> None:
        """Returns when the head may be beyond `after`. It may wake without cause, never miss.
        Raises `StoreClosed` once the engine is closed, so that a subscription ends."""

    async def load_checkpoint(
        self, tenant: str, name: str, generation: int, partition: int
    ) -> CheckpointRow | None:
        """The checkpoint as it stands."""

    async def save_checkpoint(self, tenant: str, row: CheckpointRow) -> bool:
        """Stores position and hash where fencing token and holder are still the row's; else False.
        A row with token 0 is stored only where no lease was ever taken."""

    async def take_lease(
        self, tenant: str, row: CheckpointRow, now_us: int
    ) -> CheckpointRow | None:
        """Extends the lease to `row.lease_until_us` where `row.fencing_token` still holds it;
        else gives it to `row.holder`, with the next token, where it is free or has run out by
        `now_us`. Answers the row as it stands then, or None when another one holds it."""

    async def end_lease(self, tenant: str, row: CheckpointRow) -> None:
        """Frees the lease if fencing token and holder are still the row's."""

    async def tenants_beyond(
        self, name: str, generation: int, limit: int
    ) -> list[tuple[str, int, int]]:
        """(tenant, head, checkpoint) of tenants whose head is beyond the reader's checkpoint."""

    async def place_tenant(self, tenant: str) -> int:
        """The tenant's number in the tables of views; made where the tenant is new."""

    async def change_views(
        self, tenant: str, statements: Sequence[Statement], moves: Sequence[Move]
    ) -> bool:
        """All statements and moves in one transaction, in order, the moves first. False, and
        nothing changed, where a move may not be made or a statement misses what it expects.
        Raises `RowRefused` for what the database refuses."""

    async def query_views(
        self, tenant: str, sql: str, args: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        """The rows of one question to the tables of views."""

    async def save_snapshot(
        self, tenant: str, stream: str, reducer: str, fingerprint: str, row: SnapshotRow
    ) -> bool:
        """Keeps a state, and drops those of this reducer and fingerprint that are `too_close`.
        False, and nothing kept, where the stream has no events."""

    async def find_snapshot(
        self, tenant: str, stream: str, reducer: str, fingerprint: str, until: int
    ) -> SnapshotRow | None:
        """The newest state at or below version `until`."""

    async def list_snapshots(self, tenant: str, stream: str) -> list[SnapshotEntry]:
        """A stream's snapshots by reducer, fingerprint and version."""

    async def drop_snapshots(self, tenant: str, stream: str | None) -> int:
        """Forgets the snapshots of a stream (None: of the tenant); how many there were."""

    async def tenants(self) -> list[str]:
        """The names of all tenants, ordered by bytes."""

    async def check_integrity(self, tenant: str) -> list[Damage]:
        """What the engine's own checker and its indexes say; nothing where all is well."""

    def describe(self) -> dict[str, Any]:
        """Engine, versions and settings for `doctor`, without a password."""

    async def close(self) -> None:
        """Refuses new work, finishes what was accepted, frees everything."""


def recorded(
    stream: str, event: Prepared, version: int, position: int, recorded_us: int
) -> RecordedEvent:
    """The recorded form of a prepared event."""
    return RecordedEvent(
        position,
        stream,
        version,
        event.id,
        event.type,
        event.schema_version,
        event.payload,
        recorded_us,
        event.occurred_us,
        event.actor,
        event.causation_id,
        event.correlation_id,
        event.derived_from,
        event.tags,
        event.context_json,
    )
