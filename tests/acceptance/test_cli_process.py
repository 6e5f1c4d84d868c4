"""The command as a process: pipes, signals, terminals, start-up."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import EVENTSTORE, SECONDS_MAX, Command


def start(tmp_path: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """The command in the background, its output in pipes."""
    return subprocess.Popen(
        [str(EVENTSTORE), *arguments],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_follow_then_another_process_appends_and_it_is_shown(
    board: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    """log --follow shows what other processes write, as it comes."""
    with start(tmp_path, environment, "log", "board/7", "--follow", "-n", "5", "--json") as reader:
        assert reader.stdout is not None
        assert [json.loads(reader.stdout.readline())["version"] for _ in range(4)] == [1, 2, 3, 4]
        board("append", "board/7", "later")
        assert json.loads(reader.stdout.readline())["type"] == "later"
        assert reader.wait(SECONDS_MAX) == 0


def test_interrupted_then_quiet_with_130(
    board: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Ctrl-C ends a command without a traceback."""
    with start(tmp_path, environment, "log", "--follow") as reader:
        assert reader.stdout is not None
        for _ in range(8):
            reader.stdout.readline()
        reader.send_signal(signal.SIGINT)
        out, err = reader.communicate(timeout=SECONDS_MAX)
    assert (reader.returncode, out, err) == (130, "", "")


@pytest.mark.parametrize("arguments", [("log", "--json"), ("log",), ("replay", "many")])
def test_reader_goes_away_then_quiet(
    arguments: tuple[str, ...], board: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    """``| head`` ends the command without a word; a shell sees the code of a closed pipe."""
    board("append", "many", "-", stdin='{"type": "task.added", "data": {}}\n' * 5_000)
    with start(tmp_path, environment, *arguments) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.stdout.close()
        assert writer.stderr is not None
        assert writer.stderr.read() == ""
        assert writer.wait(SECONDS_MAX) == 141


def on_terminal(tmp_path: Path, environment: dict[str, str], *arguments: str) -> str:
    """What the command prints when its standard output and error are a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [str(EVENTSTORE), *arguments],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    seen = bytearray()
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline and select.select([master], [], [], SECONDS_MAX)[0]:
        try:
            part = os.read(master, 65_536)
        except OSError:  # Linux says EIO when the last writer has closed a terminal
            break
        if not part:
            break
        seen += part
    os.close(master)
    assert process.wait(SECONDS_MAX) == 0
    return seen.decode()


@pytest.mark.parametrize(
    "arguments", [("streams",), ("diff", "board/7", "1"), ("verify",), ("log", "--help")]
)
def test_terminal_then_colour(
    arguments: tuple[str, ...], board: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    """A person at a terminal sees tables and colour."""
    assert "\x1b[" in on_terminal(tmp_path, environment, *arguments)


@pytest.mark.parametrize("arguments", [("log",), ("log", "--help")])
def test_no_color_on_a_terminal_then_no_colour(
    arguments: tuple[str, ...], board: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    """NO_COLOR is honoured: what is left may be bold, never coloured."""
    shown = on_terminal(tmp_path, {**environment, "NO_COLOR": "1"}, *arguments)
    assert re.search(r"\x1b\[[0-9;]*3[0-7]", shown) is None


def test_piped_verify_then_no_progress_bar(board: Command) -> None:
    """A bar is for a terminal: nothing of it reaches a file."""
    ran = board("verify")
    assert ran.stderr == ""
    assert ran.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("log", "board/7"), 0),
        (("append", "board/7", "t", "--expected", "9"), 1),
        (("log", "--store", "typo.db"), 1),
        (("log", "--nonsense"), 2),
        (("nonsense",), 2),
        ((), 2),
        (("append", "board/7", "t", "{"), 2),
    ],
)
def test_command_then_its_exit_code(arguments: tuple[str, ...], code: int, board: Command) -> None:
    """0 done, 1 the store said no, 2 wrong usage; an error is one line on stderr."""
    ran = board(*arguments)
    assert ran.returncode == code
    assert "Traceback" not in ran.stderr
    if code and arguments:
        assert ran.stdout == ""
        assert ran.stderr.startswith("eventstore: ")
        assert ran.stderr.count("\n") == 1


def test_mistyped_command_then_the_right_one_is_named(command: Command) -> None:
    """A command that is almost right is suggested."""
    assert "'log'" in command("lgo").stderr


def test_payload_and_password_then_in_no_error(board: Command) -> None:
    """Whatever goes wrong, what is secret stays out of the terminal's history and the CI's log."""
    failures = [
        board("append", "s", "t", '{"token": "hunter2" '),
        board("append", "s", "t", '{"token": "hunter2", "token": "hunter2"}'),
        board("append", "s", "t", '{"n": 1e999, "token": "hunter2"}'),
        board("append", "s", "-", stdin='{"type": "t", "dta": "hunter2"}\n'),
        board("log", "--store", "postgresql://ann:hunter2@127.0.0.1:1/db"),
        board("log", "--store", "mysql://ann:hunter2@127.0.0.1/db"),
    ]
    for ran in failures:
        assert ran.returncode in (1, 2)
        assert "hunter2" not in ran.stdout + ran.stderr


def test_user_modules_of_our_names_then_no_harm(board: Command, tmp_path: Path) -> None:
    """A user's own reducers.py or cli.py beside the store is not taken for ours."""
    for name in ("reducers", "cli", "projections", "typer"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    ran = board("state", "board/7")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_file_copied_alone_then_everything_is_there(command: Command, tmp_path: Path) -> None:
    """A closed store is one file: whoever copies it has all of it."""
    command("append", "s", "t", '{"n": 1}')
    assert not (tmp_path / "eventstore.db-wal").exists()
    shutil.copy(tmp_path / "eventstore.db", tmp_path / "copy.db")
    assert command("log", "--store", "copy.db").stdout == command("log").stdout != ""


def test_module_run_then_the_same_command(board: Command, tmp_path: Path) -> None:
    """``python -m cli`` is the command too."""
    ran = subprocess.run(
        [sys.executable, "-m", "cli", "log", "--json"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert ran.stdout == board("log", "--json").stdout


def test_locale_without_utf8_then_json_is_utf8(board: Command) -> None:
    """What a machine reads is UTF-8, whatever the locale."""
    board("append", "s", "t", '{"city": "Köln"}')
    ran = board("log", "s", "--json", PYTHONUTF8="0", LC_ALL="C", PYTHONCOERCECLOCALE="0")
    assert json.loads(ran.stdout)["data"] == {"city": "Köln"}
    assert board("log", "s", PYTHONIOENCODING="ascii").returncode == 0
