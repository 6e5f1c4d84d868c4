"""Somebody else's `reducers` on the path is told once, with its file; ours is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def _import_in(folder: Path) -> subprocess.CompletedProcess[str]:
    # -P is not given: the working directory comes first on the path, as it does for scripts.
    code = "import eventstore, importlib; importlib.import_module('eventstore.store')"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )


def test_nobody_hides_our_rooms_then_nothing_is_said(tmp_path: Path) -> None:
    """Importing eventstore where nothing is in the way warns of nothing."""
    assert _import_in(tmp_path).stderr == ""


@pytest.mark.parametrize("place", ["reducers.py", "projections.py", "reducers/__init__.py"])
def test_a_file_hides_a_room_then_one_warning_names_it(tmp_path: Path, place: str) -> None:
    """A user's own module of a room's name is named in one warning, and is not run."""
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("raise SystemExit('it was imported')\n")
    said = _import_in(tmp_path).stderr
    assert said.count("RuntimeWarning") == 1
    assert str(file) in said
