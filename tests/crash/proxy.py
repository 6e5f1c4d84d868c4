"""A TCP proxy between a client and a server, which can go deaf and dumb, or hang up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_CHUNK_BYTES = 65_536


class Proxy:
    """Passes on what comes, in both directions, as long as it is not cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._passing = asyncio.Event()
        self._passing.set()
        self._pairs: set[asyncio.Task[None]] = set()
        self.port = 0

    def cut(self) -> None:
        """From now on nothing comes through, and nobody is told: packets are lost, connections
        stay. New connections are accepted by the kernel, and are silent."""
        self._passing.clear()

    def mend(self) -> None:
        """What was held back comes through, as TCP sends it again."""
        self._passing.set()

    def hang_up(self) -> None:
        """Ends every connection; what is under way is lost."""
        for pair in self._pairs:
            pair.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection, from its beginning to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._pairs.add(task)
        try:
            await self._passing.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(reader, back))
                    both.create_task(self._pump(there, writer))
            finally:
                back.transport.abort()
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass  # either side has gone, or we have hung up: so has the other one then
        finally:
            self._pairs.discard(task)
            writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while chunk := await source.read(_CHUNK_BYTES):
            await self._passing.wait()
            target.write(chunk)
            await target.drain()
        raise ConnectionResetError  # so that the other direction ends as well


@contextlib.asynccontextmanager
async def proxy(port: int) -> AsyncIterator[Proxy]:
    """A proxy in front of a port of this machine."""
    made = Proxy(port)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.mend()
        made.hang_up()
