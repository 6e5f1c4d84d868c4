"""The state of imported sessions says what the import's report says."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.importers import import_paths
from eventstore import EventStore
from reducers.agent import agent


@pytest.mark.parametrize("folder", ["adk", "claude-code", "memorybank", "tau-bench", "tau2-bench"])
async def test_recorded_sessions_then_state_and_report_agree(
    folder: str, store: EventStore, recorded: Path
) -> None:
    """Messages, turns, calls, failures, tokens and cost are counted by one rule."""
    report = await import_paths(store, [recorded / folder])
    for session in report.sessions:
        state = (await agent.load(store, session.stream)).state
        told = (
            len(state.conversation.messages),
            state.conversation.turns,
            state.tool_calls.requested,
            state.tool_calls.failures,
            state.usage.input_tokens,
            state.usage.output_tokens,
            state.usage.cache_read_input_tokens,
            state.usage.cache_creation_input_tokens,
            state.usage.cost,
        )
        assert told == (
            session.messages,
            session.turns,
            session.tool_calls,
            session.errors,
            session.input_tokens,
            session.output_tokens,
            session.cache_read_input_tokens,
            session.cache_creation_input_tokens,
            session.cost,
        ), session.stream
        assert state.session.outcome.get("reward") == session.reward
