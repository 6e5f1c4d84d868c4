"""Reducers: which pure function computes the next state from an event, looked up by its type.

A reducer knows handlers, its initial state and its version. How states become bytes is `codecs`,
what identifies the code is `fingerprints`, reading a store is `loading`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args, overload

import msgspec

from eventstore.events import RecordedEvent
from eventstore.names import check_name
from eventstore.registry import registry

from .bisecting import Found, bisect_stream
from .blaming import CAUSES_MAX, Blamed, blame_stored
from .changeable import unchangeable
from .codecs import PartsCodec, StateCodec
from .comparing import Compared, compare
from .errors import ReducerError
from .fingerprints import fingerprint, sees_streams
from .folding import function_name, where
from .kept import Loaded
from .linting import lint, refuse
from .linting.unchecked import reason_of
from .loading import Moment, load
from .schemas import classes_in

if TYPE_CHECKING:
    from eventstore import EventStore

S = TypeVar("S")
H = TypeVar("H", bound=Callable[..., Any])
Apply = Callable[[Any, Any], Any]

SNAPSHOT_EVERY = 500
"""Events between two snapshots when the reducer does not say. Folding costs about 5 us an event,
so a load never folds more than 2.5 ms behind a snapshot: half of what 1,000 events cost. Writing
one costs a commit (0.3 ms) and encoding the state, spread over 500 events."""


class Handler(msgspec.Struct, frozen=True):
    """A registered function; `cls` is the typed event's class, None for `on("name")`."""

    function: Callable[..., Any]
    cls: type | None


