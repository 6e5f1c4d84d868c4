"""The recorded sessions, imported once by the real command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ..conftest import EVENTSTORE, SECONDS_MAX
from .sources import RECORDED


class Import(NamedTuple):
    """A store that the command has made of a folder, and the last line of its report."""

    url: str
    total: dict[str, Any]


Imported = Callable[[str], Import]


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """Imports a folder of the recorded sessions when it is first asked for."""
    done: dict[str, Import] = {}

    def store_of(folder: str) -> Import:
        if folder not in done:
            done[folder] = _imported(folder, tmp_path_factory.mktemp("imported"))
        return done[folder]

    return store_of


def _imported(folder: str, here: Path) -> Import:
    url = f"sqlite:///{here / 'store.db'}"
    ran = subprocess.run(
        [str(EVENTSTORE), "import", str(RECORDED / folder), "--store", url, "--json"],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return Import(url, json.loads(ran.stdout.splitlines()[-1]))
