"""The fold: one look-up and one call for each event. Everything else is made beforehand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec

from eventstore import EventStoreError
from eventstore.events import RecordedEvent

from .errors import ReducerError

if TYPE_CHECKING:
    from .reducer import Reducer

S = TypeVar("S")

UNSET: Any = msgspec.UNSET


def fold(events: Iterable[RecordedEvent], reducer: Reducer[S], state: S = UNSET) -> S:
    """The state after `events`, from the initial state or going on from `state`.

    Folding in parts gives the same as folding at once. An event without a handler leaves the
    state as it is, the same object. Raises what a handler raises, with a note that names the
    event, and `ReducerError` for a handler that returns None by mistake.
    """
    if state is UNSET:
        state = reducer.initial
    find = reducer.steps().get
    none_allowed = reducer.none_allowed
    event: Any = None
    try:
        for event in events:
            step = find(event.type)
            if step is not None:
                state = step(state, event)
                if state is None and not none_allowed:
                    refuse_none(reducer, event.type)
    except Exception as exc:
        name_event(exc, reducer, event)
        raise
    return state


def name_event(exc: Exception, reducer: Reducer[Any], event: Any) -> None:
    """Notes on what a handler raised which event it was given; None: it had none yet."""
    if event is not None and not isinstance(exc, EventStoreError):
        exc.add_note(f"reducer {reducer.name!r}, last event taken: {where(event)}")


def where(event: Any) -> str:
    """An event's place for messages: type, stream and version, never its data."""
    stream, version = getattr(event, "stream", None), getattr(event, "version", None)
    return f"{event.type!r} (stream {stream!r} version {version})"


def refuse_none(reducer: Reducer[Any], event_type: str) -> NoReturn:
    """Raises the error for a handler that gave no state back."""
    raise ReducerError(
        f"reducer {reducer.name!r}: handler {reducer.handler_name(event_type)} for {event_type!r}"
        " returned None; return the state, also where nothing changes"
    )


def refuse_change(reducer: Reducer[Any], event: RecordedEvent) -> NoReturn:
    """Raises the error for a handler that changed a state in place."""
    raise ReducerError(
        f"reducer {reducer.name!r}: handler {reducer.handler_name(event.type)} changed the state"
        f" it was given, at {where(event)}; return a new one"
    )


def function_name(function: Any) -> str:
    """A function's name for messages."""
    return str(getattr(function, "__qualname__", type(function).__qualname__))
