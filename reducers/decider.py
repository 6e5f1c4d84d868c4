"""The decider: load, decide, append; when somebody was faster, decide again on what they wrote."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from eventstore import AppendResult, Conflict, IdempotencyMismatch, Version
from eventstore.events import RecordedEvent, as_events

from .errors import ReducerError
from .folding import fold, function_name
from .loading import Loaded

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
    command's events. `attempts` counts how often it was decided, 0 for a key that was used before.
    """

    state: S
    version: int
    position: int
    result: AppendResult | None
    attempts: int

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
    conflict. Raises `ReducerError` when `decide` is async or no function."""

    def __init__(self, reducer: Reducer[S], decide: Callable[[S, Any], Iterable[Any]]) -> None:
        if not callable(decide) or inspect.iscoroutinefunction(decide):
            raise ReducerError(
                f"decider on {reducer.name!r}: decide is a sync function of state and command;"
                " do what must be awaited before, and put its outcome into the command"
            )
        self.reducer = reducer
        self.decide = decide

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
        folded in and it is decided again, `attempts` times in all. No events append nothing, and
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
        attempt = 1
        while True:
            events = self._decided(loaded.state, command)
            if not events:
                return Decision(loaded.state, loaded.version, loaded.position, None, attempt)
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
                if attempt == attempts:
                    raise
                attempt += 1
                loaded = await self._caught_up(store, stream, loaded, conflict)
                continue
            except IdempotencyMismatch as mismatch:
                # The same command ran elsewhere between the look-up and the append, and decided
                # on another state: what the key wrote is the answer, as it is for a look-up.
                result = cast(AppendResult, mismatch.result)
                return await self._again(store, stream, result)
            if result.duplicate:
                return await self._again(store, stream, result)
            state = fold(result.events, self.reducer, loaded.state)
            return Decision(state, result.version, result.position, result, attempt)

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
        missed = conflict.events
        versions = [event.version for event in missed]
        if versions != list(range(loaded.version + 1, conflict.actual + 1)) or not versions:
            # Too many to be carried: read them.
            return await self.reducer.load(store, stream)
        state = fold(missed, self.reducer, loaded.state)
        return Loaded(state, missed[-1].version, missed[-1].position)
