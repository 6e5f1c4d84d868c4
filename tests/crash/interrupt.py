"""Ctrl-C in synchronous code: a call of `eventstore.blocking`, interrupted at any moment.

A timer raises KeyboardInterrupt in the thread that waits, sooner or later in the call. Whatever was
going on then, the store goes on, the same call with the same key gives one event, a `close` that
was interrupted is done by the next one, and nothing of the store is left in the process.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from eventstore import Append, EventStoreError, NewEvent, blocking
from tests.waiting import until

from .faults import Fault, Outcome, Run
from .processes import new_store, run_inside

CALLS, CLOSES = 300, 20
SETTLE_SECONDS = 10.0
"""How long a driver's own threads may take to their end."""

BEYOND = 1.2
"""Interrupts come up to this share of what a call took, so that some come behind its end."""


def _note(name: str) -> NewEvent:
    return NewEvent("note.added", {"name": name})


def _lease(store: Any, name: str) -> None:
    lease = store.checkpoints.acquire(name, "ann")
    store.checkpoints.release(lease)


_WRITES: dict[str, Callable[[Any, str], Any]] = {
    "append": lambda store, key: store.append("a", _note(key), idempotency_key=key),
    "append_many": lambda store, key: store.append_many(
        [Append("a", [_note(key)]), Append("b", [_note(key)])], idempotency_key=key
    ),
}
_OTHERS: dict[str, Callable[[Any, str], Any]] = {
    "read": lambda store, key: list(store.read("seed")),
    "head": lambda store, key: store.head(),
    "lease": _lease,
    "outbox": lambda store, key: store.outbox.query("SELECT 1"),
}


async def interrupt(run: Run) -> Outcome:
    """In a process of its own, whose only thread that runs Python is the one interrupted."""
    url = await new_store(run)
    calls, closes = (max(few, run.times(many)) for few, many in ((60, CALLS), (10, CLOSES)))
    outcome = await run_inside(run, "interrupt:trial", url, calls=calls, closes=closes)
    outcome.note = f"{calls} calls, {closes} closes"
    run.ground.drop(url)
    return outcome


async def trial(url: str, seed: int, calls: int, closes: int) -> tuple[int, list[str]]:
    """Blocks the loop of this process, in which there is nothing else to do: only the main thread
    is interrupted, and that loop has it. For the time being it is not the thread's running loop,
    because a blocking store ends its own one in the thread that closes it."""
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)
    try:
        broken, rest = _trial(url, random.Random(seed), calls, closes)
    finally:
        asyncio._set_running_loop(loop)
    try:
        await until(lambda: _at_most(rest), SETTLE_SECONDS)
    except TimeoutError:
        broken.append(f"threads, files: {_resources()} instead of {rest}")
    return calls + closes, broken


def _trial(
    url: str, chance: random.Random, calls: int, closes: int
) -> tuple[list[str], tuple[int, int]]:
    before = signal.signal(signal.SIGALRM, _raise)
    try:
        with blocking.open(url) as store:
            store.append("seed", [_note("seed")] * 50)
        rest = _resources()
        with blocking.open(url) as store:
            broken = _interrupt_calls(store, chance, calls)
        for _ in range(closes):
            _interrupt_close(url, chance)
    finally:
        signal.signal(signal.SIGALRM, before)
    return broken, rest


def _interrupt_calls(store: Any, chance: random.Random, calls: int) -> list[str]:
    work = {**_WRITES, **_OTHERS}
    took = dict.fromkeys(work, 0.0)
    due, interrupted = [], 0
    for name, call in work.items():
        begun = time.monotonic()
        call(store, f"{name} at first")
        took[name] = time.monotonic() - begun
    for n in range(calls):
        name = chance.choice(list(work))
        key = f"{name} {n}"
        delay = chance.uniform(1e-6, took[name] * BEYOND)
        interrupted += _interrupted(lambda: work[name](store, key), delay)  # noqa: B023 - at once
        if name in _WRITES:
            due.append(key)
            for _ in range(2):
                work[name](store, key)
    broken = []
    stands = [event["name"] for event in store.read("a")]
    broken += [f"{key}: stands {stands.count(key)} times" for key in due if stands.count(key) != 1]
    broken += [f"verify: {damage}" for damage in store.verify().damages]
    if not interrupted:
        broken.append("no call was interrupted: nothing was tried")
    return broken


def _interrupt_close(url: str, chance: random.Random) -> None:
    store = blocking.open(url)
    store.head()
    _interrupted(store.close, chance.uniform(1e-6, 0.01))
    store.close()
    with suppress(EventStoreError):
        store.head()
        raise AssertionError("a store that was closed answers")


def _interrupted(call: Callable[[], Any], delay: float) -> bool:
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, delay)
            call()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        return True
    return False


def _raise(*_: Any) -> None:
    raise KeyboardInterrupt


def _at_most(rest: tuple[int, int]) -> bool:
    return all(now <= then for now, then in zip(_resources(), rest, strict=True))


def _resources() -> tuple[int, int]:
    """Threads and open files of this process."""
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    return threading.active_count(), files


FAULT = Fault(
    "interrupt",
    "a blocking call interrupted at any moment: nothing is left, a retry writes once",
    interrupt,
    dict.fromkeys(("sqlite", "postgres"), ("drops the key check",)),
)
