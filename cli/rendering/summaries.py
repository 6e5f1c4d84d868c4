"""What an event says, in a few words: the stock vocabulary by its meaning, others by their data.

Data of stock types may have been written by anybody, so a field that is not what it should be is
shown as it is, never an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventstore import RecordedEvent
from reducers.agent import vocabulary

from .safe import one_line
from .values import short

Data = dict[str, Any]


def summary(event: RecordedEvent, width: int) -> str:
    """The event's data on one line of at most `width` characters, safe to print."""
    data = event.untyped().data
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


def message_text(data: Data) -> str:
    """The text of a message: its content, or its text parts; other parts by their type."""
    content = data.get("content")
    if isinstance(content, str):
        return content
    parts = data.get("parts")
    if not isinstance(parts, list):
        return ""
    return " ".join(_part_text(part) for part in parts)


def _part_text(part: Any) -> str:
    if not isinstance(part, dict):
        return ""
    content = part.get("content")
    if part.get("type") == "text" and isinstance(content, str):
        return content
    return f"[{part.get('type', 'part')}]"


def _message(data: Data, width: int) -> str:
    return f"{_word(data, 'role')}: {message_text(data)}"


def _model(data: Data, width: int) -> str:
    name = data.get("response_model") or data.get("request_model") or "model"
    usage = data.get("usage")
    if not isinstance(usage, dict):
        return str(name)
    return f"{name}  {usage.get('input_tokens', 0)} in, {usage.get('output_tokens', 0)} out"


def _requested(data: Data, width: int) -> str:
    return f"{_word(data, 'tool_name')} {_value(data.get('tool_call_arguments'), width)}"


def _completed(data: Data, width: int) -> str:
    name = data.get("tool_name") or _word(data, "tool_call_id")
    return f"{name} -> {_value(data.get('tool_call_result'), width)}"


def _failed(data: Data, width: int) -> str:
    name = data.get("tool_name") or _word(data, "tool_call_id")
    reason = data.get("message")
    if reason is None:
        reason = data.get("tool_call_result")
    kind = data.get("error_type")
    return f"{name} failed: {f'{kind}: ' if kind else ''}{_value(reason, width)}"


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
    vocabulary.MESSAGE_ADDED: _message,
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
