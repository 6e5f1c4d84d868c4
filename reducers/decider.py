"""The decider: load, decide, append; when somebody was faster, decide again on what they wrote."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from eventstore import AppendResult, Conflict, IdempotencyMismatch, InvalidEvent, Version
from eventstore.events import RecordedEvent, as_events
from eventstore.names import check_name
from eventstore.registry import registry

from .errors import ReducerError
from .folding import fold, function_name
from .kept import Loaded

if TYPE_CHECKING:
    from eventstore import EventStore

    from .reducer import Reducer

S = TypeVar("S")

ATTEMPTS = 5
"""How often `run` decides when it does not say: enough for a few writers on one stream. A stream
that many write at once wants a queue in front, not more attempts."""


class Decision(msgspec.Struct, Generic[S], frozen=True):
    """What a command came to.

    `result` is the append's answer, None when nothing was appended. `state` is the state after the
    command's events. `attempts` counts how often it was decided, 0 for a key that was used before;
    `commuted` how often what was decided was appended again as it was, behind events that commute.
    """

    state: S
    version: int
    position: int
    result: AppendResult | None
    attempts: int
    commuted: int = 0

    @property
    def events(self) -> tuple[RecordedEvent, ...]:
        """The events that this command appended, now or when its key was first used."""
        return () if self.result is None else self.result.events

    @property
    def duplicate(self) -> bool:
        """Whether the key had been used before and this is what it wrote then."""
        return self.result is not None and self.result.duplicate


class Decider(Generic[S]):
    """A reducer and ``decide(state, command) -> events``: pure, sync, and called again after a
    conflict.

    `commutes` are types, by name or registered class, of events that change nothing of what any
    command decides, nor of what its events do: where only such were missed, what was decided is
    appended behind them and not decided again. Raises `ReducerError` when `decide` is async or no
    function, and `InvalidEvent` for what is no event type.
    """

    def __init__(
        self,
        reducer: Reducer[S],
        decide: Callable[[S, Any], Iterable[Any]],
        *,
        commutes: Collection[str | type] = (),
    ) -> None:
        if not callable(decide) or inspect.iscoroutinefunction(decide):
            raise ReducerError(
                f"decider on {reducer.name!r}: decide is a sync function of state and command;"
                " do what must be awaited before, and put its outcome into the command"
            )
        self.reducer = reducer
        self.decide = decide
        self.commutes = _event_types(reducer.name, commutes)

    async def run(
        self,
        store: EventStore,
        stream: str,
        command: Any,
        *,
        idempotency_key: str | None = None,
        attempts: int = ATTEMPTS,
        actor: str | None = None,
        causation_id: str | None = None,
        correlation_id: str | None = None,
        context: dict[str, Any] | None = None,
    ) -> Decision[S]:
        """Decides a command on the stream's state and appends what was decided.

        A used `idempotency_key` gives what it wrote then, without deciding. Otherwise load,
        decide, append at exactly the version that was read; on `Conflict` the missed events are
        folded in and it is decided again, or, where all of them commute and none was left out,
        appended again: `attempts` appends in all. No events append nothing, and
        spend no key. Raises the last `Conflict`, what `decide` raises, `ReducerError` for what it
        may not return, and as `EventStore.append` does. If cancelled, it may be written all the
        same; a retry with the same key writes once.
        """
        if type(attempts) is not int or attempts < 1:
            raise ReducerError("attempts: an int from 1 on")
        if idempotency_key is not None:
            first = await store.lookup(stream, idempotency_key)
            if first is not None:
                return await self._again(store, stream, first)
        loaded = await self.reducer.load(store, stream)
        decided, commuted = 1, 0
        events = self._decided(loaded.state, command)
        while True:
            if not events:
                return Decision(
                    loaded.state, loaded.version, loaded.position, None, decided, commuted
                )
            try:
                result = await store.append(
                    stream,
                    events,
                    expected=loaded.version,
                    idempotency_key=idempotency_key,
                    actor=actor,
                    causation_id=causation_id,
                    correlation_id=correlation_id,
                    context=context,
                )
            except Conflict as conflict:
                if decided + commuted == attempts:
                    raise
                commutes = self._commutes(loaded, conflict)
                loaded = await self._caught_up(store, stream, loaded, conflict)
                if commutes:
                    commuted += 1
                else:
                    decided += 1
                    events = self._decided(loaded.state, command)
                continue
            except IdempotencyMismatch as mismatch:
                # The same command ran elsewhere between the look-up and the append, and decided
                # on another state: what the key wrote is the answer, as it is for a look-up.
                result = cast(AppendResult, mismatch.result)
                return await self._again(store, stream, result)
            if result.duplicate:
                return await self._again(store, stream, result)
            state = fold(result.events, self.reducer, loaded.state)
            return Decision(state, result.version, result.position, result, decided, commuted)

    async def _again(self, store: EventStore, stream: str, first: AppendResult) -> Decision[S]:
        loaded = await self.reducer.load(store, stream, at=Version(first.version))
        result = msgspec.structs.replace(first, duplicate=True)
        return Decision(loaded.state, loaded.version, loaded.position, result, 0)

    def _decided(self, state: S, command: Any) -> Sequence[Any]:
        events: Any = self.decide(state, command)
        name = f"decider on {self.reducer.name!r}: {function_name(self.decide)}"
        if inspect.isawaitable(events):
            if inspect.iscoroutine(events):
                events.close()
            raise ReducerError(f"{name} returned an awaitable; decide is a sync function")
        if events is None:
            raise ReducerError(f"{name} returned None; return [] to append nothing")
        if isinstance(events, (str, bytes, dict)):
            raise ReducerError(f"{name} returned a {type(events).__name__}, not a list of events")
        return list(as_events(events))

    async def _caught_up(
        self, store: EventStore, stream: str, loaded: Loaded[S], conflict: Conflict
    ) -> Loaded[S]:
        if not _is_complete(loaded, conflict):
            # Too many to be carried: read them.
            return await self.reducer.load(store, stream)
        missed = conflict.events
        state = fold(missed, self.reducer, loaded.state)
        return Loaded(state, missed[-1].version, missed[-1].position)

    def _commutes(self, loaded: Loaded[S], conflict: Conflict) -> bool:
        return _is_complete(loaded, conflict) and all(
            event.type in self.commutes for event in conflict.events
        )


def _is_complete(loaded: Loaded[Any], conflict: Conflict) -> bool:
    """Whether the conflict carries every event between what was loaded and what is there."""
    versions = [event.version for event in conflict.events]
    return bool(versions) and versions == list(range(loaded.version + 1, conflict.actual + 1))


def _event_types(reducer: str, given: object) -> frozenset[str]:
    if isinstance(given, str) or not isinstance(given, Collection):
        raise InvalidEvent(f"decider on {reducer!r}: commutes is a set of event types")
    return frozenset(_event_type(reducer, each) for each in given)


def _event_type(reducer: str, given: object) -> str:
    if isinstance(given, type):
        entry = registry.by_class.get(given)
        if entry is None:
            raise InvalidEvent(
                f"decider on {reducer!r}: {given.__name__} is no registered event type"
            )
        return entry.name
    return check_name("type", given)
