"""The PyPI package umadb: the server of its wheel on the loopback interface, and its clients."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import msgspec
from umadb import Client, Event, Query, QueryItem

from tests.servers.own import free_port

from ..measuring import Timing, timing
from ..sizes import Sizes
from ..workload import MESSAGES, Noted, Totals, add_noted, typed_events
from .threads import run_threads

_START_SECONDS_MAX = 30
_SERVE = "from umadb.umadb_server_cli import main; main()"
_PAYLOADS = [msgspec.json.encode(message) for message in MESSAGES]
_REPLAYED = "session:replayed"
_FILLED = "session:filled"


class Uma:
    """A server of its own in a folder, and one client for each caller."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        folder.mkdir()
        self._sizes = sizes
        address = f"127.0.0.1:{free_port()}"
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVE, "--listen", address, "--db-path", str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._clients = [_connect(address) for _ in range(sizes.callers)]
            self._fill()
        except BaseException:
            self.close()
            raise

    def from_callers(self) -> Timing:
        """One thread and one client for each caller, one event for each append."""
        count = self._sizes.neighbour_appends_a_caller

        def work(client: Client, caller: int) -> None:
            tags = [f"session:{caller}"]
            for number in range(count):
                data = _PAYLOADS[number % len(_PAYLOADS)]
                client.append([Event("message.added", data, tags)])

        return run_threads([partial(work, one, n) for n, one in enumerate(self._clients)])

    def one_by_one(self) -> Timing:
        """One caller."""
        client = self._clients[0]
        with timing() as taken:
            for number in range(self._sizes.single_appends // 4):
                data = _PAYLOADS[number % len(_PAYLOADS)]
                client.append([Event("message.added", data, ["session:single"])])
        return taken

    def replay(self) -> Timing:
        """One stream, by its tag, decoded and folded as ours is."""
        decode = msgspec.json.Decoder(Noted).decode
        query = Query(items=[QueryItem(tags=[_REPLAYED])])
        state = Totals()
        with timing() as taken:
            response = self._clients[0].read(query=query)
            while batch := response.next_batch():
                for one in batch:
                    state = add_noted(state, decode(one.event.data))
        if state.count != self._sizes.stream_events:
            raise RuntimeError(f"umadb replayed {state.count} events")
        return taken

    def read_log(self) -> Timing:
        """As many events as the comparison reads, from the beginning of the log."""
        wanted, seen = self._sizes.neighbour_events, 0
        with timing() as taken:
            response = self._clients[0].read(limit=wanted)
            while batch := response.next_batch():
                seen += len(batch)
        if seen != wanted:
            raise RuntimeError(f"umadb gave {seen} of {wanted} events")
        return taken

    def close(self) -> None:
        """Ends the server."""
        self._server.terminate()
        self._server.wait(timeout=_START_SECONDS_MAX)

    def _fill(self) -> None:
        sizes, client = self._sizes, self._clients[0]
        replayed = [
            Event("bench.noted", msgspec.json.encode(noted), [_REPLAYED])
            for noted in typed_events(sizes.stream_events)
        ]
        filled = [
            Event("message.added", _PAYLOADS[number % len(_PAYLOADS)], [_FILLED])
            for number in range(max(0, sizes.neighbour_events - sizes.stream_events))
        ]
        for events in (replayed, filled):
            for start in range(0, len(events), 1_000):
                client.append(events[start : start + 1_000])


def _connect(address: str) -> Client:
    """A client, once the server answers."""
    deadline = time.monotonic() + _START_SECONDS_MAX
    while True:
        try:
            client = Client(f"http://{address}")
            client.head()
            return client
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
