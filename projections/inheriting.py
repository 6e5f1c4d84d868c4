"""What a fork inherits, as a projection sees it: events that its views know under another stream.

An event of the log counts once, under the stream that holds it. Where a projection's key depends
on the stream, what belongs to the fork is not there yet, and the event ``$stream.forked`` stands
for all of it: inherited events are applied for the fork where their key under its name is another
one than under their own stream's. In a map the rows that they have under that name already stay
as they are, because a row belongs to one key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from eventstore.events import RecordedEvent
from eventstore.outbox import Inherited

from .projection import Effect, Key, Projection


def of_fork(
    projection: Projection, forked: RecordedEvent, inherited: Iterable[Inherited]
) -> list[tuple[Key, RecordedEvent, Inherited | None]]:
    """What a fork's event comes to, in order: (key, event, where it is inherited from). The last
    one is the fork's event itself, where the projection wants it. Raises what the key raises."""
    found: list[tuple[Key, RecordedEvent, Inherited | None]] = []
    for each in inherited:
        if projection.wants(each.event):
            key = projection.key(each.event)
            if key is not None and key != projection.key(under_holder(each)):
                found.append((key, each.event, each))
    if projection.wants(forked):
        key = projection.key(forked)
        if key is not None:
            found.append((key, forked, None))
    return found


def effects_of(
    projection: Projection, event: RecordedEvent, inherited: Inherited | None
) -> Sequence[Effect]:
    """What a map makes of one of these. Raises what its handler raises."""
    effects = projection.effects(event)
    if inherited is None or not effects:
        return effects
    standing = {effect.key for effect in projection.effects(under_holder(inherited))}
    return [effect for effect in effects if effect.key not in standing]


def under_holder(inherited: Inherited) -> RecordedEvent:
    """The event as it stands in the log."""
    return msgspec.structs.replace(inherited.event, stream=inherited.holder)
