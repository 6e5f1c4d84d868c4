"""The commands that are printed to be pasted stay whole on a narrow terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

NARROW = {"COLUMNS": "40", "LINES": "24", "TERM": "xterm", "NO_COLOR": "1"}


def _on_a_terminal(arguments: list[str], folder: Path) -> str:
    """What a command prints on a terminal of 40 columns."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *arguments],
        cwd=folder,
        env={**os.environ, **NARROW},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    printed = b""
    try:
        while some := os.read(leader, 65536):
            printed += some
    except OSError:
        pass  # Linux tells the end of a pseudo-terminal so
    os.close(leader)
    assert process.wait(60) == 0
    return printed.decode().replace("\r\n", "\n")


def test_commands_are_longer_than_the_terminal_then_each_is_one_line(tmp_path: Path) -> None:
    """What is copied from the demo's end has no line break in the middle of a command."""
    said = _on_a_terminal(["demo", "--store", "a-file-with-a-long-name.db"], tmp_path)
    commands = re.findall(r"^  (\S*eventstore .*)$", said, re.MULTILINE)
    assert len(commands) == 3
    assert all(command.endswith("a-file-with-a-long-name.db") for command in commands)
