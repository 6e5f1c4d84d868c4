"""The connection to a Redis or Valkey: opened when it is first used, and what its errors mean.

No text that leaves this module holds a password, a key or a value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha1
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from ..embedding.extras import load
from ..errors import ProjectionError, SinkUnavailable

SCHEMES = ("redis", "rediss", "unix")

CONNECTIONS_MAX = 32
"""Connections of one view in one process: a command takes well under a millisecond, so more
callers than these wait for about as long."""

TIMEOUT_SECONDS = 5.0
"""For connecting, for one answer, and for a free connection. ``?socket_timeout=`` in the URL says
otherwise."""

_AWAY = frozenset(
    (
        *("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOAUTH", "NOPERM"),
        *("NOREPLICAS", "OOM", "READONLY", "TRYAGAIN", "UNKILLABLE", "WRONGPASS"),
    )
)
"""Answers by which a server says that it cannot just now, or not for us: no row is to blame."""

T = TypeVar("T")


class Script:
    """A Lua script, and the name under which the server remembers it."""

    def __init__(self, text: str) -> None:
        self.text = text
        # The server's own name for a script; nothing rests on its strength.
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


class Server:
    """One server, as one view uses it.

    `connections` counts the connections that were made: a server that was restarted or replaced has
    been connected to anew. Raises `ProjectionError` for what is no URL of a Redis.
    """

    def __init__(self, view: str, url: str) -> None:
        self._view = view
        self._url = url
        self.place = _place(view, url)
        self.connections = 0
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def ask(self, question: Callable[[Any], Awaitable[T]]) -> T:
        """What the client answers. Raises `SinkUnavailable` and `ProjectionError`. If cancelled,
        the server may have done it all the same."""
        client = self._connected()
        errors = load("redis.exceptions", extra="redis")
        try:
            return await question(client)
        except (errors.RedisError, OSError) as exc:
            raise self._told(exc, errors) from None

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Runs a script by its name, and by its text where the server has forgotten it."""
        errors = load("redis.exceptions", extra="redis")

        async def question(client: Any) -> Any:
            try:
                return await client.evalsha(script.sha, len(keys), *keys, *args)
            except errors.NoScriptError:
                return await client.eval(script.text, len(keys), *keys, *args)

        return await self.ask(question)

    async def memory(self) -> dict[str, Any]:
        """What the server says of its memory; nothing where this user may not ask."""
        errors = load("redis.exceptions", extra="redis")

        async def question(client: Any) -> dict[str, Any]:
            try:
                told: dict[str, Any] = await client.info("memory")
            except errors.NoPermissionError:
                return {}
            return told

        return await self.ask(question)

    async def close(self) -> None:
        """Closes its connections; the next use opens new ones."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose(close_connection_pool=True)

    def _connected(self) -> Any:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            # Connections belong to the event loop that made them.
            self._client, self._loop = self._make(), loop
        return self._client

    def _make(self) -> Any:
        redis = load("redis.asyncio", extra="redis")
        retrying = load("redis.asyncio.retry", extra="redis")
        backoff = load("redis.backoff", extra="redis")
        errors = load("redis.exceptions", extra="redis")

        async def connect(connection: Any) -> None:
            await connection.on_connect()
            self.connections += 1

        try:
            pool = redis.BlockingConnectionPool.from_url(
                self._url,
                max_connections=CONNECTIONS_MAX,
                timeout=TIMEOUT_SECONDS,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                # Once, for a connection that died while it lay idle; the relay waits and tries
                # again by itself. All that is asked may be asked twice.
                retry=retrying.Retry(backoff.NoBackoff(), 1, (errors.ConnectionError,)),
            )
        except ValueError:
            raise ProjectionError(f"view {self._view!r}: the URL of Redis cannot be read") from None
        pool.connection_kwargs.update(decode_responses=False, redis_connect_func=connect)
        return redis.Redis(connection_pool=pool)

    def _told(self, exc: Exception, errors: Any) -> ProjectionError:
        """The error of ours for one of the client's. Its text is not taken over: a script's errors
        quote what the script was given."""
        where = f"view {self._view!r}: Redis at {self.place}"
        code = _code(exc)
        if isinstance(exc, errors.AuthenticationError) or code in ("NOAUTH", "WRONGPASS"):
            return SinkUnavailable(f"{where} refuses the user or the password")
        if isinstance(exc, (errors.MovedError, errors.AskError)):
            return ProjectionError(f"{where} is a part of a cluster, which is not supported")
        away = (
            *(errors.ConnectionError, errors.TimeoutError, errors.ReadOnlyError, OSError),
            *(errors.OutOfMemoryError, errors.ClusterDownError, errors.MasterDownError),
            *(errors.TryAgainError, errors.NoPermissionError),
        )
        named = code or type(exc).__name__
        if isinstance(exc, away) or code in _AWAY:
            return SinkUnavailable(f"{where} does not answer ({named})")
        return ProjectionError(f"{where} refused ({named})")


def _code(exc: Exception) -> str:
    """The first word of a server's error where it is a code in capital letters, also of one that a
    script passed on; else nothing."""
    known = str(getattr(exc, "status_code", None) or "")
    words = [known, *str(exc).split()[:1]]
    words += [word.removeprefix("-") for word in str(exc).split() if word.startswith("-")]
    return next(
        (word for word in words if word.isascii() and word.isalpha() and word.isupper()), ""
    )


def _place(view: str, url: str) -> str:
    """Where the server is, without user and password. Raises `ProjectionError`."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except (ValueError, AttributeError, TypeError):
        parts = None
    if parts is None or parts.scheme not in SCHEMES:
        raise ProjectionError(
            f"view {view!r}: a URL of Redis begins with redis://, rediss:// or unix://"
        )
    if parts.scheme == "unix":
        return unquote(parts.path)
    return f"{host or 'localhost'}:{port or 6379}"
