"""``eventstore demo`` as a newcomer runs it."""

from __future__ import annotations

import re
from pathlib import Path

from .conftest import Command

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
