"""Claude Code's session files: one row a line, and files of the same shape for subagents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from eventstore import NewEvent
from reducers.agent import vocabulary

from .mapping import (
    ToolCalls,
    cost_of,
    kept_whole,
    list_of,
    object_of,
    text_of,
    time_of,
    usage_of,
)
from .parsing import Json

KIND: Final = "claude-code"

ROW_TYPES: Final = frozenset(
    {
        "user",
        "assistant",
        "system",
        "progress",
        "summary",
        "attachment",
        "file-history-snapshot",
        "queue-operation",
    }
)
"""What a row's `type` may be; rows of other types are kept whole, but do not make a file one."""

SYNTHETIC: Final = "<synthetic>"
"""The model of rows that the program wrote in an answer's place: no model was called."""

_USAGE = {
    "input_tokens": ("input_tokens",),
    "output_tokens": ("output_tokens",),
    "cache_read_input_tokens": ("cache_read_input_tokens",),
    "cache_creation_input_tokens": ("cache_creation_input_tokens",),
}


def is_row(value: Json) -> bool:
    """Whether a line's value is a row of such a file."""
    if not isinstance(value, dict) or str(value.get("type")) not in ROW_TYPES:
        return False
    if "role" in value:
        return False
    return any(key in value for key in ("sessionId", "uuid", "leafUuid", "messageId", "snapshot"))


def first_named(rows: Iterable[Json]) -> dict[str, Json]:
    """The first row that names its session; an empty one where none does."""
    for row in rows:
        if isinstance(row, dict) and text_of(row.get("sessionId")):
            return row
    return {}


class ClaudeCode:
    """The mapper of a session file or of a subagent's file."""

    def __init__(self) -> None:
        self._calls = ToolCalls()

    def start(self, head: Json) -> NewEvent:
        """`head` is the first row that names its session: where and with what it was run."""
        row = object_of(head)
        attributes = {
            name: row[key]
            for key, name in (("cwd", "cwd"), ("gitBranch", "git_branch"), ("version", "version"))
            if text_of(row.get(key))
        }
        return vocabulary.session_started(
            conversation_id=text_of(row.get("sessionId")),
            agent_name=text_of(row.get("agentId")),
            provider_name="anthropic",
            source={"kind": KIND},
            attributes=attributes or None,
            occurred_at=time_of(row.get("timestamp")),
        )

    def record(self, record: Json) -> list[NewEvent]:
        """A row: a message of the user or the assistant, a tool's result, or something beside."""
        row = object_of(record)
        message = row.get("message")
        kind = row.get("type")
        if kind == "assistant" and isinstance(message, dict):
            return self._assistant(row, message)
        if kind == "user" and isinstance(message, dict):
            return self._user(row, message)
        name = str(kind) if kind is not None else "row"
        detail = row.get("subtype") or object_of(row.get("data")).get("type")
        if kind == "queue-operation":
            detail = row.get("operation")
        if isinstance(detail, str):
            name = f"{name}/{detail}"
        return kept_whole(name, record, time_of(row.get("timestamp")))

    def end(self, tail: Json) -> list[NewEvent]:
        """There are no fields beside the rows."""
        return kept_whole("session", tail)

    def _assistant(self, row: dict[str, Json], message: dict[str, Json]) -> list[NewEvent]:
        when = time_of(row.get("timestamp"))
        message_id = text_of(message.get("id")) or text_of(row.get("uuid"))
        parts: list[dict[str, Json]] = []
        requests: list[NewEvent] = []
        for block in _blocks(message.get("content")):
            if block.get("type") != "tool_use":
                parts.append(_part(block))
                continue
            name = text_of(block.get("name"))
            part, requested = self._calls.requested(
                block.get("id"), name, block.get("input"), "assistant", when, message_id
            )
            parts.append(part)
            requests.append(requested)
        events = [
            vocabulary.message_added(
                role="assistant", parts=parts, message_id=message_id, occurred_at=when
            )
        ]
        usage = message.get("usage")
        if isinstance(usage, dict) and message.get("model") != SYNTHETIC:
            stop = text_of(message.get("stop_reason"))
            events.append(
                vocabulary.model_called(
                    provider_name="anthropic",
                    response_model=text_of(message.get("model")),
                    response_id=text_of(message.get("id")),
                    finish_reasons=None if stop is None else [stop],
                    usage=usage_of(usage, _USAGE),
                    cost=cost_of(row.get("costUSD")),
                    occurred_at=when,
                )
            )
        if row.get("isApiErrorMessage") is True:
            events.append(
                vocabulary.error_raised(error_type=text_of(row.get("error")), occurred_at=when)
            )
        return events + requests

    def _user(self, row: dict[str, Json], message: dict[str, Json]) -> list[NewEvent]:
        when = time_of(row.get("timestamp"))
        parts: list[dict[str, Json]] = []
        results: list[NewEvent] = []
        others = 0
        for block in _blocks(message.get("content")):
            if block.get("type") != "tool_result":
                parts.append(_part(block))
                others += 1
                continue
            failed = block.get("is_error") is True
            part, answered = self._calls.answered(
                block.get("tool_use_id"), None, block.get("content"), when, failed=failed
            )
            parts.append(part)
            results.append(answered)
        role = "tool" if results and not others else "user"
        added = vocabulary.message_added(
            role=role, parts=parts, message_id=text_of(row.get("uuid")), occurred_at=when
        )
        return [added, *results]


def _blocks(content: Json) -> list[dict[str, Json]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [
        block if isinstance(block, dict) else {"type": "text", "text": str(block)}
        for block in list_of(content)
    ]


def _part(block: dict[str, Json]) -> dict[str, Json]:
    """A message part for a content block; what is not known keeps its own fields."""
    kind = block.get("type")
    if kind == "text" and isinstance(block.get("text"), str):
        return vocabulary.text_part(block["text"])
    if kind == "thinking" and isinstance(block.get("thinking"), str):
        return vocabulary.reasoning_part(block["thinking"])
    source = object_of(block.get("source"))
    if kind in ("image", "document") and source.get("type") == "base64":
        return {
            "type": "blob",
            "modality": kind,
            "mime_type": source.get("media_type"),
            "content": source.get("data"),
        }
    return block
