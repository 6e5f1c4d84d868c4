"""The stock vocabulary of agent events: their type names, and builders that make `NewEvent`s.

Owns the names and the fields; what the events mean for state is the business of the reducers
beside this module, and what a source's records become that of the importers.

Field names are those of the OpenTelemetry semantic conventions for generative AI, version 1.42,
where one exists: the attribute's name without `gen_ai.` and with dots as underscores
(`gen_ai.tool.call.id` is `tool_call_id`), `gen_ai.usage.*` inside `usage`
(`gen_ai.usage.cache_read.input_tokens` is `cache_read_input_tokens`), `error.type` as
`error_type`, and message parts as in the JSON schema of `gen_ai.input.messages`. What the
conventions do not describe as a fact that holds from then on (memory, tasks, approvals, shared
state) has this project's names. The conventions are still in development; these names stay.

The types are not registered with `@event_type`: the names are free for a program's own classes,
and a reducer's `on("message.added")` is given a dict either way. Each builder leaves out what it
is not given, so that payloads stay small; None counts as not given, but for the fields that hold
any JSON value, where None is JSON null. All of them take `NewEvent`'s own keywords besides
(`Metadata`).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypedDict, Unpack

from msgspec import UNSET

from eventstore import NewEvent

SESSION_STARTED: Final = "session.started"
SESSION_ENDED: Final = "session.ended"
MESSAGE_ADDED: Final = "message.added"
MODEL_CALLED: Final = "model.called"
TOOL_REQUESTED: Final = "tool.requested"
TOOL_COMPLETED: Final = "tool.completed"
TOOL_FAILED: Final = "tool.failed"
MEMORY_REMEMBERED: Final = "memory.remembered"
MEMORY_CORRECTED: Final = "memory.corrected"
MEMORY_FORGOTTEN: Final = "memory.forgotten"
TASK_ADDED: Final = "task.added"
TASK_CHANGED: Final = "task.changed"
TASK_REMOVED: Final = "task.removed"
APPROVAL_REQUESTED: Final = "approval.requested"
APPROVAL_GRANTED: Final = "approval.granted"
APPROVAL_DENIED: Final = "approval.denied"
ERROR_RAISED: Final = "error.raised"
CONTEXT_CHANGED: Final = "context.changed"
SOURCE_RECORDED: Final = "source.recorded"
IMPORT_RAW: Final = "import.raw"

TYPES: Final = (
    SESSION_STARTED,
    SESSION_ENDED,
    MESSAGE_ADDED,
    MODEL_CALLED,
    TOOL_REQUESTED,
    TOOL_COMPLETED,
    TOOL_FAILED,
    MEMORY_REMEMBERED,
    MEMORY_CORRECTED,
    MEMORY_FORGOTTEN,
    TASK_ADDED,
    TASK_CHANGED,
    TASK_REMOVED,
    APPROVAL_REQUESTED,
    APPROVAL_GRANTED,
    APPROVAL_DENIED,
    ERROR_RAISED,
    CONTEXT_CHANGED,
    SOURCE_RECORDED,
    IMPORT_RAW,
)
"""Every stock type, in the order of the reference."""

Json = Any
"""Any JSON value: dict with string keys, list, str, int, float, bool or None."""


class Metadata(TypedDict, total=False):
    """What every builder passes on to `NewEvent`, and `extra`: fields of the data beyond the
    vocabulary, which the stock reducers do not look at; a field of the vocabulary wins."""

    id: str | None
    tags: Sequence[str]
    occurred_at: datetime | None
    causation_id: str | None
    derived_from: Sequence[str]
    context: dict[str, Any] | None
    extra: Mapping[str, Json] | None


def session_stream(session_id: str, agent_id: str | None = None) -> str:
    """The name of a session's stream, or of the stream of one of its subagents."""
    stream = f"session/{session_id}"
    return stream if agent_id is None else f"{stream}/agent/{agent_id}"


def text_part(content: str) -> dict[str, Json]:
    """A message part that is text."""
    return {"type": "text", "content": content}


def reasoning_part(content: str) -> dict[str, Json]:
    """A message part that is the model's reasoning; it is never part of a message's text."""
    return {"type": "reasoning", "content": content}


def session_started(
    *,
    conversation_id: str | None = None,
    title: str | None = None,
    agent_name: str | None = None,
    provider_name: str | None = None,
    system_instructions: Json = UNSET,
    source: Mapping[str, Json] | None = None,
    attributes: Mapping[str, Json] | None = None,
    **metadata: Unpack[Metadata],
) -> NewEvent:
    """A session begins, or says more about itself. `source` is where it was imported from, with
    at least a `kind`."""
    fields = {
        "conversation_id": conversation_id,
        "title": title,
        "agent_name": agent_name,
        "provider_name": provider_name,
        "source": _plain(source),
        "attributes": _plain(attributes),
    }
    return _event(SESSION_STARTED, fields, {"system_instructions": system_instructions}, metadata)


