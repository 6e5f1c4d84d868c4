"""What a fork inherits, as a projection sees it: events that its views know under another stream.

An event of the log counts once, under the stream that holds it. Where a projection's key depends
on the stream, what belongs to the fork is not there yet, and the event ``$stream.forked`` stands
for all of it: inherited events are applied for the fork where their key under its name is another
one than under their own stream's. In a map the rows that they have under that name already stay
as they are, because a row belongs to one key. It is read in pages, however much it is.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

import msgspec

from eventstore.events import RecordedEvent
from eventstore.outbox import Inherited, Outbox

from .projection import Effect, Key, Projection


async def page_of(outbox: Outbox, forked: RecordedEvent, after: int) -> list[Inherited]:
    """What a fork comes to behind a version: a page of what it inherits, or its event itself, which
    it holds of its own; empty behind that. Raises `Corrupt`. If cancelled, nothing is left open."""
    if after >= forked.version:
        return []
    if after == forked.version - 1:
        return [Inherited(forked, forked.stream)]
    return await outbox.inherited(forked, after)


class Part(NamedTuple):
    """What of a fork counts for a view: one event, with its key. One whose key cannot be told is
    its stream's, and `error` is why."""

    key: Key
    each: Inherited
    error: Exception | None = None


def parts_of(
    projection: Projection, page: Sequence[Inherited], dropped: Container[int]
) -> Iterator[Part]:
    """What of a page counts for the fork, in order. What was given up under its own stream, at one
    of the positions `dropped`, is left out here too."""
    for each in page:
        if not projection.wants(each.event):
            continue
        if not is_own(each) and each.event.position in dropped:
            continue
        try:
            key = projection.key(each.event)
            if key is not None and (is_own(each) or key != projection.key(under_holder(each))):
                yield Part(key, each)
        except Exception as exc:
            yield Part(each.event.stream, each, exc)


def effects_of(projection: Projection, inherited: Inherited) -> Sequence[Effect]:
    """What a map makes of one of these. Raises what its handler raises."""
    effects = projection.effects(inherited.event)
    if not effects or is_own(inherited):
        return effects
    standing = {effect.key for effect in projection.effects(under_holder(inherited))}
    return [effect for effect in effects if effect.key not in standing]


def under_holder(inherited: Inherited) -> RecordedEvent:
    """The event as it stands in the log."""
    return msgspec.structs.replace(inherited.event, stream=inherited.holder)


def is_own(each: Inherited) -> bool:
    """Whether it is the fork's event itself."""
    return each.holder == each.event.stream
