"""Options that are taken as typed, and those that typer still converts or refuses."""

from __future__ import annotations

import pytest

from .conftest import Run


@pytest.mark.parametrize("limit", ["2", "02", "+2", " 2"])
def test_number_typed_then_the_same_as_typer_takes_it(board: Run, limit: str) -> None:
    """A plain number goes past typer's conversion, another spelling goes through it."""
    ran = board("log", "board/7", "--limit", limit)
    assert (ran.code, len(ran.out.splitlines())) == (0, 2)


@pytest.mark.parametrize("limit", ["-1", "0", "x", "1.5", ""])
def test_number_is_none_or_out_of_bounds_then_refused(board: Run, limit: str) -> None:
    """What is to be refused still is, in one line that names the option."""
    ran = board("blame", "board/7", "/tasks", f"--limit={limit}")
    assert (ran.code, ran.out) == (2, "")
    assert "--limit" in ran.err
    assert ran.err.count("\n") == 1


def test_option_repeated_then_all_are_taken(board: Run) -> None:
    """A list of texts is one, given once, twice or not at all."""
    both = board("log", "board/7", "--type", "task.added", "--type", "task.changed")
    assert len(both.out.splitlines()) == 3
    assert len(board("log", "board/7", "--type", "task.added").out.splitlines()) == 2


def test_argument_is_missing_then_named(board: Run) -> None:
    """A command is not run without what it needs."""
    ran = board("blame", "board/7")
    assert (ran.code, ran.out) == (2, "")
    assert "PATH" in ran.err
