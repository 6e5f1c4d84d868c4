"""The lock file by which our processes take turns."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from eventstore import Busy
from eventstore.engines.sqlite.turns import Turns
from tests.waiting import PATIENCE_SECONDS


def test_another_one_has_its_turn_then_busy_until_it_ends(file: Path) -> None:
    """One at a time, also within one process; who waited in vain has nothing to give back."""
    one, two = Turns(str(file), 0.05), Turns(str(file), 0.05)
    with one, pytest.raises(Busy, match="nothing was written"), two:
        pytest.fail("two at once")
    with two:
        pass
    with pytest.raises(ZeroDivisionError), one:
        raise ZeroDivisionError
    with two:  # an error ends a turn as well
        pass
    one.close()
    two.close()
    two.close()


_PROGRAM = """
    import os, sys
    from eventstore.engines.sqlite.turns import Turns

    with Turns(sys.argv[1], 1):
        if sys.argv[2] == "forks" and os.fork() == 0:
            os.write(1, b"c")
            os.read(0, 1)
            os._exit(0)
        os.write(1, b"p")
        while True:
            pass
"""


@pytest.mark.parametrize("kind", ["forks", "does not fork"])
def test_a_process_is_killed_in_its_turn_then_the_next_one_has_it(file: Path, kind: str) -> None:
    """The turn ends with its process, even where a forked child of it lives on."""
    program = [sys.executable, "-c", textwrap.dedent(_PROGRAM), str(file), kind]
    next_one = Turns(str(file), 0.05)
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        said = running.stdout.read(2 if kind == "forks" else 1)
        with pytest.raises(Busy), next_one:
            pytest.fail("two at once")
        running.kill()
        running.wait(PATIENCE_SECONDS)
        with next_one:  # while the child still waits for its standard input to end
            pass
    next_one.close()
    assert sorted(said) == sorted(b"cp" if kind == "forks" else b"p")
