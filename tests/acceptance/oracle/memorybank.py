"""MemoryBank: what its long-term memory of users means.

A file holds users, each under a name that may have space around it; `history` has what was said on
each day. A day of a user is a session.

- A turn is a `query` of the user and the `response` that was given: two messages, in this order.
- Each turn is remembered: it is a memory of that user, in the words of both. Turns have no ids:
  user, day and the turn's number on that day together name one.
- There are no tools, no tokens and no costs. A day does not say that it ends.
- The user's other fields describe the user, not a day.
"""

from __future__ import annotations

import json
from pathlib import Path

from .building import Building
from .stating import Course, Remembered, Said


def courses(path: Path) -> list[Course]:
    """The days of a bank's users, in its order."""
    return [
        _course(name.strip(), day, turns)
        for name, user in json.loads(path.read_text()).items()
        for day, turns in user["history"].items()
    ]


def _course(user: str, day: str, turns: list[dict[str, str]]) -> Course:
    building = Building()
    for number, turn in enumerate(turns, 1):
        building.says(Said("user", turn["query"]))
        building.says(Said("assistant", turn["response"]))
        words = f"{user}: {turn['query']}\nAI: {turn['response']}"
        building.remembers(Remembered(f"{user}/{day}/{number}", words, user))
        building.record()
    return building.course("memorybank", (f"{user}/{day}",))
