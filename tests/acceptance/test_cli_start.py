"""What a command imports before it does anything: most of the time that a short one takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .conftest import SECONDS_MAX, Command

COMMANDS = """
import contextlib, io, sys
from cli import main

for line in sys.stdin.read().splitlines():
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
        assert main(line.split()) == 0, line
names = {name.split(".")[0] for name in sys.modules}
print(*sorted(names & set(sys.argv[1:])))
"""

LINES = """state board/7 --at 2 --json
log board/7 --limit 2 --type task.added
diff board/7 1 3
blame board/7 /tasks/tasks/1/status
bisect board/7 len(tasks.tasks)>1
fork board/7 --into again
lineage @1
shadow tasks tasks
import sessions
streams
"""

HEAVY = ("asyncpg", "pydantic", "pydantic_core", "rich", "sqlalchemy", "textual", "projections")


def test_commands_run_in_a_pipe_then_nothing_heavy_is_imported(
    board: Command, environment: dict[str, str]
) -> None:
    """A command starts with what it needs: no views, no drawing, no driver of another engine, and
    no pydantic, which typer would ask about every option."""
    sessions = Path(environment["HOME"], "sessions")
    sessions.mkdir()
    (sessions / "chat.json").write_text('[{"role": "user", "content": "Is there a train?"}]')
    ran = subprocess.run(
        [sys.executable, "-c", COMMANDS, *HEAVY, "simpleeval"],
        input=LINES,
        cwd=environment["HOME"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert (ran.stdout.split(), ran.stderr) == (["simpleeval"], "")
