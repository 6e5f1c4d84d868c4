"""A transaction pooler between clients and a PostgreSQL: a small one of our own, and PgBouncer
where the machine has it.

Ours speaks the wire protocol 3.0 as far as pooling needs it. A client has a server's connection
from its first message of a transaction until the server is ready for the next one outside of a
transaction; then the next client that waits gets it. Free connections are taken in turn, so that a
client never has the same one twice in a row: whatever it leaves in a session (a prepared statement,
a setting, LISTEN) is lost at once, and not only under load. As PgBouncer does, it refuses startup
parameters that it does not know, and keeps nothing of a session apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import struct
import subprocess
from collections import deque
from pathlib import Path
from types import TracebackType
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from tests.waiting import until

from .installations import as_user, open_folder, unprivileged_user
from .own import end_watch, free_port, start_watch

SERVERS_MAX = 2
"""Connections to the server: fewer than clients want, and enough for turns."""

_SSL, _CANCEL, _GSS, _PROTOCOL = 80877103, 80877102, 80877104, 196608
_KNOWN = {b"user", b"database", b"client_encoding", b"application_name", b"datestyle", b"timezone",
          b"standard_conforming_strings", b"options"}  # fmt: skip
_PASSWORD = 3
_ANSWERED = b"QSF"
"""Kinds of a client's messages to which the server says that it is ready: query, sync, function."""


class TransactionPooler:
    """``async with TransactionPooler(url) as pooler:``, and clients of `pooler.url`."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._free: deque[_Server] = deque()
        self._turn = asyncio.Condition()
        self._count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""

    async def __aenter__(self) -> TransactionPooler:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = _moved(self._target, self._listening.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                if await self._greet(reader, writer):
                    await self._pool(reader, writer)
        finally:
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the client may go on. Everybody may log in; a CancelRequest is not heeded."""
        while True:
            (size,) = struct.unpack("!i", await reader.readexactly(4))
            body = await reader.readexactly(size - 4)
            (code,) = struct.unpack("!i", body[:4])
            if code not in (_SSL, _GSS):
                break
            writer.write(b"N")
        if code != _PROTOCOL:
            return False
        words = body[4:].split(b"\0")
        for name in words[0:-2:2]:
            if name.lower() not in _KNOWN:
                said = b"unsupported startup parameter: " + name
                fields = (b"SFATAL", b"VFATAL", b"C08P01", b"M" + said, b"", b"")
                writer.write(_message(b"E", b"\0".join(fields)))
                await writer.drain()
                return False
        server = await self._take()
        writer.write(server.greeting)
        await self._give_back(server)
        return True

    async def _pool(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Transactions of one client, each with the connection whose turn it is."""
        client = _Client(writer)
        feeding = asyncio.create_task(client.feed(reader))
        try:
            while (first := await client.messages.get()) is not None:
                server = await self._take()
                try:
                    await client.transact(server, first)
                except BaseException:
                    self._drop(server)  # in the middle of somebody's transaction
                    raise
                await self._give_back(server)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def _take(self) -> _Server:
        async with self._turn:
            await self._turn.wait_for(lambda: self._free or self._count < SERVERS_MAX)
            if self._count >= SERVERS_MAX:
                return self._free.popleft()
            self._count += 1
        try:
            server = await _log_in(self._target)
        except BaseException:
            self._count -= 1
            raise
        self._writers.add(server.writer)
        return server

    async def _give_back(self, server: _Server) -> None:
        async with self._turn:
            self._free.append(server)
            self._turn.notify()

    def _drop(self, server: _Server) -> None:
        server.writer.transport.abort()
        self._writers.discard(server.writer)
        self._count -= 1
        waking = asyncio.ensure_future(self._wake())
        self._tasks.add(waking)
        waking.add_done_callback(self._tasks.discard)

    async def _wake(self) -> None:
        async with self._turn:
            self._turn.notify()


class _Server:
    """A connection to the server, and what it says to a client that logs in."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, greeting: bytes
    ) -> None:
        self.reader, self.writer, self.greeting = reader, writer, greeting


