"""What `reducers.agent` offers."""

from __future__ import annotations

import reducers.agent
from reducers import Reducer

REDUCERS = "agent approvals conversation errors memory session tasks tool_calls usage"
STATES = (
    "AgentState Approval Approvals Conversation Errors Forgotten Memory MemoryEntry Message"
    " RaisedError Response Session Summary Task Tasks ToolCall ToolCalls ToolError Totals Usage"
)
FUNCTIONS = "session_stream shorten summary title"


def test_the_facade_changes_then_this_test_is_changed_knowingly() -> None:
    """The public names are these and no others, and each is there."""
    names = f"{REDUCERS} {STATES} {FUNCTIONS} vocabulary".split()
    assert sorted(reducers.agent.__all__) == sorted(names)
    assert all(hasattr(reducers.agent, name) for name in names)


def test_a_reducer_is_imported_by_its_name_then_it_bears_that_name() -> None:
    """`from reducers.agent import usage` is the reducer, not the module of that name, and
    snapshots are kept under the same word."""
    for name in REDUCERS.split():
        reducer = getattr(reducers.agent, name)
        assert isinstance(reducer, Reducer)
        assert reducer.name == name
