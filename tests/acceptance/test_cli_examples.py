"""Every command explains itself with examples that work.

They run inside the test's process where no shell is needed; that the command is found and run as a
process of its own is seen by the other tests here.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import main
from cli.app import COMMANDS, GROUPS
from eventstore.registry import isolated_registry

from .conftest import VIEWS, Command

Example = Callable[[str], tuple[int, str, str]]

OTHERS = {"import", "export", "recall", "projections run", "projections drop"}
"""Their examples need source files, a memory, code of a user's own, or something that is parked."""

SEA = {"memory_id": "sea", "content": "Ben spends his holidays by the sea"}

CHAT = [{"role": "user", "content": "Is there a train?"}, {"role": "assistant", "content": "Yes."}]

BOARD = """
from reducers import Reducer

board = Reducer("board", initial=0)


@board.on("note.added")
def added(state, event):
    return state + 1
"""

LINE = re.compile(r"^ +\$ (.+)$", re.MULTILINE)


@pytest.fixture
def example(
    board: Command,
    shell: Command,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Example:
    """Runs a line as it is pasted, beside the boards: its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("EVENTSTORE_URL", "FORCE_COLOR", "EVENTSTORE_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "COLUMNS", "TERM"):
        monkeypatch.setenv(name, environment[name])

    def run(line: str) -> tuple[int, str, str]:
        for name in ("board", "views"):  # of another test
            monkeypatch.delitem(sys.modules, name, raising=False)
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command, *arguments = words
        for_a_shell = any(word and set(word) <= set("|&;<>()") for word in arguments)
        if command != "eventstore" or "$" in line or for_a_shell:
            ran = shell(line)
            return ran.returncode, ran.stdout, ran.stderr
        capsys.readouterr()
        with isolated_registry():
            code = main(arguments)
        return int(code), *capsys.readouterr()

    return run


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What --help says, asked inside this process to save starting another."""
    assert main([*arguments, "--help"]) == 0
    return capsys.readouterr().out


def test_help_then_every_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """eventstore --help names all commands, each with a sentence."""
    shown = help_of(capsys)
    for name in {name.split()[0] for name in COMMANDS}:
        assert re.search(rf"^  {name} +\w", shown, re.MULTILINE), name


@pytest.mark.parametrize("group", GROUPS)
def test_help_of_a_group_then_its_commands_are_listed(
    group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A group says what its commands are for, each with a sentence."""
    shown = help_of(capsys, group)
    names = [name.split()[1] for name in COMMANDS if name.startswith(f"{group} ")]
    assert names
    for name in names:
        assert re.search(rf"^  {name} +\w", shown, re.MULTILINE), name


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_then_examples_and_shared_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command's help has an example of itself, and the options that all share."""
    shown = help_of(capsys, *name.split())
    assert any(f"eventstore {name} " in f"{line} " for line in LINE.findall(shown))
    for option in ("--store URL", "--tenant NAME", "--json"):
        assert option in shown


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in OTHERS])
def test_examples_of_a_command_then_they_run(
    name: str, example: Example, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever pastes an example sees it work, beside a reducer of his own."""
    (tmp_path / "board.py").write_text(BOARD)
    for line in LINE.findall(help_of(capsys, *name.split())):
        code, out, err = example(line)
        assert (code, err) == (0, ""), line
        assert out, line


def test_examples_of_import_and_export_then_they_run(
    example: Example, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for sessions from files; --follow stays until Ctrl-C and has its own tests."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "other.json").write_text(
        json.dumps([{"role": "user", "content": "Another"}])
    )
    (tmp_path / "chat.json").write_text(json.dumps(CHAT))
    (tmp_path / "chat.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in CHAT))
    examples = LINE.findall(help_of(capsys, "import"))
    examples += ["eventstore import chat.jsonl --id 42", *LINE.findall(help_of(capsys, "export"))]
    for line in [line for line in examples if "--follow" not in line]:
        code, out, err = example(line)
        assert (code, err) == (0, ""), line
        assert out or "> session.json" in line, line


def test_examples_of_run_drop_and_recall_then_they_work(
    example: Example, board: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same with views of the user's own, one of whose events cannot be applied, and with a
    memory."""
    (tmp_path / "views.py").write_text(VIEWS)
    board("append", "s0", "note.added", '{"id": 1, "text": "bad"}')
    remembered = json.dumps({**SEA, "attributes": {"user": "ben"}})
    board("append", "session/ben", "memory.remembered", remembered)
    for command in (["projections", "run"], ["projections", "drop"], ["recall"]):
        for line in LINE.findall(help_of(capsys, *command)):
            code, out, _ = example(line)
            assert code == 0, line
            assert out, line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_then_a_how_to_page(name: str) -> None:
    """A command that is not written about does not exist for its users."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / f"cli-{name.split()[0]}.md"
    assert f"$ eventstore {name}" in page.read_text()


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_completion_asked_for_then_a_script(shell_name: str, command: Command) -> None:
    """Every common shell is given its completion script."""
    ran = command("--show-completion", shell_name)
    assert ran.returncode == 0
    assert "_EVENTSTORE_COMPLETE" in ran.stdout


def test_stream_name_begun_then_completed(board: Command) -> None:
    """The shell completes names of streams out of the store."""
    ran = board(
        _EVENTSTORE_COMPLETE="complete_bash",
        COMP_WORDS="eventstore state boa",
        COMP_CWORD="2",
    )
    assert ran.stdout.split() == ["board/7", "board/8"]
