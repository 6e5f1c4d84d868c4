"""Every command explains itself with examples that work."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cli import main
from cli.app import COMMANDS, GROUPS

from .conftest import VIEWS, Command

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
    name: str, board: Command, shell: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever pastes an example sees it work, beside a reducer of his own."""
    (tmp_path / "board.py").write_text(BOARD)
    for example in LINE.findall(help_of(capsys, *name.split())):
        ran = shell(example)
        assert (ran.returncode, ran.stderr) == (0, ""), example
        assert ran.stdout, example


def test_examples_of_import_and_export_then_they_run(
    board: Command, shell: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    for example in [line for line in examples if "--follow" not in line]:
        ran = shell(example)
        assert (ran.returncode, ran.stderr) == (0, ""), example
        assert ran.stdout or "> session.json" in example, example


def test_examples_of_run_drop_and_recall_then_they_work(
    board: Command, shell: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same with views of the user's own, one of whose events cannot be applied, and with a
    memory."""
    (tmp_path / "views.py").write_text(VIEWS)
    board("append", "s0", "note.added", '{"id": 1, "text": "bad"}')
    remembered = json.dumps({**SEA, "attributes": {"user": "ben"}})
    board("append", "session/ben", "memory.remembered", remembered)
    for command in (["projections", "run"], ["projections", "drop"], ["recall"]):
        for example in LINE.findall(help_of(capsys, *command)):
            ran = shell(example)
            assert ran.returncode == 0, example
            assert ran.stdout, example


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