class _Client:
    """A client that has logged in. `messages` ends with None."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._writer = writer
        self._owed = 0
        self._is_whole = True  # the last message asked for an answer

    async def feed(self, reader: asyncio.StreamReader) -> None:
        """Takes in what the client sends, until it leaves."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while (message := await _read(reader))[:1] != b"X":
                self.messages.put_nowait(message)
        self.messages.put_nowait(None)

    async def transact(self, server: _Server, first: bytes) -> None:
        """Forwards in both directions until the server is outside of a transaction and owes no
        answer. Raises `ConnectionError` where the client leaves before that."""
        self._forward(server, first)
        sending = asyncio.create_task(self._send_on(server))
        answering = asyncio.create_task(self._answer(server))
        try:
            done, _ = await asyncio.wait((sending, answering), return_when="FIRST_COMPLETED")
            for task in done:
                task.result()
        finally:
            for task in (sending, answering):
                task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)

    def _forward(self, server: _Server, message: bytes) -> None:
        server.writer.write(message)
        self._is_whole = message[:1] in _ANSWERED
        self._owed += self._is_whole

    async def _send_on(self, server: _Server) -> None:
        while (message := await self.messages.get()) is not None:
            self._forward(server, message)
        raise ConnectionError("the client left in a transaction")

    async def _answer(self, server: _Server) -> None:
        while True:
            message = await _read(server.reader)
            self._writer.write(message)
            if message[:1] == b"Z":
                self._owed -= 1
                if message[-1:] == b"I" and self._is_whole and not self._owed:
                    return


async def _log_in(target: SplitResult) -> _Server:
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    user, database = unquote(target.username or "").encode(), target.path[1:].encode()
    words = b"user\0" + user + b"\0database\0" + database + b"\0\0"
    writer.write(struct.pack("!ii", len(words) + 8, _PROTOCOL) + words)
    greeting = b""
    while True:
        message = await _read(reader)
        kind = message[:1]
        if kind == b"R" and message[5:9] == struct.pack("!i", _PASSWORD):
            writer.write(_message(b"p", unquote(target.password or "").encode() + b"\0"))
            continue
        if kind == b"E":
            raise ConnectionError("the server refused the pooler")
        greeting += message
        if kind == b"Z":
            return _Server(reader, writer, greeting)


async def _read(reader: asyncio.StreamReader) -> bytes:
    """The next message, whose first byte is its kind."""
    head = await reader.readexactly(5)
    (size,) = struct.unpack("!i", head[1:])
    return head + await reader.readexactly(size - 4)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _moved(target: SplitResult, port: int) -> str:
    user, _, _ = target.netloc.rpartition("@")
    return urlunsplit(target._replace(netloc=f"{user}@127.0.0.1:{port}"))


class PgBouncer:
    """The same, by PgBouncer. ``async with PgBouncer(url) as pooler:``."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._user = unprivileged_user()
        self.url = ""

    async def __aenter__(self) -> PgBouncer:
        self._folder = open_folder(self._user)
        port = self._configure()
        self._process = self._start()
        self.url = _moved(self._target, port)
        try:
            await until(lambda: self._process.poll() is not None or _listens(port))
            if self._process.poll() is not None:
                raise RuntimeError("PgBouncer ended at once")
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        folder = str(self._folder)
        return start_watch(_WATCH, str(bouncer()), folder, **as_user(self._user))

    def _end(self) -> None:
        end_watch(self._process)

    def _configure(self) -> int:
        port = free_port()
        target, user = self._target, unquote(self._target.username or "")
        password = unquote(target.password or "")
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": SERVERS_MAX,
            "server_round_robin": 1,
        }
        database = f"host={target.hostname} port={target.port} user={user} password={password}"
        lines = [f"{name} = {value}" for name, value in settings.items()]
        (self._folder / "ini").write_text(
            "\n".join(["[databases]", f"* = {database}", "[pgbouncer]", *lines, ""])
        )
        (self._folder / "ini").chmod(0o644)
        return port


_WATCH = '"$1" -q "$2/ini" & pid=$!; cat >/dev/null; kill $pid; wait $pid; rm -rf "$2"'


def bouncer() -> Path | None:
    """PgBouncer's program, where the machine has it; no package of Python's brings one."""
    found = shutil.which(
        "pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    )
    return None if found is None else Path(found)


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0
