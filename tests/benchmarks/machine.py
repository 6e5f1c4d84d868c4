"""Where a run happened: processor, kernel, file system, versions, and what an fsync costs."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from .measuring import Series
from .sizes import Sizes

_PACKAGES = (
    "agent-eventstore",
    "aiosqlite",
    "SQLAlchemy",
    "msgspec",
    "pydantic",
    "immutables",
    "eventsourcing",
    "umadb",
)
_BLOCK = b"\0" * 4096


class Machine(msgspec.Struct, frozen=True):
    """What the figures depend on, besides the code."""

    processor: str
    cores: int
    kernel: str
    python: str
    sqlite: str
    file_system: str
    fsyncs: Series
    load_before: float
    versions: dict[str, str]


def look_at_machine(folder: Path, sizes: Sizes) -> Machine:
    """Asks the system, and measures appends of 4 KiB with fdatasync in `folder`."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 0,
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        file_system=_file_system(folder),
        load_before=os.getloadavg()[0],
        versions={name: _version(name) for name in _PACKAGES},
        fsyncs=Series(tuple(_fsync_rate(folder, sizes.fsyncs) for _ in range(sizes.rounds))),
    )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    """The type of the file system that `folder` lies on; its mount point is the longest match."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    within = [
        (len(fields[1]), fields[2])
        for fields in mounts
        if folder.resolve().is_relative_to(fields[1])
    ]
    return max(within)[1] if within else "unknown"


def _fsync_rate(folder: Path, count: int) -> float:
    path = folder / "fsync"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        started = time.perf_counter()
        for _ in range(count):
            os.write(descriptor, _BLOCK)
            os.fdatasync(descriptor)
        return count / (time.perf_counter() - started)
    finally:
        os.close(descriptor)
        path.unlink()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
