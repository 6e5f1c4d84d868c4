"""One row reckoned from the log, for a reader whose view is late: what the view has, and the events
since, as far as one read may go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from eventstore import InvalidEvent
from eventstore.calls import FORKED
from eventstore.events import RecordedEvent
from eventstore.outbox import Head, Inherited
from eventstore.query import Query

from .catalog import find_folds, held_back
from .errors import ViewStale
from .folding import Folder
from .inheriting import Part, effects_of, page_of, parts_of
from .projection import Key, Projection, Upsert, key_name
from .sinks import Build
from .view import View
from .waiting import Waiting

FOLDED_EVENTS_MAX = 10_000
"""Events of the view that a late read goes through to fold one row (of the row's stream, where it
is made of no others): about 0.6 s from SQLite, with 200 bytes in each."""

FOLDED_SECONDS_MAX = 5.0
"""How long it does so, where payloads are large: as long as a read waits unless it is told."""


async def value_of(view: View, build: Build, key: Key) -> Any:
    """The row's value as it stands in the view, None where there is none. If cancelled, nothing
    is left open."""
    found = await view.sink.find(build, [key])
    return found[0].value if found else None


class Reckoned(msgspec.Struct, frozen=True):
    """A row's value as it is at the log's head; or, where an event of it waits in the dead
    letters, `waits`, what comes before that one."""

    value: Any
    head: Head
    waits: Waiting | None


async def fold_the_rest(view: View, build: Build, key: Key, position: int) -> Reckoned:
    """The row as the log has it: what the view has, and the events since, applied here. What
    waits in the dead letters or was dropped is left out, as the view does; that the row lacks
    what waits is told.

    Raises `ViewStale` beyond `FOLDED_EVENTS_MAX` and `FOLDED_SECONDS_MAX`, and where an event
    cannot be applied. If cancelled, nothing is left open.
    """
    head = await build.outbox.head()
    parked, dropped = await held_back(build)
    found = await view.sink.find(build, [key])
    value, changed = (found[0].value if found else None), False
    apply = await _applier(view, build, key)
    lacking = _Lacking(view, key, parked)
    if parked and found and not view.projection.is_fold:
        await lacking.look_at_maker(build, found[0].position, apply)
    async for due in _rest(view, build, key, position, head.position):
        owner = due.part.key
        if due.is_dropped(dropped):
            continue
        try:
            if due.part.error is not None:
                raise due.part.error
            if due.position >= parked.get(key_name(owner), head.position + 1):
                lacking.leave_out(due, apply)
                continue
            became = apply(due)
        except Exception as exc:
            raise ViewStale(
                f"view {view.name!r}: the event at position {due.position} cannot be applied"
                f" ({type(exc).__name__})",
                view=view.name,
                position=position,
                wanted=head.position,
            ) from exc
        if became is not None:
            value, changed = became.value, True
            lacking.made_by(owner)
    if changed and value is not None:
        shown = getattr(view.sink, "shown", None)
        value = value if shown is None else shown(build, key, value)
    return Reckoned(value, head, lacking.first())


class _Due(msgspec.Struct, frozen=True):
    """An event that a row may be made of, with its key, and the position at which it counts: of
    what a fork inherits the fork's."""

    part: Part
    position: int
    is_forks: bool = False

    def is_dropped(self, dropped: Mapping[int, set[str]]) -> bool:
        """Whether somebody gave it up: under its own stream, or as the fork's key."""
        event = self.part.each.event
        is_forks_own = event.type == FORKED and event.position == self.position
        if event.position in dropped and not is_forks_own:
            return True
        return key_name(self.part.key) in dropped.get(self.position, ())


class _Lacking:
    """The parked keys whose events a row may lack. A fold's row is named as its key; a map's row
    is of the key whose event made it last, and of those whose waiting events would touch it."""

    def __init__(self, view: View, key: Key, parked: Mapping[str, int]) -> None:
        self._is_fold, self._parked = view.projection.is_fold, parked
        self._projection = view.projection
        self._maker = key_name(key) if self._is_fold else None
        self._touching: set[str] = set()
        self._unknown: set[str] = set()

    async def look_at_maker(self, build: Build, position: int, apply: _Apply) -> None:
        """Whose event made the row that stands, as far as it can be told."""
        page = await build.outbox.page(position - 1, position, (), 1)
        for event in page.events:
            async for _, parts in _parts(self._projection, build, event):
                for due in parts:
                    with suppress(Exception):
                        if due.part.error is None and apply(due) is not None:
                            self.made_by(due.part.key)

    def made_by(self, owner: Key) -> None:
        """The row is one of this key's now."""
        self._maker = key_name(owner)

    def leave_out(self, due: _Due, apply: _Apply) -> None:
        """An event waits: whether it would touch a map's row is asked of its code, which may fail
        before it says so."""
        if self._is_fold:
            return
        try:
            if apply(due) is not None:
                self._touching.add(key_name(due.part.key))
        except Exception:
            self._unknown.add(key_name(due.part.key))

    def first(self) -> Waiting | None:
        """The key that has waited longest. A row that nothing is known to have made may be of any
        event that did not say."""
        names = self._touching | (self._unknown if self._maker is None else {self._maker})
        waiting = [Waiting(name, self._parked[name]) for name in names if name in self._parked]
        return min(waiting, key=lambda each: each.position, default=None)


