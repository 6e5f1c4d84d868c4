"""The command line itself: which commands there are, and how each of them ends.

A command's module is imported when it is called (or asked for its help), so that start-up costs
what the one command needs.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from .exits import ExitCode, explain, traceback_wanted, wrong_usage
from .typed import Command, taken_as_typed

COMMANDS: dict[str, str] = {
    "demo": "demo:demo_command",
    "import": "import_:import_command",
    "export": "export:export_command",
    "append": "append:append_command",
    "log": "log:log_command",
    "streams": "streams:streams_command",
    "state": "state:state_command",
    "diff": "diff:diff_command",
    "replay": "replay:replay_command",
    "blame": "blame:blame_command",
    "bisect": "bisect:bisect_command",
    "fork": "fork:fork_command",
    "lineage": "lineage:lineage_command",
    "shadow": "shadow:shadow_command",
    "verify": "verify:verify_command",
    "snapshot": "snapshot:snapshot_command",
    "recall": "recall:recall_command",
    "projections list": "projections.listing:list_command",
    "projections run": "projections.running:run_command",
    "projections status": "projections.status:status_command",
    "projections show": "projections.showing:show_command",
    "projections dead-letters": "projections.letters:dead_letters_command",
    "projections retry": "projections.letters:retry_command",
    "projections drop": "projections.letters:drop_command",
    "projections rebuild": "projections.rebuilding:rebuild_command",
    "doctor": "doctor:doctor_command",
}
"""Name of a command -> the module in `cli.commands` and its function, in the order of --help. One
of two words belongs to the group that the first one names."""

GROUPS = {
    "projections": "Feed views from the log, watch them, mend what is parked, build them again.",
}
"""Name of a group -> what its commands are for."""


class _PipeClosed(Exception):
    """The reader of our output is gone. A name of its own, because typer ends the process with
    exit code 1 for a `BrokenPipeError`."""


class CommandGroup(TyperGroup):
    """The commands of `COMMANDS`, or those of one group, each loaded when it is asked for."""

    @property
    def places(self) -> dict[str, str]:
        """Name of each command here -> its key in `COMMANDS`, or the group that it is."""
        begin = f"{self.name} " if self.name in GROUPS else ""
        rest = [name.removeprefix(begin) for name in COMMANDS if name.startswith(begin)]
        return {name.split()[0]: begin + name.split()[0] for name in rest}

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order in which a newcomer needs them."""
        return list(self.places)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None when there is none of this name."""
        if cmd_name not in self.commands and cmd_name in self.places:
            self.commands[cmd_name] = _load(self.places[cmd_name])
        return self.commands.get(cmd_name)

    def get_params(self, ctx: Any) -> list[Any]:
        """As typer does, without what pydantic costs."""
        return taken_as_typed(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """As typer does. Raises `_PipeClosed` when nobody reads the output any more."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _PipeClosed from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer does; a name that is none is compared with all names, loaded or not."""
        name, known = args[0], self.places
        if name in known or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        close = get_close_matches(name, known, n=1)
        raise wrong_usage(
            f"no command {name!r}",
            f"did you mean {close[0]!r}?" if close else f"see {ctx.command_path} --help",
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code (see `ExitCode`). Ends quietly when the user
    interrupts it or the reader of its output is gone."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # A user's reducers are found where the command is run, but never before anything installed.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except (BrokenPipeError, _PipeClosed):
        # The interpreter flushes once more at its end, which must find an open descriptor.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PIPE_CLOSED
    except Exception as error:
        if traceback_wanted():
            raise
        code, line = explain(error)
        sys.stdout.flush()
        print(line, file=sys.stderr)
        return code


def _run(arguments: list[str]) -> int:
    app = typer.Typer(
        cls=CommandGroup,
        help="Append, read, replay and compare what agents did. State is computed from events.",
        rich_markup_mode=_markup_mode(),
    )
    app.callback()(_root)
    bare = not arguments or (len(arguments) == 1 and arguments[0] in GROUPS)
    if bare:
        arguments = [*arguments, "--help"]
    code = get_command(app)(arguments, prog_name="eventstore", standalone_mode=False)
    if bare:
        return ExitCode.USAGE
    return code if isinstance(code, int) else ExitCode.DONE


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda wanted: _show_version() if wanted else None,
            help="Show the versions of this program, Python and SQLite, and exit.",
        ),
    ] = False,
) -> None:
    """Nothing happens before a command is named."""


def _no_more_options() -> None:
    """A group has its commands and no options of its own."""


def _show_version() -> None:
    """What a report of a defect has to name, on one line."""
    import platform

    from eventstore.engines.sqlite.migrating import SQLITE_VERSION

    from .program import program_version

    print(
        f"eventstore {program_version()}, Python {platform.python_version()},"
        f" SQLite {SQLITE_VERSION}"
    )
    raise typer.Exit


def _load(name: str) -> Any:
    if name in GROUPS:
        group = typer.Typer(
            name=name,
            cls=CommandGroup,
            help=GROUPS[name],
            add_completion=False,
            rich_markup_mode=_markup_mode(),
        )
        group.callback()(_no_more_options)
        return get_command(group)
    module_name, function_name = COMMANDS[name].split(":")
    module = importlib.import_module(f".commands.{module_name}", __package__)
    function: Callable[..., Any] = getattr(module, function_name)
    single = typer.Typer(add_completion=False, rich_markup_mode=_markup_mode())
    single.command(name.split()[-1], cls=Command)(function)
    return get_command(single)


def _markup_mode() -> Any:
    """Panels and colour for a person, plain help for a pipe."""
    return "rich" if sys.stdout.isatty() else None
