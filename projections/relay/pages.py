"""From a page of events to the changes of its rows: only the last state of a row is left."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from zlib import crc32

import msgspec

from eventstore import EventStoreError
from eventstore.calls import FORKED
from eventstore.events import RecordedEvent
from eventstore.outbox import Inherited

from ..catalog import find_folds, given_up
from ..folding import Folder
from ..inheriting import Part, effects_of, page_of, parts_of
from ..projection import Effect, Key, Projection, Upsert, key_name
from ..sinks import Build, Change


class Letter(msgspec.Struct, frozen=True):
    """An event for the dead letters; `error` None for one that waits behind its key's first."""

    key: str
    position: int
    error: str | None = None
    attempts: int = 0


class Applied(msgspec.Struct):
    """What a run of events comes to. `before` holds the fold states to go back to, by the texts of
    their keys, and `last` each such key with the last event of the run that is its own. `seen`
    counts the events that were looked at."""

    changes: dict[Key, Change]
    letters: list[Letter]
    before: dict[str, Any]
    events: int = 0
    effects: int = 0
    recorded_us: int = 0
    last: dict[Key, tuple[int, RecordedEvent]] = {}
    seen: int = 0


class Poison(Exception):
    """The event number `index` of a run could not be applied, with its key, and what the run came
    to, to be undone."""

    def __init__(self, key: str, reason: str, so_far: Applied, index: int) -> None:
        super().__init__(reason)
        self.key, self.reason = key, reason
        self.so_far, self.index = so_far, index


