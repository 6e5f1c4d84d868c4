"""A stream that was imported, turned into its source again: its records, or its whole document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from eventstore import EventStore

from . import adk, memorybank, openai, tau2_bench
from .mapping import object_of
from .moving import HEAD, TAIL, At
from .splitting import Member, joined, members
from .standing import RecordReader, StoredRecord

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_EMPTY = b"{}"


class NoSource(Exception):
    """The stream holds no source record: nothing in it was imported."""


async def export_source(store: EventStore, stream: str) -> AsyncIterator[bytes]:
    """The source's records in their order: JSON equal to what was imported, or the exact bytes
    of a record that was kept as bytes.

    The fields of a session beside its records are none; `export_document` has them. An empty
    iterator: the stream holds no record of a source. If abandoned, nothing is left open.
    """
    async for _, record in RecordReader(store, stream).records():
        if record is not None and isinstance(record.at, int):
            yield _bytes_of(record)


async def export_document(store: EventStore, stream: str) -> bytes:
    """The source file that this session would be alone in: importing it gives this stream again.

    Raises `NoSource`. If cancelled, nothing is left open.
    """
    records: list[bytes] = []
    beside: dict[At, bytes] = {}
    kind = shared = None
    async for event, record in RecordReader(store, stream).records():
        if record is None:
            started = object_of(_decode(event.payload))
            source = object_of(started.get("source"))
            kind, shared = source.get("kind", kind), source.get("shared", shared)
        elif isinstance(record.at, int):
            records.append(_bytes_of(record))
        else:
            beside[record.at] = _bytes_of(record)
    if not records and not beside:
        raise NoSource(f"stream {stream!r} holds nothing that was imported")
    common = _EMPTY
    if isinstance(shared, str):
        # A bank's later profile of a user takes the place of the earlier one.
        common = await _shared_record(store, shared, last=kind == memorybank.KIND)
    return _document(kind, records, beside, common)


def _document(kind: Any, records: list[bytes], beside: dict[At, bytes], common: bytes) -> bytes:
    head, tail = beside.get(HEAD, _EMPTY), beside.get(TAIL, _EMPTY)
    array = b"[" + b",\n".join(records) + b"]"
    if kind == openai.TAU_BENCH:
        return b"[" + _object(head, tail, traj=array) + b"]\n"
    if kind == adk.KIND:
        return _object(head, tail, events=array) + b"\n"
    if kind == tau2_bench.KIND:
        parts = {pair.key: pair.raw for pair in members(head)}
        simulation = _object(parts.get("simulation", _EMPTY), tail, messages=array)
        tasks = b"[" + parts.get("task", b"") + b"]"
        return _object(common, tasks=tasks, simulations=b"[" + simulation + b"]") + b"\n"
    if kind == memorybank.KIND:
        return _bank(head, array, common)
    if kind == openai.KIND:
        return (_object(head, messages=array) if HEAD in beside else array) + b"\n"
    return b"".join(record + b"\n" for record in records)


def _object(*objects: bytes, **more: bytes) -> bytes:
    """One object with the members of several."""
    pairs = [pair for raw in objects for pair in members(raw)]
    pairs += [Member(key, _encode(key), raw) for key, raw in more.items()]
    return joined(pairs)


def _bank(head: bytes, turns: bytes, common: bytes) -> bytes:
    """A bank of one user with one day; their names are written as they were."""
    names = {pair.key: pair.raw for pair in members(head)}
    shared = {pair.key: pair.raw for pair in members(common)}
    history = joined([Member("", names.get("day", b'""'), turns)])
    user = _object(shared.get("profile", _EMPTY), history=history)
    return joined([Member("", names.get("user", b'""'), user)]) + b"\n"


async def _shared_record(store: EventStore, stream: str, *, last: bool) -> bytes:
    """The first record of a stream that several sessions share, or its last."""
    found = _EMPTY
    async for _, record in RecordReader(store, stream).records():
        if record is not None:
            found = _bytes_of(record)
            if not last:
                break
    return found


def _bytes_of(record: StoredRecord) -> bytes:
    return _encode(record.value) if record.raw is None else record.raw
