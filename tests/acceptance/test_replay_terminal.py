"""``eventstore replay`` at a terminal: it is stepped through; everywhere else it is printed."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .conftest import EVENTSTORE, SECONDS_MAX, Command
from .test_cli_follow_status import read_until


@contextmanager
def at_a_terminal(
    folder: Path, environment: dict[str, str], *options: str, **extra: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command at a terminal of 80 by 24, and that terminal's other end."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [str(EVENTSTORE), "replay", "board/7", *options],
        cwd=folder,
        env={**environment, "LINES": "24", **extra},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    try:
        yield process, leader
    finally:
        process.kill()
        process.wait(SECONDS_MAX)
        os.close(leader)


def test_replay_is_called_at_a_terminal_then_keys_step_through_it(
    board: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    """The screen comes up at the first event, a key goes on, q leaves, and all is well."""
    with at_a_terminal(tmp_path, environment) as (process, leader):
        read_until(leader, "1 of 4 events")
        os.write(leader, b"f")
        read_until(leader, "2 of 4 events")
        # Typed ahead, and enter once too often: none of it is lost or taken for an error.
        os.write(leader, b"vvg3\r\r")
        read_until(leader, "3 of 4 events")
        os.write(leader, b"q")
        read_until(leader, "\x1b[?1049l")  # the screen there was before comes back
        assert process.wait(SECONDS_MAX) == 0


def test_replay_begins_at_a_version_then_the_stepper_opens_there(
    board: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    """--from says where, as it does for the printed steps."""
    with at_a_terminal(tmp_path, environment, "--from", "4") as (process, leader):
        read_until(leader, "4 of 4 events")
        os.write(leader, b"q")
        read_until(leader, "\x1b[?1049l")
        assert process.wait(SECONDS_MAX) == 0


def test_replay_is_told_to_end_then_the_terminal_is_as_it_was(
    board: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    """A signal ends it as one ends any program, but not before the screen is given back."""
    with at_a_terminal(tmp_path, environment) as (process, leader):
        read_until(leader, "1 of 4 events")
        process.terminate()
        read_until(leader, "\x1b[?1049l")
        assert process.wait(SECONDS_MAX) == -signal.SIGTERM


def test_replay_is_to_be_plain_then_it_is_printed_at_a_terminal_too(
    board: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    """With --plain, with a range, and where the terminal cannot be drawn on."""
    for options, extra in ((("--plain",), {}), (("--to", "4"), {}), ((), {"TERM": "dumb"})):
        with at_a_terminal(tmp_path, environment, *options, **extra) as (process, leader):
            shown = read_until(leader, "completed")
            assert process.wait(SECONDS_MAX) == 0
        assert "\x1b[?1049h" not in shown


def test_replay_goes_to_a_pipe_then_the_steps_are_printed(board: Command) -> None:
    """As they were before there was a stepper, with and without --plain."""
    assert board("replay", "board/7").stdout == board("replay", "board/7", "--plain").stdout
    assert "v4  task.changed" in board("replay", "board/7").stdout
