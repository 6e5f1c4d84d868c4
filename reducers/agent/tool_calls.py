"""Tool calls by id: what was asked for, what came back, and what is still awaited.

A call is pending from `tool.requested` until `tool.completed` or `tool.failed` bears its id.
What happens when events come doubled, late or alone:

- A request without a usable id takes its event's id; a result without one changes nothing.
- A request for a call that is pending replaces what was asked for; for one that had ended it is a
  further attempt: pending again, its former result gone from the state.
- A result for a call that nobody asked for is kept, with `attempts` 0; a request that comes after
  it fills in what was asked for, and the call stays ended.
- A further result replaces the one before.
"""

from __future__ import annotations

from typing import Any, Literal

from immutables import Map
from msgspec import Struct
from msgspec.structs import replace

from eventstore import RecordedEvent

from .. import Reducer
from . import vocabulary
from .fields import fields, identifier, text

Status = Literal["pending", "completed", "failed"]


class ToolError(Struct, frozen=True, gc=False):
    """Why a call failed, as its event says; where it has no message, the text that came back."""

    type: str | None = None
    message: str | None = None


class ToolCall(Struct, frozen=True, gc=False):
    """One call. `number` counts calls from 1 in the order in which they were first heard of,
    `attempts` the requests that led to a result or still wait for one."""

    number: int
    name: str | None = None
    arguments: Any = None
    status: Status = "pending"
    result: Any = None
    error: ToolError | None = None
    requestor: str | None = None
    message_id: str | None = None
    attempts: int = 0


class ToolCalls(Struct, frozen=True):
    """Calls by their id, and the ids that wait for a result, each with its call's number.

    `failures` counts results that were errors; a retry that then succeeds does not take one back.
    """

    calls: Map[str, ToolCall] = Map()
    pending: Map[str, int] = Map()
    failures: int = 0

    @property
    def in_order(self) -> list[tuple[str, ToolCall]]:
        """(id, call) in the order in which they were first heard of. Walks all calls."""
        return sorted(self.calls.items(), key=lambda item: item[1].number)

    @property
    def pending_ids(self) -> list[str]:
        """The ids that wait for a result, in request order. Walks the pending ones only."""
        return sorted(self.pending, key=self.pending.__getitem__)

    @property
    def requested(self) -> int:
        """How many calls were asked for; results that came alone are none. Walks all calls."""
        return sum(call.attempts > 0 for call in self.calls.values())


tool_calls: Reducer[ToolCalls] = Reducer("tool_calls", initial=ToolCalls(), version=1)


@tool_calls.on(vocabulary.TOOL_REQUESTED)
def tool_requested(state: ToolCalls, event: RecordedEvent) -> ToolCalls:
    """Opens a call, or opens it again."""
    data = fields(event)
    call_id = identifier(data.get("tool_call_id")) or event.id
    known = state.calls.get(call_id)
    call = ToolCall(
        number=len(state.calls) + 1 if known is None else known.number,
        name=text(data.get("tool_name")) or (None if known is None else known.name),
        arguments=data.get("tool_call_arguments"),
        requestor=text(data.get("requestor")),
        message_id=identifier(data.get("message_id")),
        attempts=1,
    )
    if known is not None:
        if known.status == "pending":
            call = replace(call, attempts=known.attempts)
        elif known.attempts == 0:
            call = replace(call, status=known.status, result=known.result, error=known.error)
            return replace(state, calls=state.calls.set(call_id, call))
        else:
            call = replace(call, attempts=known.attempts + 1)
    return replace(
        state,
        calls=state.calls.set(call_id, call),
        pending=state.pending.set(call_id, call.number),
    )


@tool_calls.on(vocabulary.TOOL_COMPLETED)
def tool_completed(state: ToolCalls, event: RecordedEvent) -> ToolCalls:
    """Ends a call with its result."""
    return _end(state, event, "completed", None)


@tool_calls.on(vocabulary.TOOL_FAILED)
def tool_failed(state: ToolCalls, event: RecordedEvent) -> ToolCalls:
    """Ends a call with its error, and the result where the source has one."""
    data = fields(event)
    message = text(data.get("message"))
    if message is None:
        # Sources that flag a result as an error say in the result what went wrong.
        message = text(data.get("tool_call_result"))
    error = ToolError(text(data.get("error_type")), message)
    return _end(state, event, "failed", error)


def _end(
    state: ToolCalls, event: RecordedEvent, status: Status, error: ToolError | None
) -> ToolCalls:
    data = fields(event)
    call_id = identifier(data.get("tool_call_id"))
    if call_id is None:
        return state
    known = state.calls.get(call_id) or ToolCall(number=len(state.calls) + 1)
    call = replace(
        known,
        name=known.name or text(data.get("tool_name")),
        status=status,
        result=data.get("tool_call_result"),
        error=error,
    )
    failed_anew = status == "failed" and known.status != "failed"
    return ToolCalls(
        calls=state.calls.set(call_id, call),
        pending=state.pending.delete(call_id) if call_id in state.pending else state.pending,
        failures=state.failures + failed_anew,
    )
