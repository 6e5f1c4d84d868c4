"""What an event says, in a few words: the stock vocabulary by its meaning, others by their data.

Data of stock types may have been written by anybody, so a field that is not what it should be is
shown as it is, never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from eventstore import RecordedEvent
from reducers.agent import vocabulary

from .safe import one_line
from .values import short

Data = dict[str, Any]

CALL, RESULT = "tool_call", "tool_call_response"

Told = Mapping[tuple[str, str], str]
"""The words of a tool call (`CALL`, id) and of its result (`RESULT`, id). A message names them by
id, and what they hold stands in events of their own."""

ID_WIDTH = 12
"""Characters of a tool call's id where it stands for a name: some are 30 long, and random."""


def summary(event: RecordedEvent, width: int, told: Told | None = None) -> str:
    """The event's data on one line of at most `width` characters, safe to print. With `told` a
    message shows what its tool calls ask and answer."""
    data = event.untyped().data
    if event.type == vocabulary.MESSAGE_ADDED and isinstance(data, dict):
        return one_line(f"{_word(data, 'role')}: {message_text(data, width, told)}", width)
    special = _SUMMARIES.get(event.type)
    if special is not None and isinstance(data, dict):
        return one_line(special(data, width), width)
    return plain_summary(data, width)


def plain_summary(data: Any, width: int) -> str:
    """Fields and values of any data."""
    if not isinstance(data, dict):
        return short(data, width)
    return one_line(
        "  ".join(f"{key}={_value(value, width)}" for key, value in data.items()), width
    )


def message_text(data: Data, width: int, told: Told | None = None) -> str:
    """The text of a message: its content, or its parts in short."""
    content = data.get("content")
    if isinstance(content, str):
        return content
    parts = data.get("parts")
    return parts_text(parts, width, told) if isinstance(parts, list) else ""


def parts_text(parts: Iterable[Any], width: int, told: Told | None = None) -> str:
    """Texts and reasoning as they are, tool calls and results as `told` has them, others by their
    type; each at most `width` characters of interest, so the whole may be longer."""
    return " ".join(filter(None, (_part_text(part, width, told or {}) for part in parts)))


def tool_ids(event: RecordedEvent) -> set[str]:
    """The ids of the tool calls that a message asks for or answers."""
    data = event.untyped().data if event.type == vocabulary.MESSAGE_ADDED else None
    parts = data.get("parts") if isinstance(data, dict) else None
    if not isinstance(parts, list):
        return set()
    found = [part for part in parts if isinstance(part, dict)]
    return {str(part.get("id")) for part in found if part.get("type") in (CALL, RESULT)}


def tool_words(event: RecordedEvent, width: int) -> dict[tuple[str, str], str]:
    """What an event tells of a tool call: what it asks, or how it ended. Empty for others."""
    data = event.untyped().data
    if not isinstance(data, dict):
        return {}
    call = str(data.get("tool_call_id"))
    if event.type == vocabulary.TOOL_REQUESTED:
        return {(CALL, call): _requested(data, width)}
    if event.type == vocabulary.TOOL_COMPLETED:
        return {(RESULT, call): f"-> {_value(data.get('tool_call_result'), width)}"}
    if event.type == vocabulary.TOOL_FAILED:
        return {(RESULT, call): f"-> failed: {_reason(data, width)}"}
    return {}


def _part_text(part: Any, width: int, told: Told) -> str:
    if not isinstance(part, dict):
        return ""
    kind, content = str(part.get("type", "part")), part.get("content", part.get("text"))
    call = str(part.get("id"))
    if kind == "text" and isinstance(content, str):
        return content[: 4 * width]
    if kind == "reasoning" and isinstance(content, str):
        return f"[reasoning] {content[: 4 * width]}"
    if (kind, call) in told:
        return told[kind, call]
    if kind == CALL:
        asked = f" {_value(part['arguments'], width)}" if "arguments" in part else ""
        return f"[calls {part.get('name') or one_line(call, ID_WIDTH)}{asked}]"
    if kind == RESULT:
        answer = part.get("response", part.get("result"))
        return (
            f"[result of {one_line(call, ID_WIDTH)}]" if answer is None else _value(answer, width)
        )
    return f"[{kind}]"


