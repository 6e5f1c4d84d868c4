"""A recorded session as it is stepped through: events by page, states by checkpoint.

Nothing is read before it is looked at, so that opening costs the same at every length. On the way
the state is kept every `SPACING` events, and around the place that is looked at after each event;
states that share structure with the ones before them cost little more than what changed.
"""

from __future__ import annotations

from asyncio import sleep
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

from eventstore import EventStore, Position, RecordedEvent, Version
from reducers import Change, Reducer, Step, fold
from reducers.blaming import Blamed, Trail, refuse_changes
from reducers.changeable import Watch
from reducers.diffs import same
from reducers.folding import refuse_change
from reducers.json_form import MISSING
from reducers.kept import Until, newest_kept
from reducers.pointers import find, split

from ..exits import Stop
from ..expressions import Expression
from ..moments import Point

PAGE_EVENTS = 64
"""Events of one page: what the timeline of a tall terminal shows."""

PAGES_KEPT = 32
"""Pages in memory: some thousand events around the places that were looked at."""

SPACING = 256
"""Events between two states that are kept: folding so many takes some milliseconds."""

CHECKPOINTS_MAX = 512
"""States kept of a whole session; beyond it every second one is dropped, and fewer are kept."""

RECENT_MAX = 1_024
"""States kept after single events, so that a step back folds nothing."""

FAR_EVENTS = 2_000
"""From so many events to fold on it is worth asking for a snapshot."""

Progress = Callable[[int, int], None]
"""Told how many events of how many were gone through."""


