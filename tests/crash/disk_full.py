"""A full disk: a typed error, nothing acknowledged is lost, and it goes on when there is room.

The disk is a small tmpfs where this process may mount one. Elsewhere SQLite's files may not grow
beyond a limit of the process, and PostgreSQL is not tried, which the line says.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from eventstore import EventStore, EventStoreError, NewEvent, OutcomeUnknown, StorageFailed

from .faults import Fault, Outcome, Run
from .grounds import PostgresGround
from .processes import Worker, run_inside

ROUNDS = 12
DISK_MIB = {"sqlite": 6, "postgres": 48}
_EVENT_BYTES = 40_000
_APPENDS_MAX = 4_000


async def fill_disks(run: Run) -> Outcome:
    """Appends until the disk is full, makes room, goes on; again and again."""
    rounds = run.times(ROUNDS)
    with tempfile.TemporaryDirectory(prefix="eventstore-disk-", dir="/tmp") as folder:
        async with _small_disk(folder, DISK_MIB[run.ground.engine]) as is_mounted:
            if isinstance(run.ground, PostgresGround):
                if not is_mounted:
                    return Outcome(0, [], "not tried: a small disk can be mounted by root only")
                return await _on_postgres(run, run.ground, Path(folder), rounds)
            url = f"sqlite:///{folder}/log.db"
            async with Worker(run, url) as worker:
                await worker.ask("open_store")
                await worker.ask("close_store")
            limit = 0 if is_mounted else DISK_MIB["sqlite"] * 1024 * 1024
            outcome = await run_inside(
                run, "disk_full:trial", url, rounds=rounds, folder=folder, limit=limit
            )
            outcome.note = "a tmpfs" if is_mounted else "by a limit of file sizes: no tmpfs here"
            return outcome


async def _on_postgres(run: Run, ground: PostgresGround, folder: Path, rounds: int) -> Outcome:
    """The database lies in a tablespace on the small disk; the server's own log does not."""
    server = ground.server
    space = folder / "space"
    space.mkdir()
    folder.chmod(0o755)
    owner = os.stat(server.folder)
    os.chown(space, owner.st_uid, owner.st_gid)
    server.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
    server.execute("CREATE DATABASE small TABLESPACE small")
    url = server.url("small")
    try:
        async with Worker(run, url) as worker:
            await worker.ask("open_store")
            await worker.ask("close_store")
        outcome = await run_inside(
            run, "disk_full:trial", url, rounds=rounds, folder=str(folder), limit=0
        )
    finally:
        server.drop(url)
        await asyncio.to_thread(server.execute, "CHECKPOINT")
        server.execute("DROP TABLESPACE small")
    outcome.note = "a tablespace on a tmpfs"
    return outcome


@contextlib.asynccontextmanager
async def _small_disk(folder: str, mib: int) -> AsyncIterator[bool]:
    """Mounts a tmpfs of that size; answers whether that was allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder]
    try:
        done = await asyncio.to_thread(subprocess.run, mount, capture_output=True, check=False)
        is_mounted = done.returncode == 0
    except OSError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            await asyncio.to_thread(subprocess.run, ["umount", "-l", folder], check=True)


async def trial(url: str, seed: int, rounds: int, folder: str, limit: int) -> tuple[int, list[str]]:
    """One store that lives through all of it. What fills the disk is a file beside it, too: it is
    what goes away when room is made."""
    del seed
    broken: list[str] = []
    filler = Path(folder) / "filler"
    told: list[str] = []
    async with EventStore.open(url) as store:
        for turn in range(rounds):
            shrink, restore = _pressure(filler, limit, url)
            shrink()
            error = await _append_until_full(store, turn, told)
            if error is None:
                broken.append(f"round {turn}: the disk never was full: nothing was tried")
            elif not isinstance(error, (StorageFailed, OutcomeUnknown)):
                broken.append(f"round {turn}: {type(error).__name__}: {error}")
            broken += await _missing(store, told, f"round {turn}, full")
            restore()
            try:
                after = await store.append("s", NewEvent("note.added", {"turn": turn}))
            except EventStoreError as exc:
                return turn, [
                    *broken,
                    f"round {turn}: with room again: {type(exc).__name__}: {exc}",
                ]
            told.append(after.events[0].id)
        broken += await _missing(store, told, "at the end")
        broken += [f"verify: {damage}" for damage in (await store.verify()).damages]
    return rounds, broken


def _pressure(filler: Path, limit: int, url: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """What makes the disk full, and what makes room again."""
    if limit:
        _, hardest = resource.getrlimit(resource.RLIMIT_FSIZE)
        path = Path(url.removeprefix("sqlite:///"))
        size = path.stat().st_size + limit // 20

        return (
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hardest)),
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (hardest, hardest)),
        )

    def fill() -> None:
        left = os.statvfs(filler.parent)
        room = max(0, left.f_bavail * left.f_frsize - 8 * _EVENT_BYTES)
        filler.write_bytes(b"\1" * room)

    return fill, lambda: filler.unlink(missing_ok=True)


async def _append_until_full(
    store: EventStore, turn: int, told: list[str]
) -> EventStoreError | None:
    for n in range(_APPENDS_MAX):
        # Not to be made smaller by whoever stores it: no two are alike.
        noise = os.urandom(_EVENT_BYTES // 2).hex()
        try:
            result = await store.append("s", NewEvent("note.added", {"turn": turn, "noise": noise}))
        except EventStoreError as exc:
            return exc
        told.append(result.events[0].id)
        if n > 40:
            return None
    return None


async def _missing(store: EventStore, told: list[str], when: str) -> list[str]:
    standing = {event.id async for event in store.read("s")}
    lost = set(told) - standing
    return [f"{when}: {len(lost)} acknowledged events are lost"] if lost else []


FAULT = Fault(
    "disk_full",
    "a full disk: a typed error, nothing acknowledged is lost, it goes on when there is room",
    fill_disks,
    dict.fromkeys(("sqlite", "postgres"), ("says written when the disk is full",)),
)
