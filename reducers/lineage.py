"""Lineage: all that was derived from an event, and what of it a correction would have to mend.

It owns the walk along causes towards their effects, over all streams of a tenant; towards the
causes goes `blaming`. It only reads: what was wrong stays in the log, and is corrected by further
events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from eventstore.calls import FORKED
from eventstore.events import RecordedEvent

from .blaming import Via
from .errors import ReducerError

if TYPE_CHECKING:
    from eventstore import EventStore

LINEAGE_EVENTS_MAX = 10_000
"""Events that a lineage holds when it is not told otherwise: some tens of MiB, and some seconds,
because each of them is asked for its effects."""


class Derived(msgspec.Struct, frozen=True):
    """An event that came of another one: `of` is that one's id, `via` says how it names it, and
    `depth` counts the steps from the event that was asked about, from 1."""

    event: RecordedEvent
    via: Via
    of: str
    depth: int


class Lineage(msgspec.Struct, frozen=True):
    """An event, and all that was derived from it, nearest first, then by position. `truncated`:
    there is more than was asked for."""

    event: RecordedEvent
    derived: list[Derived]
    truncated: bool = False


class TaintedKey(msgspec.Struct, frozen=True):
    """A thing in a stream's state that tainted events of the stock vocabulary speak of: `kind` is
    memory, task, tool_call, approval or context, `key` its id there, `event_ids` these events."""

    kind: Literal["memory", "task", "tool_call", "approval", "context"]
    key: str
    event_ids: list[str]


class TaintedStream(msgspec.Struct, frozen=True):
    """A stream with tainted events: `sound_version` is its last version before the first of them,
    `version` its head, at which a correction may expect it. `event_ids` by version; with those
    that a fork inherited, and then `forked_from` names the stream that it has them from."""

    stream: str
    sound_version: int
    version: int
    event_ids: list[str]
    keys: list[TaintedKey]
    forked_from: str | None = None


class Tainted(msgspec.Struct, frozen=True):
    """What may be wrong because `event` was: the lineage, by streams in order of their names, the
    event's own among them. `truncated`: there is more."""

    event: RecordedEvent
    derived: list[Derived]
    streams: list[TaintedStream]
    truncated: bool = False


async def lineage(
    store: EventStore, event_id: str, *, events_max: int = LINEAGE_EVENTS_MAX
) -> Lineage:
    """All events that name `event_id`, or one derived from it, as their causation id or in
    `derived_from`, in all streams of the tenant, each once.

    It holds at most `events_max` events besides the first, and says when there are more. Ids that
    name each other in a ring do no harm. Raises `ReducerError` where no event has this id, and
    `Corrupt` for damage. If cancelled, nothing is left open.
    """
    if type(events_max) is not int or events_max < 1:
        raise ReducerError("events_max: an int from 1 on")
    event = await store.event(event_id)
    if event is None:
        raise ReducerError(f"no event has the id {event_id!r}")
    seen = {event.id}
    derived: list[Derived] = []
    level, depth = [event], 0
    while level:
        depth += 1
        found: list[Derived] = []
        for cause in level:
            # Abandoned in the middle, it leaves nothing open.
            async for effect in store.caused_by(cause.id):
                if effect.id in seen:
                    continue
                if len(derived) + len(found) == events_max:
                    return Lineage(event, derived + _by_position(found), truncated=True)
                seen.add(effect.id)
                found.append(Derived(effect, _via(effect, cause), cause.id, depth))
        found = _by_position(found)
        derived += found
        level = [each.event for each in found]
    return Lineage(event, derived)


async def tainted(
    store: EventStore, event_id: str, *, events_max: int = LINEAGE_EVENTS_MAX
) -> Tainted:
    """What may be wrong because this event was: its lineage, by stream, with the memories, tasks,
    tool calls, approvals and context keys that events of the stock vocabulary speak of. Forks
    that inherited any of it are among the streams.

    It changes nothing. A correction is appended, as events that take the wrong effects back:
    `TaintedStream.version` is what such an append expects. An event that only was appended later,
    without naming a tainted one, is not found. Raises and is cancelled as `lineage`.
    """
    found = await lineage(store, event_id, events_max=events_max)
    by_stream: dict[str, list[RecordedEvent]] = {}
    for event in sorted((found.event, *(each.event for each in found.derived)), key=_position):
        if event.type != FORKED:  # it has no effect to take back; what it inherits is found below
            by_stream.setdefault(event.stream, []).append(event)
    parents = await _inherit(store, by_stream)
    streams = [
        TaintedStream(
            stream,
            events[0].version - 1,
            await store.version(stream),
            [event.id for event in events],
            _keys(events),
            parents.get(stream),
        )
        for stream, events in sorted(by_stream.items())
    ]
    return Tainted(found.event, found.derived, streams, found.truncated)


async def _inherit(store: EventStore, by_stream: dict[str, list[RecordedEvent]]) -> dict[str, str]:
    """Adds to each fork what it has of tainted events from its parent, and says which that is. A
    parent is older than its forks, so that one pass in the order of the log does."""
    parents: dict[str, str] = {}
    async for event in store.read_all(types=[FORKED]):
        parent, version = event.data["stream"], event.data["version"]
        inherited = [each for each in by_stream.get(parent, ()) if each.version <= version]
        if inherited:
            by_stream[event.stream] = inherited + by_stream.get(event.stream, [])
            parents[event.stream] = parent
    return parents


def _position(event: RecordedEvent) -> int:
    return event.position


def _via(effect: RecordedEvent, cause: RecordedEvent) -> Via:
    return "causation_id" if effect.causation_id == cause.id else "derived_from"


def _by_position(found: list[Derived]) -> list[Derived]:
    return sorted(found, key=lambda each: _position(each.event))


def _keys(events: list[RecordedEvent]) -> list[TaintedKey]:
    by_key: dict[tuple[Any, str], list[str]] = {}
    for event in events:
        for kind, key in _keys_of(event):
            by_key.setdefault((kind, key), []).append(event.id)
    return [TaintedKey(kind, key, ids) for (kind, key), ids in sorted(by_key.items())]


def _keys_of(event: RecordedEvent) -> list[tuple[str, str]]:
    """What an event of the stock vocabulary speaks of, as its reducers take it."""
    from .agent import vocabulary  # which builds on this room's facade
    from .agent.fields import fields, identifier, mapping

    kind, _, _ = event.type.partition(".")
    if event.type not in vocabulary.TYPES:
        return []
    data = fields(event)
    if event.type == vocabulary.CONTEXT_CHANGED:
        return [("context", key) for key in mapping(data.get("delta")) or {}]
    name = _KINDS.get(kind)
    if name is None:
        return []
    key = identifier(data.get(f"{name}_id"))
    if key is None and event.type == vocabulary.MEMORY_REMEMBERED:
        key = event.id
    return [] if key is None else [(name, key)]


_KINDS = {"memory": "memory", "task": "task", "tool": "tool_call", "approval": "approval"}
