"""Parts that need a process of their own: a reader whose memory is watched, a foreign writer."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from pathlib import Path

from eventstore import EventStore, NewEvent

from .viewing import five_stores, relay, six_views, watch
from .workload import Callers, plain_events

_ROOT = Path(__file__).resolve().parents[2]


def command(name: str, *args: str) -> list[str]:
    """The command line of a child."""
    return [sys.executable, "-m", "tests.benchmarks.children", name, *args]


def run_child(name: str, *args: str) -> str:
    """Runs a child to its end and gives what it printed. Raises when it failed."""
    done = subprocess.run(
        command(name, *args), cwd=_ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"child {name} failed: {done.stderr[-400:]}")
    return done.stdout


class Child:
    """A child that has said it is ready, and waits for `go` before it begins."""

    def __init__(self, name: str, *args: str) -> None:
        self._process = subprocess.Popen(
            command(name, *args),
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._process.stdout is None or self._process.stdout.readline() != "ready\n":
            self._process.kill()
            raise RuntimeError(f"child {name} did not begin")

    def go(self) -> None:
        """Lets it begin."""
        if self._process.stdin is not None:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()

    def wait_for(self, word: str) -> None:
        """Waits until it says that word. Raises when it ends without."""
        if self._process.stdout is None or self._process.stdout.readline() != f"{word}\n":
            self._process.kill()
            raise RuntimeError(f"a child ended and did not say {word}")

    def end(self) -> str:
        """Waits for its end, and gives what it said last. Raises when it failed."""
        said, _ = self._process.communicate()
        if self._process.returncode != 0:
            raise RuntimeError(f"a child ended with {self._process.returncode}")
        return said


async def watch_memory(url: str) -> None:
    """Reads the log event by event and prints resident bytes at start and peaks."""
    async with EventStore.open(url) as store:
        head = await store.head()
        start = _status("VmRSS")
        at_tenth = count = 0
        async for _ in store.read_all():
            count += 1
            if count == head // 10:
                at_tenth = _status("VmHWM")
        print(json.dumps({"start": start, "peak_at_tenth": at_tenth, "peak": _status("VmHWM")}))


async def write_now_and_then(url: str, count: int) -> None:
    """Appends events that hold the time they were sent, at uneven distances."""
    gaps = random.Random(7)
    async with EventStore.open(url) as store:
        await store.append("bench/foreign", [NewEvent("bench.opened", {})])
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for _ in range(count):
            # Uneven, so that the appends meet every phase of the other process's look-out.
            await asyncio.sleep(gaps.uniform(0.005, 0.095))
            sent = {"sent_ns": time.monotonic_ns()}
            await store.append("bench/foreign", [NewEvent("bench.sent", sent)])


async def call(url: str, prefix: str, callers: int, appends: int) -> None:
    """Callers of one event each, on streams that are this process's own."""
    streams = [f"{prefix}/{number}" for number in range(callers)]
    async with EventStore.open(url) as store:
        work = Callers(streams, appends, plain_events(callers * appends))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await work.run(store)
        print("done", flush=True)


def _status(name: str) -> int:
    """A line of this process's status in bytes; the kernel tells KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {name} in /proc/self/status")


if __name__ == "__main__":
    if sys.argv[1] == "memory":
        asyncio.run(watch_memory(sys.argv[2]))
    elif sys.argv[1] == "callers":
        asyncio.run(call(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
    elif sys.argv[1] == "relay":
        asyncio.run(relay(sys.argv[2], six_views(*sys.argv[3:])))
    elif sys.argv[1] == "relay-five":
        asyncio.run(relay(sys.argv[2], five_stores()))
    elif sys.argv[1] == "watch":
        watch(sys.argv[2], int(sys.argv[3]))
    else:
        asyncio.run(write_now_and_then(sys.argv[2], int(sys.argv[3])))
