"""JSON pointers of --path."""

from __future__ import annotations

from typing import Any

import pytest

from cli.exits import ExitCode, Stop
from cli.pointers import resolve

STATE: dict[str, Any] = {"a": {"b/c": [10, {"~x": None}]}, "": 1}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [("", STATE), ("/a/b~1c/0", 10), ("/a/b~1c/1/~0x", None), ("/", 1)],
)
def test_pointer_then_value(pointer: str, value: Any) -> None:
    """A pointer leads where RFC 6901 says."""
    assert resolve(STATE, pointer) == value


@pytest.mark.parametrize(
    ("pointer", "there"),
    [
        ("/x", "the top holds a"),
        *((f"/a/b~1c/{index}", "/a/b~1c is a list of 2") for index in ("2", "00", "²", "-1", "")),
        ("/a/b~1c/0/y", "no obj"),
    ],
)
def test_nothing_there_then_what_is_there(pointer: str, there: str) -> None:
    """A pointer that leads nowhere is answered with what stands there."""
    with pytest.raises(Stop) as stopped:
        resolve(STATE, pointer)
    assert stopped.value.code == ExitCode.REFUSED
    assert there in stopped.value.next_step


@pytest.mark.parametrize("text", ["a", "/a/~", "/a/~2"])
def test_no_pointer_then_usage_error(text: str) -> None:
    """A path without its slash is wrong usage, and so is a ~ that stands for nothing."""
    with pytest.raises(Stop) as stopped:
        resolve(STATE, text)
    assert stopped.value.code == ExitCode.USAGE
