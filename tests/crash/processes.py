"""Processes of this suite: forked from one that has everything imported, told what to do in JSON.

A worker's start is a fork, so that hundreds of them can be killed in a minute. What a worker has
told before it died is read to its end: the socket keeps it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import socket
from collections.abc import AsyncIterator
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from tests.waiting import PATIENCE_SECONDS

from .faults import Outcome, Run
from .worker import main

_LINE_BYTES_MAX = 16 * 1024 * 1024
TRIAL_SECONDS_MAX = 300.0
"""How long a trial that runs in one other process may take, so that a hang is red, not endless."""

_PRELOADED = (
    "tests.crash.worker",
    "tests.crash.feeding",
    "alembic.command",
    "alembic.autogenerate",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "sqlalchemy.dialects.postgresql.asyncpg",
)
"""Imported once. What the worker does not need for itself makes a new store's schema: half a
second of a core each time, otherwise."""

_context: ForkServerContext | None = None


def context() -> ForkServerContext:
    """Where processes come from. The forked one imports the worker once, for all."""
    global _context
    if _context is None:
        _context = multiprocessing.get_context("forkserver")
        _context.set_forkserver_preload(list(_PRELOADED))
    return _context


class WorkerFailed(AssertionError):
    """A worker told an error that is not the store's, or ended when it should not have."""


class Worker:
    """One other process with a store's URL. ``async with Worker(run, url) as worker:``

    `point` is where it kills itself: (name, hit). It ends with the block, by SIGKILL.
    """

    def __init__(self, run: Run, url: str, point: tuple[str, int] | None = None) -> None:
        self._arguments = (url, run.ground.engine, point, run.defect)
        self._process: ForkServerProcess | None = None

    async def __aenter__(self) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            process = context().Process(target=main, args=(theirs, *self._arguments), daemon=True)
            await asyncio.get_running_loop().run_in_executor(None, process.start)
        self._process = process
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=_LINE_BYTES_MAX)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def ask(self, verb: str, seconds: float = PATIENCE_SECONDS, **arguments: Any) -> Any:
        """What the worker's function `verb` gives back."""
        await self.tell(verb, **arguments)
        return await self.answer(seconds)

    async def answer(self, seconds: float = PATIENCE_SECONDS) -> Any:
        """The answer to what was told; what it records on the way is lost."""
        while (record := await self.record(seconds)) is not None:
            if record[0] == "answer":
                return record[1]
            if record[0] == "broke":
                raise WorkerFailed(record[1])
        raise WorkerFailed("the worker ended instead of answering")

    async def tell(self, verb: str, **arguments: Any) -> None:
        """Asks without waiting for the answer."""
        with contextlib.suppress(OSError):  # it is dead already; reading will say so
            self._writer.write(json.dumps([verb, arguments]).encode() + b"\n")
            await self._writer.drain()

    async def record(self, seconds: float = PATIENCE_SECONDS) -> list[Any] | None:
        """The next thing that it says; None when it has ended."""
        async with asyncio.timeout(seconds):
            with contextlib.suppress(ConnectionError):
                line = await self._reader.readline()
                if line.endswith(b"\n"):
                    said: list[Any] = json.loads(line)
                    return said
        return None

    async def kill(self) -> list[list[Any]]:
        """Ends the process at once; what it had said before and was not read yet."""
        assert self._process is not None
        self._process.kill()
        said = []
        while (record := await self.record()) is not None:
            said.append(record)
        await asyncio.get_running_loop().run_in_executor(None, self._process.join)
        return said

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid


async def new_store(run: Run) -> str:
    """The URL of a new store, made by a process that has the run's defect: on PostgreSQL part of
    an engine is in the database."""
    url = run.ground.new_url()
    async with Worker(run, url) as worker:
        await worker.ask("open_store")
        await worker.ask("close_store")
    return url


async def run_inside(run: Run, target: str, url: str, **arguments: Any) -> Outcome:
    """Runs a whole trial, ``module:function``, in a process of its own, where a defect harms
    nobody else. It answers the number of trials, the violations and, maybe, a note."""
    async with Worker(run, url) as worker:
        answer = await worker.ask(
            "call", TRIAL_SECONDS_MAX, target=f"tests.crash.{target}", seed=run.seed, **arguments
        )
    return Outcome(*answer)


@contextlib.asynccontextmanager
async def workers(run: Run, url: str, count: int) -> AsyncIterator[list[Worker]]:
    """So many processes on one store, each with it open."""
    async with contextlib.AsyncExitStack() as stack:
        made = [await stack.enter_async_context(Worker(run, url)) for _ in range(count)]
        for worker in made:
            await worker.ask("open_store")
        yield made
