"""tau2-bench results: simulations of a user and an agent who both write and both call tools."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
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
    title_of,
    usage_of,
)
from .openai import content_parts
from .parsing import Json

KIND: Final = "tau2-bench"

TAIL_FIELDS: Final = frozenset(
    {
        "timestamp",
        "end_time",
        "duration",
        "termination_reason",
        "agent_cost",
        "user_cost",
        "reward_info",
    }
)
"""A simulation's fields that are known at its end; the others are known when it starts."""

_USAGE: dict[str, Sequence[str]] = {
    "input_tokens": ("prompt_tokens", "input_tokens"),
    "output_tokens": ("completion_tokens", "output_tokens"),
}


class Tau2Bench:
    """The mapper of one simulation. `shared` is the stream that holds what all simulations of the
    file have in common; `models` are the language models of assistant and user."""

    def __init__(
        self, shared: str | None = None, models: dict[str, str | None] | None = None
    ) -> None:
        self._calls = ToolCalls()
        self._shared = shared
        self._models = models or {}

    def start(self, head: Json) -> NewEvent:
        """`head` holds `simulation`, the fields that stood at its start, and its `task`."""
        fields = object_of(head)
        simulation = object_of(fields.get("simulation"))
        task = object_of(fields.get("task"))
        purpose = text_of(object_of(task.get("description")).get("purpose"))
        title = f"task {simulation.get('task_id')} trial {simulation.get('trial')}"
        source = {"kind": KIND}
        if self._shared is not None:
            source["shared"] = self._shared
        return vocabulary.session_started(
            conversation_id=text_of(simulation.get("id")),
            title=title_of(title if purpose is None else f"{title}: {purpose}"),
            source=source,
            attributes=fields,
            occurred_at=time_of(simulation.get("start_time")),
        )

    def record(self, record: Json) -> list[NewEvent]:
        """A message of assistant, user or a tool."""
        message = object_of(record)
        role = message.get("role")
        if not isinstance(role, str):
            return kept_whole("other", record)
        when = time_of(message.get("timestamp"))
        if role == "tool":
            return self._answer(message, when)
        parts = content_parts(message.get("content"))
        reasoning = text_of(message.get("reasoning"))
        if reasoning is not None:
            parts.insert(0, vocabulary.reasoning_part(reasoning))
        requests: list[NewEvent] = []
        for call in list_of(message.get("tool_calls")):
            name = text_of(call.get("name"))
            requestor = text_of(call.get("requestor")) or role
            part, requested = self._calls.requested(
                call.get("id"), name, call.get("arguments"), requestor, when
            )
            parts.append(part)
            requests.append(requested)
        added = vocabulary.message_added(role=role, parts=parts, occurred_at=when)
        return [added, *self._model_call(role, message, when), *requests]

    def end(self, tail: Json) -> list[NewEvent]:
        """How and when it ended, what it cost, how it was judged."""
        fields = object_of(tail)
        judged = object_of(fields.get("reward_info"))
        outcome = {"reward": judged["reward"]} if "reward" in judged else {}
        return [
            vocabulary.session_ended(
                reason=text_of(fields.get("termination_reason")),
                outcome=outcome,
                attributes={key: fields[key] for key in fields if key != "termination_reason"},
                occurred_at=time_of(fields.get("end_time")),
            )
        ]

    def _answer(self, message: dict[str, Json], when: datetime | None) -> list[NewEvent]:
        failed = message.get("error") is True
        part, answered = self._calls.answered(
            message.get("id"), None, message.get("content"), when, failed=failed
        )
        return [vocabulary.message_added(role="tool", parts=[part], occurred_at=when), answered]

    def _model_call(
        self, role: str, message: dict[str, Json], when: datetime | None
    ) -> list[NewEvent]:
        usage = message.get("usage")
        if not isinstance(usage, dict):
            return []
        finish = text_of(object_of(message.get("raw_data")).get("finish_reason"))
        return [
            vocabulary.model_called(
                request_model=self._models.get(role),
                finish_reasons=None if finish is None else [finish],
                usage=usage_of(usage, _USAGE),
                cost=cost_of(message.get("cost")),
                attributes={"role": role},
                occurred_at=when,
            )
        ]
