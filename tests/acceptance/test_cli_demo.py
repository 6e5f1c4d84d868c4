"""``eventstore demo`` as a newcomer runs it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from .conftest import EVENTSTORE, SECONDS_MAX, Command

COMMAND_LINE = re.compile(r"^  (eventstore .+)$", re.MULTILINE)


def test_demo_then_its_three_commands_run(command: Command, shell: Command, tmp_path: Path) -> None:
    """The demo leaves a file, and ends with three commands that work on it."""
    ran = command("demo")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "eventstore-demo.db").is_file()
    lines = COMMAND_LINE.findall(ran.stdout)
    assert [line.split()[1] for line in lines] == ["log", "diff", "state"]
    for line in lines:
        after = shell(line)
        assert (after.returncode, after.stderr) == (0, ""), line
        assert "session/offsite" in after.stdout or "Plan the team off-site" in after.stdout


def test_demo_on_a_path_with_spaces_then_its_commands_still_run(
    command: Command, shell: Command
) -> None:
    """The commands are quoted as a shell needs them."""
    for line in COMMAND_LINE.findall(command("demo", "--store", "a b$c.db").stdout):
        assert shell(line).returncode == 0, line


def test_demo_then_what_it_is_there_to_show(command: Command) -> None:
    """A conflict that is merged and told, one mail under one key, then state, diff and replay."""
    out = command("demo").stdout
    for words in (
        "conflict  ",
        "while you were writing",
        "send_mail failed",
        "done and not done again",
        "nothing is written twice",
        "1 mail sent",
        "\nstate  ",
        "\ndiff  ",
        "\nreplay  ",
    ):
        assert words in out, words
    assert out.splitlines()[-4].startswith("go on from here")


def test_demo_without_its_folder_on_the_path_then_its_commands_run_as_printed(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """As `make demo` runs it, nothing named eventstore is on the path: what is pasted works."""
    environment = {**environment, "PATH": "/usr/bin:/bin"}
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "eventstore").symlink_to(EVENTSTORE)
    pasted = subprocess.run(
        [".venv/bin/eventstore", "demo"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=True,
    ).stdout.splitlines()[-3:]
    assert all(line.startswith("  .venv/bin/eventstore ") for line in pasted)
    ran = subprocess.run(
        ["/bin/sh", "-e", "-c", "\n".join(pasted)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
