"""Blame: which events gave a part of a state its value, and which ones those came from.

It owns the way back along a path, through containers that changed around it; what a pointer means
is said by `pointers`, what was derived from an event, the other direction, by `lineage`.

A first pass folds forward and keeps a state now and then; then the stretches between them are
folded again, the last one first, and the path is followed back from state to state. Where two
states share a part, by its identity, nothing below is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import msgspec

from eventstore.calls import FORKED
from eventstore.events import RecordedEvent

from .changeable import Seen, Watch
from .diffs import Change, diff, same
from .errors import ReducerError
from .folding import fold, where
from .forking import version_at
from .json_form import MISSING
from .origins import came_from
from .pointers import child, find, has_names, index, join, listed, split

if TYPE_CHECKING:
    from eventstore import EventStore

    from .loading import Moment
    from .reducer import Reducer

STRETCH_EVENTS = 300
"""Events between two states that the first pass keeps: about the square root of 100,000, so that
as many states are kept as one stretch has, and never more than some hundreds of each."""

CAUSES_MAX = 1_000
"""Events in other places that a blame follows: each is a read of its own, of about 0.1 ms."""


Via = Literal["causation_id", "derived_from"]


class Blamed(msgspec.Struct, frozen=True):
    """An event that gave a path its value, or that such an event came from.

    `path` is where the value stood after this event, which for an item of a list may be another
    index than later. `before` and `after` are the values there, None also where there was none;
    `changes`, at this path and below, tell the two apart. `depth` is 0 for the stream's own
    events; for one that was reached along causes, it counts the steps, `via` says along what
    (`causation_id` or `derived_from`), and path, values and changes are empty. `unfollowed`: it
    names causes that were not followed, because the limit was reached.
    """

    event: RecordedEvent
    path: str = ""
    before: Any = None
    after: Any = None
    changes: list[Change] = []
    depth: int = 0
    via: Via | None = None
    unfollowed: bool = False


def blame(events: Iterable[RecordedEvent], reducer: Reducer[Any], path: str) -> list[Blamed]:
    """The events that gave `path` its value, newest first: the first one gave the present value,
    each further one the value that stood there before.

    An event gave a path its value when the JSON form of what stands there is another after it
    than before it: it set or removed the value, something below it, or a container around it. An
    event that writes what stands there already did not, nor did one that only moved the value
    along its list: an item is followed to the index that it came from, and where it was added its
    history ends. It came from where an equal item stood: at the same index, else as far from the
    end where the lists end alike, else the next one in order; of the items that are left, from the
    next one when there are as many of them before as after, else from the one of the same index.
    Members of objects are followed by their name, also through removals. A path where nothing
    stands is blamed on what removed it; one that nothing ever changed gives [].

    `path` is an RFC 6901 pointer into the state after the last event ("" is the whole state). A
    state's other parts are no causes: where a handler computes a value from them, the event that
    it handled is blamed. Costs a few folds, and of memory the events and some hundreds of states,
    which share what did not change. Raises `ReducerError` for what is no pointer and for a handler
    that changed a state in place where the path leads, and as `fold` does.
    """
    trail = Trail(path)
    handled = reducer.steps()
    wanted = (event for event in events if event.type in handled)
    forth = _Forth(reducer)
    stretches: list[tuple[Any, list[RecordedEvent]]] = []
    while stretch := list(islice(wanted, STRETCH_EVENTS)):
        stretches.append((forth.state, stretch))
        forth.fold(stretch)
    while stretches and not trail.ended:
        begin, stretch = stretches.pop()
        trail.back(stretch, reducer, begin)
    return trail.found


async def blame_stored(
    reducer: Reducer[Any],
    store: EventStore,
    stream: str,
    path: str,
    at: Moment | None,
    causes_max: int,
) -> list[Blamed]:
    """See `Reducer.blame`."""
    if type(causes_max) is not int or causes_max < 0:
        raise ReducerError("causes_max: an int from 0 on; 0 follows no causes")
    trail = Trail(path)
    forth = _Forth(reducer)
    stretches: list[tuple[Any, int, int]] = []
    inherited = 0
    limit = None if at is None else await version_at(store, stream, at)
    async for page in store.read(stream, limit=limit).pages():
        stretches.append((forth.state, page[0].version - 1, len(page)))
        forth.fold(page)
        inherited = max((e.version - 1 for e in page if e.type == FORKED), default=inherited)
    while stretches and not trail.ended:
        begin, after, count = stretches.pop()
        # Read again, because a page is bounded and a stream is not.
        trail.back(await store.read(stream, after=after, limit=count).list(), reducer, begin)
    return await _with_causes(_Causes(store, stream, inherited), trail.found, causes_max)


class _Causes:
    """The events of a tenant by their ids; what a fork inherited is shown as the fork shows it."""

    def __init__(self, store: EventStore, stream: str, inherited: int) -> None:
        self._store = store
        self._stream = stream
        self._inherited = inherited

    async def event(self, event_id: str) -> RecordedEvent | None:
        """None for one that stands in no log, or in another one."""
        event = await self._store.event(event_id)
        if event is not None and event.stream != self._stream and event.version <= self._inherited:
            read = self._store.read(self._stream, after=event.version - 1, limit=1)
            event = next((own for own in await read.list() if own.id == event_id), event)
        return event


async def _with_causes(causes: _Causes, own: list[Blamed], causes_max: int) -> list[Blamed]:
    """Each blamed event, followed by those that it came from, directly or not, each once."""
    told: list[Blamed] = []
    seen = {blamed.event.id for blamed in own}
    reads = 0
    for blamed in own:
        waiting: list[Blamed] = [blamed]
        while waiting:
            current = waiting.pop()
            found: list[Blamed] = []
            for via, cause_id in _named_by(current.event):
                if cause_id in seen:
                    continue
                if reads == causes_max:
                    current = msgspec.structs.replace(current, unfollowed=True)
                    break
                seen.add(cause_id)
                reads += 1
                event = await causes.event(cause_id)
                if event is not None:
                    found.append(Blamed(event, depth=current.depth + 1, via=via))
            told.append(current)
            waiting += reversed(found)
    return told


def _named_by(event: RecordedEvent) -> list[tuple[Via, str]]:
    causes: list[tuple[Via, str]] = []
    if event.causation_id is not None:
        causes.append(("causation_id", event.causation_id))
    causes += [("derived_from", each) for each in event.derived_from]
    return causes


class _Forth:
    """The fold forward. States that are kept must stay what they were: this is seen once a
    stretch."""

    def __init__(self, reducer: Reducer[Any]) -> None:
        self.reducer = reducer
        self.state = reducer.initial
        self._watch = Watch()

    def fold(self, events: Sequence[RecordedEvent]) -> None:
        """Goes on to the state behind these events."""
        seen = self._watch.look(self.state)
        self.state = fold(events, self.reducer, self.state)
        if self._watch.changed(seen):
            refuse_changes(self.reducer, events[0], events[-1])


class _Kept:
    """What a path leads to in the states of a stretch, as it was when each was made."""

    def __init__(self, names: Sequence[str], watch: Watch) -> None:
        self._names = names
        self._watch = watch
        self._seen: list[tuple[RecordedEvent, Any, Any, Seen]] = []

    def note(self, event: RecordedEvent, state: Any) -> None:
        """Notes the state before an event."""
        part = self._part(state)
        self._seen.append((event, state, part, self._watch.look(part)))

    def check(self, reducer: Reducer[Any], last: RecordedEvent) -> None:
        """Raises `ReducerError` where one of them is no longer what it was."""
        for event, state, part, seen in self._seen:
            if self._part(state) is not part or self._watch.changed(seen):
                refuse_changes(reducer, event, last)

    def _part(self, state: Any) -> Any:
        """As far as names lead; of a list the path may have held another item."""
        for name in self._names:
            if not has_names(state):
                break
            state = child(state, name)
        return state


def refuse_changes(reducer: Reducer[Any], first: RecordedEvent, last: RecordedEvent) -> NoReturn:
    """Raises the error for a handler of these events that changed a state in place."""
    raise ReducerError(
        f"reducer {reducer.name!r}: a handler changed the state it was given, between"
        f" {where(first)} and {where(last)}; replay names it"
    )


class Trail:
    """A path on its way back: where the value of the last state stood, ever earlier."""

    def __init__(self, path: str) -> None:
        self.found: list[Blamed] = []
        self.ended = False
        self._names = split(path)
        self._watch = Watch()

    def back(self, events: Sequence[RecordedEvent], reducer: Reducer[Any], state: Any) -> None:
        """Follows the path from the state after `events` to `state`, which stood before them.
        They were folded before, so that all that is left to be refused is a handler that changed
        a state in place."""
        find_step = reducer.steps().get
        kept = _Kept(self._names, self._watch)
        steps: list[tuple[RecordedEvent, Any, Any]] = []
        for event in events:
            step = find_step(event.type)
            if step is not None:
                before = state
                kept.note(event, before)
                state = step(before, event)
                if before is not state:
                    steps.append((event, before, state))
        kept.check(reducer, events[-1])
        while steps and not self.ended:
            self._step(*steps.pop())

    def _step(self, event: RecordedEvent, before: Any, after: Any) -> None:
        names, was, now = list(self._names), before, after
        for depth, name in enumerate(self._names):
            if was is now:
                break
            place = index(name)
            old_items = None if place is None else _movable(was)
            new_items = None if old_items is None else _movable(now)
            if place is None or old_items is None or new_items is None:
                was, now = child(was, name), child(now, name)
            else:
                was, now = self._items(old_items, new_items, place, depth, names)
            if was is MISSING or now is MISSING:
                rest = self._names[depth + 1 :]
                was, now = find(was, rest), find(now, rest)
                break
        if was is not now and not _unchanged(was, now):
            self.found.append(_blamed(event, join(self._names), was, now))
        self._names = names

    def _items(
        self, was: Sequence[Any], now: Sequence[Any], place: int, depth: int, names: list[str]
    ) -> tuple[Any, Any]:
        """The item of the path before and after, and in `names` where it stood before."""
        if place >= len(now):
            return was[place] if place < len(was) else MISSING, MISSING
        origin = came_from(was, now, place)
        if origin is None:
            self.ended = True
            return MISSING, now[place]
        names[depth] = str(origin)
        return was[origin], now[place]


def _blamed(event: RecordedEvent, path: str, was: Any, now: Any) -> Blamed:
    if was is MISSING:
        return Blamed(event, path, None, now, [Change("add", path, None, now)])
    if now is MISSING:
        return Blamed(event, path, was, None, [Change("remove", path, was, None)])
    changes = [
        msgspec.structs.replace(change, path=path + change.path) for change in diff(was, now)
    ]
    return Blamed(event, path, was, now, changes)


def _unchanged(was: Any, now: Any) -> bool:
    if was is MISSING or now is MISSING:
        return False
    old_items, new_items = listed(was), listed(now)
    if old_items is not None and new_items is not None and len(old_items) != len(new_items):
        return False
    return same(was, now)


def _movable(value: Any) -> Sequence[Any] | None:
    """The items of a list; a Struct that is an array in JSON has fields, which stay in place."""
    return None if isinstance(value, msgspec.Struct) else listed(value)
