"""From a page of events to the changes of its rows: only the last state of a row is left."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from typing import Any
from zlib import crc32

import msgspec

from eventstore import EventStoreError
from eventstore.events import RecordedEvent

from ..catalog import find_folds
from ..folding import Folder
from ..projection import Key, Projection, Upsert
from ..sinks import Build, Change


class Letter(msgspec.Struct, frozen=True):
    """An event for the dead letters; `error` None for one that waits behind its key's first."""

    key: str
    position: int
    error: str | None = None
    attempts: int = 0


class Applied(msgspec.Struct):
    """What a run of events comes to. `before` holds the fold states to go back to."""

    changes: dict[Key, Change]
    letters: list[Letter]
    before: dict[str, Any]
    events: int = 0
    effects: int = 0
    recorded_us: int = 0


class Poison(Exception):
    """An event that could not be applied, with its key, and what those before it came to."""

    def __init__(
        self, event: RecordedEvent, key: str, reason: str, so_far: Applied, index: int
    ) -> None:
        super().__init__(reason)
        self.event, self.key, self.reason = event, key, reason
        self.so_far, self.index = so_far, index


class Applier:
    """Applies events to one partition of one build of a projection."""

    def __init__(
        self, projection: Projection, build: Build, partition: int, partitions: int
    ) -> None:
        self._projection = projection
        self._build = build
        self._partition, self._partitions = partition, partitions
        self.parked: set[str] = set()
        self.dropped: set[tuple[str, int]] = set()
        self._folder = Folder(projection) if projection.is_fold else None

    async def prepare(self, events: Sequence[RecordedEvent]) -> None:
        """Reads the states that the events' folds begin with. If cancelled, nothing is left
        open."""
        if self._folder is None:
            return
        self._folder.let_go()
        keys = []
        for event in events:
            try:
                key = self._projection.key(event)
            except Exception:
                continue  # it is told when it is applied
            if key is not None and self._is_mine(key):
                keys.append(key)
        missing = self._folder.missing(keys)
        if missing:
            self._folder.take(await find_folds(self._build, missing), missing)

    def apply(self, events: Sequence[RecordedEvent], unpark: bool = False) -> Applied:
        """What the events come to. Raises `Poison`. With `unpark` the key's place among the dead
        letters does not hold it back."""
        done = Applied({}, [], {})
        for index, event in enumerate(events):
            done.events += 1
            done.recorded_us = event.recorded_us
            key = event.stream
            try:
                found = self._projection.key(event)
                if found is None or not self._is_mine(found):
                    continue
                key = found
                if (key, event.position) in self.dropped:
                    continue
                if key in self.parked and not unpark:
                    done.letters.append(Letter(key, event.position))
                    continue
                self._apply(done, key, event)
            except Exception as exc:
                done.events -= 1
                raise Poison(event, key, reason_of(exc), done, index) from exc
        return done

    def undo(self, applied: Applied) -> None:
        """Takes a run back that was not written."""
        if self._folder is not None:
            self._folder.restore(applied.before)

    def folds(self, applied: Applied) -> list[tuple[str, int, bytes]]:
        """(key, position, state) of the folds that the run changed."""
        if self._folder is None:
            return []
        return self._folder.encoded(applied.before)

    def partition_of(self, key: str) -> int:
        """Which partition a key belongs to."""
        return crc32(key.encode()) % self._partitions

    def _is_mine(self, key: str) -> bool:
        return self._partitions == 1 or self.partition_of(key) == self._partition

    def _apply(self, done: Applied, key: str, event: RecordedEvent) -> None:
        changes, position, recorded_us = done.changes, event.position, event.recorded_us
        if self._folder is not None:
            if key not in done.before:
                done.before[key] = self._folder.peek(key)
            value = self._folder.apply(key, event)
            changes[key] = Change(key, value, position, recorded_us, self._partition)
            done.effects += 1
            return
        for effect in self._projection.effects(event):
            value = effect.value if isinstance(effect, Upsert) else None
            changes[effect.key] = Change(effect.key, value, position, recorded_us, self._partition)
            done.effects += 1


def reason_of(error: BaseException) -> str:
    """What may be kept of an error: the store's own text, which holds no payload; of others the
    class and the place, because their text may hold one."""
    if isinstance(error, EventStoreError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    last = frames[-1]
    return f"{type(error).__name__} in {last.name}, line {last.lineno}"


def split(events: Sequence[RecordedEvent]) -> Iterable[Sequence[RecordedEvent]]:
    """One by one."""
    return ([event] for event in events)
