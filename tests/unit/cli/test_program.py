"""How the commands to paste name the program itself."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from cli.program import program_call

SCRIPT = "#!/bin/sh\nexit 0\n"


def make(folder: Path) -> Path:
    """A console script in a folder."""
    folder.mkdir(parents=True)
    script = folder / "eventstore"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    return script


def test_on_the_path_then_its_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the environment active, a command is as short as in the pages."""
    script = make(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(script.parent))
    monkeypatch.setattr(sys, "argv", [str(script), "demo"])
    assert program_call() == "eventstore"


@pytest.mark.parametrize("called", [".venv/bin/eventstore", "ABSOLUTE"])
def test_not_on_the_path_then_the_path_it_was_run_by(
    called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `make demo` runs it, a command names the script in the environment below this folder."""
    script = make(tmp_path / ".venv" / "bin")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "argv", [called.replace("ABSOLUTE", str(script)), "demo"])
    assert program_call() == ".venv/bin/eventstore"


def test_another_one_is_on_the_path_then_this_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command to paste runs the program that printed it, not another of its name."""
    monkeypatch.setenv("PATH", str(make(tmp_path / "other").parent))
    script = make(tmp_path / "a b")
    monkeypatch.setattr(sys, "argv", [str(script), "demo"])
    monkeypatch.chdir("/")
    assert shlex.split(program_call())[0] == str(script).removeprefix("/")


def test_run_as_a_module_without_a_script_then_by_its_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no script at all, the running Python is named."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "argv", ["/x/cli/__main__.py", "demo"])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert program_call() == f"{tmp_path}/python -m cli"


def test_in_the_current_folder_then_a_path_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare name would be looked up on the PATH."""
    script = make(tmp_path / "bin")
    monkeypatch.chdir(script.parent)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "argv", ["eventstore", "demo"])
    assert program_call() == "./eventstore"
