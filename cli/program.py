"""This program itself: its version, and how a user of this shell calls it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

NAME = "eventstore"


def program_version() -> str:
    """The version of the distribution that is installed."""
    return version("agent-eventstore")


def program_call() -> str:
    """The words that call this program from here, quoted for a shell.

    ``eventstore`` where the shell finds this very program under that name; otherwise the path by
    which it was run, or that of the script beside the running Python, or ``python -m cli``.
    """
    script = _script()
    found = shutil.which(NAME)
    if found is not None and (script is None or os.path.samefile(found, script)):
        return NAME
    if script is None:
        return f"{shlex.quote(sys.executable)} -m {__package__}"
    return shlex.quote(_shortest(script))


def _script() -> str | None:
    """The console script that runs here, by the name it was called by where it is running."""
    called = sys.argv[0]
    if Path(called).name == NAME and os.path.isfile(called):
        return called
    beside = Path(sys.executable).with_name(NAME)
    return str(beside) if beside.is_file() else None


def _shortest(script: str) -> str:
    """The path seen from the current folder where that is below it. A bare name would be looked
    up on the PATH, so it gets its folder."""
    path, here = Path(script), Path.cwd()
    if path.is_absolute() and path.is_relative_to(here):
        path = path.relative_to(here)
    return str(path) if len(path.parts) > 1 else f"./{path}"
