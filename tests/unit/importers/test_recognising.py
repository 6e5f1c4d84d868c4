"""What a file is taken for, by its content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cli.importers.recognising import NotRecognised, Recognised, recognise

CLAUDE = "claude/3f0c2a4e-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("name", "kind", "lines", "documents"),
    [
        ("openai_array.json", "openai", False, True),
        ("openai_container.json", "openai", False, True),
        ("openai_containers.jsonl", "openai", True, True),
        ("openai_lines.jsonl", "openai", True, False),
        ("broken.jsonl", "openai", True, False),
        ("tau_bench.json", "tau-bench", False, True),
        ("tau2_bench.json", "tau2-bench", False, True),
        ("adk_actions.json", "adk", False, True),
        ("adk_context.json", "adk", False, True),
        ("adk_camel.json", "adk", False, True),
        ("memory_bank.json", "memorybank", False, True),
        (f"{CLAUDE}.jsonl", "claude-code", True, False),
        (f"{CLAUDE}/subagents/agent-a1.jsonl", "claude-code", True, False),
    ],
)
def test_source_under_any_name_then_its_kind(
    name: str, kind: str, lines: bool, documents: bool, fixtures: Path, tmp_path: Path
) -> None:
    """The name says nothing: a copy under another one is the same."""
    copy = tmp_path / "x.dat"
    shutil.copy(fixtures / name, copy)
    found = recognise(copy)
    assert isinstance(found, Recognised)
    assert (found.kind, found.lines, found.documents) == (kind, lines, documents)


def test_subagents_file_then_its_session_and_agent(fixtures: Path) -> None:
    """The rows say whose file it is."""
    found = recognise(fixtures / CLAUDE / "subagents" / "agent-a1.jsonl")
    assert isinstance(found, Recognised)
    assert (found.session_id, found.agent_id) == (CLAUDE.removeprefix("claude/"), "a1")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", None),
        (b"\n \n", None),
        (b"MIT License\n\nCopyright", None),
        (b"\x00\x01binary", None),
        (b'{"users": {"ann": 1}}', None),
        (b"[1, 2]", None),
        (b'{"ann": ["When was I in the park?"]}', None),
        (b'{"ann": {"history": {"2026-01-02": "in the park"}}}', None),
        (b"[]", None),
        (b'{"question": 1}\n{"question": 2}\n', None),
        (b'[\n  {"role": "user",\n   "content": }\n]', 3),
        (b'{"messages": [\n{"role": "user", "content": "cut o', 1),
    ],
)
def test_no_session_then_why_and_where(content: bytes, line: int | None, tmp_path: Path) -> None:
    """What is no source says so; broken JSON with the line."""
    path = tmp_path / "file"
    path.write_bytes(content)
    found = recognise(path)
    assert isinstance(found, NotRecognised)
    assert found.line == line


def test_byte_order_mark_then_recognised(tmp_path: Path) -> None:
    """Editors on some systems put it there."""
    path = tmp_path / "chat.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([{"role": "user", "content": "hi"}]).encode())
    assert isinstance(recognise(path), Recognised)


def test_recorded_files_then_each_its_kind(recorded: Path) -> None:
    """All real files are what their folder says, and what is no session is none."""
    for path in sorted(recorded.rglob("*")):
        if not path.is_file() or path.parent == recorded:
            continue
        found = recognise(path)
        folder = path.relative_to(recorded).parts[0]
        if any(part in path.name for part in ("LICENSE", "domain", "probing_questions")):
            assert isinstance(found, NotRecognised), path
        else:
            assert isinstance(found, Recognised), path
            assert found.kind == folder
