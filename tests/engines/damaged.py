"""A small log that is damaged behind the store's back, and every way to read it.

Where the engine keeps its rows, and how somebody changes them there, is the engine's own test's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from eventstore import Corrupt, EventStore, NewEvent, RecordedEvent
from eventstore.verify import KnownHead

STREAM, VERSION, POSITION, LAST = "b", 3, 6, 10
"""The event that is damaged: versions 1 to 5 of `a` and `b` stand in turns."""


async def write(store: EventStore) -> KnownHead:
    """Ten events in two streams; the log's head, to be kept elsewhere."""
    for n in range(1, 6):
        for stream in "ab":
            note = NewEvent("note.added", {"n": n}, tags=["all", stream])
            await store.append(stream, note, idempotency_key=f"k{n}")
    return (await store.verify()).head


Read = Callable[[EventStore], AsyncIterator[RecordedEvent]]
READS: dict[str, Read] = {
    "read": lambda store: aiter(store.read(STREAM)),
    "read from the event on": lambda store: aiter(store.read(STREAM, after=VERSION - 1)),
    "read behind it": lambda store: aiter(store.read(STREAM, after=1, limit=3)),
    "read_all": lambda store: aiter(store.read_all()),
    "read_all by tag": lambda store: aiter(store.read_all(tags=["all"])),
    "read_all by type": lambda store: aiter(store.read_all(types=["note.added"])),
    "subscribe": lambda store: aiter(store.subscribe()),
    "subscribe to the stream": lambda store: aiter(store.subscribe(stream=STREAM)),
    "read backwards": lambda store: aiter(store.read(STREAM, backwards=True)),
}

THERE = f"WHERE position = {POSITION}"
FLIPS = {
    "the hash is gone": f"UPDATE events SET hash = 'x' {THERE}",
    "a tag": f"UPDATE events SET tags = replace(tags, 'all', 'alm') {THERE}",
    "the list of tags": f"UPDATE events SET tags = replace(tags, '[', '(') {THERE}",
    "the id": f"UPDATE events SET event_id = 'event-666666' {THERE}",
    "the actor": f"UPDATE events SET actor = 'eve' {THERE}",
    "the time": f"UPDATE events SET recorded_at = recorded_at + 1 {THERE}",
    "the type": f"UPDATE events SET type_id = 99 {THERE}",
    "the schema version": f"UPDATE events SET schema_version = 2 {THERE}",
    "the format": f"UPDATE events SET payload_format = 1 {THERE}",
}
"""What both engines' SQL says in the same words."""

GONE = [
    (POSITION, [name for name in READS if name != "read_all by type"]),
    (LAST, ["read", "read backwards", "read_all", "read_all by tag"]),
    (2, ["read backwards"]),
]
"""A position whose row is taken away, and the reads that must tell."""

EXCHANGED = [
    "UPDATE events SET position = 99, version = 99 WHERE position = 4",
    "UPDATE events SET position = 4, version = 2 WHERE position = 6",
    "UPDATE events SET position = 6, version = 3 WHERE position = 99",
]
"""Two rows change places."""


async def read_until_refused(read: Read, store: EventStore) -> tuple[list[int], Corrupt]:
    """The positions that were served, and the damage that ended it."""
    served = []
    try:
        async for event in read(store):
            served.append(event.position)
    except Corrupt as exc:
        return served, exc
    pytest.fail(f"everything was served: {served}")


async def every_read_and_verify_name_it(url: str, flip: str) -> None:
    """Corrupt with stream and version, and neither the event nor one behind it is served."""
    # What was changed is no longer what a read by its type asks for: verify tells.
    reads = {name for name in READS if (name, flip) != ("read_all by type", "the type")}
    async with EventStore.open(url) as store:
        for name in sorted(reads):
            served, error = await read_until_refused(READS[name], store)
            assert (error.kind, error.stream, error.version) == ("hash", STREAM, VERSION), name
            assert error.position == POSITION
            assert POSITION not in served
            assert f"stream {STREAM!r} version {VERSION}" in str(error)
        told = (await store.verify()).damages
    assert ("hash", STREAM, VERSION) in [(d.kind, d.stream, d.version) for d in told]


async def reads_stop_at_the_hole(url: str, gone: int, reads: Iterable[str]) -> None:
    """What stood there is named, and nothing behind it is served."""
    async with EventStore.open(url) as store:
        for read in reads:
            served, error = await read_until_refused(READS[read], store)
            assert gone not in served
            assert not [p for p in served if p > gone] or read == "read backwards"
            if "by tag" in read:
                assert error.kind == "index"
            elif read in ("read_all", "subscribe"):
                assert (error.kind, error.position) == ("gap", gone)
            else:
                assert (error.kind, error.stream, error.version) == ("gap", STREAM, gone // 2)
        assert "gap" in [d.kind for d in (await store.verify()).damages]


async def reads_stop_at_the_first_exchanged(url: str) -> None:
    """Each event's hash covers its place and the event before it."""
    async with EventStore.open(url) as store:
        for name in ("read", "read_all", "subscribe"):
            served, error = await read_until_refused(READS[name], store)
            assert (error.kind, error.stream, error.version) == ("hash", STREAM, 2)
            assert max(served, default=0) < 4
        told = [each for each in (await store.verify()).damages if each.kind == "hash"]
        assert [(each.stream, each.version) for each in told] == [(STREAM, 2)]
