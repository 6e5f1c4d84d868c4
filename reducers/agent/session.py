"""The session itself: what it is called, whether it goes on, and the state that its agents share.

`session.started` may come more than once: what it states replaces what was known, what it leaves
out stays, `attributes` are merged, and a session that had ended goes on. `session.ended` states
reason and outcome. `context.changed` sets each key of its delta, whole; a delta that is not an
object changes nothing.
"""

from __future__ import annotations

from typing import Any

from immutables import Map
from msgspec import Struct
from msgspec.structs import replace

from eventstore import RecordedEvent

from .. import Reducer
from . import vocabulary
from .fields import fields, mapping, text


class Session(Struct, frozen=True):
    """A session's own data; what no event has stated is None or empty."""

    conversation_id: str | None = None
    title: str | None = None
    agent_name: str | None = None
    provider_name: str | None = None
    system_instructions: Any = None
    source: dict[str, Any] = {}
    attributes: Map[str, Any] = Map()
    started: bool = False
    ended: bool = False
    end_reason: str | None = None
    outcome: dict[str, Any] = {}
    shared: Map[str, Any] = Map()


session: Reducer[Session] = Reducer("session", initial=Session(), version=1)


@session.on(vocabulary.SESSION_STARTED)
def session_started(state: Session, event: RecordedEvent) -> Session:
    """Takes over what is stated; an ended session goes on."""
    data = fields(event)
    changes: dict[str, Any] = {
        name: stated
        for name in ("conversation_id", "title", "agent_name", "provider_name")
        if (stated := text(data.get(name))) is not None
    }
    if "system_instructions" in data:
        changes["system_instructions"] = data["system_instructions"]
    source = mapping(data.get("source"))
    if source is not None:
        changes["source"] = source
    changes["attributes"] = state.attributes.update(mapping(data.get("attributes")) or {})
    return replace(state, started=True, ended=False, end_reason=None, outcome={}, **changes)


@session.on(vocabulary.SESSION_ENDED)
def session_ended(state: Session, event: RecordedEvent) -> Session:
    """Marks the end; a second end replaces the first one's reason and outcome."""
    data = fields(event)
    return replace(
        state,
        ended=True,
        end_reason=text(data.get("reason")),
        outcome=mapping(data.get("outcome")) or {},
        attributes=state.attributes.update(mapping(data.get("attributes")) or {}),
    )


@session.on(vocabulary.CONTEXT_CHANGED)
def context_changed(state: Session, event: RecordedEvent) -> Session:
    """Sets each key of the delta; null is a value, not a removal."""
    delta = mapping(fields(event).get("delta"))
    return replace(state, shared=state.shared.update(delta)) if delta else state
