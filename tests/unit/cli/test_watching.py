"""Progress bars of long reads: for who waits at a terminal, and for nobody else."""

from __future__ import annotations

import asyncio
import io
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest

from cli import main
from cli.rendering.progress import progress
from eventstore import EventStore, NewEvent
from eventstore.limits import APPEND_EVENTS_MAX

from .conftest import Run

EVENTS = APPEND_EVENTS_MAX + 1_000
REDUCER = """
from reducers import Reducer

counted = Reducer("counted", initial=0)

@counted.on("t")
def count(state, event):
    return state + 1
"""


class Terminal(io.StringIO):
    """Standard error as a terminal, which keeps what was drawn on it."""

    def isatty(self) -> bool:
        """It is."""
        return True


@pytest.fixture(scope="module")
def long_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that is made once, with a stream that is long and one that is not."""
    path = tmp_path_factory.mktemp("long") / "eventstore.db"

    async def fill() -> None:
        async with EventStore.open(f"sqlite:///{path}") as store:
            for first in range(0, EVENTS, 1_000):
                await store.append("long", [NewEvent("t", first)] * 1_000)
            await store.append("short", [NewEvent("t", 1)] * 100)

    asyncio.run(fill())
    return path


@pytest.fixture
def long(run: Run, long_store: Path) -> Run:
    """The command, beside a copy of that store and a reducer."""
    shutil.copy(long_store, long_store.name)
    Path("counting.py").write_text(REDUCER)
    return run


@contextmanager
def at_terminal() -> Iterator[Terminal]:
    """Standard error is a terminal of 80 columns inside the block. (No fixture: between a test and
    its fixtures pytest puts its own standard error in place.)"""
    drawn = Terminal()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TERM", "xterm-256color")
        patched.setenv("COLUMNS", "80")
        patched.setattr(sys, "stderr", drawn)
        yield drawn


REDUCED = ("--reducer", "counting.py:counted")
FOLDING = {
    "state": ("state", "long", *REDUCED),
    "diff": ("diff", "long", "1", str(EVENTS), *REDUCED),
    "snapshot": ("snapshot", "long", "--take", *REDUCED),
    "replay": ("replay", "long", "--from", str(EVENTS), *REDUCED),
}
PRINTING = {
    "replay": ("replay", "long", *REDUCED),
    "export": ("export", "long", "--as", "events"),
}


@pytest.mark.parametrize("arguments", FOLDING.values(), ids=FOLDING.keys())
def test_a_long_stream_is_folded_at_a_terminal_then_a_bar_shows_how_far(
    long: Run, arguments: tuple[str, ...]
) -> None:
    """On standard error, and wiped away at the end; of the output nothing is different."""
    with at_terminal() as terminal:
        shown = long(*arguments)
    assert (shown.code, "folding" in terminal.getvalue()) == (0, True)
    assert re.search(rf"/({EVENTS}|{EVENTS - 1})\b", terminal.getvalue())
    assert terminal.getvalue().endswith("\x1b[2K")
    assert long(*arguments).out == shown.out


@pytest.mark.parametrize("arguments", FOLDING.values(), ids=FOLDING.keys())
def test_a_machine_reads_then_no_bar(long: Run, arguments: tuple[str, ...]) -> None:
    """--json draws nothing, wherever standard error goes."""
    with at_terminal() as terminal:
        assert long(*arguments, "--json").code == 0
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("arguments", (FOLDING | PRINTING).values())
def test_standard_error_is_no_terminal_then_no_bar(long: Run, arguments: tuple[str, ...]) -> None:
    """Whoever keeps what a command complained of finds nothing else there."""
    assert (long(*arguments).code, long(*arguments).err) == (0, "")


def test_a_short_stream_then_no_bar(long: Run) -> None:
    """What is done at once needs no bar, and does not pay for one."""
    with at_terminal() as terminal:
        assert long("state", "short", *REDUCED).code == 0
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("arguments", PRINTING.values(), ids=PRINTING.keys())
def test_long_output_goes_to_a_file_then_a_bar_shows_how_far(
    long: Run, arguments: tuple[str, ...]
) -> None:
    """Nothing of it gets into the file. Beside lines on a terminal, or in a pager, there is none:
    they show how far it is."""
    with at_terminal() as terminal:
        piped = long(*arguments)
        assert (piped.code, terminal.getvalue()) == (0, "")
        with Path("out.txt").open("w", encoding="utf-8") as file, redirect_stdout(file):
            assert main(arguments) == 0
    assert arguments[0][:-1] in terminal.getvalue()
    assert Path("out.txt").read_text(encoding="utf-8") == piped.out


def test_a_bar_has_a_name_with_brackets_then_they_are_shown() -> None:
    """A tenant may be called what would end a style, or a shell's colour."""
    with at_terminal() as terminal, progress("verifying [/red]\x1b[9J") as advance:
        advance(1, 2)
    assert "verifying [/red]" in terminal.getvalue()
    assert "\x1b[9J" not in terminal.getvalue()
