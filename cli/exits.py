"""How a command ends: the closed set of exit codes, and the one line an error is told in.

Every exception that leaves a command is translated here and nowhere else. A line says what
happened and what to do next; it never holds a payload, a password or a traceback.
"""

from __future__ import annotations

import enum
import errno
import os
import traceback

import typer

from eventstore import Corrupt, EventStoreError, InvalidEvent
from eventstore.names import check_name

from .rendering.safe import one_line

LINE_CHARACTERS_MAX = 1_000
"""An error line is read by a person, or kept in a log: longer ones are cut."""

OS_STEPS = {
    errno.EACCES: "give yourself permission to it",
    errno.ENOENT: "check the path",
    errno.EISDIR: "name a file, not a folder",
    errno.EROFS: "choose a place on a file system that can be written",
    errno.ENOSPC: "make room on the disk, then try again",
    errno.EDQUOT: "make room in your quota, then try again",
    errno.EMFILE: "raise the limit of open files, then try again",
}
"""What to do about an error of the system, by its number."""

TRACEBACK_VARIABLE = "EVENTSTORE_TRACEBACK"


class ExitCode(enum.IntEnum):
    """What a shell or a CI job sees. The last two are 128 and the signal, as shells count."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    REJECTED = 3
    CORRUPT = 4
    INTERRUPTED = 130
    PIPE_CLOSED = 141


class Stop(Exception):
    """A command ends here: `message` for its user, `next_step` what to do, `code` for the shell."""

    def __init__(
        self, message: str, *, next_step: str = "", code: ExitCode = ExitCode.REFUSED
    ) -> None:
        self.message = message
        self.next_step = next_step
        self.code = code
        super().__init__(message)


def wrong_usage(message: str, next_step: str = "") -> Stop:
    """A `Stop` with exit code 2: the command was not given what it needs."""
    return Stop(message, next_step=next_step, code=ExitCode.USAGE)


def check_argument(name: str, value: str | None, kind: str) -> None:
    """Refuses what cannot be the name of a `kind`, given as the argument or option `name`; None
    was not given. Raises `Stop` (exit code 2): the store was not even asked."""
    if value is not None:
        try:
            check_name(kind, value)
        except InvalidEvent as exc:
            said = str(exc).removeprefix(f"{kind}: ")
            raise wrong_usage(f"{name}: {said}", "see --help, and mind the quotes") from None


def explain(error: Exception) -> tuple[int, str]:
    """The exit code of an error, and its line for stderr."""
    if isinstance(error, Stop):
        return error.code, _line(error.message, error.next_step)
    if isinstance(error, typer.TyperException):
        return error.exit_code, _line(error.format_message(), _help_hint(error))
    if isinstance(error, Corrupt):
        return ExitCode.CORRUPT, _line(f"{error} (kind: {error.kind})", error.next_step)
    if isinstance(error, EventStoreError):
        return ExitCode.REFUSED, _line(str(error), error.next_step)
    if isinstance(error, OSError):
        where = f" {error.filename!r}" if error.filename else ""
        what = error.strerror or type(error).__name__
        step = OS_STEPS.get(error.errno or 0, "check the path and its permissions")
        return ExitCode.REFUSED, _line(f"{what}{where}", step)
    # Not one of ours: its message may hold anything, a payload too, so only its kind is told.
    return ExitCode.REFUSED, _line(
        f"unexpected {type(error).__name__} in {_place(error)}{_notes(error)}",
        f"set {TRACEBACK_VARIABLE}=1 and run it again to see where it comes from",
    )


def traceback_wanted() -> bool:
    """Whether the user asked for tracebacks, which may show payloads."""
    return bool(os.environ.get(TRACEBACK_VARIABLE))


def _line(message: str, next_step: str) -> str:
    message = message.strip().rstrip(".")
    if next_step and next_step not in message:
        message = f"{message}; {next_step}"
    return one_line(f"eventstore: {message}", LINE_CHARACTERS_MAX)


def _help_hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "eventstore"
    return f"see {path} --help"


def _notes(error: Exception) -> str:
    """Which reducer took which event, as `reducers` notes it on a handler's error."""
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith("reducer ")]
    return f" ({'; '.join(notes)})" if notes else ""


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "?"
