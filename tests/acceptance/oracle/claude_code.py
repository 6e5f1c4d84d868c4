"""Claude Code: what the rows of its session files mean.

A file is one session, or one subagent of it (`agentId`), a row for each thing that happened, in
the order in which they were written. Times go back and repeat; they order nothing.

- Rows of type `assistant` and `user` are the conversation, no others: `progress` shows what goes
  on meanwhile (also a subagent's rows again, which have a file of their own), `queue-operation`
  is what waits in the input line, `system` and `file-history-snapshot` are the program's own
  notes.
- One message of the model is written over several rows, a block each, with tool answers in
  between. A row is what was said at that point; `message.id` tells which rows are one message.
- `text` is said, `thinking` is thought. `tool_use` is the model's request: `id`, `name`, `input`.
- A row of the user that holds `tool_result` is no word of the user, but the tool's answer to the
  call `tool_use_id`; its `content`, a text or blocks, is the outcome. `is_error` true means it
  failed, which is also how a call that the user rejected comes back. Any other row of the user is
  the user's, also where the program wrote it in the user's name. The row's `uuid` names it.
- `message.usage` is the model's bill for the whole message, repeated on each of its rows as far
  as it was known then. So a message costs what its last row says, once. `input_tokens` are those
  that no cache served; cached ones are told apart. Money is not mentioned.
- A session does not say that it ends.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .building import Building
from .stating import Course, Said, Spent

_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)


def course(path: Path) -> Course:
    """The session of a file."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    building = Building()
    bills: dict[str, tuple[int, ...]] = {}
    for row in rows:
        if row["type"] == "assistant":
            _assistant(building, row["message"], bills)
        elif row["type"] == "user":
            _user(building, row)
        building.record()
    session = next(row["sessionId"] for row in rows if "sessionId" in row)
    agents = {row["agentId"] for row in rows if "agentId" in row}
    return building.course("claude-code", (session, *agents))


def _assistant(
    building: Building, message: dict[str, Any], bills: dict[str, tuple[int, ...]]
) -> None:
    blocks = message["content"]
    uses = [block for block in blocks if block["type"] == "tool_use"]
    first = building.next_call
    building.says(
        Said(
            "assistant",
            _joined(blocks, "text", "text"),
            _joined(blocks, "thinking", "thinking"),
            id=message["id"],
            asks=tuple(range(first, first + len(uses))),
        )
    )
    for use in uses:
        building.asks(use["id"], use["name"], use["input"], "assistant")
    bills[message["id"]] = tuple(message["usage"][name] for name in _TOKENS)
    totals = (sum(column) for column in zip(*bills.values(), strict=True))
    building.spent(Spent(len(bills), *totals))


def _user(building: Building, row: dict[str, Any]) -> None:
    content = row["message"]["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    results = [block for block in blocks if block["type"] == "tool_result"]
    numbers = tuple(building.waiting(result["tool_use_id"]) for result in results)
    role = "tool" if results else "user"
    building.says(Said(role, _joined(blocks, "text", "text"), id=row["uuid"], answers=numbers))
    for number, result in zip(numbers, results, strict=True):
        building.answers(number, result["content"], failed=result.get("is_error") is True)


def _joined(blocks: list[dict[str, Any]], kind: str, field: str) -> str:
    """What the blocks of a kind say; in the recorded sessions a row has at most one of a kind."""
    (text,) = [block[field] for block in blocks if block["type"] == kind] or [""]
    return str(text)