async def _rest(view: View, build: Build, key: Key, after: int, until: int) -> AsyncIterator[_Due]:
    """The events that the row of `key` may be made of, after one position and up to another: those
    of its stream, where the projection says that no others are. Raises `ViewStale` for more than
    a read may go through."""
    clock = asyncio.get_running_loop().time
    deadline, queries = clock() + FOLDED_SECONDS_MAX, view.projection.queries()
    if view.projection.is_by_stream:
        found: list[_Due] = []
        forked: RecordedEvent | None = None
        async for number, event in _newest_first(view, key):
            if event.position <= after and forked is None:
                break
            if event.type == FORKED and forked is None:
                forked = event  # what it inherits was never applied, and counts from here on
            if number > FOLDED_EVENTS_MAX or clock() > deadline:
                raise _too_far(view, after, until)
            position = event.position if forked is None else forked.position
            if position <= until and _wants(queries, event):
                part = Part(event.stream, Inherited(event, event.stream))
                found.append(_Due(part, position, forked is not None))
        for due in reversed(found):
            yield due
        return
    at, seen = after, 0
    while at < until:
        page = await build.outbox.page(at, until, queries)
        at = page.scanned_to
        for event in page.events:
            async for count, parts in _parts(view.projection, build, event):
                seen += count
                if seen > FOLDED_EVENTS_MAX or clock() > deadline:
                    raise _too_far(view, after, until)
                for due in parts:
                    yield due
        if at < until and clock() > deadline:
            raise _too_far(view, after, until)


async def _parts(
    projection: Projection, build: Build, event: RecordedEvent
) -> AsyncIterator[tuple[int, list[_Due]]]:
    """An event of the log as the view has it, of a fork all that it inherits: in pages, with how
    many events were gone through."""
    after = event.version - 1 if event.type != FORKED else 0
    while page := await page_of(build.outbox, event, after):
        after = page[-1].event.version
        parts = parts_of(projection, page, ())
        yield len(page), [_Due(part, event.position, event.type == FORKED) for part in parts]


async def _newest_first(view: View, key: Key) -> AsyncIterator[tuple[int, RecordedEvent]]:
    """The events of the stream of this name, counted from 1; none for what is no such name."""
    number = 0
    with suppress(InvalidEvent):
        async for event in view.store.read(str(key), backwards=True):
            number += 1
            yield number, event


def _too_far(view: View, position: int, wanted: int) -> ViewStale:
    return ViewStale(
        f"view {view.name!r}: at position {position} of {wanted}, too far behind to fold the rest"
        f" in one read (at most {FOLDED_EVENTS_MAX:,} events, {FOLDED_SECONDS_MAX:g} s); wait for"
        " the relay with at_least, or take the row as it is with late='warn'",
        view=view.name,
        position=position,
        wanted=wanted,
    )


def _wants(queries: Sequence[Query], event: RecordedEvent) -> bool:
    return not queries or any(each.matches(event.type, event.tags) for each in queries)


async def _applier(view: View, build: Build, key: Key) -> _Apply:
    """What an event of an owner makes of the row of `key`; None where it leaves it as it is."""
    projection, text = view.projection, key_name(key)
    if not projection.is_fold:

        def apply(due: _Due) -> _Became | None:
            became = None
            for effect in effects_of(projection, due.part.each):
                if effect.key == key:
                    became = _Became(effect.value if isinstance(effect, Upsert) else None)
            return became

        return apply
    folder = Folder(projection)
    folder.take(await find_folds(build, [text]))

    begun: dict[int, bool] = {}  # of forks, whether the state lacks what is inherited

    def fold(due: _Due) -> _Became | None:
        if due.part.key != key:
            return None
        event, (position, _) = due.part.each.event, folder.peek(text) or (0, None)
        if not due.is_forks:
            folder.apply(text, event)
        elif begun.setdefault(due.position, position < due.position):
            folder.inherit(text, event, due.position)
        return _Became(folder.row(key))

    return fold


class _Became(msgspec.Struct, frozen=True):
    """What a row became: None for one that is gone."""

    value: Any


_Apply = Callable[[_Due], _Became | None]
