"""Events before and after they are recorded, and what an append answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from . import canonical
from .limits import APPEND_EVENTS_MAX
from .points import Expected, from_microseconds
from .registry import registry

if TYPE_CHECKING:
    from .query import AppendCondition


_set = msgspec.structs.force_setattr
_UNSET = msgspec.UNSET


class _TypeAndData(msgspec.Struct, frozen=True, gc=False):
    type: str
    data: Any


class NewEvent(_TypeAndData, frozen=True, kw_only=True, gc=False):
    """An event that is to be appended: `NewEvent(type, data, *, ...)`.

    `data` is any JSON value (most often a dict). `id` is made by the store when it is None.
    `occurred_at` is the source's own time, an aware datetime. `causation_id` and `derived_from`
    are ids of other events. `context` is metadata, a JSON object of at most 64 KiB.
    """

    id: str | None = None
    tags: Sequence[str] = ()
    occurred_at: datetime | None = None
    causation_id: str | None = None
    derived_from: Sequence[str] = ()
    context: dict[str, Any] | None = None


class Append(msgspec.Struct, frozen=True, gc=False):
    """One stream's part of `append_many`; the fields are those of `EventStore.append`."""

    stream: str
    events: Sequence[Any] | Any
    expected: Expected | int = Expected.ANY
    condition: AppendCondition | None = None
    actor: str | None = None
    causation_id: str | None = None
    correlation_id: str | None = None
    context: dict[str, Any] | None = None


class RecordedEvent(msgspec.Struct, frozen=True, eq=False, gc=False):
    """An event as it stands in the log; it never changes.

    `position` counts from 1 in the tenant's log, `version` from 1 in the stream. `payload` is the
    stored canonical JSON. An event also reads like its data where the name is free:
    ``event["title"]`` and ``event.title`` are ``event.data["title"]`` and ``event.data.title``.
    """

    position: int
    stream: str
    version: int
    id: str
    type: str
    schema_version: int
    payload: bytes
    recorded_us: int
    occurred_us: int | None = None
    actor: str | None = None
    causation_id: str | None = None
    correlation_id: str | None = None
    derived_from: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    context_json: str | None = None
    _data: Any = msgspec.UNSET

    @property
    def data(self) -> Any:
        """The payload, decoded and upcast at first use: the registered class's instance, or
        read-only dicts and lists. Raises `InvalidEvent` where a registered class does not fit."""
        data = self._data
        if data is _UNSET:
            data = registry.decode_current(self.type, self.schema_version, self.payload)
            if data is _UNSET:
                where = f"{self.stream!r} version {self.version}"
                data = registry.decode(self.type, self.schema_version, self.payload, where)
            _set(self, "_data", data)
        return data

    @property
    def recorded_at(self) -> datetime:
        """When the store recorded it, in UTC. It never decreases along positions."""
        return from_microseconds(self.recorded_us)

    @property
    def occurred_at(self) -> datetime | None:
        """When it happened by its source's clock, in UTC; None when the source did not say."""
        return None if self.occurred_us is None else from_microseconds(self.occurred_us)

    @property
    def context(self) -> Any:
        """The metadata given with the append, read-only; None when there was none."""
        return None if self.context_json is None else canonical.decode(self.context_json.encode())

    def __repr__(self) -> str:
        # Without the payload: what is printed ends in logs.
        return (
            f"RecordedEvent({self.type!r}, stream={self.stream!r}, version={self.version},"
            f" position={self.position}, id={self.id!r}, {len(self.payload)} bytes)"
        )

    def untyped(self) -> RecordedEvent:
        """The same event with `data` as read-only dicts, whatever class is registered for it."""
        if self.type not in registry.by_name:
            return self
        data = registry.decode_dict(self.type, self.schema_version, self.payload)
        return msgspec.structs.replace(self, _data=data)

    def __getitem__(self, key: Any) -> Any:
        return self.data[key]

    if not TYPE_CHECKING:  # type checkers shall still see a mistyped field

        def __getattr__(self, name: str) -> Any:
            if name == "data" or name.startswith("_"):
                raise AttributeError(name)
            return getattr(self.data, name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RecordedEvent):
            return NotImplemented
        return _identity(self) == _identity(other)

    def __ne__(self, other: object) -> bool:
        # Said as well, because the Struct's own would compare identities.
        return not self == other

    def __hash__(self) -> int:
        return hash((self.position, self.id))


def _identity(event: RecordedEvent) -> tuple[Any, ...]:
    return tuple(getattr(event, name) for name in _FIELDS)


_FIELDS = tuple(name for name in RecordedEvent.__struct_fields__ if name != "_data")


class AppendResult(msgspec.Struct, frozen=True, gc=False):
    """What an append did. `version` and `position` are those of its last event.

    For an append without events: the stream's version and the log's head as they were checked.
    `duplicate` is True when it had been written before and this is the first answer again.
    """

    version: int
    position: int
    events: tuple[RecordedEvent, ...] = ()
    duplicate: bool = False


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream in a listing: its head version and the time of its first and last event."""

    name: str
    version: int
    first_recorded_at: datetime
    last_recorded_at: datetime


def as_events(events: object) -> Iterable[Any]:
    """The events of an append as an iterable: one event alone is taken as a list of one."""
    if isinstance(events, (list, tuple)):
        return events
    if isinstance(events, NewEvent) or type(events) in registry.by_class:
        return (events,)
    if isinstance(events, Iterable) and not isinstance(events, (str, bytes, dict)):
        # One more than is allowed is enough to be refused; a generator may never end.
        return list(islice(events, APPEND_EVENTS_MAX + 1))
    return (events,)
