"""Reducers: which pure function computes the next state from an event, looked up by its type.

A reducer knows handlers, its initial state and its version. How states become bytes is `codecs`,
what identifies the code is `fingerprints`, reading a store is `loading`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, get_args

import msgspec
from pydantic import BaseModel

from eventstore import EventStoreError
from eventstore.events import RecordedEvent
from eventstore.names import check_name
from eventstore.registry import registry

from .errors import ReducerError

if TYPE_CHECKING:
    pass

S = TypeVar("S")
H = TypeVar("H", bound=Callable[..., Any])
Step = Callable[[Any, Any], Any]

SNAPSHOT_EVERY = 500
"""Events between two snapshots when the reducer does not say. Folding costs about 5 us an event,
so a load never folds more than 2.5 ms behind a snapshot: half of what 1,000 events cost. Writing
one costs a commit (0.3 ms) and encoding the state, spread over 500 events."""

_MUTABLE = (dict, list, set, bytearray, BaseModel)


class Handler(msgspec.Struct, frozen=True):
    """A registered function; `cls` is the typed event's class, None for `on("name")`."""

    function: Step
    cls: type | None


class Reducer(Generic[S]):
    """A pure fold: `initial` state, and one handler for each event type it cares for.

    State is a frozen `msgspec.Struct`, a pydantic model, a dict, or a plain value; large ones hold
    `immutables.Map` and `PersistentList`. `version` is raised when the same events shall give
    another state although no source changed. `snapshot_every` is the number of events behind the
    last snapshot at which `load` keeps a new one; None keeps none. `state_type` says how snapshots
    are decoded where the initial state does not: for example `Map[str, Card]` or `Card | None`.
    None is a legitimate state only if `initial` is None or `state_type` allows it. Raises
    `ReducerError` and `InvalidEvent` for a bad name, version or state.
    """

    def __init__(
        self,
        name: str,
        initial: S,
        *,
        version: int = 1,
        snapshot_every: int | None = SNAPSHOT_EVERY,
        state_type: Any = None,
    ) -> None:
        self.name = check_name("reducer", name)
        self.version = _count(name, "version", version)
        self.snapshot_every = (
            None if snapshot_every is None else _count(name, "snapshot_every", snapshot_every)
        )
        self.state_type = type(initial) if state_type is None else state_type
        self.none_allowed = initial is None or type(None) in get_args(state_type)
        self.handlers: dict[str, Handler] = {}
        self._initial = initial
        self._steps: dict[str, Step] = {}
        self._compiled_for: tuple[object, int, int] = (None, 0, 0)
        if isinstance(initial, msgspec.Struct) and not initial.__struct_config__.frozen:
            raise ReducerError(
                f"reducer {name!r}: {type(initial).__name__} is not frozen;"
                " declare it with frozen=True"
            )

    @property
    def initial(self) -> S:
        """The state before the first event; a fresh copy where it could be changed in place."""
        if isinstance(self._initial, _MUTABLE):
            return copy.deepcopy(self._initial)
        return self._initial

    def on(self, event: str | type) -> Callable[[H], H]:
        """Registers the decorated ``handler(state, event) -> state`` for one event type.

        With a name, `event.data` is always a dict; with a class registered by `@event_type`,
        always its instance; both at the current schema version. The decorator may be stacked for
        several types. Raises `ReducerError` for a type registered before, for a class without a
        name, and for a handler that is async or does not take two arguments.
        """
        name, cls = _name_and_class(self.name, event)

        def decorate(function: H) -> H:
            _check_handler(self.name, name, function)
            if name in self.handlers:
                raise ReducerError(f"reducer {self.name!r}: {name!r} has a handler already")
            self.handlers[name] = Handler(function, cls)
            return function

        return decorate

    def steps(self) -> dict[str, Step]:
        """For each event type the function that a fold calls. It is made anew when handlers or
        registered classes were added since."""
        names = registry.by_name
        wanted = (names, len(names), self._handler_count())
        now = self._compiled_for
        if now[0] is not names or now[1:] != wanted[1:]:
            self._steps = self._compile()
            self._compiled_for = wanted
        return self._steps

    def _handler_count(self) -> int:
        return len(self.handlers)

    def _compile(self) -> dict[str, Step]:
        steps: dict[str, Step] = {}
        for name, handler in self.handlers.items():
            if handler.cls is not None:
                steps[name] = _with_instance(handler.function, handler.cls)
            elif name in registry.by_name:
                steps[name] = _with_dict(handler.function)
            else:
                steps[name] = handler.function
        return steps

    def handler_name(self, event_type: str) -> str:
        """The name of the function that handles a type, for messages."""
        return _function_name(self.handlers[event_type].function)

    def __repr__(self) -> str:
        return f"<Reducer {self.name!r} version {self.version}: {', '.join(sorted(self.steps()))}>"


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
        if event is not None and not isinstance(exc, EventStoreError):
            exc.add_note(f"reducer {reducer.name!r}, last event taken: {where(event)}")
        raise
    return state


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


def _with_dict(function: Step) -> Step:
    def step(state: Any, event: Any) -> Any:
        return function(state, event.untyped())

    return step


def _with_instance(function: Step, cls: type) -> Step:
    def step(state: Any, event: Any) -> Any:
        if event.data.__class__ is not cls:
            # Its data was decoded before the class was registered.
            event = _decoded_as(event, cls)
        return function(state, event)

    return step


def _decoded_as(event: RecordedEvent, cls: type) -> RecordedEvent:
    entry = registry.by_class.get(cls)
    if entry is None or entry.name != event.type:
        raise ReducerError(f"{where(event)}: {cls.__name__} is no longer registered for it")
    return msgspec.structs.replace(event, _data=msgspec.UNSET)


def _name_and_class(reducer: str, event: object) -> tuple[str, type | None]:
    if isinstance(event, str):
        return check_name("type", event), None
    if isinstance(event, type):
        entry = registry.by_class.get(event)
        if entry is None:
            raise ReducerError(
                f"reducer {reducer!r}: {event.__name__} is no registered event type;"
                " decorate it with @event_type(name)"
            )
        return entry.name, event
    raise ReducerError(
        f"reducer {reducer!r}: on() takes an event's name or class, not {type(event).__name__}"
    )


def _check_handler(reducer: str, event_type: str, function: Any) -> None:
    what = f"reducer {reducer!r}, handler for {event_type!r}"
    if not callable(function):
        raise ReducerError(f"{what}: a function, not {type(function).__name__}")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise ReducerError(f"{what}: a handler is pure and not async")
    if inspect.isgeneratorfunction(function):
        raise ReducerError(f"{what}: a handler returns the state; this one yields")
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise ReducerError(f"{what}: it is called with (state, event)") from None


def _count(reducer: str, what: str, value: object) -> int:
    if type(value) is not int or value < 1:
        raise ReducerError(f"reducer {reducer!r}: {what} is an int from 1 on")
    return value


def _function_name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))
