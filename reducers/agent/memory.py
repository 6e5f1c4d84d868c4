"""What is remembered beyond the conversation, by memory id, each with the event it comes from.

- `memory.remembered` without a usable id takes its event's id. For a live id it replaces content
  and attributes; for a forgotten one it makes the memory live again, because somebody said so.
- `memory.corrected` replaces the content and keeps the attributes. For an id nobody knows it is
  taken as remembered, for a forgotten one it changes nothing: a correction that was under way
  does not bring back what somebody wanted gone.
- `memory.forgotten` takes the content out of the state, and leaves id, event and reason. It also
  holds for an id nobody knows; a second one changes nothing.

The log keeps every content: forgetting here is the agent's, not erasure.
"""

from __future__ import annotations

from typing import Any

from immutables import Map
from msgspec import Struct
from msgspec.structs import replace

from eventstore import RecordedEvent

from .. import Reducer
from . import vocabulary
from .fields import fields, identifier, mapping, text


class MemoryEntry(Struct, frozen=True, gc=False):
    """A live memory. `source_event_id` is the event that gave this content,
    `former_event_id` the one that gave the content before it, None when there was none."""

    content: Any
    source_event_id: str
    attributes: dict[str, Any] = {}
    former_event_id: str | None = None
    corrections: int = 0
    reason: str | None = None


class Forgotten(Struct, frozen=True, gc=False):
    """What is left of a forgotten memory: the event that did it, and why."""

    event_id: str
    reason: str | None = None


class Memory(Struct, frozen=True):
    """The live memories and the forgotten ones, by memory id; no id is in both."""

    entries: Map[str, MemoryEntry] = Map()
    forgotten: Map[str, Forgotten] = Map()


memory: Reducer[Memory] = Reducer("memory", initial=Memory(), version=1)


@memory.on(vocabulary.MEMORY_REMEMBERED)
def memory_remembered(state: Memory, event: RecordedEvent) -> Memory:
    """Adds a memory, or gives a known one new content and attributes."""
    data = fields(event)
    memory_id = identifier(data.get("memory_id")) or event.id
    known = state.entries.get(memory_id)
    entry = MemoryEntry(
        content=data.get("content"),
        source_event_id=event.id,
        attributes=mapping(data.get("attributes")) or {},
        former_event_id=None if known is None else known.source_event_id,
        corrections=0 if known is None else known.corrections,
    )
    forgotten = state.forgotten
    if memory_id in forgotten:
        forgotten = forgotten.delete(memory_id)
    return Memory(state.entries.set(memory_id, entry), forgotten)


@memory.on(vocabulary.MEMORY_CORRECTED)
def memory_corrected(state: Memory, event: RecordedEvent) -> Memory:
    """Replaces the content of a memory that is not forgotten."""
    data = fields(event)
    memory_id = identifier(data.get("memory_id"))
    if memory_id is None or memory_id in state.forgotten:
        return state
    known = state.entries.get(memory_id)
    reason = text(data.get("reason"))
    if known is None:
        entry = MemoryEntry(data.get("content"), event.id, reason=reason)
    else:
        entry = replace(
            known,
            content=data.get("content"),
            source_event_id=event.id,
            former_event_id=known.source_event_id,
            corrections=known.corrections + 1,
            reason=reason,
        )
    return replace(state, entries=state.entries.set(memory_id, entry))


@memory.on(vocabulary.MEMORY_FORGOTTEN)
def memory_forgotten(state: Memory, event: RecordedEvent) -> Memory:
    """Drops the content of a memory, and keeps that it was forgotten."""
    data = fields(event)
    memory_id = identifier(data.get("memory_id"))
    if memory_id is None or memory_id in state.forgotten:
        return state
    entries = state.entries
    if memory_id in entries:
        entries = entries.delete(memory_id)
    mark = Forgotten(event.id, text(data.get("reason")))
    return Memory(entries, state.forgotten.set(memory_id, mark))
