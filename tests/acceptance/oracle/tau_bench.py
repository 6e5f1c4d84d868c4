"""tau-bench: what its trajectories mean.

A file holds one object for each time that a task was tried; `traj` is its OpenAI chat, in order.
Task and trial together name it.

- `role` is who speaks, `content` what is said; null says nothing. `name` is the speaker's name
  where there is one.
- `tool_calls` are the agent's requests; `function.arguments` is JSON in a text and means the
  value that it holds.
- A message of role `tool` is an answer: its `content` is the call's outcome, as the text that it
  is. It belongs to the call with its `tool_call_id` that still waits: the ids come from a cache
  and repeat within a session, a second call with a known id is a call of its own.
- Nothing marks an answer as an error. A text that begins with "Error:" is what the tool said.
- There are no tokens, no costs and no times. `reward` is the worth of the whole, known at the
  end.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .building import Building
from .stating import Course, Said, exact


def courses(path: Path) -> list[Course]:
    """The sessions of a results file, in its order."""
    return [_course(one) for one in json.loads(path.read_text())]


def _course(run: dict[str, Any]) -> Course:
    building = Building()
    for message in run["traj"]:
        name = message.get("name")
        if message["role"] == "tool":
            number = building.waiting(message["tool_call_id"])
            building.says(Said("tool", "", name=name, answers=(number,)))
            building.answers(number, message["content"])
        else:
            calls = message.get("tool_calls") or []
            first = building.next_call
            asks = tuple(range(first, first + len(calls)))
            building.says(Said(message["role"], message["content"] or "", name=name, asks=asks))
            for call in calls:
                function = call["function"]
                arguments = json.loads(function["arguments"])
                building.asks(call["id"], function["name"], arguments, "assistant")
        building.record()
    key = (run["task_id"], run["trial"])
    return building.course("tau-bench", key, ended=True, reward=exact(run["reward"]))
