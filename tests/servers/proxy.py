"""A TCP proxy between a store and its server, which can lose a connection at the worst moment,
or go deaf and dumb."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

_BLOCK_BYTES = 65_536


class Proxy:
    """``async with Proxy(url) as proxy:``, and a store opened on `proxy.url`.

    `lose` says what becomes of the next message of a client that holds these bytes: "request" is
    lost before the server has it, "answer" when the server answers, "late" is held back: the client
    sees its connection lost, the server gets the message at `deliver`. `is_down` refuses newcomers.
    Between `hold` and `mend` nothing comes through, in either direction.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._silent: set[asyncio.StreamWriter] = set()
        self.lose: tuple[str, bytes] | None = None
        self._late: tuple[asyncio.StreamWriter, bytes] | None = None
        self._late_answered = asyncio.Event()
        self.is_down = False
        self._passing = asyncio.Event()
        self._passing.set()
        self.lost = asyncio.Event()
        self.dropped = 0
        self.url = ""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        user, _, _ = self._target.netloc.rpartition("@")
        self.url = urlunsplit(self._target._replace(netloc=f"{user}@127.0.0.1:{port}"))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        self.mend()
        self.cut()
        await asyncio.gather(*self._accepting)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Ends all connections."""
        for writer in self._writers:
            writer.transport.abort()

    def hold(self) -> None:
        """From now on nothing comes through, and nobody is told: packets are lost, connections
        stay. New ones are accepted, as by a kernel, and are silent."""
        self._passing.clear()

    def mend(self) -> None:
        """What was held back comes through, as TCP sends it again."""
        self._passing.set()

    async def deliver(self) -> None:
        """Hands the server what is "late", and returns when it has answered."""
        assert self._late is not None
        writer, data = self._late
        writer.write(data)
        await self._late_answered.wait()

    def silence(self) -> None:
        """What is sent on the connections of now reaches nobody, and nobody is told; `dropped`
        counts its bytes."""
        self._silent.update(self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_down:
            writer.transport.abort()
            return
        # One that is accepted while nothing comes through is ended with the others.
        this = asyncio.current_task()
        assert this is not None
        self._accepting.add(this)
        this.add_done_callback(self._accepting.discard)
        self._writers.add(writer)
        host, port = self._target.hostname, self._target.port
        await self._passing.wait()
        if writer.is_closing():
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(host, port)
        except OSError:  # there is no server just now
            writer.transport.abort()
            return
        if writer.is_closing():
            server_writer.transport.abort()
            return
        pair = (writer, server_writer)
        self._writers.update(pair)
        mutes = asyncio.Event()
        for work in (
            self._forward(reader, server_writer, pair, mutes, from_client=True),
            self._forward(server_reader, writer, pair, mutes, from_client=False),
        ):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        mutes: asyncio.Event,
        *,
        from_client: bool,
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_BLOCK_BYTES):
                await self._passing.wait()
                if from_client and self.lose is not None and self.lose[1] in data:
                    what, self.lose = self.lose[0], None
                    if what == "request":
                        break
                    if what == "late":
                        self._late = (writer, data)
                        pair[0].transport.abort()
                        self.lost.set()
                        return
                    mutes.set()
                elif not from_client and mutes.is_set():
                    break
                elif not from_client and self._late is not None and self._late[0] is pair[1]:
                    self._late_answered.set()
                    break
                if writer in self._silent:
                    self.dropped += len(data)
                    continue
                writer.write(data)
                await writer.drain()
        if mutes.is_set() or from_client:
            self.lost.set()
        for end in pair:
            end.transport.abort()
            self._writers.discard(end)
