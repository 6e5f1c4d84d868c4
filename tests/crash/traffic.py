"""Everything that a store is used for at once, with a record of what each one was given.

Callers append, with keys and without; readers read the log again and again; subscribers follow it
from its beginning. All are in this process, each kind with connections of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from eventstore import EventStore, EventStoreError, NewEvent, RecordedEvent
from tests.waiting import PATIENCE_SECONDS, until

from .history import Operation, Operations, content
from .worker import State, operate, write

CALLERS, READERS, SUBSCRIBERS = 8, 2, 3
AHEAD = 10
"""Appends that are acknowledged, and seen by all who follow, before all count as going on."""

_BACK = 2_000
"""How far a reader begins behind the head: a few pages."""

_PAUSE_SECONDS_MAX = 0.005


class _Caller(State):
    """A worker's state, in this process."""

    def __init__(self, url: str, store: EventStore, operations: Operations) -> None:
        self.url, self.store, self.stopping = url, store, False
        self._operations = operations

    def say(self, *record: Any) -> None:
        """Told at once, to whom it concerns."""
        self._operations.take(list(record))


class Traffic:
    """``async with Traffic(url, name, seed) as traffic:``; `broken` says afterwards what was."""

    def __init__(self, url: str, name: str, seed: int) -> None:
        self._url, self._name, self._seed = url, name, seed
        self._last = f"{name}.ended"
        self.operations = Operations()
        self.reads: list[tuple[int, int]] = []
        """When each whole reading was begun and ended, by the machine's monotonic clock."""
        self.errors = 0
        """Readings that ended with an error of the store's, as they may."""
        self.seen: list[list[tuple[int, str]]] = [[] for _ in range(SUBSCRIBERS)]
        self.told: list[str] = []
        self.under_way: dict[str, Operation] = {}

    async def __aenter__(self) -> Traffic:
        async with contextlib.AsyncExitStack() as stack:
            self._writing, self._reading, *following = [
                await stack.enter_async_context(EventStore.open(self._url))
                for _ in range(2 + SUBSCRIBERS)
            ]
            self._caller = _Caller(self._url, self._writing, self.operations)
            self._tasks = [asyncio.create_task(self._read()) for _ in range(READERS)]
            self._tasks += [
                asyncio.create_task(self._follow(store, seen))
                for store, seen in zip(following, self.seen, strict=True)
            ]
            self._write = asyncio.create_task(
                write(
                    self._caller,
                    name=self._name,
                    callers=CALLERS,
                    pause_seconds_max=_PAUSE_SECONDS_MAX,
                    seed=self._seed,
                )
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        everyone = [self._write, *self._tasks]
        for task in everyone:
            task.cancel()
        await asyncio.gather(*everyone, return_exceptions=True)
        await self._stack.aclose()

    async def begin_appends(self) -> None:
        """Two appends more, one of them with a key, that are under way when this returns."""
        for name, key in ((f"{self._name}/keyed", "key"), (f"{self._name}/plain", None)):
            self._tasks.append(asyncio.create_task(operate(self._caller, name, "shared", 3, key)))
        await asyncio.sleep(0)

    def note_under_way(self) -> None:
        """Remembers the appends that have no answer yet: what happens now happens to them."""
        for name, operation in self.operations.by_name.items():
            if operation.ended_ns is None:
                self.under_way[name] = operation

    async def goes_on(self, after: str) -> None:
        """Waits until callers, readers and subscribers have all got further."""
        wanted = len(self.operations.acknowledged) + AHEAD
        reads = len(self.reads) + self.errors + READERS
        places = [len(seen) + AHEAD for seen in self.seen]
        parts = {
            "the callers": lambda: len(self.operations.acknowledged) >= wanted,
            "the readers": lambda: len(self.reads) + self.errors >= reads,
            "the subscribers": lambda: all(
                len(seen) >= place for seen, place in zip(self.seen, places, strict=True)
            ),
        }
        try:
            await until(lambda: all(part() for part in parts.values()))
        except TimeoutError:
            late = ", ".join(name for name, part in parts.items() if not part())
            self.told.append(f"after {after} {late} did not go on")

    async def end(self) -> list[RecordedEvent]:
        """Lets all come to their end, and holds what they were told against the log."""
        self._caller.stopping = True
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._write
                await self._writing.append("end", NewEvent(self._last, {}))
                ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        except TimeoutError:
            self.told.append("at the end somebody waits for ever")
            return []
        self.told += [
            f"{type(exc).__name__}: {exc}" for exc in ended if isinstance(exc, BaseException)
        ]
        log = await self._reading.read_all().list()
        self.told += self.operations.broken(log, foreign=True)
        unanswered = [one for one in self.operations.by_name.values() if one.ended_ns is None]
        self.told += [f"{one.name}: its caller was told no outcome" for one in unanswered]
        places = [(event.position, event.id) for event in log]
        for number, seen in enumerate(self.seen):
            if seen != places:
                self.told.append(f"subscriber {number} saw {len(seen)} events of {len(log)}")
        await self._send_again()
        if await self._reading.head() != len(log):
            self.told.append("what was sent again under its key was written again")
        return log

    async def _read(self) -> None:
        while not self._caller.stopping:
            known = max((one.position for one in self.operations.acknowledged[-20:]), default=0)
            begun, after = time.monotonic_ns(), max(0, known - _BACK)
            try:
                given = [event.position async for event in self._reading.read_all(after=after)]
            except EventStoreError:
                self.errors += 1
                continue
            self.reads.append((begun, time.monotonic_ns()))
            if given != list(range(after + 1, after + 1 + len(given))):
                self.told.append(f"a reading after {after} has holes")
            elif after + len(given) < known:
                self.told.append(f"a reading ends at {after + len(given)}, {known} was told before")

    async def _follow(self, store: EventStore, seen: list[tuple[int, str]]) -> None:
        async for event in store.subscribe():
            seen.append((event.position, event.id))
            if event.type == self._last:
                return

    async def _send_again(self) -> None:
        """Appends that something had happened to: under their keys they are answered as before."""
        for one in self.under_way.values():
            if one.key is None or not one.acknowledged:
                continue
            events = [
                NewEvent("note.added", content(one.name, n), tags=["crash"])
                for n in range(one.count)
            ]
            again = await self._writing.append(one.stream, events, idempotency_key=one.key)
            if (again.duplicate, again.position) != (True, one.position):
                self.told.append(f"{one.name}: its key was not honoured")