def session_ended(
    *,
    reason: str | None = None,
    outcome: Mapping[str, Json] | None = None,
    attributes: Mapping[str, Json] | None = None,
    **metadata: Unpack[Metadata],
) -> NewEvent:
    """A session ends. `outcome` is what came of it, for instance ``{"reward": 1.0}``."""
    fields = {"reason": reason, "outcome": _plain(outcome), "attributes": _plain(attributes)}
    return _event(SESSION_ENDED, fields, {}, metadata)


def message_added(
    *,
    role: str,
    parts: Sequence[Mapping[str, Json]] | None = None,
    content: str | None = None,
    message_id: str | None = None,
    name: str | None = None,
    **metadata: Unpack[Metadata],
) -> NewEvent:
    """A message of role system, user, assistant or tool: `parts`, or plain text in `content`."""
    fields = {
        "role": role,
        "parts": None if parts is None else [dict(part) for part in parts],
        "content": content,
        "message_id": message_id,
        "name": name,
    }
    return _event(MESSAGE_ADDED, fields, {}, metadata)


def model_called(
    *,
    provider_name: str | None = None,
    request_model: str | None = None,
    response_model: str | None = None,
    response_id: str | None = None,
    finish_reasons: Sequence[str] | None = None,
    usage: Mapping[str, int] | None = None,
    cost: float | None = None,
    attributes: Mapping[str, Json] | None = None,
    **metadata: Unpack[Metadata],
) -> NewEvent:
    """A model answered. `usage` holds token counts as the provider gives them (input_tokens,
    output_tokens, cache_read_input_tokens, cache_creation_input_tokens), `cost` is in US dollars.
    Events that bear one `response_id` describe one response, the last one counts."""
    fields = {
        "provider_name": provider_name,
        "request_model": request_model,
        "response_model": response_model,
        "response_id": response_id,
        "finish_reasons": None if finish_reasons is None else list(finish_reasons),
        "usage": _plain(usage),
        "cost": cost,
        "attributes": _plain(attributes),
    }
    return _event(MODEL_CALLED, fields, {}, metadata)


def tool_requested(
    *,
    tool_call_id: str,
    tool_name: str | None = None,
    tool_call_arguments: Json = UNSET,
    requestor: str | None = None,
    message_id: str | None = None,
    **metadata: Unpack[Metadata],
) -> NewEvent:
    """A tool call is asked for; it is pending until it completes or fails. `requestor` is
    assistant or user."""
    fields = {
        "tool_call_id": tool_call_id,
        "tool_name": tool_name,
        "requestor": requestor,
        "message_id": message_id,
    }
    return _event(TOOL_REQUESTED, fields, {"tool_call_arguments": tool_call_arguments}, metadata)


def tool_completed(
    *,
    tool_call_id: str,
    tool_name: str | None = None,
    tool_call_result: Json = UNSET,
    **metadata: Unpack[Metadata],
) -> NewEvent:
    """A tool call came back."""
    fields = {"tool_call_id": tool_call_id, "tool_name": tool_name}
    return _event(TOOL_COMPLETED, fields, {"tool_call_result": tool_call_result}, metadata)


def tool_failed(
    *,
    tool_call_id: str,
    tool_name: str | None = None,
    error_type: str | None = None,
    message: str | None = None,
    tool_call_result: Json = UNSET,
    **metadata: Unpack[Metadata],
) -> NewEvent:
    """A tool call came back with an error."""
    fields = {
        "tool_call_id": tool_call_id,
        "tool_name": tool_name,
        "error_type": error_type,
        "message": message,
    }
    return _event(TOOL_FAILED, fields, {"tool_call_result": tool_call_result}, metadata)


def memory_remembered(
    *,
    memory_id: str,
    content: Json,
    attributes: Mapping[str, Json] | None = None,
    **metadata: Unpack[Metadata],
) -> NewEvent:
    """Something is to be remembered beyond the conversation."""
    fields = {"memory_id": memory_id, "attributes": _plain(attributes)}
    return _event(MEMORY_REMEMBERED, fields, {"content": content}, metadata)


def memory_corrected(
    *,
    memory_id: str,
    content: Json,
    reason: str | None = None,
    **metadata: Unpack[Metadata],
) -> NewEvent:
    """A memory was wrong; `content` takes its place."""
    return _event(
        MEMORY_CORRECTED,
        {"memory_id": memory_id, "reason": reason},
        {"content": content},
        metadata,
    )


