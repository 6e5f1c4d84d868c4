"""What an error comes to: exit code and one line."""

from __future__ import annotations

import errno

import pytest

from cli.exits import ExitCode, Stop, explain, wrong_usage
from eventstore import Busy, Conflict, Corrupt, InvalidEvent


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (Stop("no store", next_step="make one"), 1, "eventstore: no store; make one"),
        (wrong_usage("bad word"), 2, "eventstore: bad word"),
        (Busy("x.db: locked"), 1, "eventstore: x.db: locked; try again"),
        (
            Conflict("s", 3, 5),
            1,
            "eventstore: stream 's': expected version 3, found version 5 (append 0);"
            " load again and decide again",
        ),
        (InvalidEvent("tag: 300 bytes"), 1, "eventstore: tag: 300 bytes; mend the input"),
        (
            Corrupt("position 3: bad hash", kind="hash"),
            4,
            "eventstore: position 3: bad hash (kind: hash);"
            " stop, keep the file, restore from a backup",
        ),
        (
            FileNotFoundError(2, "No such file", "x"),
            1,
            "eventstore: No such file 'x'; check the path",
        ),
    ],
)
def test_error_then_code_and_line(error: Exception, code: int, line: str) -> None:
    """Each error has its exit code, and says what to do next, once."""
    assert explain(error) == (code, line)


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (errno.EACCES, "permission"),
        (errno.EROFS, "file system that can be written"),
        (errno.ENOSPC, "make room"),
        (errno.EISDIR, "not a folder"),
    ],
)
def test_error_of_the_system_then_its_own_next_step(number: int, step: str) -> None:
    """A full disk asks for other things than a missing permission."""
    assert step in explain(OSError(number, "words", "x"))[1]


def test_unknown_error_then_its_message_is_not_shown() -> None:
    """The message of a foreign exception may hold a payload, so it is not repeated."""
    code, line = explain(KeyError("hunter2"))
    assert code == ExitCode.REFUSED
    assert "KeyError" in line
    assert "hunter2" not in line


def test_message_of_many_lines_then_one_line() -> None:
    """A log or a CI job gets one line for one error."""
    _, line = explain(Stop("a\nb\x1b[31m"))
    assert line == "eventstore: a b\\x1b[31m"
