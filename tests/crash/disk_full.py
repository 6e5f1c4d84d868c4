"""A full disk: a typed error, nothing acknowledged is lost, and it goes on when there is room.

The disk is a small tmpfs where this process may mount one. Elsewhere files may not grow beyond a
limit of the processes that write them; with PostgreSQL that is tried everywhere, on a server of its
own. Its own log is within the limit, because it stops where that cannot grow.
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
from typing import Any

import psutil

from eventstore import EventStore, EventStoreError, NewEvent, OutcomeUnknown, StorageFailed
from tests.servers.installations import as_user, unprivileged_user
from tests.servers.postgres import PostgresServer

from .faults import Fault, Outcome, Run
from .grounds import PostgresGround
from .processes import Worker, run_inside

ROUNDS = 12
DISK_MIB = {"sqlite": 6, "postgres": 48}
_EVENT_BYTES = 40_000
_APPENDS_MAX = 4_000
_LOG_FILE_BYTES = 16 * 1024 * 1024
"""PostgreSQL's files of its own log are of this size from the start."""


async def fill_disks(run: Run) -> Outcome:
    """Appends until the disk is full, makes room, goes on; again and again."""
    rounds = run.times(ROUNDS)
    with tempfile.TemporaryDirectory(prefix="eventstore-disk-", dir="/tmp") as folder:
        async with _small_disk(folder, DISK_MIB[run.ground.engine]) as is_mounted:
            if isinstance(run.ground, PostgresGround):
                outcome = Outcome()
                if not (is_mounted and run.is_small):
                    outcome = await _on_limited_server(run, max(1, rounds // 4))
                if is_mounted:
                    mounted = await _on_postgres(run, run.ground, Path(folder), rounds)
                    outcome.add(mounted.trials, mounted.violations)
                    notes = [each for each in (mounted.note, outcome.note) if each]
                    outcome.note = "; ".join(notes)
                return outcome
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


async def _on_limited_server(run: Run, rounds: int) -> Outcome:
    server = await asyncio.to_thread(PostgresServer)
    try:
        await asyncio.to_thread(server.start)
        url = server.new_url()
        async with Worker(run, url) as worker:
            await worker.ask("call", target="tests.crash.disk_full:outgrow_log", seed=run.seed)
        outcome = await run_inside(
            run,
            "disk_full:trial",
            url,
            rounds=rounds,
            folder=str(server.data / "base"),
            limit=_LOG_FILE_BYTES,
            server=server.pid,
        )
    finally:
        await asyncio.to_thread(server.stop)
    outcome.note = "by a limit of file sizes on a server"
    return outcome


async def outgrow_log(url: str, seed: int) -> None:
    """Makes a file of the store larger than one of the server's log, which the limit is not for."""
    del seed
    async with EventStore.open(url) as store:
        for _ in range(0, 2 * _LOG_FILE_BYTES, 100 * _EVENT_BYTES):
            noise = [os.urandom(_EVENT_BYTES // 2).hex() for _ in range(100)]
            await store.append("first", [NewEvent("note.added", one) for one in noise])


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


async def trial(
    url: str, seed: int, rounds: int, folder: str, limit: int, server: int = 0
) -> tuple[int, list[str]]:
    """One store that lives through all of it. What fills the disk is a file beside it, too: it is
    what goes away when room is made."""
    del seed
    broken: list[str] = []
    filler = Path(folder) / "filler"
    told: list[str] = []
    async with EventStore.open(url) as store:
        for turn in range(rounds):
            shrink, restore = _limits(server, folder) if server else _pressure(filler, limit, url)
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


def _limits(postmaster: int, folder: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """The same for the processes of a server; those that it starts meanwhile inherit it."""

    def limit_files(size: str) -> None:
        process = psutil.Process(postmaster)
        for one in (process, *process.children(recursive=True)):
            # As the server's user, because another user's limits are not even root's everywhere.
            command = ["prlimit", f"--fsize={size}:", "--pid", str(one.pid)]
            subprocess.run(command, check=False, cwd="/", stderr=subprocess.DEVNULL, **user)

    user: Any = as_user(unprivileged_user())
    largest = max(path.stat().st_size for path in Path(folder).glob("*/*"))
    return (
        lambda: limit_files(str(largest + 8 * _EVENT_BYTES)),
        lambda: limit_files("unlimited"),
    )


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
