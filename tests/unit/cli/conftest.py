"""The command run inside the test's own process, on a store of the test's own."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli import main
from eventstore import EventStore, NewEvent


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


@pytest.fixture(scope="session")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that is made once: ``board/7`` with three events."""
    path = tmp_path_factory.mktemp("boards") / "eventstore.db"
    events = [
        NewEvent("task.added", {"task_id": "1", "title": "Book a room"}),
        NewEvent("task.changed", {"task_id": "1", "status": "completed"}),
        NewEvent("task.added", {"task_id": "2", "title": "Order food"}),
    ]

    async def fill() -> None:
        async with EventStore.open(f"sqlite:///{path}") as store:
            for event in events:
                await store.append("board/7", [event])

    asyncio.run(fill())
    return path


@pytest.fixture
def board(run: Run, boards: Path) -> Run:
    """The command, in a folder with a copy of that store where it looks for one."""
    shutil.copy(boards, boards.name)
    return run
