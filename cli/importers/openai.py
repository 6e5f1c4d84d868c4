"""OpenAI chat messages: an array, ``{"messages": [...]}``, one message a line, and tau-bench's
array of trajectories, which holds the same messages under `traj`."""

from __future__ import annotations

from typing import Final

import msgspec

from eventstore import NewEvent
from reducers.agent import vocabulary

from .mapping import (
    ToolCalls,
    kept_whole,
    list_of,
    object_of,
    text_of,
    time_of,
    title_of,
)
from .parsing import Json, encode_sorted

KIND: Final = "openai"
TAU_BENCH: Final = "tau-bench"

_decode = msgspec.json.Decoder(dict).decode
_ROLES = {"developer": "system", "function": "tool"}


def is_message(value: Json) -> bool:
    """Whether a value is a chat message."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("role"), str)
        and any(key in value for key in ("content", "tool_calls", "function_call"))
    )


class OpenAi:
    """The mapper of a list of chat messages."""

    kind = KIND

    def __init__(self) -> None:
        self._calls = ToolCalls()

    def start(self, head: Json) -> NewEvent:
        """`head` are the fields beside `messages`, where the file has any."""
        fields = object_of(head)
        return vocabulary.session_started(
            conversation_id=text_of(fields.get("id")),
            title=title_of(fields.get("title")),
            source={"kind": self.kind},
            attributes=fields or None,
        )

    def record(self, record: Json) -> list[NewEvent]:
        """A message, and the calls it asks for or answers."""
        if not is_message(record):
            return kept_whole("other", record)
        role = record["role"]
        role = _ROLES.get(role, role)
        when = time_of(record.get("timestamp"))
        message_id = text_of(record.get("id"))
        name = text_of(record.get("name"))
        if role == "tool":
            part, answered = self._calls.answered(
                record.get("tool_call_id"), name, record.get("content"), when
            )
            added = vocabulary.message_added(
                role=role, parts=[part], message_id=message_id, name=name, occurred_at=when
            )
            return [added, answered]
        parts = content_parts(record.get("content"))
        requests: list[NewEvent] = []
        for call in _calls_of(record):
            function = object_of(call.get("function")) or object_of(call.get("custom"))
            tool = text_of(function.get("name"))
            arguments = function["arguments"] if "arguments" in function else function.get("input")
            requestor = "user" if role == "user" else "assistant"
            part, requested = self._calls.requested(
                call.get("id"), tool, read_arguments(arguments), requestor, when, message_id
            )
            parts.append(part)
            requests.append(requested)
        added = vocabulary.message_added(
            role=role, parts=parts, message_id=message_id, name=name, occurred_at=when
        )
        return [added, *requests]

    def end(self, tail: Json) -> list[NewEvent]:
        """Chat messages have no end of their own."""
        return kept_whole("session", tail)


class TauBench(OpenAi):
    """The mapper of one tau-bench trajectory: the same messages, with a task and a reward."""

    kind = TAU_BENCH

    def start(self, head: Json) -> NewEvent:
        """`head` is what was set before the run: task and trial."""
        fields = object_of(head)
        task, trial = fields.get("task_id"), fields.get("trial")
        return vocabulary.session_started(
            title=title_of(f"task {task} trial {trial}"),
            source={"kind": self.kind},
            attributes=fields,
        )

    def end(self, tail: Json) -> list[NewEvent]:
        """What came of it: the reward, and `info` with the task and how it was judged."""
        fields = object_of(tail)
        outcome = {key: fields[key] for key in ("reward",) if key in fields}
        others = {key: fields[key] for key in fields if key != "reward"}
        return [vocabulary.session_ended(outcome=outcome, attributes=others)]


def content_parts(content: Json) -> list[dict[str, Json]]:
    """The message parts of `content`: a text, a list of parts, or nothing."""
    if isinstance(content, str):
        return [vocabulary.text_part(content)]
    parts: list[dict[str, Json]] = []
    for part in list_of(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(part, str):
            parts.append(vocabulary.text_part(part))
        elif kind == "text" and isinstance(part.get("text"), str):
            parts.append(vocabulary.text_part(part["text"]))
        elif kind == "image_url":
            url = object_of(part.get("image_url")).get("url", part.get("image_url"))
            parts.append({"type": "uri", "modality": "image", "uri": url})
        elif isinstance(part, dict):
            parts.append(part)
    return parts


def read_arguments(arguments: Json) -> Json:
    """A call's arguments as JSON; the text itself where it is no JSON object that the store would
    give back the same."""
    if not isinstance(arguments, str):
        return arguments
    try:
        value = _decode(arguments)
        if arguments.count('"') == encode_sorted(value).count(b'"'):
            return value
    except (msgspec.DecodeError, RecursionError, OverflowError, UnicodeEncodeError):
        pass
    return arguments


def _calls_of(message: dict[str, Json]) -> list[dict[str, Json]]:
    calls = [object_of(call) for call in list_of(message.get("tool_calls"))]
    if isinstance(message.get("function_call"), dict):
        calls.append({"function": message["function_call"]})
    return calls
