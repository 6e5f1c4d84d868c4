"""The view `tool_calls`: a row for each call that was heard of, as the reducer `tool_calls` has it,
with the times of its last request and of the result that stands."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import replace

from eventstore import RecordedEvent
from reducers import Reducer, combine
from reducers.agent import ToolError, vocabulary
from reducers.agent import tool_calls as reducer
from reducers.agent.fields import fields, identifier

from ..projection import Projection
from ..relational import RelationalView
from .columns import Json, Moment, Words, column, compact, time_of
from .reading import at_us

table = sa.Table(
    "tool_calls",
    sa.MetaData(),
    column("stream", sa.Text, key=True),
    column("call_id", sa.Text, key=True),
    column("name", Words),
    column("arguments", Json),
    column("requestor", Words),
    column("message_id", Words),
    column("status", sa.Text, required=True),
    column("result", Json),
    column("result_text", Words),
    column("error_type", Words),
    column("error_message", Words),
    column("attempts", sa.BigInteger, required=True),
    column("requested_at", Moment),
    column("ended_at", Moment),
    column("position", sa.BigInteger, required=True),
    sa.Index("tool_calls_by_status", "status", "position"),
    sa.Index("tool_calls_by_time", "requested_at"),
)


class Told(Struct, frozen=True, gc=False):
    """Where a call was first heard of, and when it was last requested and last ended."""

    position: int = 0
    requested_us: int | None = None
    ended_us: int | None = None


told: Reducer[Told] = Reducer("told", initial=Told())


@told.on(vocabulary.TOOL_REQUESTED)
def requested(state: Told, event: RecordedEvent) -> Told:
    """A request: the first one, or a further one."""
    first = state.position or event.position
    return replace(state, position=first, requested_us=at_us(event))


@told.on(vocabulary.TOOL_COMPLETED)
@told.on(vocabulary.TOOL_FAILED)
def ended(state: Told, event: RecordedEvent) -> Told:
    """A result: the first one, or one that replaces it."""
    return replace(state, position=state.position or event.position, ended_us=at_us(event))


def call_key(event: RecordedEvent) -> tuple[str, str] | None:
    """Stream and call id; a result without an id belongs to no call."""
    call_id = identifier(fields(event.untyped()).get("tool_call_id"))
    if call_id is None and event.type == vocabulary.TOOL_REQUESTED:
        call_id = event.id
    return None if call_id is None else (event.stream, call_id)


def row(key: tuple[str, str], state: Any) -> dict[str, Any] | None:
    """The call as it stands."""
    call = state.call.calls.get(key[1])
    if call is None:
        return None
    error = call.error or ToolError()
    text = call.result
    if text is not None and not isinstance(text, str):
        text = compact(text)
    return {
        "name": call.name,
        "arguments": call.arguments,
        "requestor": call.requestor,
        "message_id": call.message_id,
        "status": call.status,
        "result": call.result,
        "result_text": text,
        "error_type": error.type,
        "error_message": error.message,
        "attempts": call.attempts,
        "requested_at": time_of(state.told.requested_us),
        # A call that is asked for anew has not ended, whatever came before.
        "ended_at": None if call.status == "pending" else time_of(state.told.ended_us),
        "position": state.told.position,
    }


projection = Projection(
    "tool_calls", key=call_key, fold=combine("tool_call", call=reducer, told=told), row=row
)
tool_calls = RelationalView(projection, table)
