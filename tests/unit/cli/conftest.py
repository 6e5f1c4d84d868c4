"""The command run inside the test's own process, on a store of the test's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli import main


@dataclass(frozen=True)
class Ran:
    """How one call of the command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls ``eventstore`` with the arguments given, in an empty folder, without a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("EVENTSTORE_URL", "FORCE_COLOR", "EVENTSTORE_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> Ran:
        code = main(arguments)
        captured = capsys.readouterr()
        return Ran(int(code), captured.out, captured.err)

    return call


@pytest.fixture
def board(run: Run) -> Run:
    """The same, on a store that holds ``board/7`` with three events."""
    run("append", "board/7", "task.added", '{"task_id": "1", "title": "Book a room"}')
    run("append", "board/7", "task.changed", '{"task_id": "1", "status": "completed"}')
    run("append", "board/7", "task.added", '{"task_id": "2", "title": "Order food"}')
    return run
