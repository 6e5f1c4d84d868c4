"""The view `memories`: a row for each memory that is not forgotten, as the reducer `memory` has it,
with whose it is and since when."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import replace

from eventstore import RecordedEvent
from reducers import Reducer, combine
from reducers.agent import memory as reducer
from reducers.agent import vocabulary
from reducers.agent.fields import fields, identifier, mapping, text

from ..projection import Projection
from ..relational import RelationalView
from .columns import Json, Moment, Words, column, compact, time_of
from .reading import at_us, user_of

table = sa.Table(
    "memories",
    sa.MetaData(),
    column("stream", sa.Text, key=True),
    column("memory_id", sa.Text, key=True),
    column("user", Words),
    column("text", Words, required=True),
    column("content", Json),
    column("type", Words),
    column("attributes", Json, required=True),
    column("corrections", sa.BigInteger, required=True),
    column("reason", Words),
    column("source_event_id", sa.Text, required=True),
    column("position", sa.BigInteger, required=True),
    column("created_at", Moment, required=True),
    column("changed_at", Moment, required=True),
    sa.Index("memories_of_a_user", "user", "created_at"),
    sa.Index("memories_by_time", "created_at"),
)


class Life(Struct, frozen=True, gc=False):
    """A memory's life: whose it is, when it began, and the event that gave the content."""

    live: bool = False
    forgotten: bool = False
    user: str | None = None
    created_us: int = 0
    changed_us: int = 0
    position: int = 0


life: Reducer[Life] = Reducer("life", initial=Life())


@life.on(vocabulary.MEMORY_REMEMBERED)
def remembered(state: Life, event: RecordedEvent) -> Life:
    """Begins a life, or goes on with one; whose it is stays where nobody says so."""
    attributes = mapping(fields(event).get("attributes")) or {}
    user = text(attributes.get("user")) or user_of(event.tags)
    if not state.live:
        return _begun(event, user)
    return _changed(replace(state, user=user or state.user), event)


@life.on(vocabulary.MEMORY_CORRECTED)
def corrected(state: Life, event: RecordedEvent) -> Life:
    """Changes the content; begins a life where there was none, and none after the end of one."""
    if state.forgotten:
        return state
    return _changed(state, event) if state.live else _begun(event, user_of(event.tags))


@life.on(vocabulary.MEMORY_FORGOTTEN)
def forgotten(state: Life, event: RecordedEvent) -> Life:
    """Ends it."""
    return Life(forgotten=True)


def _begun(event: RecordedEvent, user: str | None) -> Life:
    at = at_us(event)
    return Life(True, False, user, at, at, event.position)


def _changed(state: Life, event: RecordedEvent) -> Life:
    return replace(state, changed_us=at_us(event), position=event.position)


def memory_key(event: RecordedEvent) -> tuple[str, str] | None:
    """Stream and memory id; a correction or an end without an id belongs to no memory."""
    memory_id = identifier(fields(event.untyped()).get("memory_id"))
    if memory_id is None and event.type == vocabulary.MEMORY_REMEMBERED:
        memory_id = event.id
    return None if memory_id is None else (event.stream, memory_id)


def row(key: tuple[str, str], state: Any) -> dict[str, Any] | None:
    """The memory as it stands; none once it is forgotten."""
    entry = state.memory.entries.get(key[1])
    if entry is None:
        return None
    content = entry.content
    return {
        "user": state.life.user,
        "text": content if isinstance(content, str) else compact(content),
        "content": content,
        "type": text(entry.attributes.get("type")),
        "attributes": entry.attributes,
        "corrections": entry.corrections,
        "reason": entry.reason,
        "source_event_id": entry.source_event_id,
        "position": state.life.position,
        "created_at": time_of(state.life.created_us),
        "changed_at": time_of(state.life.changed_us),
    }


projection = Projection(
    "memories", key=memory_key, fold=combine("memory_life", memory=reducer, life=life), row=row
)
memories = RelationalView(projection, table)
