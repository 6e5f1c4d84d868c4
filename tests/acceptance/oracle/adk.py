"""ADK: what the events of its session files mean, in their three shapes.

A file is one session; `events` are what happened, in order.

- `author` is who acts: `user`, or the name of an agent. `content.role` is the side of the model's
  conversation that the event goes to, so a tool's answer has the role `user` there; but it is no
  word of the user: what holds a `function_response` is the tool's. An event without `content`
  says nothing.
- Parts: `text` is said; `function_call` is a request, by the agent; `function_response` is its
  answer and `response` the outcome. Older shapes give calls no `id`; there an answer belongs to
  the call of its name that waits longest. Nothing marks an answer as an error.
- `actions.state_delta` (the oldest shape: `options.update_context`) sets keys of the shared
  state. `state` (`context`) beside the events is that state as it is at the end: what no event
  brought about was set beside them, and is known at the end only.
- `event_logs` (the oldest shapes) tell which event came out of which model's answer, and its
  usage: prompt tokens went in, candidates' tokens came out. Newer shapes leave usage out. No
  costs.
- A session does not say that it ends.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .building import Building
from .stating import Course, Said, exact


def course(path: Path) -> Course:
    """The session of a file."""
    document = json.loads(path.read_text())
    building = Building()
    usages = {
        log["event_id"]: log["model_response"]["usage_metadata"]
        for log in document.get("event_logs", [])
    }
    for event in document["events"]:
        if "content" in event:
            _speech(building, event)
        if event["id"] in usages:
            usage = usages[event["id"]]
            tokens = (usage["prompt_token_count"], usage["candidates_token_count"], 0, 0)
            building.spends(tokens)
        building.shares(event.get("actions", {}).get("state_delta", {}))
        building.shares(event.get("options", {}).get("update_context", {}))
        building.record()
    shared = document["state"] if "state" in document else document["context"]
    return building.course("adk", (document["id"],), shared=exact(shared))


def _speech(building: Building, event: dict[str, Any]) -> None:
    parts = event["content"]["parts"]
    calls = [part["function_call"] for part in parts if "function_call" in part]
    answers = [part["function_response"] for part in parts if "function_response" in part]
    (text,) = [part["text"] for part in parts if "text" in part] or [""]
    first = building.next_call
    numbers = tuple(building.waiting(one.get("id"), one["name"]) for one in answers)
    role = "tool" if answers else "user" if event["author"] == "user" else "assistant"
    building.says(
        Said(
            role,
            text,
            name=event["author"],
            id=event["id"],
            asks=tuple(range(first, first + len(calls))),
            answers=numbers,
        )
    )
    for call in calls:
        building.asks(call.get("id"), call["name"], call["args"], "assistant")
    for number, answer in zip(numbers, answers, strict=True):
        building.answers(number, answer["response"])
