"""The lock file by which our processes take turns."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from eventstore import Busy, EventStore, NewEvent
from eventstore.engines.sqlite.turns import Turns
from eventstore.errors import StorageFailed
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


_flock = fcntl.flock


def _without_locks(operation: int) -> Callable[[int, int], None]:
    """`flock` of a file system that has no locks left for this operation."""

    def flock(file: int, asked: int) -> None:
        if asked & operation:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        _flock(file, asked)

    return flock


async def test_the_file_system_locks_no_files_then_storage_failed_says_what_to_do(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network mount without its lock service: no caller meets the system's own error,
    nothing was written, and the store works on once there are locks."""
    async with EventStore.open(f"sqlite:///{file}") as store:
        await store.append("s", NewEvent("t", 1))
        with monkeypatch.context() as patched:
            patched.setattr(fcntl, "flock", _without_locks(fcntl.LOCK_EX))
            with pytest.raises(StorageFailed, match=r"locked \(No locks available\)") as refused:
                await store.append("s", NewEvent("t", 2))
            assert refused.value.next_step.startswith("keep the store on a disk of this machine")
            with pytest.raises(StorageFailed):
                await store.checkpoints.save("reader", 1)
            with pytest.raises(StorageFailed):
                await EventStore.open(f"sqlite:///{file}")
        assert (await store.append("s", NewEvent("t", 3))).version == 2
        monkeypatch.setattr(fcntl, "flock", _without_locks(fcntl.LOCK_EX))
    assert not Path(f"{file}-wal").exists()  # it was closed, by SQLite's own locks


async def test_a_turn_cannot_be_given_back_then_what_was_written_in_it_is_acknowledged(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit stands by then. The turn ends with its file, and others have theirs."""
    other = Turns(str(file), 0.05)
    async with EventStore.open(f"sqlite:///{file}") as store:
        monkeypatch.setattr(fcntl, "flock", _without_locks(fcntl.LOCK_UN))
        assert (await store.append("s", NewEvent("t", 1))).version == 1
        with other:
            pass
        assert (await store.append("s", NewEvent("t", 2))).version == 2
    other.close()


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
