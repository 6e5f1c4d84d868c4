"""What a stream already holds of a source: its records, put together again from the events."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator
from hashlib import blake2b
from typing import Any, Final

import msgspec

from eventstore import EventStore, RecordedEvent
from reducers.agent import vocabulary

from .moving import SOURCE_RECORD, TAIL, At, NotOurs, events_spanned, put_together
from .parsing import Json, encode_sorted

_decode = msgspec.json.Decoder().decode

HOLD_EVENTS_MAX: Final = 1_000
"""Events held back while a record is put together: far more than any record gives; a pointer
beyond it was not written by an importer."""


class StoredRecord(msgspec.Struct, gc=False):
    """A source record as the stream holds it: its JSON value, or (`raw`) its exact bytes."""

    at: At
    kind: str | None
    value: Json = None
    raw: bytes | None = None

    @property
    def digest(self) -> bytes:
        """What tells two records apart; see `digest_of`."""
        return digest_of(self.value, self.raw)


class Standing(msgspec.Struct):
    """The records of a stream by number, as digests, and how far it was read."""

    version: int = 0
    started: bool = False
    kind: str | None = None
    last: int = 0
    digests: dict[At, bytes] = {}

    def add(self, record: StoredRecord) -> None:
        """Notes a record. A later tail takes an earlier one's place."""
        if record.at not in self.digests or record.at == TAIL:
            self.digests[record.at] = record.digest
        if isinstance(record.at, int):
            self.last = max(self.last, record.at)


def digest_of(value: Json, raw: bytes | None = None) -> bytes:
    """The digest of a record that is JSON, of its canonical bytes, or of one that is kept as its
    bytes: 128 bits, because whoever writes both records could else make two with one digest."""
    if raw is not None:
        return blake2b(raw, digest_size=16, person=b"raw").digest()
    return blake2b(encode_sorted(value), digest_size=16).digest()


async def read_standing(store: EventStore, stream: str, standing: Standing) -> None:
    """Reads on from where `standing` ends. If cancelled, it has read a part of it."""
    reader = RecordReader(store, stream, after=standing.version)
    async for event, record in reader.records():
        if record is not None:
            standing.add(record)
        elif event.type == vocabulary.SESSION_STARTED:
            standing.started = True
    standing.version = reader.version


class RecordReader:
    """Reads a stream's source records. `version` is that of the last event seen, anyone's."""

    def __init__(self, store: EventStore, stream: str, *, after: int = 0) -> None:
        self.version = after
        self._pages = store.read(stream, after=after).pages()

    async def records(self) -> AsyncIterator[tuple[RecordedEvent, StoredRecord | None]]:
        """Each source record with its first event, in order; and each session.started, with None.
        Events of others are passed over. Nothing is held between pages of the log."""
        held: list[tuple[RecordedEvent, Json]] = []
        wanted = 0
        async for page in self._pages:
            for event in page:
                self.version = event.version
                data = _decode(event.payload)
                kept = data.get(SOURCE_RECORD) if isinstance(data, dict) else None
                if event.type == vocabulary.SESSION_STARTED:
                    yield event, None
                if isinstance(kept, dict) and isinstance(kept.get("at"), (int, str)):
                    if held:
                        yield held[0][0], _record(held)
                    wanted = _wanted(kept)
                    held = []
                elif not held:
                    continue
                held.append((event, data))
                if len(held) == wanted:
                    yield held[0][0], _record(held)
                    held = []
        if held:
            yield held[0][0], _record(held)


def _wanted(kept: dict[str, Any]) -> int:
    try:
        return min(events_spanned(kept), HOLD_EVENTS_MAX)
    except NotOurs:
        return 1


def _record(held: list[tuple[RecordedEvent, Json]]) -> StoredRecord | None:
    """The record, or None where somebody else wrote what looks like ours."""
    event, data = held[0]
    kept = data[SOURCE_RECORD]
    kind = data.get("kind") if event.type == vocabulary.SOURCE_RECORDED else None
    if event.type == vocabulary.IMPORT_RAW:
        try:
            raw = b"".join(b64decode(data["content"], validate=True) for _, data in held)
        except (KeyError, TypeError, ValueError):
            return None
        return StoredRecord(kept["at"], data.get("reason"), raw=raw)
    try:
        return StoredRecord(kept["at"], kind, put_together(kept, [data for _, data in held]))
    except NotOurs:
        return None
