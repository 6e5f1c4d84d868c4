"""The log of one process in dicts and lists, as the judge sees it and as reads need it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import msgspec

from ...calls import Call, Fork, Written
from ...envelope import GENESIS, chain
from ...errors import InvalidEvent
from ...events import RecordedEvent
from ...judge import StoredEvent, StoredKey
from ...query import Query
from ..port import Head, recorded


class TenantLog(msgspec.Struct):
    """Everything of one tenant."""

    events: list[RecordedEvent] = []
    hashes: list[bytes] = []
    tails: list[bytes] = []
    streams: dict[str, list[RecordedEvent]] = {}
    keys: dict[tuple[str, str], StoredKey] = {}
    ids: dict[str, int] = {}
    caused: dict[str, list[int]] = {}
    forks: dict[str, Fork] = {}

    def low(self, stream: str) -> int:
        """The version behind which the stream's own events begin."""
        fork = self.forks.get(stream)
        return 0 if fork is None else fork.version

    def version(self, stream: str) -> int:
        """The stream's last version, 0 for none."""
        return self.low(stream) + len(self.streams.get(stream, ()))

    def first_us(self, stream: str) -> int:
        """When the stream's first event was recorded, inherited or not."""
        while (fork := self.forks.get(stream)) is not None:
            stream = fork.parent
        return self.streams[stream][0].recorded_us

    def head(self) -> Head:
        """The end of this log."""
        if not self.events:
            return Head(0, GENESIS, 0)
        return Head(len(self.events), self.hashes[-1], self.events[-1].recorded_us)


class MemoryLedger:
    """All tenants' logs. Writing is immediate, so a call is visible to the next one."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.tenants: dict[str, TenantLog] = defaultdict(TenantLog)

    def log(self, tenant: str) -> TenantLog:
        """One tenant's log, for reading; an unknown tenant's is empty and is not kept."""
        return self.tenants.get(tenant) or TenantLog()

    def version(self, tenant: str, stream: str) -> int:
        """See `Ledger`."""
        return self.log(tenant).version(stream)

    def head_position(self, tenant: str) -> int:
        """See `Ledger`."""
        return len(self.log(tenant).events)

    def find_key(self, tenant: str, scope: str, key: str) -> StoredKey | None:
        """See `Ledger`."""
        return self.log(tenant).keys.get((scope, key))

    def find_events(self, tenant: str, ids: Sequence[str]) -> dict[str, StoredEvent]:
        """See `Ledger`."""
        log = self.log(tenant)
        found: dict[str, StoredEvent] = {}
        for event_id in ids:
            position = log.ids.get(event_id)
            if position is not None:
                event = log.events[position - 1]
                found[event_id] = StoredEvent(
                    event.stream,
                    event.version,
                    position,
                    event.recorded_us,
                    log.tails[position - 1],
                    event.payload,
                )
        return found

    def any_after(self, tenant: str, queries: Sequence[Query], after: int) -> bool:
        """See `Ledger`."""
        events = self.log(tenant).events
        return any(
            query.matches(events[index].type, events[index].tags)
            for index in range(after, len(events))
            for query in queries
        )

    def write(self, call: Call) -> Written:
        """See `Ledger`."""
        ids = [event.id for part in call.appends for event in part.events]
        # The caller's own were judged: what stands here was made by the id factory.
        if len(set(ids)) < len(ids) or not self.log(call.tenant).ids.keys().isdisjoint(ids):
            raise InvalidEvent("append: an id that the id factory made stands already")
        log = self.tenants[call.tenant]
        head = log.head()
        previous, recorded_us = head.hash, max(head.recorded_us, self._clock())
        rows: list[tuple[int, int, int]] = []
        checked = len(log.events)  # what a part without events answers: the head before the call
        for part in call.appends:
            stream = log.streams.setdefault(part.stream, []) if part.events else []
            if part.fork is not None:
                log.forks[part.stream] = part.fork
            version = log.version(part.stream)
            position = len(log.events)
            rows.append(
                (version + 1, position + 1, len(part.events))
                if part.events
                else (version, checked, 0)
            )
            for prepared in part.events:
                version, position = version + 1, position + 1
                event = recorded(part.stream, prepared, version, position, recorded_us)
                previous = chain(
                    previous, position, version, recorded_us, prepared.tail, prepared.payload
                )
                log.events.append(event)
                log.hashes.append(previous)
                log.tails.append(prepared.tail)
                log.ids[prepared.id] = position
                stream.append(event)
                for cause in {prepared.causation_id, *prepared.derived_from} - {None}:
                    log.caused.setdefault(str(cause), []).append(position)
        written = Written(rows, recorded_us)
        if call.key is not None:
            self.keep_key(call, written)
        return written

    def keep_key(self, call: Call, written: Written) -> None:
        """See `Ledger`."""
        assert call.key is not None
        assert call.content_hash is not None
        streams = tuple(part.stream for part in call.appends)
        self.tenants[call.tenant].keys[call.key_scope, call.key] = StoredKey(
            call.content_hash, written, streams
        )