class Reducer(Generic[S]):
    """A pure fold: `initial` state, and one handler for each event type it cares for.

    State is a frozen `msgspec.Struct`, a pydantic model, a dict, or a plain value; large ones hold
    `immutables.Map` and `PersistentList`. `version` is raised when the same events shall give
    another state although no source changed. `snapshot_every` is the number of events behind the
    last snapshot at which `load` keeps a new one; None keeps none. `state_type` says how snapshots
    are decoded where the initial state does not: for example `Map[str, Card]` or `Card | None`.
    Each fold starts from a copy of `initial` unless nothing in it can be changed in place.
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
        self.snapshot_refused = False  # whether it was said that this state cannot be kept
        self._initial = initial
        self._shared = unchangeable(initial)
        self._steps: dict[str, Apply] = {}
        self._compiled_for: tuple[int, int, int] = (0, 0, 0)
        self._compiled_with: object = None  # held, so that its id stays its own
        self._codec: StateCodec | PartsCodec | None = None
        self._to_check: list[str] = []
        self._fingerprint: tuple[tuple[object, ...], str] | None = None
        self._sees_streams: tuple[str, bool] | None = None
        _check_state(name, initial, self.state_type)
        # What was passed stays its owner's, who may change it.
        self._initial = self.initial

    @property
    def initial(self) -> S:
        """The state before the first event; a fresh copy where anything in it could be changed in
        place, so that nothing leaks from one stream into another."""
        if self._shared:
            return self._initial
        try:
            return copy.deepcopy(self._initial)
        except (TypeError, RecursionError, copy.Error) as exc:
            raise ReducerError(
                f"reducer {self.name!r}: its initial state can be changed in place and not be"
                f" copied ({type(exc).__name__})"
            ) from exc

    def on(self, event: str | type) -> Callable[[H], H]:
        """Registers the decorated ``handler(state, event) -> state`` for one event type.

        With a name, `event.data` is always a dict; with a class registered by `@event_type`,
        always its instance; both at the current schema version. The decorator may be stacked for
        several types. Raises `ReducerError` for a type registered before, for a class without a
        name, for a handler that is async or does not take two arguments, and for one whose source,
        or that of a function of the same package that it names, is certainly not deterministic:
        see `unchecked` for the way around. What it names that is defined further down is looked
        at before the first fold. What is only likely is an `ImpurityWarning`.
        """
        name, cls = _name_and_class(self.name, event)

        def decorate(function: H) -> H:
            _check_handler(self.name, name, function)
            if name in self.handlers:
                raise ReducerError(f"reducer {self.name!r}: {name!r} has a handler already")
            self._check_source(name, function)
            self.handlers[name] = Handler(function, cls)
            return function

        return decorate

    def _check_source(self, event_type: str, function: Callable[..., Any]) -> None:
        # Those of `reducers.agent` are read by the library's own tests: no process need do it.
        module = getattr(function, "__module__", None) or ""
        if module.startswith(f"{__package__}.agent.") or reason_of(self) is not None:
            return
        found = lint(function, self.state_type)
        refuse(f"reducer {self.name!r}: {function_name(function)} for {event_type!r}", found)
        if found.missing:
            self._to_check.append(event_type)

    def steps(self) -> dict[str, Apply]:
        """For each event type the function that a fold calls. It is made anew when handlers or
        registered classes were added since."""
        names = registry.by_name
        wanted = (id(names), len(names), self._handler_count())
        if self._compiled_for != wanted:
            self._steps = self._compile()
            self._compiled_for = wanted
            self._compiled_with = names
        return self._steps

    async def load(self, store: EventStore, stream: str, at: Moment | None = None) -> Loaded[S]:
        """The state of a stream: `Loaded(state, version, position)` of the last event folded.

        `at` is None for the head, `Version(n)`, `Position(n)`, an aware datetime (`recorded_at`
        up to and with it), or `Occurred(datetime)`: every event whose `occurred_at` (where the
        source gave none, `recorded_at`) is not later, in log order; its `version` is that of the
        last such event, and no version to expect. A stream or moment without events gives the
        initial state and 0, 0; a version beyond the end gives the end.
        Uses snapshots and, at the head, keeps a new one where `snapshot_every` says so. Raises
        `InvalidEvent` for a bare int or a naive datetime, `Corrupt` for damage, and as `fold`
        does. If cancelled, nothing is left open; a snapshot may or may not have been kept.
        """
        return await load(self, store, stream, at)

    async def blame(
        self,
        store: EventStore,
        stream: str,
        path: str,
        *,
        at: Moment | None = None,
        causes_max: int = CAUSES_MAX,
    ) -> list[Blamed]:
        """The events that gave `path` its value in a stored stream, newest first, each followed
        by the events that it came from, along causation ids and `derived_from`, into whatever
        stream they stand in.

        `path` points into the state at a moment: `at` as `fork` takes it, None is the head.
        What is blamed is said by `blame`, and has `depth` 0; what it came from has `depth` 1 and
        more, stands behind the first event that leads to it, and once; an id that no event of the
        tenant has is left out. At most `causes_max` ids are followed, 0 for none; where one was
        not, `unfollowed` says so. It reads the stream twice and holds a page of it. Raises as
        `blame` does, and `Corrupt` for damage. If cancelled, nothing is left open.
        """
        return await blame_stored(self, store, stream, path, at, causes_max)

    @overload
    async def bisect(
        self,
        store: EventStore,
        stream: str,
        predicate: Callable[[S], Any],
        *,
        monotone: bool = False,
        every: Literal[False] = False,
    ) -> Found[S] | None:
        """The first event. If cancelled, nothing is left open."""

    @overload
    async def bisect(
        self,
        store: EventStore,
        stream: str,
        predicate: Callable[[S], Any],
        *,
        monotone: bool = False,
        every: Literal[True],
    ) -> list[Found[S]]:
        """All flips. If cancelled, nothing is left open."""

    async def bisect(
        self,
        store: EventStore,
        stream: str,
        predicate: Callable[[S], Any],
        *,
        monotone: bool = False,
        every: bool = False,
    ) -> Found[S] | list[Found[S]] | None:
        """The first event of a stream after which the predicate holds, or all flips: as
        `reducers.bisect`, page by page.

        `monotone` says that the predicate, once it holds, goes on to hold: snapshots are then
        asked first, and only the events between the two around the flip are folded. Said of a
        predicate that is not, some event at which it flips may be found, or none. Raises as
        `reducers.bisect` and `EventStore.read` do. If cancelled, nothing is left open.
        """
        return await bisect_stream(self, store, stream, predicate, monotone=monotone, every=every)

    async def diff(
        self,
        store: EventStore,
        stream: str,
        other: str | None = None,
        *,
        at: Moment | None = None,
        other_at: Moment | None = None,
    ) -> Compared[S]:
        """What leads from the state of `stream` at one moment to that of `other` at another:
        `Compared(before, after, changes)`.

        `other` is any stream, a fork of the first one or not; None is the same stream. `at` and
        `other_at` are moments as `load` takes them, each of its own stream, None is the head.
        Uses and keeps snapshots, raises and is cancelled as `load`; `ReducerError` also for
        states without a JSON form.
        """
        return await compare(self, store, stream, other, at, other_at)

    def codec(self) -> StateCodec | PartsCodec:
        """What encodes this reducer's states. Raises `ReducerError` for a state type that
        cannot be decoded."""
        if self._codec is None:
            self._codec = self._make_codec()
        return self._codec

    def _make_codec(self) -> StateCodec | PartsCodec:
        return StateCodec(self.state_type)

    def fingerprint(self) -> str:
        """What snapshots are kept under: see `fingerprints`."""
        self.steps()
        wanted = (*self._compiled_for, sum(len(steps) for steps in registry.upcasters.values()))
        if self._fingerprint is None or self._fingerprint[0] != wanted:
            self._fingerprint = wanted, self._make_fingerprint()
        return self._fingerprint[1]

    def _make_fingerprint(self) -> str:
        return fingerprint(self)

    def sees_streams(self) -> bool:
        """Whether a handler may look at the name of an event's stream: a fork shows inherited
        events under its own, so that its state may not begin with a snapshot of its parent."""
        mark = self.fingerprint()
        if self._sees_streams is None or self._sees_streams[0] != mark:
            self._sees_streams = mark, self._may_see_streams()
        return self._sees_streams[1]

    def _may_see_streams(self) -> bool:
        return sees_streams(self)

    def _handler_count(self) -> int:
        return len(self.handlers)

    def _compile(self) -> dict[str, Apply]:
        # By now everything stands that the handlers name.
        pending, self._to_check = self._to_check, []
        for name in pending:
            self._check_source(name, self.handlers[name].function)
        self._to_check = []
        steps: dict[str, Apply] = {}
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
        return function_name(self.handlers[event_type].function)

    def __repr__(self) -> str:
        return f"<Reducer {self.name!r} version {self.version}: {', '.join(sorted(self.steps()))}>"


def _with_dict(function: Apply) -> Apply:
    def step(state: Any, event: Any) -> Any:
        return function(state, event.untyped())

    return step


def _with_instance(function: Apply, cls: type) -> Apply:
    def step(state: Any, event: Any) -> Any:
        data = event._data
        if data is msgspec.UNSET:
            data = event.data
        if data.__class__ is not cls:
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


def _check_state(reducer: str, initial: Any, state_type: Any) -> None:
    if isinstance(initial, msgspec.Struct) and not initial.__struct_config__.frozen:
        raise ReducerError(
            f"reducer {reducer!r}: {type(initial).__name__} is not frozen;"
            " declare it with frozen=True"
        )
    for cls in classes_in(state_type):
        if issubclass(cls, msgspec.Struct) and cls.__struct_config__.omit_defaults:
            raise ReducerError(
                f"reducer {reducer!r}: {cls.__name__} has omit_defaults, so that equal states"
                " may have different JSON forms; declare it without"
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
