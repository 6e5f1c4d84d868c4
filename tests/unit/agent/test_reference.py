"""The reference of agent events says what the code does."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import NewEvent
from reducers import fold
from reducers.agent import (
    Approval,
    Approvals,
    Conversation,
    Errors,
    Forgotten,
    Memory,
    MemoryEntry,
    Message,
    RaisedError,
    Session,
    Task,
    Tasks,
    ToolCall,
    ToolCalls,
    ToolError,
    Usage,
    agent,
)
from reducers.agent import vocabulary as v

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "agent-events.md").read_text()
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]

STATES = {
    "session": (Session,),
    "conversation": (Conversation, Message),
    "tool_calls": (ToolCalls, ToolCall, ToolError),
    "memory": (Memory, MemoryEntry, Forgotten),
    "usage": (Usage,),
    "tasks": (Tasks, Task),
    "approvals": (Approvals, Approval),
    "errors": (Errors, RaisedError),
}


def _row(name: str) -> str:
    (row,) = re.findall(rf"^\| `{re.escape(name)}` \|.*$", PAGE, re.MULTILINE)
    return str(row)


def test_every_type_has_a_row_and_an_example_then_their_fields_are_the_builders() -> None:
    """A field that the page names is one that the builder takes, and all of them are named."""
    assert [example["type"] for example in EXAMPLES] == list(v.TYPES)
    for example in EXAMPLES:
        builder = getattr(v, example["type"].replace(".", "_"))
        takes = set(builder.__kwdefaults__ or {}) | set(builder.__annotations__)
        takes -= {"metadata", "return"}
        if example["type"] == v.IMPORT_RAW:
            takes = {"content", "reason"}
        fields = _row(example["type"]).split("|")[3]
        flat = re.sub(r"\{[^}]*\}|\([^)]*\)|\[\]|\*", "", fields)
        assert {name.strip() for name in flat.split(",")} == takes, example["type"]
        assert set(example["data"]) <= takes


def test_every_part_of_the_state_has_a_row_then_it_names_all_fields() -> None:
    """What a state holds is on the page."""
    assert list(STATES) == list(agent.parts)
    for part, classes in STATES.items():
        words = set(re.findall(r"\w+", _row(part)))
        for cls in classes:
            assert {field.name for field in msgspec.structs.fields(cls)} <= words, cls


def test_the_examples_are_folded_then_each_with_a_meaning_changes_the_state(record: Any) -> None:
    """The examples are events that the reducers read, in the order of the page."""
    state = agent.initial
    for event in record(*[NewEvent(example["type"], example["data"]) for example in EXAMPLES]):
        before, state = state, fold([event], agent, state)
        silent = event.type in (v.SOURCE_RECORDED, v.IMPORT_RAW)
        assert (state is before) == silent, event.type


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_the_python_on_the_page_is_run_then_its_assertions_hold(block: str, tmp_path: Path) -> None:
    """Whoever pastes an example sees it work."""
    script = tmp_path / "example.py"
    script.write_text(block)
    runpy.run_path(str(script), run_name="__main__")
