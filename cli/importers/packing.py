"""A source record, or a session's own fields, packed into the events that are written for it."""

from __future__ import annotations

from typing import Final

import msgspec

from eventstore import NewEvent
from reducers.agent import vocabulary

from .mapping import kept_whole
from .moving import SOURCE_RECORD, At, NotOurs, put_together, take_apart
from .parsing import Json
from .standing import digest_of

RAW_CHUNK_BYTES: Final = 4 * 1024 * 1024
"""Bytes of a refused record in one event: base64 makes them 5.6 MB, and a payload has 8 MiB."""


class Pending(msgspec.Struct, gc=False):
    """A record that is about to be written: its events, and what it is, as a value or as `raw`
    bytes. Its digest is needed only beside another importer."""

    at: At
    events: list[NewEvent]
    value: Json = None
    raw: bytes | None = None
    replaces: bool = False

    @property
    def digest(self) -> bytes:
        """See `StoredRecord.digest`."""
        return digest_of(self.value, self.raw)


def pack(at: At, value: Json, events: list[NewEvent], may_change: bool = False) -> Pending:
    """A record's events with the record put away in the first of them."""
    datas = [event.data for event in events]
    kept = take_apart(at, value, datas)
    if not _comes_back(value, kept, datas):
        # By construction it does; were there ever a record for which it did not, then it is
        # kept whole, so that nothing is lost.
        kept = {"at": at, "moved": {"": f"{len(events)}/record"}}
        events = [*events, *kept_whole("record", value)]
    datas[0][SOURCE_RECORD] = kept
    return Pending(at, events, value=value, replaces=may_change)


def pack_raw(at: At, raw: bytes, reason: str, may_change: bool = False) -> Pending:
    """The events of a record that is kept as its bytes."""
    chunks = range(0, max(len(raw), 1), RAW_CHUNK_BYTES)
    events = [
        vocabulary.import_raw(record=raw[start : start + RAW_CHUNK_BYTES], reason=reason)
        for start in chunks
    ]
    events[0].data[SOURCE_RECORD] = {"at": at, "raw": len(events)}
    return Pending(at, events, raw=raw, replaces=may_change)


def _comes_back(value: Json, kept: dict[str, Json], datas: list[Json]) -> bool:
    """Whether what is written gives the record back. Values that are moved are the record's own,
    or texts: so values that are equal are also the same JSON, 1 and true for instance."""
    if "moved" not in kept:
        return kept["rest"] is value
    try:
        again: object = put_together(kept, datas)
    except NotOurs:
        return False
    return again is value or again == value
