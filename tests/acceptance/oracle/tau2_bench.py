"""tau2-bench: what its simulations mean.

A file holds simulations; a simulation is a list of messages, in the order in which things
happened (`turn_idx` counts them). An agent and a simulated user talk, each driven by a model, and
both may call tools.

- `role` is who speaks. `content` is what is said; null says nothing, which is not the same as
  saying an empty text, but reads as one. `reasoning` would be thought, not said.
- `tool_calls` are requests: `id`, `name`, `arguments` as JSON, and `requestor`, who asks. The
  user's own calls count as much as the agent's.
- A message of role `tool` is the answer to the call whose `id` it bears. It says nothing of its
  own: its `content` is the call's outcome. `error` true means that the call failed.
- `usage` and `cost` are of the model's answer that made this message: prompt tokens went in,
  completion tokens came out. The greeting has no usage: nobody asked a model. Costs are US
  dollars.
- `errors` of a message tell of an earlier attempt of the model that was thrown away. It is no
  call, no message and no error of the session: the benchmark's own counts leave it out.
- The simulation's end is its `termination_reason`, its worth `reward_info.reward`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .building import Building
from .stating import Course, Said, exact


def courses(path: Path) -> list[Course]:
    """The sessions of a results file, in its order."""
    return [_course(one) for one in json.loads(path.read_text())["simulations"]]


def _course(simulation: dict[str, Any]) -> Course:
    building = Building()
    for message in simulation["messages"]:
        if message["role"] == "tool":
            number = building.waiting(message["id"])
            building.says(Said("tool", "", answers=(number,)))
            building.answers(number, message["content"], failed=message["error"] is True)
        else:
            _speech(building, message)
        building.record()
    return building.course(
        "tau2-bench",
        (simulation["id"],),
        ended=True,
        end_reason=simulation["termination_reason"],
        reward=exact(simulation["reward_info"]["reward"]),
    )


def _speech(building: Building, message: dict[str, Any]) -> None:
    calls = message["tool_calls"] or []
    first = building.next_call
    asks = tuple(range(first, first + len(calls)))
    building.says(
        Said(message["role"], message["content"] or "", message["reasoning"] or "", asks=asks)
    )
    for call in calls:
        building.asks(call["id"], call["name"], call["arguments"], call["requestor"])
    if message["usage"] is not None:
        usage = message["usage"]
        tokens = (usage["prompt_tokens"], usage["completion_tokens"], 0, 0)
        building.spends(tokens, message["cost"])
