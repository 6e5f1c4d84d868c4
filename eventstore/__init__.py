"""An event store for agents: append-only streams, optimistic concurrency, durable before answered.

See `EventStore.open` for where to begin.
"""

from pathlib import Path as _Path

from .checkpoints import Checkpoint, Lease
from .errors import (
    Busy,
    ConditionFailed,
    Conflict,
    Corrupt,
    EventStoreError,
    IdempotencyMismatch,
    InvalidEvent,
    LeaseLost,
    LogDiverged,
    Misuse,
    OutcomeUnknown,
    RowRefused,
    SchemaTooNew,
    StorageFailed,
    StoreClosed,
)
from .events import Append, AppendResult, NewEvent, RecordedEvent, StreamInfo
from .neighbours import warn_of_strangers as _warn_of_strangers
from .points import Expected, Occurred, Position, Version
from .query import AppendCondition, Query
from .registry import event_type, upcast
from .store import EventStore
from .verify import KnownHead, VerifyReport

__all__ = [
    "Append",
    "AppendCondition",
    "AppendResult",
    "Busy",
    "Checkpoint",
    "ConditionFailed",
    "Conflict",
    "Corrupt",
    "EventStore",
    "EventStoreError",
    "Expected",
    "IdempotencyMismatch",
    "InvalidEvent",
    "KnownHead",
    "Lease",
    "LeaseLost",
    "LogDiverged",
    "Misuse",
    "NewEvent",
    "Occurred",
    "OutcomeUnknown",
    "Position",
    "Query",
    "RecordedEvent",
    "RowRefused",
    "SchemaTooNew",
    "StorageFailed",
    "StoreClosed",
    "StreamInfo",
    "VerifyReport",
    "Version",
    "event_type",
    "upcast",
]

_warn_of_strangers(_Path(__file__).resolve().parent.parent)