class Session:
    """A stream, the reducer that folds it, and the version that is looked at.

    `version` is that of the event whose step is shown, from 1 to `last`. `breakpoints` and
    `watches` (pointers into the state) are where `run` stops. A job that is cancelled leaves the
    version where it was. A state and a step cannot be had of a handler that raises, or that
    changes the state it was given (`ReducerError`): its error comes through.
    """

    def __init__(self, store: EventStore, stream: str, reducer: Reducer[Any], last: int) -> None:
        self.store = store
        self.stream = stream
        self.reducer = reducer
        self.last = last
        self.version = 0
        self.breakpoints: list[Expression] = []
        self.watches: list[str] = []
        self.step: Step[Any] | None = None
        self._pages: OrderedDict[int, list[RecordedEvent]] = OrderedDict()
        self._spacing = SPACING
        self._kept: dict[int, Any] = {0: reducer.initial}
        self._kept_versions = [0]
        self._recent: OrderedDict[int, Any] = OrderedDict()
        self._watch = Watch()

    @classmethod
    async def open(
        cls, store: EventStore, stream: str, reducer: Reducer[Any], version: int = 1
    ) -> Session:
        """The session at an event, the first one unless told otherwise."""
        session = cls(store, stream, reducer, await store.version(stream))
        await session.go(version)
        return session

    @property
    def changes(self) -> list[Change]:
        """What the event that is looked at changed."""
        return [] if self.step is None else self.step.changes

    async def go(self, version: int, progress: Progress | None = None) -> None:
        """Looks at an event: the nearest there is to this version. Beyond the end it is asked
        whether the stream has grown since."""
        if version > self.last:
            self.last = max(self.last, await self.store.version(self.stream))
        version = max(1, min(version, self.last))
        (event,) = await self.events(version, version)
        before = await self.state(version - 1, progress)
        after = await self.state(version, progress)
        self.version, self.step = version, Step(event, before, after)

    async def events(self, first: int, last: int) -> list[RecordedEvent]:
        """The events from one version to another, both inclusive, as far as there are any."""
        first, last = max(first, 1), min(last, self.last)
        found: list[RecordedEvent] = []
        for number in range((first - 1) // PAGE_EVENTS, (last - 1) // PAGE_EVENTS + 1):
            found += await self._page(number)
        begin = (first - 1) % PAGE_EVENTS
        return found[begin : begin + last - first + 1]

    async def state(self, version: int, progress: Progress | None = None) -> Any:
        """The state after an event, 0 for the one before all."""
        if version in self._recent:
            self._recent.move_to_end(version)
            return self._recent[version]
        base, state = self._nearest(version)
        if version - base > FAR_EVENTS:
            base, state = await self._snapshot(base, version, state)
        async for page in self._read(base, version, progress):
            state = self._fold(page, state, version)
        return state

    async def find(self, point: Point) -> int:
        """The version of the last event that a version, position or time of recording covers.

        Raises `Stop` (exit code 1) where the stream begins later, or ends before that version.
        """
        if isinstance(point, Version):
            if not 1 <= point <= self.last:
                raise Stop(f"versions go from 1 to {self.last:,}, there is no {int(point):,}")
            return int(point)
        low, high = 0, self.last
        while low < high:
            middle = (low + high + 1) // 2
            (event,) = await self.events(middle, middle)
            low, high = (middle, high) if _covers(point, event) else (low, middle - 1)
        if not low:
            (event,) = await self.events(1, 1)
            begin = event.recorded_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            raise Stop(f"the stream begins at position {event.position:,}, {begin}")
        return low

    async def search(
        self, text: str, *, backwards: bool = False, progress: Progress | None = None
    ) -> int | None:
        """The next version, or the one before, whose type, actor, tags or payload hold a text,
        large and small letters alike; None where there is none."""
        words = text.casefold()
        pages = self._read(self.version, self.last, progress)
        if backwards:
            pages = self._read_back(self.version - 1, progress)
        async for page in pages:
            for event in page:
                if _holds(event, words):
                    return event.version
        return None

    async def run(
        self, *, backwards: bool = False, progress: Progress | None = None
    ) -> tuple[int, str] | None:
        """The next version, or the one before, at which a breakpoint comes true or a watched path
        changes, and which it was; None where there is none. Raises `Stop` for an expression that
        the state cannot answer."""
        return await (self._run_back(progress) if backwards else self._run_on(progress))

    async def blame(
        self, path: str, most: int, progress: Progress | None = None
    ) -> AsyncIterator[list[Blamed]]:
        """What `reducers.blame` finds at the event that is looked at, the newest `most`: some at
        a time, as it goes back."""
        trail, told, version = Trail(path), 0, self.version
        high = version
        while high > 0 and not trail.ended and told < most:
            low = (high - 1) // self._spacing * self._spacing
            state = await self.state(low, progress)
            events = [event async for page in self._read(low, high) for event in page]
            trail.back(events, self.reducer, state)
            found = trail.found[told:most]
            told += len(found)
            if found:
                yield found
            high = low
            if progress is not None:
                progress(version - high, version)
            await sleep(0)  # a key may cancel it

    def look(self, path: str) -> Any:
        """What stands at a pointer in the state that is looked at, or `MISSING`."""
        return MISSING if self.step is None else find(self.step.after, split(path))

    async def _run_on(self, progress: Progress | None) -> tuple[int, str] | None:
        state = await self.state(self.version, progress)
        held = [expression(state) for expression in self.breakpoints]
        async for page in self._read(self.version, self.last, progress):
            for event in page:
                before, state = state, self._watched([event], state)
                self._keep(event.version, state)
                why = self._stops(before, state, held)
                if why is not None:
                    return event.version, why
        return None

    async def _run_back(self, progress: Progress | None) -> tuple[int, str] | None:
        high = self.version - 1
        while high > 0:
            low = (high - 1) // self._spacing * self._spacing
            state = await self.state(low, progress)
            held = [expression(state) for expression in self.breakpoints]
            found: tuple[int, str] | None = None
            async for page in self._read(low, high):
                for event in page:
                    before, state = state, self._watched([event], state)
                    why = self._stops(before, state, held)
                    found = found if why is None else (event.version, why)
            if found is not None:
                return found
            high = low
            if progress is not None:
                progress(self.version - high, self.version)
            await sleep(0)
        return None

    def _stops(self, before: Any, after: Any, held: list[bool]) -> str | None:
        """Why an event is one to stop at. `held` tells which breakpoints held before it."""
        if before is after:
            return None
        reason = None
        for index, expression in enumerate(self.breakpoints):
            was, held[index] = held[index], expression(after)
            if held[index] and not was:
                reason = reason or f"when: {expression.text}"
        for path in self.watches:
            names = split(path)
            old, new = find(before, names), find(after, names)
            if old is not new and (old is MISSING or new is MISSING or not same(old, new)):
                reason = reason or f"watch: {path}"
        return reason

    async def _page(self, number: int) -> list[RecordedEvent]:
        page = self._pages.get(number)
        full = min(PAGE_EVENTS, self.last - number * PAGE_EVENTS)
        if page is None or len(page) < full:
            read = self.store.read(self.stream, after=number * PAGE_EVENTS, limit=PAGE_EVENTS)
            page = self._pages[number] = await read.list()
            if len(self._pages) > PAGES_KEPT:
                self._pages.popitem(last=False)
        self._pages.move_to_end(number)
        return page

    async def _read(
        self, after: int, until: int, progress: Progress | None = None
    ) -> AsyncIterator[list[RecordedEvent]]:
        """Pages of the events behind a version; what is near comes from those in memory."""
        if until - after <= SPACING:
            if until > after:
                yield await self.events(after + 1, until)
            return
        async for page in self.store.read(self.stream, after=after, limit=until - after).pages():
            yield page
            if progress is not None:
                progress(page[-1].version - after, until - after)
            await sleep(0)  # a key may cancel it

    async def _read_back(
        self, version: int, progress: Progress | None
    ) -> AsyncIterator[list[RecordedEvent]]:
        if version < 1:
            return
        read = self.store.read(self.stream, after=version + 1, limit=version, backwards=True)
        async for page in read.pages():
            yield page
            if progress is not None:
                progress(version - page[-1].version, version)
            await sleep(0)

    def _nearest(self, version: int) -> tuple[int, Any]:
        """The version and state nearest below that are in memory."""
        if version - 1 in self._recent:
            return version - 1, self._recent[version - 1]
        base = self._kept_versions[bisect_right(self._kept_versions, version) - 1]
        return base, self._kept[base]

    async def _snapshot(self, base: int, version: int, state: Any) -> tuple[int, Any]:
        """The newest snapshot between two versions, or what is in memory."""
        until = Until(version=version)
        loaded = await newest_kept(self.reducer, self.store, self.stream, until, base)
        if loaded is None:
            return base, state
        self._checkpoint(loaded.version, loaded.state)
        return loaded.version, loaded.state

    def _fold(self, page: list[RecordedEvent], state: Any, until: int) -> Any:
        """Folds a page, and keeps states on the way: all of the last ones, few of the others."""
        start = 0
        while start < len(page):
            version = page[start].version
            end = len(page) - 1
            if until - version >= self._spacing:
                boundary = (version - 1) // self._spacing * self._spacing + self._spacing
                end = min(end, start + boundary - version)
            else:
                end = start
            state = self._watched(page[start : end + 1], state)
            self._keep(page[end].version, state)
            start = end + 1
        return state

    def _watched(self, events: list[RecordedEvent], state: Any) -> Any:
        """Folds events, and refuses a handler that changed the state before them: it is kept."""
        seen = self._watch.look(state)
        after = fold(events, self.reducer, state)
        if self._watch.changed(seen):
            if len(events) == 1:
                refuse_change(self.reducer, events[0])
            refuse_changes(self.reducer, events[0], events[-1])
        return after

    def _keep(self, version: int, state: Any) -> None:
        if version % self._spacing == 0:
            self._checkpoint(version, state)
        self._recent[version] = state
        self._recent.move_to_end(version)
        if len(self._recent) > RECENT_MAX:
            self._recent.popitem(last=False)

    def _checkpoint(self, version: int, state: Any) -> None:
        if version in self._kept:
            return
        if len(self._kept) >= CHECKPOINTS_MAX:
            self._spacing *= 2
            self._kept = {v: kept for v, kept in self._kept.items() if v % self._spacing == 0}
            self._kept_versions = sorted(self._kept)
        self._kept[version] = state
        self._kept_versions.insert(bisect_right(self._kept_versions, version), version)


def _covers(point: Point, event: RecordedEvent) -> bool:
    """Whether an event stands at or before a point."""
    if isinstance(point, Position):
        return event.position <= point
    return isinstance(point, datetime) and event.recorded_at <= point


def _holds(event: RecordedEvent, words: str) -> bool:
    texts = (event.type, event.actor or "", *event.tags)
    if any(words in text.casefold() for text in texts):
        return True
    # A text stands in JSON with its quotes and controls written out.
    from msgspec.json import encode

    return encode(words)[1:-1].decode() in event.payload.decode().casefold()
