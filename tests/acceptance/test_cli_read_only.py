"""A store that its reader may not write: what can be read is read, what cannot says what it needs.

Permissions do not bind a process with root's capabilities. The command is therefore started
without the two that pass over them, which any other user never had.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventstore import EventStore, NewEvent

from .conftest import EVENTSTORE, SECONDS_MAX, Command

UNPRIVILEGED = """
import ctypes, os, sys

PR_CAPBSET_DROP, DAC_OVERRIDE, DAC_READ_SEARCH = 24, 1, 2
if os.geteuid() == 0:
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            sys.exit(f"cannot drop a capability: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Starts a program that permissions bind, root's too (capabilities(7): the bounding set)."""

READING = (
    ("log", "--reverse"),
    ("streams",),
    ("state", "s"),
    ("diff", "s", "1"),
    ("replay", "s"),
    ("export", "s", "--as", "events"),
    ("verify",),
    ("snapshot", "s"),
    ("doctor",),
)


@pytest.fixture
def unprivileged(tmp_path: Path, environment: dict[str, str]) -> Command:
    """Runs ``eventstore`` as a process that permissions bind."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, str(EVENTSTORE), *arguments],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )

    return run


Lock = Callable[[int, int], Path]


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Lock]:
    """Sets the permissions of the folder ``kept`` and of the files in it, until the test ends."""
    folder = tmp_path / "kept"
    folder.mkdir()

    def set_modes(folder_mode: int, file_mode: int) -> Path:
        for path in folder.iterdir():
            path.chmod(file_mode)
        folder.chmod(folder_mode)
        return folder / "agent.db"

    yield set_modes
    set_modes(0o755, 0o644)


def files_of(folder: Path) -> dict[str, bytes]:
    """What lies in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "with_lock_file"),
    [(0o555, 0o444, False), (0o755, 0o444, False), (0o555, 0o644, True)],
    ids=["neither", "folder", "file"],
)
def test_closed_store_that_may_not_be_written_then_read_as_it_lies_there(
    command: Command,
    unprivileged: Command,
    lock: Lock,
    folder_mode: int,
    file_mode: int,
    with_lock_file: bool,
) -> None:
    """An archived store is read, nothing is made beside it, and an append says which permission
    it needs; with that it goes on."""
    command("append", "s", "t", "--store", "kept/agent.db")
    path = lock(0o755, 0o644)
    if not with_lock_file:
        path.with_name("agent.db-turns").unlink()
    lock(folder_mode, file_mode)
    before = files_of(path.parent)
    assert unprivileged("log", "s", "--store", str(path)).stdout.startswith("     1     v1  ")
    ran = unprivileged("append", "s", "t", "--store", str(path))
    assert ran.returncode == 1
    assert "nothing was written; give yourself write permission" in ran.stderr
    assert files_of(path.parent) == before
    lock(0o755, 0o644)
    assert unprivileged("append", "s", "t", "--store", str(path)).returncode == 0


def test_closed_store_that_may_not_be_written_then_every_reading_command_reads_it(
    command: Command, unprivileged: Command, lock: Lock
) -> None:
    """No command that only reads asks for more than to read."""
    command("append", "s", "t", "--store", "kept/agent.db")
    path = lock(0o555, 0o444)
    for arguments in READING:
        ran = unprivileged(*arguments, "--store", str(path))
        assert (ran.returncode, ran.stderr) == (0, ""), arguments
        assert ran.stdout, arguments


async def test_store_that_another_user_has_open_then_its_newest_events_are_read(
    unprivileged: Command, lock: Lock, tmp_path: Path
) -> None:
    """What stands in the write-ahead log beside the file is not missed."""
    async with EventStore.open(f"sqlite:///{tmp_path}/kept/agent.db") as store:
        await store.append("s", [NewEvent("t", 1), NewEvent("t", 2)])
        path = lock(0o555, 0o444)
        assert path.with_name("agent.db-wal").stat().st_size > 0
        ran = unprivileged("log", "s", "--store", str(path), "--json")
        assert (ran.returncode, ran.stderr) == (0, "")
        assert [json.loads(line)["version"] for line in ran.stdout.splitlines()] == [1, 2]
        described = json.loads(unprivileged("doctor", "--store", str(path), "--json").stdout)
        assert described["settings"]["read_only"] is True
        assert described["settings"]["immutable"] is False
        assert any("may not be written" in sentence for sentence in described["advice"])
        assert (await store.append("s", NewEvent("t", 3))).version == 3
        lock(0o755, 0o644)


async def test_newest_events_are_out_of_reach_then_said_and_never_left_out(
    unprivileged: Command, lock: Lock, tmp_path: Path
) -> None:
    """A copy whose write-ahead log cannot be read is refused: it would look complete."""
    async with EventStore.open(f"sqlite:///{tmp_path}/open.db") as store:
        await store.append("s", NewEvent("t", 1))
        for end in ("", "-wal"):
            shutil.copy(tmp_path / f"open.db{end}", tmp_path / "kept" / f"agent.db{end}")
    path = lock(0o555, 0o444)
    for arguments in (("log",), ("append", "s", "t")):
        ran = unprivileged(*arguments, "--store", str(path))
        assert ran.returncode == 1
        assert "its last events stand in agent.db-wal" in ran.stderr
        assert "copy the file and agent.db-wal together elsewhere" in ran.stderr


def test_folder_may_not_be_written_then_a_new_store_names_the_folder(
    unprivileged: Command, lock: Lock
) -> None:
    """Where nothing can be made, the advice is about permission, not about room on the disk."""
    path = lock(0o555, 0o444)
    ran = unprivileged("append", "s", "t", "--store", str(path))
    assert ran.returncode == 1
    assert f"give yourself write permission to the folder {path.parent}" in ran.stderr
    assert os.listdir(path.parent) == []


def test_file_may_not_be_read_then_the_permission_is_named(
    command: Command, unprivileged: Command, lock: Lock
) -> None:
    """A store of somebody else's is told from a missing one."""
    command("append", "s", "t", "--store", "kept/agent.db")
    path = lock(0o755, 0o000)
    for arguments in (("log",), ("append", "s", "t")):
        ran = unprivileged(*arguments, "--store", str(path))
        assert ran.returncode == 1
        assert "give yourself permission to it" in ran.stderr
