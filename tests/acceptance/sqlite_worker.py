"""A process that uses a store as it is told: ``python sqlite_worker.py STORE_URL``.

It reads one JSON object a line, ``{"do": NAME, ...}``, does it, and answers with one JSON line:
``{"result": ...}``, or ``{"error": CLASS}`` for an error of the store. It knows no test.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from eventstore import Conflict, EventStore, EventStoreError, NewEvent
from eventstore.checkpoints import Lease
from eventstore.opening import sqlite_path

Verb = Callable[..., Awaitable[Any]]
verbs: dict[str, Verb] = {}


def verb(function: Verb) -> Verb:
    """Makes a function something that a test can ask for by its name."""
    verbs[function.__name__] = function
    return function


class State:
    """What the process has open, and the clock that it was given."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.now_us = 0
        self.store: EventStore | None = None
        self.lock: sqlite3.Connection | None = None
        self.lease: Lease | None = None

    @property
    def opened(self) -> EventStore:
        """The open store."""
        assert self.store is not None
        return self.store


@verb
async def open_store(state: State, *, fixed_clock: bool = False, **options: Any) -> int:
    """Opens the store and answers its head. A fixed clock reads what `set_clock` was told."""
    if fixed_clock:
        options["clock"] = lambda: state.now_us
    state.store = await EventStore.open(state.url, **options)
    return await state.store.head()


@verb
async def close_store(state: State) -> None:
    """Closes the store."""
    await state.opened.close()


@verb
async def set_clock(state: State, *, seconds: int) -> None:
    """Sets the clock that the store was opened with."""
    state.now_us = seconds * 1_000_000


@verb
async def append(
    state: State, *, stream: str, events: int = 1, expected: int | None = None
) -> dict[str, int]:
    """Appends to one stream; says where, and when (monotonic time) it was acknowledged."""
    options = {} if expected is None else {"expected": expected}
    notes = [NewEvent("note.added", {"n": n}) for n in range(events)]
    result = await state.opened.append(stream, notes, **options)
    acknowledged_ns = time.monotonic_ns()
    return {
        "position": result.position,
        "version": result.version,
        "acknowledged_ns": acknowledged_ns,
    }


@verb
async def wins(state: State, *, stream: str, expected: int) -> bool:
    """Tries to be the one who appends at an expected version."""
    try:
        await state.opened.append(stream, NewEvent("note.added", {}), expected=expected)
    except Conflict:
        return False
    return True


@verb
async def append_from_callers(
    state: State, *, name: str, callers: int, appends: int
) -> list[tuple[str, str, int, int]]:
    """Many callers at once, each to a stream of its own and to one of all processes, in turns.
    Answers (id, stream, version, position) of every acknowledged event."""
    places: list[tuple[str, str, int, int]] = []

    async def call(caller: int) -> None:
        for turn in range(appends):
            stream = "shared" if turn % 2 else f"{name}/{caller}"
            key = f"{name}/{caller}/{turn}" if turn % 3 == 0 else None
            event = NewEvent("note.added", {"turn": turn}, tags=[f"process:{name}"])
            result = await state.opened.append(stream, event, idempotency_key=key)
            places.append((result.events[0].id, stream, result.version, result.position))

    await asyncio.gather(*(call(caller) for caller in range(callers)))
    return places


@verb
async def append_paced(state: State, *, stream: str, appends: int, seed: int) -> int:
    """Appends of 1 or 10 events with random pauses: load for those who follow, not a wait."""
    chance, written = random.Random(seed), 0
    for _ in range(appends):
        count = chance.choice((1, 10))
        await state.opened.append(stream, [NewEvent("note.added", {})] * count)
        written += count
        await asyncio.sleep(chance.random() * 0.02)
    return written


@verb
async def append_until_killed(state: State, *, name: str, callers: int) -> None:
    """Appends under keys for ever, and prints key, size and last position once acknowledged."""

    async def call(caller: int) -> None:
        turn = 0
        while True:
            key, count = f"{name}/{caller}/{turn}", 1 + turn % 5
            notes = [NewEvent("note.added", {"key": key, "n": n}) for n in range(count)]
            result = await state.opened.append(f"crash/{caller}", notes, idempotency_key=key)
            print(json.dumps([caller, key, count, result.position]), flush=True)
            turn += 1

    await asyncio.gather(*(call(caller) for caller in range(callers)))


@verb
async def append_large(state: State, *, stream: str, key: str, size: int) -> dict[str, Any]:
    """Appends one event of so many bytes under a key."""
    event = NewEvent("note.added", "x" * size)
    result = await state.opened.append(stream, event, idempotency_key=key)
    return {"version": result.version, "duplicate": result.duplicate}


@verb
async def limit_files(state: State, *, size: int | None) -> None:
    """No file of this process may grow beyond so many bytes, as if the disk were full."""
    _, hardest = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hardest if size is None else size, hardest))


@verb
async def hold_write_lock(state: State) -> None:
    """Takes SQLite's write lock, as any program might, and keeps it."""
    state.lock = sqlite3.connect(sqlite_path(state.url), isolation_level=None)
    state.lock.execute("BEGIN IMMEDIATE")


@verb
async def let_go(state: State) -> None:
    """Gives the write lock back."""
    assert state.lock is not None
    state.lock.execute("ROLLBACK")
    state.lock.close()


@verb
async def acquire(state: State, *, holder: str, seconds: float) -> int | None:
    """Takes the lease; its fencing token, or None when another one holds it."""
    lease = await state.opened.checkpoints.acquire("work", holder, seconds=seconds)
    state.lease = lease or state.lease
    return None if lease is None else lease.fencing_token


@verb
async def save(state: State, *, position: int) -> int:
    """Moves the checkpoint under the lease that was taken last."""
    checkpoint = await state.opened.checkpoints.save("work", position, lease=state.lease)
    return checkpoint.position


async def serve(url: str) -> None:
    """Does what is asked, until standard input ends."""
    state = State(url)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        try:
            answer = {"result": await verbs[request.pop("do")](state, **request)}
        except EventStoreError as exc:
            answer = {"error": type(exc).__name__}
        print(json.dumps(answer), flush=True)
    if state.store is not None:
        await state.store.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
