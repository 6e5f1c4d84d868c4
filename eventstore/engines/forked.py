"""A fork's pages: those of the streams that it comes from, up to where it left each, then its own.

Nothing was copied when it was made, so every read goes through to the parent, and to the parent's
parent. An engine says how a stream's own events are read, and where a fork leaves its parent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from ..calls import FORKED, Fork
from ..errors import Corrupt
from ..events import RecordedEvent
from ..limits import PAGE_BYTES_MAX

OwnPage = Callable[[str, int, int, int, bool], Awaitable[list[RecordedEvent]]]
"""A stream's own events: (stream, the version behind which they begin, after, limit, backwards)."""

ForkOf = Callable[[str], Awaitable[Fork | None]]
"""Where a stream leaves its parent, checked; None for one that is no fork."""

_Part = tuple[str, Fork | None, int | None]
"""A stream, where it leaves its parent, and the last version that is taken of it (None: all)."""


class _Said(msgspec.Struct):
    stream: str
    version: int


_decode = msgspec.json.Decoder(_Said).decode


async def forked_page(
    own: OwnPage, fork_of: ForkOf, stream: str, fork: Fork, after: int, limit: int, backwards: bool
) -> list[RecordedEvent]:
    """The page of a fork, as `Engine.stream_page` promises it. Raises `Corrupt` where a parent
    lacks what is inherited. If cancelled, nothing is left open."""
    parts: list[_Part] = [(stream, fork, None)]
    if not backwards:
        while _low(parts[-1]) > after:
            parts.append(await _behind(fork_of, stream, parts[-1]))
        parts.reverse()
    events: list[RecordedEvent] = []
    at = after
    for part in parts:  # backwards it grows on the way, no further than the page goes
        (name, _, high), low = part, _low(part)
        if at > low + 1 if backwards else high is None or at < high:
            want = limit - len(events)
            if backwards:
                at = at if high is None else min(at, high + 1)
            elif high is not None:
                want = min(want, high - at)
            page = await own(name, low, at, want, backwards)
            due = at - 1 if backwards else at + 1
            if high is not None and not (page and page[0].version == due):
                raise _lacking(stream, name, due)
            if page:
                at = page[-1].version
            if name != stream:
                page = [msgspec.structs.replace(event, stream=stream) for event in page]
            events += page
            if len(events) == limit or sum([len(e.payload) for e in events]) > PAGE_BYTES_MAX:
                break
            if not backwards and high is not None and at < high:
                raise _lacking(stream, name, at + 1)
        if backwards and part[1] is not None:
            parts.append(await _behind(fork_of, stream, part))
    return events


def _low(part: _Part) -> int:
    """The version behind which the stream's own events begin."""
    return 0 if part[1] is None else part[1].version


async def _behind(fork_of: ForkOf, stream: str, part: _Part) -> _Part:
    """The part that a fork's part goes on from."""
    fork = part[1]
    assert fork is not None
    behind: _Part = (fork.parent, await fork_of(fork.parent), fork.version)
    if fork.version <= _low(behind):  # which also ends a circle
        raise _lacking(stream, fork.parent, fork.version)
    return behind


def check_fork(stream: str, fork: Fork, events: list[RecordedEvent]) -> None:
    """Raises `Corrupt` unless the stream's first own event, all there is in `events`, says of its
    parent what the stream's row says: the event has a hash, the row has none."""
    said = fork_said(events[0]) if events else None
    if said != fork:
        raise Corrupt(
            f"stream {stream!r}: it begins as {fork.parent!r} at version {fork.version} by its row,"
            " and not by its event",
            kind="fork",
            stream=stream,
            version=fork.version + 1,
        )


def fork_said(event: RecordedEvent) -> Fork | None:
    """What a fork's first own event says of its parent; None for any other event, and for one that
    does not say it."""
    if event.type != FORKED:
        return None
    try:
        said = _decode(event.payload)
    except msgspec.DecodeError:
        return None
    return Fork(said.stream, said.version)


def _lacking(stream: str, parent: str, version: int) -> Corrupt:
    return Corrupt(
        f"stream {stream!r}: it inherits version {version} of {parent!r}, which does not hold it",
        kind="fork",
        stream=stream,
        version=version,
    )