def _model(data: Data, width: int) -> str:
    name = data.get("response_model") or data.get("request_model") or "model"
    usage = data.get("usage")
    if not isinstance(usage, dict):
        return str(name)
    return f"{name}  {usage.get('input_tokens', 0)} in, {usage.get('output_tokens', 0)} out"


def _requested(data: Data, width: int) -> str:
    return f"{_word(data, 'tool_name')} {_value(data.get('tool_call_arguments'), width)}"


def _completed(data: Data, width: int) -> str:
    return f"{_tool_name(data)} -> {_value(data.get('tool_call_result'), width)}"


def _failed(data: Data, width: int) -> str:
    return f"{_tool_name(data)} failed: {_reason(data, width)}"


def _tool_name(data: Data) -> str:
    return data.get("tool_name") or one_line(_word(data, "tool_call_id"), ID_WIDTH)


def _reason(data: Data, width: int) -> str:
    reason = data.get("message")
    if reason is None:
        reason = data.get("tool_call_result")
    kind = data.get("error_type")
    return f"{f'{kind}: ' if kind else ''}{_value(reason, width)}"


def _memory(data: Data, width: int) -> str:
    return f"{_word(data, 'memory_id')}: {_value(data.get('content'), width)}"


def _task(data: Data, width: int) -> str:
    told = [str(data[name]) for name in ("title", "status") if name in data]
    return f"{_word(data, 'task_id')}: {', '.join(told)}" if told else _word(data, "task_id")


def _approval(data: Data, width: int) -> str:
    told = data.get("subject", data.get("reason"))
    name = _word(data, "approval_id")
    return name if told is None else f"{name}: {_value(told, width)}"


def _ended(data: Data, width: int) -> str:
    told = [_value(data[name], width) for name in ("reason", "outcome") if data.get(name)]
    return ", ".join(told)


def _changed(data: Data, width: int) -> str:
    return plain_summary(data.get("delta"), width)


def _error(data: Data, width: int) -> str:
    return f"{_word(data, 'error_type')}: {_value(data.get('message'), width)}"


def _started(data: Data, width: int) -> str:
    return str(data.get("title") or data.get("conversation_id") or data.get("agent_name") or "")


def _raw(data: Data, width: int) -> str:
    return f"kept as bytes: {_value(data.get('reason'), width)}"


def _recorded(data: Data, width: int) -> str:
    return f"{_word(data, 'kind')} {_value(data.get('record'), width)}"


def _word(data: Data, name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else "?"


def _value(value: Any, width: int) -> str:
    """A text without its quotes, anything else as JSON."""
    return one_line(value, width) if isinstance(value, str) else short(value, width)


_SUMMARIES: dict[str, Callable[[Data, int], str]] = {
    vocabulary.SESSION_STARTED: _started,
    vocabulary.MODEL_CALLED: _model,
    vocabulary.TOOL_REQUESTED: _requested,
    vocabulary.TOOL_COMPLETED: _completed,
    vocabulary.TOOL_FAILED: _failed,
    vocabulary.MEMORY_REMEMBERED: _memory,
    vocabulary.MEMORY_CORRECTED: _memory,
    vocabulary.SESSION_ENDED: _ended,
    vocabulary.TASK_ADDED: _task,
    vocabulary.TASK_CHANGED: _task,
    vocabulary.TASK_REMOVED: _task,
    vocabulary.APPROVAL_REQUESTED: _approval,
    vocabulary.APPROVAL_GRANTED: _approval,
    vocabulary.APPROVAL_DENIED: _approval,
    vocabulary.CONTEXT_CHANGED: _changed,
    vocabulary.ERROR_RAISED: _error,
    vocabulary.SOURCE_RECORDED: _recorded,
    vocabulary.IMPORT_RAW: _raw,
}
