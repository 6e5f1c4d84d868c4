"""ADK sessions: today's shape (`state`, `actions`) and the older one (`context`, `options`), with
fields in snake case, or in the camel case that newer versions write."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from eventstore import NewEvent
from reducers.agent import vocabulary

from .mapping import (
    ToolCalls,
    kept_whole,
    list_of,
    object_of,
    text_of,
    time_of,
    usage_of,
)
from .parsing import Json

KIND: Final = "adk"

HEAD_FIELDS: Final = frozenset({"id", "app_name", "appName", "user_id", "userId"})
"""A session's fields that never change; the others are how it stands after its last event."""

_USAGE = {
    "input_tokens": ("prompt_token_count", "promptTokenCount"),
    "output_tokens": ("candidates_token_count", "candidatesTokenCount"),
    "cache_read_input_tokens": ("cached_content_token_count", "cachedContentTokenCount"),
}


def get(value: dict[str, Json], name: str) -> Json:
    """A field by its snake case name, in either case."""
    if name in value:
        return value[name]
    return value.get(re.sub("_([a-z])", lambda match: match[1].upper(), name))


def logged_answers(logs: Json) -> dict[str, dict[str, Json]]:
    """The models' answers in an older session's `event_logs`, by event id: where its events have
    no usage of their own, this is where it is told."""
    found: dict[str, dict[str, Json]] = {}
    for log in map(object_of, list_of(logs)):
        event_id = text_of(get(log, "event_id"))
        if event_id is not None:
            found[event_id] = object_of(get(log, "model_response"))
    return found


class Adk:
    """The mapper of one ADK session. `answers` are the models' answers that stand beside the
    events, by the event that came out of each (`logged_answers`)."""

    def __init__(self, answers: dict[str, dict[str, Json]] | None = None) -> None:
        self._calls = ToolCalls()
        self._answers = answers or {}
        self._shared: dict[str, Json] = {}

    def start(self, head: Json) -> NewEvent:
        """`head` are the session's id, application and user."""
        fields = object_of(head)
        app = text_of(get(fields, "app_name"))
        return vocabulary.session_started(
            conversation_id=text_of(fields.get("id")),
            title=app,
            agent_name=app,
            source={"kind": KIND},
            attributes={key: fields[key] for key in fields if key != "id"},
        )

    def record(self, record: Json) -> list[NewEvent]:
        """An ADK event: a message with its calls and results, a change of state, or both."""
        event = object_of(record)
        when = time_of(event.get("timestamp"))
        events: list[NewEvent] = []
        content = event.get("content")
        if isinstance(content, dict):
            events += self._message(event, content, when)
        for answer in (event, self._answers.get(text_of(event.get("id")) or "", {})):
            usage = get(answer, "usage_metadata")
            if isinstance(usage, dict):
                events.append(_model_call(answer, usage, when))
                break
        delta = self._delta(event)
        if delta:
            self._shared.update(delta)
            events.append(vocabulary.context_changed(delta=delta, occurred_at=when))
        code = text_of(get(event, "error_code"))
        if code is not None:
            message = text_of(get(event, "error_message"))
            events.append(
                vocabulary.error_raised(error_type=code, message=message, occurred_at=when)
            )
        return events or kept_whole("event", record, when)

    def end(self, tail: Json) -> list[NewEvent]:
        """How the session stands. Its state is told where the events have not told it all."""
        fields = object_of(tail)
        when = time_of(get(fields, "last_update_time"))
        state = fields.get("state")
        if not isinstance(state, dict):
            state = fields.get("context")
        missing = {
            key: value
            for key, value in object_of(state).items()
            if key not in self._shared or self._shared[key] != value
        }
        if missing:
            self._shared.update(missing)
            return [vocabulary.context_changed(delta=missing, occurred_at=when)]
        return kept_whole("session", tail, when)

    def _message(
        self, event: dict[str, Json], content: dict[str, Json], when: datetime | None
    ) -> list[NewEvent]:
        parts: list[dict[str, Json]] = []
        calls: list[NewEvent] = []
        message_id = text_of(event.get("id"))
        answers = 0
        for part in map(object_of, list_of(content.get("parts"))):
            call = get(part, "function_call")
            response = get(part, "function_response")
            if isinstance(call, dict):
                name = text_of(call.get("name"))
                made, told = self._calls.requested(
                    call.get("id"), name, call.get("args"), "assistant", when, message_id
                )
                parts.append(made)
                calls.append(told)
            elif isinstance(response, dict):
                answers += 1
                name = text_of(response.get("name"))
                made, told = self._calls.answered(
                    response.get("id"), name, response.get("response"), when
                )
                parts.append(made)
                calls.append(told)
            else:
                parts.append(_part(part))
        author = text_of(event.get("author"))
        added = vocabulary.message_added(
            role=_role(author, content, answers > 0),
            parts=parts,
            message_id=message_id,
            name=author,
            occurred_at=when,
        )
        return [added, *calls]

    def _delta(self, event: dict[str, Json]) -> dict[str, Json]:
        for holder, name in (("actions", "state_delta"), ("options", "update_context")):
            delta = get(object_of(event.get(holder)), name)
            if isinstance(delta, dict) and delta:
                return delta
        return {}


def _role(author: str | None, content: dict[str, Json], answers: bool) -> str:
    """ADK says user, model or nothing; a tool's answer bears the role user there."""
    if answers:
        return "tool"
    if author == "user" or (author is None and content.get("role") == "user"):
        return "user"
    return "assistant"


def _part(part: dict[str, Json]) -> dict[str, Json]:
    text = part.get("text")
    if isinstance(text, str):
        if part.get("thought") is True:
            return vocabulary.reasoning_part(text)
        return vocabulary.text_part(text)
    inline = get(part, "inline_data")
    if isinstance(inline, dict):
        mime_type = get(inline, "mime_type")
        return {"type": "blob", "mime_type": mime_type, "content": inline.get("data")}
    file = get(part, "file_data")
    if isinstance(file, dict):
        return {
            "type": "uri",
            "mime_type": get(file, "mime_type"),
            "uri": get(file, "file_uri"),
        }
    kind = next((key for key in part if isinstance(part[key], dict)), "part")
    return {"type": kind, **part}


def _model_call(event: dict[str, Json], usage: dict[str, Json], when: datetime | None) -> NewEvent:
    finish = text_of(get(event, "finish_reason"))
    return vocabulary.model_called(
        response_model=text_of(get(event, "model_version")),
        finish_reasons=None if finish is None else [finish],
        usage=usage_of(usage, _USAGE),
        occurred_at=when,
    )
