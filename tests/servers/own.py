"""What a server of one's own has, whichever: a folder that goes with our process, and a port."""

from __future__ import annotations

import secrets
import socket
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ATTEMPTS_MAX = 5
"""How often a start is tried: another program may take the port between our look and our use."""


class OwnServer(ABC):
    """A server in `folder`: ``with`` starts and stops it. The password is random: a test may look
    for it where it must not be."""

    _watch: subprocess.Popen[bytes]
    """What `start_watch` gave: it ends the server and removes the folder."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self.settings = settings
        self.password = f"secret-{secrets.token_hex(8)}"
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None:
        """Starts the server and returns when it answers; on the same port as before, if any."""

    def stop(self) -> None:
        """Ends the server and removes its folder. Nothing is left, whatever state it was in."""
        end_watch(self._watch)

    def log(self) -> str:
        """What the server has logged."""
        path = self.folder / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def start_watch(script: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """A small shell that runs a script whose first word waits for the end of a pipe. Only our
    process holds the pipe: however we end, by SIGKILL as well, the script goes on then."""
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "sh", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,  # Ctrl-C is ours to hear
        **options,
    )


def end_watch(watch: subprocess.Popen[bytes]) -> None:
    """Lets the script go on, and waits for its end."""
    assert watch.stdin is not None
    watch.stdin.close()
    watch.wait()


def free_port() -> int:
    """A port of loopback that nobody has at this moment."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port
