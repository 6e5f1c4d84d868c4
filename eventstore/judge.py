"""Whether a call may be written: the one place that decides, for every engine in this process.

Calls are judged in queue order, each against the committed log plus the calls accepted before it.
The order of the questions is part of the contract: key, then known ids, then each append's
expected version and condition. (PostgreSQL's server-side function asks the same in SQL.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from .calls import Call, Outcome, Refused, StreamAppend, Written
from .points import Expected
from .query import Query


class StoredKey(msgspec.Struct, gc=False):
    """A key's first use: what was sent and what was answered."""

    content_hash: bytes
    written: Written
    streams: tuple[str, ...]


class StoredEvent(msgspec.Struct, gc=False):
    """An event that stands under a known id, as far as judging needs it."""

    stream: str
    version: int
    position: int
    recorded_us: int
    tail: bytes
    payload: bytes


class Ledger(Protocol):
    """The log as the judge sees it: committed plus what this batch has accepted."""

    def version(self, tenant: str, stream: str) -> int:
        """The stream's head version, 0 when there is none."""

    def head_position(self, tenant: str) -> int:
        """The tenant's last position, 0 when it has none."""

    def find_key(self, tenant: str, scope: str, key: str) -> StoredKey | None:
        """What the key was first used for."""

    def find_events(self, tenant: str, ids: Sequence[str]) -> dict[str, StoredEvent]:
        """Those of the ids that stand in the log."""

    def any_after(self, tenant: str, queries: Sequence[Query], after: int) -> bool:
        """Whether an event matching any query stands after this position."""

    def write(self, call: Call) -> Written:
        """Accepts the call: its events get the next versions and positions."""

    def keep_key(self, call: Call, written: Written) -> None:
        """Lets the call's key, which is new, stand for events that were written before."""


def judge(call: Call, ledger: Ledger) -> Outcome:
    """Accepts `call` into the ledger's batch, or says why not. Never touches another call."""
    if call.key is not None:
        stored = ledger.find_key(call.tenant, call.key_scope, call.key)
        if stored is not None:
            return _judge_key(call, stored)
    if call.given_ids:
        known = ledger.find_events(call.tenant, call.given_ids)
        if known:
            return _judge_known(call, known, ledger)
    for index, part in enumerate(call.appends):
        if part.expected is not Expected.ANY:
            actual = ledger.version(call.tenant, part.stream)
            if not _holds(part.expected, actual):
                return Refused("conflict", index, actual)
        if part.queries and ledger.any_after(call.tenant, part.queries, part.after):
            return Refused("condition", index, ledger.version(call.tenant, part.stream))
        fork = part.fork
        if fork is not None and ledger.version(call.tenant, fork.parent) < fork.version:
            return Refused("fork", index)
    if call.event_count == 0:
        return _checked(call, ledger)
    return ledger.write(call)


def _holds(expected: Expected | int, actual: int) -> bool:
    if expected is Expected.NO_STREAM:
        return actual == 0
    if expected is Expected.STREAM_EXISTS:
        return actual > 0
    return expected == actual


def _judge_key(call: Call, stored: StoredKey) -> Outcome:
    assert call.content_hash is not None
    if call.content_hash.startswith(stored.content_hash):
        return msgspec.structs.replace(stored.written, duplicate=True)
    return Refused("mismatch", first=stored.written, first_streams=stored.streams)


def _judge_known(call: Call, known: dict[str, StoredEvent], ledger: Ledger) -> Outcome:
    """All of the call's events stand, as they are sent now: it was written. Anything else is
    refused, because an id belongs to one event for ever."""
    rows: list[tuple[int, int, int]] = []
    recorded_us = 0
    for index, part in enumerate(call.appends):
        first: StoredEvent | None = None
        for offset, event in enumerate(part.events):
            stands = known.get(event.id)
            if stands is None:
                return Refused("id", index, detail=next(iter(known)))
            first = first or stands
            if not _same(part, stands, first, offset) or stands.tail != event.tail:
                return Refused("id", index, detail=event.id)
            if stands.payload != event.payload:
                return Refused("id", index, detail=event.id)
            recorded_us = stands.recorded_us
        if first is None:
            rows.append(_check_row(call, part, ledger))
        else:
            rows.append((first.version, first.position, len(part.events)))
    written = Written(rows, recorded_us, duplicate=True)
    if call.key is not None:
        # From now on it is used: other content under it is not what was sent first.
        ledger.keep_key(call, written)
    return written


def _same(part: StreamAppend, stands: StoredEvent, first: StoredEvent, offset: int) -> bool:
    return stands.stream == part.stream and stands.version == first.version + offset


def _checked(call: Call, ledger: Ledger) -> Written:
    return Written([_check_row(call, part, ledger) for part in call.appends], 0)


def _check_row(call: Call, part: StreamAppend, ledger: Ledger) -> tuple[int, int, int]:
    """An append without events answers the version and the head that it was checked against."""
    return ledger.version(call.tenant, part.stream), ledger.head_position(call.tenant), 0
