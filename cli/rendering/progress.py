"""Progress bars for long work: on a terminal's stderr only, so that no pipe ever sees one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .safe import visible

Advance = Callable[[int, int], None]
"""Told (done, in all) as the work goes on."""


@contextmanager
def progress(label: str, *, rate: str = "") -> Iterator[Advance]:
    """A bar under `label` inside the block, gone after it; nothing where stderr is no terminal.
    `rate` names what is done a second, where that is to be shown."""
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        """What was done a second lately."""

        def render(self, task: Task) -> Text:
            """See rich."""
            return Text(f"{task.speed:,.0f} {rate}/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}", markup=False),  # it may hold a name
        BarColumn(),
        MofNCompleteColumn(),
        *([Speed()] if rate else []),
        TimeRemainingColumn(),
    )
    # What is printed meanwhile goes to standard output as it is, which may be a file.
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bars:
        task = bars.add_task(visible(label), total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextmanager
def status(*, quiet: bool = False) -> Iterator[Callable[[str], None] | None]:
    """A line that is written over inside the block, and gone after it; None where stderr is no
    terminal, or `quiet`: nobody would see it."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    with console.status("") as shown:
        yield lambda text: shown.update(Text(visible(text), no_wrap=True, overflow="ellipsis"))


def _silent(done: int, total: int) -> None:
    """Nobody is looking."""
