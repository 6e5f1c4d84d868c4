"""The view `sessions`: a row for each stream in which a session begins or ends, or in which
something is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from immutables import Map
from msgspec import Struct
from msgspec.structs import replace

from eventstore import RecordedEvent
from reducers.agent import vocabulary
from reducers.agent.fields import fields, identifier, mapping, text

from ..projection import Projection
from ..relational import RelationalView
from .columns import Moment, Words, column, time_of
from .every import EveryEvent

_STATED = ("conversation_id", "title", "agent_name", "provider_name")
_COUNTS = ("messages", "turns", "tool_calls", "pending_calls", "errors")
_TIMES = ("first_occurred", "last_occurred", "first_recorded", "last_recorded")

table = sa.Table(
    "sessions",
    sa.MetaData(),
    column("stream", sa.Text, key=True),
    *[column(name, Words) for name in _STATED],
    column("source_kind", Words),
    column("status", sa.Text, required=True),
    column("end_reason", Words),
    *[column(name, sa.BigInteger, required=True) for name in _COUNTS],
    column("first_occurred_at", Moment),
    column("last_occurred_at", Moment),
    column("first_recorded_at", Moment, required=True),
    column("last_recorded_at", Moment, required=True),
    column("version", sa.BigInteger, required=True),
    column("position", sa.BigInteger, required=True),
    sa.Index("sessions_by_status", "status", "last_recorded_at"),
    sa.Index("sessions_by_time", "last_recorded_at"),
    sa.Index("sessions_by_conversation", "conversation_id"),
)

_PENDING, _COMPLETED, _FAILED = 0, 1, 2
_ALONE = 2
"""Added to how a call ended where nobody had asked for it."""


class SessionRow(Struct, frozen=True):
    """What a row is made of. `calls` has for each call id how it stands; times are microseconds
    since 1970. `shown` says whether there is a row."""

    shown: bool = False
    conversation_id: str | None = None
    title: str | None = None
    agent_name: str | None = None
    provider_name: str | None = None
    source_kind: str | None = None
    status: str = "open"
    end_reason: str | None = None
    messages: int = 0
    turns: int = 0
    tool_calls: int = 0
    pending_calls: int = 0
    errors: int = 0
    first_occurred: int | None = None
    last_occurred: int | None = None
    first_recorded: int = 0
    last_recorded: int = 0
    version: int = 0
    position: int = 0
    calls: Map[str, int] = Map()


def session_told(state: SessionRow, event: RecordedEvent) -> SessionRow:
    """The row after any event: how far the stream is, and what its type changes."""
    occurred = event.occurred_us
    first, last = state.first_occurred, state.last_occurred
    if occurred is not None:
        first = occurred if first is None or occurred < first else first
        last = occurred if last is None or occurred > last else last
    kind = event.type
    if kind == vocabulary.MESSAGE_ADDED:
        of_type = _said(state, event)
    elif kind in _TURNS:
        of_type = _TURNS[kind](fields(event))
    elif kind in _CALLS:
        of_type = _called(state, event)
    elif kind == vocabulary.ERROR_RAISED:
        of_type = {"errors": state.errors + 1}
    else:
        of_type = {}
    return replace(
        state,
        first_occurred=first,
        last_occurred=last,
        first_recorded=state.first_recorded if state.version else event.recorded_us,
        last_recorded=event.recorded_us,
        version=event.version,
        position=event.position,
        **of_type,
    )


def _said(state: SessionRow, event: RecordedEvent) -> dict[str, Any]:
    turn = fields(event).get("role") == "user"
    return {"shown": True, "messages": state.messages + 1, "turns": state.turns + turn}


def _started(data: Mapping[str, Any]) -> dict[str, Any]:
    """A session begins, or goes on: what is stated replaces what was known."""
    made: dict[str, Any] = {
        name: stated for name in _STATED if (stated := text(data.get(name))) is not None
    }
    source = mapping(data.get("source"))
    if source is not None:
        made["source_kind"] = text(source.get("kind"))
    return {"shown": True, "status": "open", "end_reason": None, **made}


def _ended(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"shown": True, "status": "ended", "end_reason": text(data.get("reason"))}


def _called(state: SessionRow, event: RecordedEvent) -> dict[str, Any]:
    """How many calls were asked for, how many of these wait, and how often one turned into a
    failure: what the reducer `tool_calls` counts, without arguments and results."""
    call_id = identifier(fields(event).get("tool_call_id"))
    if event.type != vocabulary.TOOL_REQUESTED:
        return {} if call_id is None else _answered(state, call_id, event.type)
    call_id = call_id or event.id
    known = state.calls.get(call_id)
    if known == _PENDING:
        return {}
    if known is not None and known > _ALONE:
        # It has its result already; now it is known who asked.
        asked: dict[str, Any] = {"calls": state.calls.set(call_id, known - _ALONE)}
    else:
        asked = {
            "calls": state.calls.set(call_id, _PENDING),
            "pending_calls": state.pending_calls + 1,
        }
    is_new = known is None or known > _ALONE
    return {**asked, "tool_calls": state.tool_calls + is_new}


def _answered(state: SessionRow, call_id: str, kind: str) -> dict[str, Any]:
    known = state.calls.get(call_id)
    end = _FAILED if kind == vocabulary.TOOL_FAILED else _COMPLETED
    was_failed = known in (_FAILED, _FAILED + _ALONE)
    alone = known is None or known > _ALONE
    return {
        "calls": state.calls.set(call_id, end + _ALONE if alone else end),
        "pending_calls": state.pending_calls - (known == _PENDING),
        "errors": state.errors + (end == _FAILED and not was_failed),
    }


_TURNS = {vocabulary.SESSION_STARTED: _started, vocabulary.SESSION_ENDED: _ended}
_CALLS = (vocabulary.TOOL_REQUESTED, vocabulary.TOOL_COMPLETED, vocabulary.TOOL_FAILED)


def row(stream: str, state: SessionRow) -> dict[str, Any] | None:
    """The session as it stands."""
    if not state.shown:
        return None
    names = (*_STATED, "source_kind", "status", "end_reason", *_COUNTS, "version", "position")
    times = {f"{name}_at": time_of(getattr(state, name)) for name in _TIMES}
    return {**{name: getattr(state, name) for name in names}, **times}


projection = Projection(
    "sessions", fold=EveryEvent("session_row", SessionRow(), session_told), row=row
)
sessions = RelationalView(projection, table)