class Applier:
    """Applies events to one partition of one build of a projection."""

    def __init__(
        self, projection: Projection, build: Build, partition: int, partitions: int
    ) -> None:
        self._projection = projection
        self._build = build
        self._partition, self._partitions = partition, partitions
        self.parked: dict[str, int] = {}
        """Keys that wait in the dead letters, each with the position of its first event there:
        what comes before that one is applied again when a sink is filled anew."""
        self.dropped: dict[int, set[str]] = {}
        """Positions of events that somebody gave up, each with the keys as which."""
        self._folder = Folder(projection) if projection.is_fold else None
        self._page: tuple[tuple[int, int], list[Inherited]] = (0, 0), []
        """The page of a fork that was read last, with the fork's position and what it is behind."""
        self._names: tuple[int, dict[str, None]] | None = None
        """While names are kept: the position of the fork that was asked last, and its keys."""
        self.only: Mapping[int, Collection[str]] = {}
        """Of forks at these positions, the keys for which they are applied; elsewhere all."""

    @property
    def partitions(self) -> int:
        """Of how many partitions it applies one."""
        return self._partitions

    def park(self, key: str, position: int) -> None:
        """From this event of the key on, everything of it waits."""
        self.parked[key] = min(position, self.parked.get(key, position))

    def afresh(self) -> Applier:
        """One that has applied nothing yet, and holds nothing back but what was dropped."""
        made = Applier(self._projection, self._build, self._partition, self._partitions)
        made.dropped = self.dropped
        return made

    def key_of(self, event: RecordedEvent) -> str | None:
        """The text of the event's key; None where it has none, or it cannot be told."""
        try:
            key = self._projection.key(event)
        except Exception:
            return None
        return None if key is None else key_name(key)

    def key_or_stream(self, event: RecordedEvent) -> str | None:
        """The text of the key that the event would be parked as: where its key cannot be told,
        its stream, which is named as a key too: else it might be what another key is named."""
        try:
            key = self._projection.key(event)
            return None if key is None else key_name(key)
        except Exception:
            return key_name(event.stream)

    def parked_as(self, event: RecordedEvent) -> str:
        """The same for an event that is parked in any case: its stream also where it has no key."""
        found = self.key_or_stream(event)
        return key_name(event.stream) if found is None else found

    async def keys_of(self, event: RecordedEvent, *, everywhere: bool = False) -> list[str]:
        """The texts of the keys that the event would be parked as, in this partition or in all: of
        a fork those of all that it inherits. If cancelled, nothing is left open."""
        if event.type != FORKED:
            text = self.key_or_stream(event)
            return [] if text is None else [text]
        names = await self._names_of(event)
        return [name for name in names if everywhere or self._is_mine(name)]

    async def is_fork_of(self, forked: RecordedEvent, key: str) -> bool:
        """Whether a key is among `keys_of` of a fork. If cancelled, nothing is left open."""
        return self._is_mine(key) and key in await self._names_of(forked)

    @contextmanager
    def names_kept(self) -> Iterator[None]:
        """Keeps the keys of the fork that was asked last, as long as many letters of it are tried:
        else each of them would go through all that it inherits."""
        self._names = 0, {}
        try:
            yield
        finally:
            self._names = None

    async def _names_of(self, forked: RecordedEvent) -> dict[str, None]:
        """The keys of all that a fork inherits, what was given up among it too: it may have been
        applied before, and the row of its key has to go."""
        if self._projection.is_by_stream:
            return {key_name(forked.stream): None}
        if self._names is not None and self._names[0] == forked.position:
            return self._names[1]
        names: dict[str, None] = {}
        at = 0
        while page := await self._page_of(forked, at):
            at = page[-1].event.version
            names.update(
                {key_name(part.key): None for part in parts_of(self._projection, page, ())}
            )
        if self._names is not None:
            self._names = forked.position, names
        return names

    def _parts(self, page: Sequence[Inherited]) -> Iterator[Part]:
        return parts_of(self._projection, page, self.dropped)

    async def _page_of(self, forked: RecordedEvent, after: int) -> list[Inherited]:
        place = (forked.position, after)
        if place != self._page[0]:
            self._page = place, await page_of(self._build.outbox, forked, after)
        return self._page[1]

    def has(self, key: str, position: int) -> bool:
        """Whether the state of a fold's key, which was prepared, is beyond this position already:
        an event that belongs before it cannot be applied any more."""
        state = None if self._folder is None else self._folder.peek(key)
        return state is not None and state[0] >= position

    def begin(self, key: str) -> Applied:
        """A run that makes a key from nothing, whatever stands."""
        if self._folder is None:
            return Applied({}, [], {})
        self._folder.begin(key)
        return Applied({}, [], {key: None})

    async def prepare(self, events: Sequence[RecordedEvent]) -> None:
        """Reads the states that the events' folds begin with, and what was given up where a fork
        is among them: it may inherit it, and be another partition's. If cancelled, nothing is left
        open."""
        if any(event.type == FORKED for event in events):
            self.dropped = await given_up(self._build)
        if self._folder is None:
            return
        self._folder.let_go()
        found = [self.key_of(event) for event in events]  # a key that fails is told in apply
        for forked in {e.position: e for e in events if e.type == FORKED}.values():
            found += await self.keys_of(forked)
        keys = [key for key in found if key is not None and self._is_mine(key)]
        missing = self._folder.missing(keys)
        if missing:
            self._folder.take(await find_folds(self._build, missing), missing)

    def adopt(self, other: Applier, applied: Applied) -> None:
        """Takes over the fold states that `other` came to, as if `applied` had been done here."""
        if self._folder is None or other._folder is None:
            return
        for key in applied.before:
            applied.before[key] = self._folder.peek(key)
            self._folder.restore({key: other._folder.peek(key)})

    async def apply(self, events: Sequence[RecordedEvent], unpark: bool = False) -> Applied:
        """What the events come to. Raises `Poison`. With `unpark` the key's place among the dead
        letters does not hold it back. If cancelled, `undo` takes back what it came to."""
        done = Applied({}, [], {})
        await self.add(done, events, unpark)
        self.finish(done)
        return done

    async def add(
        self, done: Applied, events: Sequence[RecordedEvent], unpark: bool = False
    ) -> None:
        """Applies more events of a run, whose rows `finish` makes. Raises as `apply`."""
        is_plain = not (self.parked or self.dropped or any(e.type == FORKED for e in events))
        if self._folder is None and is_plain and self._partitions == 1:
            self._add_mapped(done, events)
            return
        parked = {} if unpark else self.parked
        for event in events:
            done.recorded_us = event.recorded_us
            if event.type == FORKED:
                await self._add_fork(done, event, parked)
            elif event.position not in self.dropped:
                text = None
                try:
                    key = self._projection.key(event)
                    text = None if key is None else key_name(key)
                    if key is not None and text is not None and self._is_mine(text):
                        self._take(done, key, text, event, parked)
                except Exception as exc:
                    # Nobody knows whose an event is that has no key: its stream's partition
                    # parks it, and no other one.
                    named = key_name(event.stream) if text is None else text
                    if self._is_mine(named):
                        raise Poison(named, reason_of(exc), done, done.seen) from exc
            done.seen += 1

    async def _add_fork(
        self, done: Applied, forked: RecordedEvent, parked: Mapping[str, int]
    ) -> None:
        """All that a fork begins with, as events of the fork's position, page by page: what of it
        belongs to a key that waits does so under that position."""
        waits: dict[str, None] = {}
        begun: dict[str, bool] = {}  # of a fold's keys, whether they lack what is inherited
        at = 0
        while True:
            try:
                page = await self._page_of(forked, at)
            except BaseException:  # a state that has a part of a fork would pass for whole
                self.undo(done)
                raise
            if not page:
                break
            at = page[-1].event.version
            for part in self._parts(page):
                text = key_name(part.key)
                if not self._takes(forked, text):
                    continue
                done.events += 1
                if text in parked and forked.position >= parked[text]:
                    waits[text] = None
                    continue
                try:
                    self._inherit(done, part, text, forked, begun)
                except Exception as exc:
                    raise Poison(text, reason_of(exc), done, done.seen) from exc
        done.letters += [Letter(text, forked.position) for text in waits]

    def _takes(self, forked: RecordedEvent, text: str) -> bool:
        """Whether a fork is applied for a key: it is this partition's, and was not given up."""
        at = forked.position
        is_dropped = text in self.dropped.get(at, ())
        return self._is_mine(text) and not is_dropped and text in self.only.get(at, (text,))

    async def rows_of(self, forked: RecordedEvent, key: str) -> set[Key]:
        """The rows that a fork's event would make of one key, what was given up among it too, as
        far as it can be told. If cancelled, nothing is left open."""
        found: set[Key] = set()
        at = 0
        while page := await self._page_of(forked, at):
            at = page[-1].event.version
            for part in parts_of(self._projection, page, ()):
                if key_name(part.key) == key and self._folder is not None:
                    found.add(part.key)
                elif key_name(part.key) == key and part.error is None:
                    with suppress(Exception):
                        found.update([e.key for e in effects_of(self._projection, part.each)])
        return found

    def _add_mapped(self, done: Applied, events: Sequence[RecordedEvent]) -> None:
        """The same for a map of which nothing is held back: here a rebuild spends its time."""
        key_of, effects_of = self._projection.key, self._projection.effects
        changes, partition, seen, found, made = done.changes, self._partition, done.seen, 0, 0
        known: Key = ""
        try:
            for event in events:
                known = event.stream  # until it is known: a key that fails is told as the stream
                key = key_of(event)
                if key is not None:
                    known = key
                    found += 1
                    for effect in effects_of(event):
                        target = effect.key
                        value = effect.value if isinstance(effect, Upsert) else None
                        changes[target] = Change(
                            target, value, event.position, event.recorded_us, partition
                        )
                        made += 1
                seen += 1
                done.recorded_us = event.recorded_us
        except Exception as exc:
            raise Poison(key_name(known), reason_of(exc), done, seen) from exc
        done.seen, done.events, done.effects = seen, done.events + found, done.effects + made

    def finish(self, done: Applied) -> None:
        """Makes the rows of a run's folds. Raises as `apply`."""
        if self._folder is not None:
            self._make_rows(done, self._folder)

    def undo(self, applied: Applied) -> None:
        """Takes a run back that was not written."""
        if self._folder is not None:
            self._folder.restore(applied.before)

    def folds(self, applied: Applied) -> list[tuple[str, int, bytes]]:
        """(key, position, state) of the folds that the run changed."""
        if self._folder is None:
            return []
        return self._folder.encoded(applied.before)

    def _is_mine(self, key: str) -> bool:
        return self._partitions == 1 or partition_of(key, self._partitions) == self._partition

    def _take(
        self, done: Applied, key: Key, text: str, event: RecordedEvent, parked: Mapping[str, int]
    ) -> None:
        done.events += 1
        first = parked.get(text)
        if first is not None and event.position >= first:
            done.letters.append(Letter(text, event.position))
        elif self._folder is None:
            self._map(done, event, self._projection.effects(event))
        else:
            self._fold(done, self._folder, key, text, done.seen, event)

    def _map(self, done: Applied, event: RecordedEvent, effects: Sequence[Effect]) -> None:
        for effect in effects:
            value = effect.value if isinstance(effect, Upsert) else None
            done.changes[effect.key] = Change(
                effect.key, value, event.position, event.recorded_us, self._partition
            )
            done.effects += 1

    def _fold(
        self,
        done: Applied,
        folder: Folder,
        key: Key,
        text: str,
        index: int,
        event: RecordedEvent,
    ) -> None:
        if text not in done.before:
            done.before[text] = folder.peek(text)
        folder.apply(text, event)
        done.last[key] = index, event
        done.effects += 1

    def _inherit(
        self,
        done: Applied,
        part: Part,
        text: str,
        forked: RecordedEvent,
        begun: dict[str, bool],
    ) -> None:
        if part.error is not None:
            raise part.error
        if self._folder is None:
            self._map(done, forked, effects_of(self._projection, part.each))
        else:
            if text not in done.before:
                done.before[text] = self._folder.peek(text)
            if begun.setdefault(text, not self.has(text, forked.position)):
                self._folder.inherit(text, part.each.event, forked.position)
            done.last[part.key] = done.seen, forked
            done.effects += 1

    def _make_rows(self, done: Applied, folder: Folder) -> None:
        """The rows of the folds that the run changed, each made once: one that is as long as its
        history would else be made anew for every event of a page."""
        for key, (index, event) in done.last.items():
            try:
                value = folder.row(key)
            except Exception as exc:
                raise Poison(key_name(key), reason_of(exc), done, index) from exc
            done.changes[key] = Change(
                key, value, event.position, event.recorded_us, self._partition
            )


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


def partition_of(key: str, partitions: int) -> int:
    """Which partition a key belongs to."""
    return crc32(key.encode()) % partitions
