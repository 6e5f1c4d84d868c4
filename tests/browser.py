"""A headless Chromium for tests, driven by the DevTools protocol over a pipe.

The protocol needs two file descriptors and JSON ended by a zero byte (``--remote-debugging-pipe``),
so no library stands between a test and the keys that it presses. The browser gets a profile of its
own and reaches no network but what a page asks for.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any

SECONDS_MAX = 60
"""Until an answer of the browser is given up: a loaded machine starts it in ten."""

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1400,900", "--remote-debugging-pipe"),
)

# The protocol wants descriptors 3 (it reads) and 4 (it writes).
_START = "import os, sys; i, o = map(int, sys.argv[1:3]); os.dup2(i, 3); os.dup2(o, 4); "
_START += "os.execv(sys.argv[3], sys.argv[3:])"

KEYS = {
    "ArrowRight": 39, "ArrowLeft": 37, "ArrowUp": 38, "ArrowDown": 40,
    "Home": 36, "End": 35, "Enter": 13, "Escape": 27,
}  # fmt: skip
"""Names of keys without a character -> their virtual key codes."""


def chromium() -> str:
    """The browser's program. Fails with what to do where there is none."""
    found = shutil.which("chromium")
    if found is None:
        raise AssertionError(
            "no chromium on this machine: `make chromium` brings it (Debian, root)"
        )
    return found


class Page:
    """The one page of a browser."""

    def __init__(self, to: int, answers: int) -> None:
        self._to, self._answers = to, answers
        self._read, self._number = b"", 0
        self._session: str | None = None
        self.asked: list[str] = []
        """The addresses that the page asked for, in order."""
        self.told: list[str] = []
        """What the page wrote to its console, and its errors."""

    def attach(self) -> None:
        """Takes hold of the page that the browser has opened."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One call of the protocol, and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._heard(answer)
        assert "error" not in answer, (method, answer["error"])
        found: dict[str, Any] = answer["result"]
        return found

    def open(self, file: Path, fragment: str = "") -> None:
        """Opens a file and waits until it is loaded."""
        self.call("Page.navigate", url=file.as_uri() + fragment)
        while (event := self._next()).get("method") != "Page.loadEventFired":
            self._heard(event)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page. Fails where it raises."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def text(self, selector: str) -> str:
        """The text of the first element that a selector finds."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent"))

    def press(self, *keys: str) -> None:
        """Presses keys as a person does: names of `KEYS`, or characters."""
        for key in keys:
            code = KEYS.get(key, ord(key[0].upper()))
            told = {"key": key, "windowsVirtualKeyCode": code}
            text = {} if key in KEYS and key != "Enter" else {"text": "\r" if key in KEYS else key}
            self.call("Input.dispatchKeyEvent", type="keyDown", **told, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def screenshot(self, file: Path) -> None:
        """Writes what the page looks like, as PNG."""
        file.write_bytes(b64decode(self.call("Page.captureScreenshot")["data"]))

    def _heard(self, event: dict[str, Any]) -> None:
        method, told = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.told.append(json.dumps(told["exceptionDetails"]))
        elif method in ("Runtime.consoleAPICalled", "Log.entryAdded"):
            self.told.append(json.dumps(told))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            assert select([self._answers], [], [], SECONDS_MAX)[0], "the browser does not answer"
            piece = os.read(self._answers, 1 << 20)
            assert piece, "the browser is gone"
            self._read += piece
        line, _, self._read = self._read.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser with a new profile in that folder, and its page; it is gone after the block."""
    program, its_profile = chromium(), f"--user-data-dir={profile}"
    its_end, to = os.pipe()
    answers, their_end = os.pipe()
    # Beyond 4, so that neither of the two takes the place of the other.
    handed = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (its_end, their_end)]
    with (profile.parent / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _START, *map(str, handed), program, *FLAGS, its_profile],
            pass_fds=handed,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    for end in (its_end, their_end, *handed):
        os.close(end)
    try:
        page = Page(to, answers)
        page.attach()
        yield page
    finally:
        os.close(to)  # the browser ends when nobody is there to drive it
        os.close(answers)
        try:
            process.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
