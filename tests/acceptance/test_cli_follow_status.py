"""What ``import --follow`` says while it follows: a line at a terminal, nothing in a pipe."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import EVENTSTORE, SECONDS_MAX, Command

FIRST, SECOND = '{"role": "user", "content": "hello"}\n', '{"role": "assistant", "content": "hi"}\n'


def follow_at_a_terminal(
    folder: Path, environment: dict[str, str], *options: str
) -> tuple[subprocess.Popen[bytes], int]:
    """The command with its stderr at a terminal of 80 columns, and that terminal's other end."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [str(EVENTSTORE), "import", "chat.jsonl", "--follow", *options],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    return process, leader


def read_until(leader: int, words: str) -> str:
    """What the terminal shows up to some words; it fails where they do not come."""
    seen, deadline = b"", time.monotonic() + SECONDS_MAX
    while words.encode() not in seen:
        left = deadline - time.monotonic()
        assert left > 0, f"{words!r} never came: {seen!r}"
        if select.select([leader], [], [], left)[0]:
            seen += os.read(leader, 65_536)
    return seen.decode(errors="ignore")  # what was read may end within a character


def wait_for_events(folder: Path, environment: dict[str, str]) -> None:
    """Waits until two events are in the store beside the one that was there before."""
    log = [str(EVENTSTORE), "log", "--follow", "-n", "3", "--json"]
    subprocess.run(log, cwd=folder, env=environment, check=True, timeout=SECONDS_MAX)


@pytest.mark.parametrize(
    ("options", "stream"), [((), "session/chat-"), (("--id", "support-42"), "session/support-42")]
)
def test_followed_at_a_terminal_then_a_line_that_keeps_in_step_with_one_session(
    options: tuple[str, ...], stream: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Who looks on sees that it follows, and what came last; the report comes at the end. A file
    that grows, under an id or not, is one session, however often it is looked at."""
    chat = tmp_path / "chat.jsonl"
    chat.write_text(FIRST)
    process, leader = follow_at_a_terminal(tmp_path, environment, *options)
    try:
        read_until(leader, f"following, 2 new events, last {stream}")
        with chat.open("a") as file:
            file.write(SECOND)
        read_until(leader, f"following, 3 new events, last {stream}")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=SECONDS_MAX)
    finally:
        process.kill()
        process.wait(SECONDS_MAX)
        os.close(leader)
    assert process.returncode == 0
    assert b"1 session, 2 records" in out
    assert b"following" not in out


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_followed_in_a_pipe_then_nothing_until_the_report(
    options: tuple[str, ...], tmp_path: Path, environment: dict[str, str], command: Command
) -> None:
    """No status reaches a file; what it follows is imported all the same."""
    command("append", "s", "t")
    (tmp_path / "chat.jsonl").write_text(FIRST)
    process = subprocess.Popen(
        [str(EVENTSTORE), "import", "chat.jsonl", "--follow", *options],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for_events(tmp_path, environment)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS_MAX)
    finally:
        process.kill()
        process.wait(SECONDS_MAX)
    assert (process.returncode, err) == (0, "")
    assert "following" not in out


def test_followed_at_a_terminal_for_a_machine_then_no_line(
    tmp_path: Path, environment: dict[str, str], command: Command
) -> None:
    """--json is for machines, wherever stderr goes."""
    command("append", "s", "t")
    (tmp_path / "chat.jsonl").write_text(FIRST)
    process, leader = follow_at_a_terminal(tmp_path, environment, "--json")
    try:
        wait_for_events(tmp_path, environment)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=SECONDS_MAX)
        shown = os.read(leader, 65_536) if select.select([leader], [], [], 0)[0] else b""
    except OSError:  # Linux says EIO when the last writer has closed a terminal
        shown = b""
    finally:
        process.kill()
        process.wait(SECONDS_MAX)
        os.close(leader)
    assert process.returncode == 0
    assert b'"report":"total"' in out
    assert b"following" not in shown