def memory_forgotten(
    *, memory_id: str, reason: str | None = None, **metadata: Unpack[Metadata]
) -> NewEvent:
    """A memory is to be used no more. The log keeps the earlier events; state drops the content."""
    return _event(MEMORY_FORGOTTEN, {"memory_id": memory_id, "reason": reason}, {}, metadata)


def task_added(
    *,
    task_id: str,
    title: str | None = None,
    status: str | None = None,
    attributes: Mapping[str, Json] | None = None,
    **metadata: Unpack[Metadata],
) -> NewEvent:
    """A task joins the plan. `status` is pending, in_progress, completed or a word of one's own."""
    return _event(TASK_ADDED, _task(task_id, title, status, attributes), {}, metadata)


def task_changed(
    *,
    task_id: str,
    title: str | None = None,
    status: str | None = None,
    attributes: Mapping[str, Json] | None = None,
    **metadata: Unpack[Metadata],
) -> NewEvent:
    """The fields of a task that are given change; `attributes` are added to those it has."""
    return _event(TASK_CHANGED, _task(task_id, title, status, attributes), {}, metadata)


def task_removed(*, task_id: str, **metadata: Unpack[Metadata]) -> NewEvent:
    """A task leaves the plan."""
    return _event(TASK_REMOVED, {"task_id": task_id}, {}, metadata)


def approval_requested(
    *,
    approval_id: str,
    subject: Json = UNSET,
    tool_call_id: str | None = None,
    **metadata: Unpack[Metadata],
) -> NewEvent:
    """Somebody has to agree to `subject`, for instance to a tool call, before it goes on."""
    fields = {"approval_id": approval_id, "tool_call_id": tool_call_id}
    return _event(APPROVAL_REQUESTED, fields, {"subject": subject}, metadata)


def approval_granted(
    *, approval_id: str, reason: str | None = None, **metadata: Unpack[Metadata]
) -> NewEvent:
    """Somebody agreed; who, says the event's actor."""
    return _event(APPROVAL_GRANTED, {"approval_id": approval_id, "reason": reason}, {}, metadata)


def approval_denied(
    *, approval_id: str, reason: str | None = None, **metadata: Unpack[Metadata]
) -> NewEvent:
    """Somebody refused; who, says the event's actor."""
    return _event(APPROVAL_DENIED, {"approval_id": approval_id, "reason": reason}, {}, metadata)


def error_raised(
    *, error_type: str | None = None, message: str | None = None, **metadata: Unpack[Metadata]
) -> NewEvent:
    """Something failed that is not a tool call: a model call, a hook, the agent's own code."""
    return _event(ERROR_RAISED, {"error_type": error_type, "message": message}, {}, metadata)


def context_changed(*, delta: Mapping[str, Json], **metadata: Unpack[Metadata]) -> NewEvent:
    """The session's shared state changes: each key in `delta` gets that value, whole."""
    return _event(CONTEXT_CHANGED, {"delta": _plain(delta)}, {}, metadata)


def source_recorded(*, kind: str, record: Json = UNSET, **metadata: Unpack[Metadata]) -> NewEvent:
    """A source's record that has no meaning of its own for the state, kept as it is."""
    return _event(SOURCE_RECORDED, {"kind": kind}, {"record": record}, metadata)


def import_raw(
    *, record: bytes, reason: str | None = None, **metadata: Unpack[Metadata]
) -> NewEvent:
    """A source's record that the store refuses as JSON: its exact bytes, base64 in `content`,
    and why (`reason` names the cause, never the content)."""
    content = b64encode(record).decode()
    return _event(IMPORT_RAW, {"content": content, "reason": reason}, {}, metadata)


def _task(
    task_id: str, title: str | None, status: str | None, attributes: Mapping[str, Json] | None
) -> dict[str, Json]:
    return {
        "task_id": task_id,
        "title": title,
        "status": status,
        "attributes": _plain(attributes),
    }


def _plain(mapping: Mapping[str, Json] | None) -> dict[str, Json] | None:
    """A dict, because the door takes nothing else for a JSON object."""
    return None if mapping is None else dict(mapping)


def _event(
    type_name: str, fields: dict[str, Json], json_fields: dict[str, Json], metadata: Metadata
) -> NewEvent:
    """The event: of `fields` those that are not None, of `json_fields` those that are given."""
    envelope: dict[str, Any] = {**metadata}
    data = dict(envelope.pop("extra", None) or {})
    data.update({name: value for name, value in fields.items() if value is not None})
    data.update({name: value for name, value in json_fields.items() if value is not UNSET})
    return NewEvent(type_name, data, **envelope)
