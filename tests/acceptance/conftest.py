"""The real command, as a process of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from eventstore import EventStore, NewEvent

EVENTSTORE = Path(sys.executable).with_name("eventstore")
"""The console script that belongs to the Python that runs the tests."""

SECONDS_MAX = 60
"""One call of the command. It takes well under a second; a machine under load is given time."""

VIEWS = """
import sqlalchemy as sa

from projections import Projection, RelationalView, Upsert

table = sa.Table(
    "notes",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)
projection = Projection("notes")


@projection.on("note.added")
def added(event):
    if event.data["text"].startswith("bad"):
        raise ValueError(event.data["text"])
    return Upsert(event.data["id"], {"text": event.data["text"]})


notes = RelationalView(projection, table, attempts=2)
"""
"""A user's views.py: notes, of which those that begin with "bad" cannot be applied."""

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A shell's environment without anything that changes output, `eventstore` on its PATH."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "PATH": f"{EVENTSTORE.parent}{os.pathsep}{kept.get('PATH', '')}",
        "HOME": str(tmp_path),
        "COLUMNS": "80",
        "TERM": "xterm-256color",
    }


@pytest.fixture
def command(tmp_path: Path, environment: dict[str, str]) -> Command:
    """Runs ``eventstore`` in an empty folder; standard input is empty unless given."""

    def run(*arguments: str, stdin: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(EVENTSTORE), *arguments],
            input=stdin,
            cwd=tmp_path,
            env={**environment, **extra},
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )

    return run


@pytest.fixture
def shell(tmp_path: Path, environment: dict[str, str]) -> Command:
    """Runs a line as a shell does, in the same folder."""

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that is made once: ``board/7`` and ``board/8`` with four events each."""
    path = tmp_path_factory.mktemp("boards") / "eventstore.db"

    async def fill() -> None:
        async with EventStore.open(f"sqlite:///{path}") as store:
            for stream, title in (("board/7", "Book a room"), ("board/8", "Order food")):
                added = [
                    NewEvent("task.added", {"task_id": str(number), "title": title})
                    for number in (1, 2, 3)
                ]
                changed = NewEvent("task.changed", {"task_id": "1", "status": "completed"})
                await store.append(stream, [*added, changed], actor="ann")

    asyncio.run(fill())
    return path


@pytest.fixture
def board(command: Command, boards: Path, tmp_path: Path) -> Command:
    """The command, in a folder with a copy of that store where it looks for one."""
    shutil.copy(boards, tmp_path / boards.name)
    return command
