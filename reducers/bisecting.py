"""Bisect: the first event after which something holds of the state, or every event that flips it.

One pass that stops at what it looks for. Only where the caller says that the predicate, once it
holds, goes on to hold, is the pass shortened by snapshots.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import msgspec

from eventstore.events import RecordedEvent

from .changeable import Watch
from .diffs import Change, diff
from .errors import ReducerError
from .folding import fold, function_name, name_event, refuse_change, refuse_none, where
from .kept import Loaded, Until, kept_versions, newest_kept

if TYPE_CHECKING:
    from eventstore import EventStore

    from .reducer import Reducer

S = TypeVar("S")
Predicate = Callable[[S], Any]


class Found(msgspec.Struct, Generic[S], frozen=True):
    """An event that `bisect` found, with the states `before` and `after` it.

    `holds` says whether the predicate holds from this event on, or no longer does.
    """

    event: RecordedEvent
    holds: bool
    before: S
    after: S

    @property
    def changes(self) -> list[Change]:
        """What the event changed: `diff(before, after)`."""
        return diff(self.before, self.after)


@overload
def bisect(
    events: Iterable[RecordedEvent],
    reducer: Reducer[S],
    predicate: Predicate[S],
    every: Literal[False] = False,
) -> Found[S] | None:
    """The first event."""


@overload
def bisect(
    events: Iterable[RecordedEvent],
    reducer: Reducer[S],
    predicate: Predicate[S],
    every: Literal[True],
) -> list[Found[S]]:
    """All flips."""


@overload
def bisect(
    events: Iterable[RecordedEvent], reducer: Reducer[S], predicate: Predicate[S], every: bool
) -> Found[S] | list[Found[S]] | None:
    """Either, where the program says which."""


def bisect(
    events: Iterable[RecordedEvent],
    reducer: Reducer[S],
    predicate: Predicate[S],
    every: bool = False,
) -> Found[S] | list[Found[S]] | None:
    """The first event after which ``predicate(state)`` is true, or None; events behind it are not
    taken.

    With `every`, all events at which its answer is another one than before them, in both
    directions (`holds`), counted from its answer on the initial state. What already holds there is
    therefore no flip, while without `every` the first event is found. The predicate is a pure
    sync function of the state; where its answer turns it is asked of the state before once more.
    Raises as `fold` does, and `ReducerError` for a predicate that raises or is async, and where
    that state is no longer what it was; it names the event, never what is in the state.
    """
    search = _Search(reducer, predicate)
    if every:
        search.begin()
        return list(search.over(events))
    return next(search.over(events), None)


async def bisect_stream(
    reducer: Reducer[S],
    store: EventStore,
    stream: str,
    predicate: Predicate[S],
    *,
    monotone: bool,
    every: bool,
) -> Found[S] | list[Found[S]] | None:
    """See `Reducer.bisect`."""
    search = _Search(reducer, predicate)
    if every:
        search.begin()
        if monotone and search.held:
            return []
    end = None
    if monotone:
        end = await _skip(search, store, stream)
    found: list[Found[S]] = []
    limit = None if end is None else end - search.version
    async for page in store.read(stream, after=search.version, limit=limit).pages():
        for each in search.over(page):
            found.append(each)
            if monotone or not every:
                return found if every else each
    if end is not None:
        raise ReducerError(
            f"reducer {reducer.name!r}, stream {stream!r}: the predicate holds of the snapshot at"
            f" version {end}, and of no state up to there; verify the store's snapshots"
        )
    return found if every else None


async def _skip(search: _Search[S], store: EventStore, stream: str) -> int | None:
    """Sets the search behind the newest snapshot of which the predicate does not hold; the version
    of the oldest one of which it does.

    They are looked for by halving their number, so that few of them are read.
    """
    versions = await kept_versions(search.reducer, store, stream)
    end = None
    while versions:
        middle = len(versions) // 2
        until = Until(version=versions[middle])
        kept = await newest_kept(search.reducer, store, stream, until, search.version)
        if kept is None:
            versions = versions[middle + 1 :]
        elif search.asked(kept.state, f"of the snapshot at version {kept.version}"):
            end = kept.version
            versions = [each for each in versions if each < kept.version]
        else:
            search.go_on_from(kept)
            versions = versions[middle + 1 :]
    return end


class _Search(Generic[S]):
    """A fold that asks after every event; it goes on where it was with the next events."""

    def __init__(self, reducer: Reducer[S], predicate: Predicate[S]) -> None:
        self.reducer = reducer
        if not callable(predicate) or inspect.iscoroutinefunction(predicate):
            raise self._refused()
        self.predicate = predicate
        self.state = reducer.initial
        self.version = 0
        self.held: bool | None = None  # its last answer; None: it was not asked yet

    def begin(self) -> None:
        """Asks about the initial state."""
        self.held = self.asked(self.state, "of the initial state")

    def go_on_from(self, loaded: Loaded[S]) -> None:
        """Goes on behind a stored state of which the predicate does not hold."""
        self.state, self.version, self.held = loaded.state, loaded.version, False

    def over(self, events: Iterable[RecordedEvent]) -> Iterator[Found[S]]:
        """The events that flip the answer, from where the search is; where it was not asked yet,
        a first one that holds."""
        find = self.reducer.steps().get
        none_allowed = self.reducer.none_allowed
        predicate, state, held = self.predicate, self.state, self.held
        event: Any = None
        try:
            for event in events:
                step = find(event.type)
                if step is None and held is not None:
                    continue
                before = state
                if step is not None:
                    state = step(state, event)
                    if state is None and not none_allowed:
                        refuse_none(self.reducer, event.type)
                try:
                    answer = predicate(state)
                    if answer is held:
                        continue
                    holds = bool(answer)
                except Exception as exc:
                    raise self._raised(exc, f"after {where(event)}") from exc
                if holds is not held:
                    self._check(answer)
                    flips = holds or held is not None
                    if held is not None and self.asked(before, f"before {where(event)}") is holds:
                        raise self._changed(event)
                    held = holds
                    if flips:
                        self._fold_again(before, event)
                        yield Found(event, holds, before, state)
        except Exception as exc:
            name_event(exc, self.reducer, event)
            raise
        self.state, self.held = state, held

    def asked(self, state: S, place: str) -> bool:
        """The predicate's answer about a state; `place` says which, for messages."""
        try:
            answer = self.predicate(state)
            holds = bool(answer)
        except Exception as exc:
            raise self._raised(exc, place) from exc
        self._check(answer)
        return holds

    def _check(self, answer: Any) -> None:
        if inspect.isawaitable(answer):
            if inspect.iscoroutine(answer):
                answer.close()
            raise self._refused()

    def _fold_again(self, before: S, event: RecordedEvent) -> None:
        """Refuses a step that changed the state before it, which would be answered with."""
        if event.type not in self.reducer.steps():
            return
        watch = Watch()
        seen = watch.look(before)
        if seen[0]:
            fold((event,), self.reducer, before)
            if watch.changed(seen):
                refuse_change(self.reducer, event)

    def _changed(self, event: RecordedEvent) -> ReducerError:
        return ReducerError(
            f"bisect with {self.reducer.name!r}: asked again of the state before {where(event)},"
            f" the predicate {function_name(self.predicate)} says something else: a handler changed"
            " that state in place (replay names it), or the predicate asks for more than the state"
        )

    def _refused(self) -> ReducerError:
        return ReducerError(
            f"bisect with {self.reducer.name!r}: the predicate is a sync function of the state"
        )

    def _raised(self, exc: Exception, place: str) -> ReducerError:
        return ReducerError(
            f"bisect with {self.reducer.name!r}: the predicate {function_name(self.predicate)}"
            f" raised {type(exc).__name__}, asked {place}"
        )
