"""What the command line itself gets wrong: exit code 2, whatever the command."""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import version
from pathlib import Path

import pytest

from eventstore.limits import NAME_BYTES_MAX

from .conftest import Run


def test_version_then_program_python_and_sqlite(run: Run) -> None:
    """A report of a defect has to name these three."""
    ran = run("--version")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        f"eventstore {version('agent-eventstore')}, Python {platform.python_version()},"
        f" SQLite {sqlite3.sqlite_version}\n"
    )


@pytest.mark.parametrize("scheme", ["mysql", "nosuch"])
@pytest.mark.parametrize("command", ["log", "append s t", "verify", "doctor", "import chat.json"])
def test_unknown_scheme_then_usage_error_without_the_password(
    board: Run, scheme: str, command: str
) -> None:
    """A URL that no engine knows is wrong usage for every command, and its password stays out."""
    Path("chat.json").write_text('[{"role": "user", "content": "hi"}]')
    ran = board(*command.split(), "--store", f"{scheme}://ann:hunter2@127.0.0.1/db")
    assert ran.code == 2
    assert repr(scheme) in ran.err
    assert "hunter2" not in ran.err


@pytest.mark.parametrize("name", ["", "a\nb", "x" * (NAME_BYTES_MAX + 1)])
@pytest.mark.parametrize(
    "command",
    [
        ("log", "NAME"),
        ("log", "--type", "NAME"),
        ("log", "--tag", "NAME"),
        ("state", "NAME"),
        ("diff", "NAME", "1"),
        ("replay", "NAME"),
        ("export", "NAME"),
        ("snapshot", "NAME"),
        ("streams", "--tenant", "NAME"),
        ("verify", "--tenant", "NAME"),
        ("append", "NAME", "t"),
        ("append", "s", "NAME"),
        ("append", "s", "t", "--key", "NAME"),
        ("append", "s", "t", "--actor", "NAME"),
        ("append", "s", "t", "--tag", "NAME"),
        ("append", "s", "t", "--causation", "NAME"),
        ("append", "s", "t", "--correlation", "NAME"),
        ("append", "s", "t", "--tenant", "NAME"),
        ("import", "eventstore.db", "--id", "NAME"),
    ],
)
def test_argument_can_be_no_name_then_usage_error(
    board: Run, command: tuple[str, ...], name: str
) -> None:
    """A name that no store takes was typed wrongly: the store is not even asked."""
    ran = board(*(name if word == "NAME" else word for word in command))
    assert ran.code == 2
    assert ran.err.startswith("eventstore: ")
    assert ran.err.count("\n") == 1
    assert board("log", "--after", "3").out == ""


def test_name_is_as_long_as_may_be_then_found(run: Run) -> None:
    """A stream may use up all bytes that a name has, though a session's prefix would go beyond."""
    name = "x" * NAME_BYTES_MAX
    assert run("append", name, "t").code == 0
    assert name in run("state", name).out
    assert run("state", "y" * NAME_BYTES_MAX).code == 1


@pytest.mark.parametrize("option", ["--head", "--write-head"])
def test_head_file_is_a_folder_then_usage_error(board: Run, option: str) -> None:
    """A folder, or nothing, is no place for a head."""
    assert board("verify", option, ".").code == 2
    assert board("verify", option, "").code == 2


def test_tenant_is_not_there_then_verify_says_so(board: Run) -> None:
    """A mistyped tenant is not called sound."""
    ran = board("verify", "--tenant", "acem")
    assert (ran.code, ran.out) == (1, "")
    assert "'acem'" in ran.err
