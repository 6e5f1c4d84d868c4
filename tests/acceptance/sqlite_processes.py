"""Other processes for a test: each runs `sqlite_worker.py` and does what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.waiting import PATIENCE_SECONDS

_WORKER = Path(__file__).with_name("sqlite_worker.py")
_LINE_BYTES_MAX = 4 * 1024 * 1024


class Process:
    """One other process with the store's URL. ``async with Process(url) as process:``

    It ends with the block, by SIGKILL when it has not ended by itself.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._running: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Process:
        self._running = await asyncio.create_subprocess_exec(
            sys.executable,
            str(_WORKER),
            self._url,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES_MAX,
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._running is not None
        assert self._running.stdin is not None
        self._running.stdin.close()
        if exc_type is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._running.wait(), PATIENCE_SECONDS)
                return
        await self.kill()

    async def ask(self, verb: str, **arguments: Any) -> Any:
        """What the worker's function `verb` gives back. An error of the store comes as the name
        of its class, in ``{"error": ...}``."""
        await self.tell(verb, **arguments)
        answer = json.loads(await self.line())
        return answer.get("result", answer)

    async def tell(self, verb: str, **arguments: Any) -> None:
        """Asks without waiting for the answer; `line` reads it."""
        assert self._running is not None
        assert self._running.stdin is not None
        self._running.stdin.write(json.dumps({"do": verb, **arguments}).encode() + b"\n")
        await self._running.stdin.drain()

    async def line(self) -> bytes:
        """The next line that the process prints; empty when it has ended."""
        assert self._running is not None
        assert self._running.stdout is not None
        return await asyncio.wait_for(self._running.stdout.readline(), PATIENCE_SECONDS)

    async def kill(self) -> list[bytes]:
        """Ends the process at once; gives the whole lines that it had printed before."""
        assert self._running is not None
        assert self._running.stdout is not None
        with contextlib.suppress(ProcessLookupError):
            self._running.kill()
        printed = await self._running.stdout.read()
        await self._running.wait()
        return [line for line in printed.splitlines(keepends=True) if line.endswith(b"\n")]


@contextlib.asynccontextmanager
async def processes(url: str, count: int) -> AsyncIterator[list[Process]]:
    """So many other processes, all running."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Process(url)) for _ in range(count)]


async def ask_all(workers: list[Process], verb: str, **arguments: Any) -> list[Any]:
    """The same of all, at the same time."""
    return await asyncio.gather(*(worker.ask(verb, **arguments) for worker in workers))
