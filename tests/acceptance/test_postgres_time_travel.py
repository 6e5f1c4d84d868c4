"""The commands of time travel on a PostgreSQL server answer as on a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli import main

APART = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|20\d\d-\d\d-\d\d[ T][\d:.]+Z")
"""What differs from store to store: ids of events, and times."""

ASKED = (
    ("append", "board/7", "task.added", '{"task_id": "1", "title": "Book"}', "--actor", "ann"),
    ("append", "board/7", "task.changed", '{"task_id": "1", "status": "completed"}'),
    ("blame", "board/7", "/tasks/1/status", "--reducer", "tasks", "--json"),
    ("bisect", "board/7", "tasks['1'].status == 'pending'", "--reducer", "tasks", "--every"),
    ("snapshot", "board/7", "--reducer", "tasks"),
    ("bisect", "board/7", "len(tasks) > 0", "--reducer", "tasks", "--monotone", "--json"),
    ("fork", "board/7", "--at", "2", "--into", "board/7b", "--key", "k", "--json"),
    ("fork", "board/7", "--at", "2", "--into", "board/7b", "--key", "k"),
    ("append", "board/7b", "task.added", '{"task_id": "2", "title": "Sing"}'),
    ("log", "board/7b", "--reverse", "--json"),
    ("diff", "board/7", "board/7b", "--reducer", "tasks"),
    ("diff", "board/7@2", "board/7b@@3", "--events", "--json"),
    ("lineage", "@1", "--tainted", "--json"),
    ("shadow", "tasks", "approvals", "--prefix", "board/", "--exit-code"),
)


def test_commands_of_time_travel_then_every_answer_as_on_a_file(
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is printed, where, and the exit code, is the same for the same history."""
    monkeypatch.chdir(tmp_path)
    for arguments in ASKED:
        told = []
        for url in ("sqlite:///one.db", postgres_url):
            code = main([*arguments, "--store", url])
            captured = capsys.readouterr()
            told.append((code, APART.sub("_", captured.out), APART.sub("_", captured.err)))
        assert told[0] == told[1], arguments
        expected = 1 if "--exit-code" in arguments else 0
        code, out, err = told[0]
        assert (code, err) == (expected, ""), arguments
        assert out, arguments
