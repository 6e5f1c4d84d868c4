"""Subagents of Claude Code: found beside their session, in streams of their own, linked to it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cli.importers import claude_code_folder, import_paths
from eventstore import EventStore, RecordedEvent

SESSION = "3f0c2a4e-0000-4000-8000-000000000001"
PARENT = f"session/{SESSION}"


async def cause_of(store: EventStore, agent: str, parent: str = PARENT) -> RecordedEvent | None:
    """The event that is named as the start of a subagent."""
    (started,) = await store.read(f"{parent}/agent/{agent}", limit=1).list()
    assert started.type == "session.started"
    if started.causation_id is None:
        return None
    return await store.event(started.causation_id)


async def test_session_file_then_its_subagents_linked_to_the_call(
    store: EventStore, fixtures: Path
) -> None:
    """The agent of a tool call is caused by the request of that call."""
    report = await import_paths(store, [fixtures / "claude" / f"{SESSION}.jsonl"])
    assert len(report.sessions) == 3
    cause = await cause_of(store, "a1")
    assert cause is not None
    assert (cause.stream, cause.type, cause["tool_call_id"]) == (
        PARENT,
        "tool.requested",
        "toolu_2",
    )
    caused = [event.stream async for event in store.caused_by(cause.id)]
    assert caused == [f"{PARENT}/agent/a1"]


async def test_agent_that_compacts_then_linked_to_the_row_before_it(
    store: EventStore, fixtures: Path
) -> None:
    """No call started it; its rows name their parent in the session."""
    await import_paths(store, [fixtures / "claude"])
    cause = await cause_of(store, "acompact-b")
    assert cause is not None
    assert (cause.stream, cause.type, cause["message_id"]) == (PARENT, "message.added", "u9")


async def test_agent_named_nowhere_then_linked_by_its_prompt(
    store: EventStore, fixtures: Path, tmp_path: Path
) -> None:
    """Before the first progress row, only the prompt tells which call it was."""
    folder = shutil.copytree(fixtures / "claude", tmp_path / "c")
    path = folder / f"{SESSION}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"agentId"' not in line))
    await import_paths(store, [path])
    cause = await cause_of(store, "a1")
    assert cause is not None
    assert cause["tool_call_id"] == "toolu_2"


@pytest.mark.parametrize("row", ["agent_progress", "toolUseResult"])
async def test_agent_with_another_prompt_then_linked_by_the_row_that_names_it(
    row: str, store: EventStore, fixtures: Path, tmp_path: Path
) -> None:
    """A progress row names agent and call, and so does the call's result; each is enough."""
    folder = shutil.copytree(fixtures / "claude", tmp_path / "c")
    path = folder / f"{SESSION}.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"agentId"' not in line or row in line]
    path.write_text("".join(kept))
    agent = folder / SESSION / "subagents" / "agent-a1.jsonl"
    agent.write_text(agent.read_text().replace("Find the toys.", "Something else."))
    await import_paths(store, [path])
    cause = await cause_of(store, "a1")
    assert cause is not None
    assert cause["tool_call_id"] == "toolu_2"


async def test_subagent_without_its_session_then_imported_unlinked(
    store: EventStore, fixtures: Path
) -> None:
    """A subagent's file alone is a stream all the same."""
    report = await import_paths(
        store, [fixtures / "claude" / SESSION / "subagents" / "agent-a1.jsonl"]
    )
    assert [one.stream for one in report.sessions] == [f"{PARENT}/agent/a1"]
    assert await cause_of(store, "a1") is None


async def test_recorded_subagents_then_both_linked(store: EventStore, recorded: Path) -> None:
    """The recorded session started one agent by a call, and one to compact itself."""
    await import_paths(store, [recorded / "claude-code"])
    parent = "session/258c7280-ae70-4798-800f-63464d01a85d"
    called = await cause_of(store, "a881341", parent)
    assert called is not None
    assert called["tool_call_id"] == "toolu_01VmaERAwhb19LGUwu9GenaK"
    compacted = await cause_of(store, "acompact-fffbd0", parent)
    assert compacted is not None
    assert compacted.stream == parent


def test_configured_folder_then_that_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Claude Code keeps sessions in its own folder, wherever that was put."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    assert claude_code_folder() == tmp_path / ".claude" / "projects"
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "other"))
    assert claude_code_folder() == tmp_path / "other" / "projects"


async def test_subagent_before_its_session_then_linked_when_that_comes(
    store: EventStore, fixtures: Path, tmp_path: Path
) -> None:
    """What stands is not changed: a second session.started names the cause, once, and the cause
    finds the subagent as if it had been imported in order."""
    agents = sorted((fixtures / "claude" / SESSION / "subagents").glob("*.jsonl"))
    first = await import_paths(store, agents)
    assert [one.stream for one in first.sessions] == [
        f"{PARENT}/agent/a1",
        f"{PARENT}/agent/acompact-b",
    ]
    assert await cause_of(store, "a1") is None
    alone = shutil.copy(fixtures / "claude" / f"{SESSION}.jsonl", tmp_path)
    report = await import_paths(store, [alone])
    assert [one.stream for one in report.sessions] == [PARENT]
    for agent, type_name in (("a1", "tool.requested"), ("acompact-b", "message.added")):
        last = (await store.read(f"{PARENT}/agent/{agent}").list())[-1]
        assert (last.type, dict(last.data)) == ("session.started", {})
        assert last.causation_id is not None
        cause = await store.event(last.causation_id)
        assert cause is not None
        assert (cause.stream, cause.type) == (PARENT, type_name)
        assert [event.stream async for event in store.caused_by(cause.id)] == [last.stream]
    head = await store.head()
    again = await import_paths(store, [alone, *agents])
    assert await store.head() == head
    assert (again.rejected, again.totals()["new_events"]) == (False, 0)


async def test_subagent_and_then_its_session_in_one_run_then_the_same_link_told_once(
    store: EventStore, fixtures: Path, tmp_path: Path
) -> None:
    """The session is read before its subagents wherever they are named, so no second event is
    needed; a subagent that stood alone counts the link as its new event."""
    folder = fixtures / "claude" / SESSION / "subagents"
    session = fixtures / "claude" / f"{SESSION}.jsonl"
    await import_paths(store, [folder / "agent-a1.jsonl"])
    report = await import_paths(store, [folder, session])
    new = {one.stream: one.new_events for one in report.sessions}
    assert new[f"{PARENT}/agent/a1"] == 1
    cause = await cause_of(store, "acompact-b")
    assert cause is not None
    started = [
        event
        async for event in store.read(f"{PARENT}/agent/acompact-b")
        if event.type == "session.started"
    ]
    assert len(started) == 1
