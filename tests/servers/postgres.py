"""A PostgreSQL server of one's own: on loopback, in a temporary folder, gone with its process.

It runs with PostgreSQL's default durability; only `initdb` saves itself the syncs of files that
nobody will miss. A small shell of its own waits for the end of a pipe that only our process
holds: however we end, by SIGKILL as well, it stops the server and removes the folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import select
import signal
import subprocess
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import psutil

from .installations import (
    Installation,
    as_user,
    installations,
    open_folder,
    readable,
    unprivileged_user,
)
from .own import ATTEMPTS_MAX, OwnServer, free_port, start_watch

USER = "eventstore"
KILLED_SECONDS_MAX = 30.0
"""How long a process may take to be gone after SIGKILL: in the middle of a sync it waits for it."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",  # several stores of several processes, each with its pool
    "log_min_duration_statement": "-1",
}

_WATCH = 'cat >/dev/null; "$1" -D "$2/data" -m immediate -s stop 2>/dev/null; rm -rf "$2"'
_numbers = itertools.count(1)


class PostgresServer(OwnServer):
    """One running server. ``with PostgresServer() as server:``, or `start` and `stop`.

    `server.new_url()` gives a database of its own at each call.
    """

    def __init__(
        self, installation: Installation | None = None, settings: dict[str, str] | None = None
    ) -> None:
        self._user = unprivileged_user()
        super().__init__(open_folder(self._user), {**SETTINGS, **(settings or {})})
        found = installation or installations()[0]
        self.installation = readable(found, self._user, self.folder)
        pg_ctl = str(self.installation.programs / "pg_ctl")
        self._watch = start_watch(_WATCH, pg_ctl, str(self.folder), **as_user(self._user))
        self._initialise()

    # --- its life

    def start(self) -> None:
        """Starts the server and returns when it answers; on the same port as before, if any."""
        for _ in range(ATTEMPTS_MAX):
            port = self.port or free_port()
            options = [
                f"-c {name}='{value}'" for name, value in {**self.settings, "port": port}.items()
            ]
            log = self.folder / "log"
            with contextlib.suppress(subprocess.CalledProcessError):
                self._run("pg_ctl", "-D", self.data, "-l", log, "-w", "-s", "-o", " ".join(options),
                          "start")  # fmt: skip
                self.port = port
                return
        raise RuntimeError(f"PostgreSQL did not start: {self.log()[-2000:]}")

    def restart(self, mode: str = "fast") -> None:
        """Stops the server in `pg_ctl`'s way of that name and starts it again."""
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "-s", "stop")
        self.start()

    def kill(self) -> None:
        """SIGKILL to the server and all its processes at once, as when the machine's memory is
        gone. `start` starts it again, and it recovers."""
        postmaster = psutil.Process(self.pid)
        postmaster.send_signal(signal.SIGSTOP)  # so that it starts none while we count them
        everyone = [postmaster, *postmaster.children(recursive=True)]
        with contextlib.ExitStack() as stack:
            deaths = [stack.enter_context(_death(process)) for process in everyone]
            for process in everyone:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            for wait in deaths:
                wait()
        # Their entries stay until somebody reaps them, which in a container may take a second,
        # and would be taken for a server that runs.
        (self.data / "postmaster.pid").unlink()

    @property
    def data(self) -> Path:
        """The folder of the data."""
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    # --- what is in it

    def url(self, database: str = "postgres") -> str:
        """The URL of a database, with user and password."""
        return f"postgresql://{USER}:{quote(self.password)}@127.0.0.1:{self.port}/{database}"

    def new_url(self, template: str = "template1") -> str:
        """A new database's URL. `template` is the name of one that nobody is connected to."""
        name = f"store_{os.getpid()}_{next(_numbers)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop(self, url: str) -> None:
        """Removes a database, and ends whatever is still connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{url.rsplit("/", 1)[1]}" WITH (FORCE)')

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Runs a statement as the owner of everything; from a running event loop as well."""

        async def run() -> list[Any]:
            connection = await asyncpg.connect(self.url(database), statement_cache_size=0)
            try:
                rows: list[Any] = await connection.fetch(statement)
                return rows
            finally:
                await connection.close()

        return _run_elsewhere(run())

    # --- how it is done

    def _initialise(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)
        self._run("initdb", "-D", self.data, "-U", USER, "--auth=password", f"--pwfile={secret}",
                  "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions")  # fmt: skip

    def _run(self, program: str, *arguments: str | Path) -> None:
        command: Sequence[str | Path] = [self.installation.programs / program, *arguments]
        with open(self.folder / "programs.log", "ab") as said:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd="/",
                check=True,
                start_new_session=True,
                **as_user(self._user),
            )


@contextlib.contextmanager
def _death(process: psutil.Process) -> Iterator[Callable[[], object]]:
    """What waits until a process is dead: from then on it holds nothing, though its entry may
    stay until somebody reaps it."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield lambda: None
        return
    except AttributeError:  # Linux alone tells a death before somebody has reaped
        yield lambda: process.wait(KILLED_SECONDS_MAX)
        return

    def wait() -> None:
        if not select.select([descriptor], [], [], KILLED_SECONDS_MAX)[0]:
            raise TimeoutError("a process of the server does not end")

    try:
        yield wait
    finally:
        os.close(descriptor)


def _run_elsewhere(work: Coroutine[Any, Any, list[Any]]) -> list[Any]:
    """Runs a coroutine to its end in a loop of another thread: the caller may have one running."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def wait_for_end() -> None:
    """Blocks until SIGINT or SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.pause()
