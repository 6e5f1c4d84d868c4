"""`check_reducer`: what is promised of a reducer, tried on events that a strategy makes.

hypothesis makes the events and finds the smallest that break a promise; it is imported here alone,
and only when somebody checks. The process with another hash seed is started once a check, and is
asked for each example as it is made, so that what it answers is made as small as all else.
"""

from __future__ import annotations

import importlib.util
import os
import struct
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import IO, Any, cast

import msgspec

from eventstore import Append, RecordedEvent
from eventstore.calls import NO_DEFAULTS, prepare_one

from .diffs import same
from .errors import ReducerError
from .folding import fold
from .json_form import state_hash
from .reducer import Reducer
from .replaying import replay
from .shadowing import batch_of, rows_of

SPLITS_MAX = 20
"""Places at which a list of events is split: more say nothing new, and cost a fold each."""

PATIENCE_SECONDS = 10
"""What the other process is given to end when nothing is asked any more; then it is killed."""

STREAM = "check"
UNKNOWN_TYPE = "check.unknown"

Events = list[RecordedEvent]


def check_reducer(
    reducer: Reducer[Any],
    events_strategy: Any,
    *,
    max_examples: int = 100,
    other_process: bool = True,
) -> None:
    """Tries a reducer on generated events; for a test of your own, synchronous.

    `events_strategy` is a hypothesis strategy for lists of `NewEvent`, typed events or
    `RecordedEvent`. For each list: it can be folded; two folds give the same state, so does a fold
    that is split anywhere, and one through a snapshot's bytes; no handler changes its input; an
    event of unknown type changes nothing; and a process with another PYTHONHASHSEED comes to the
    same state hash. For that the reducer stands in a module, under a name; `other_process=False`
    leaves it out. Raises `AssertionError` that names the property and the smallest events that
    break it, also where they break it only at times, and `ReducerError` where hypothesis is
    missing or the reducer cannot be imported elsewhere. What hypothesis says of the strategy itself
    is passed on.
    """
    try:
        import hypothesis
    except ModuleNotFoundError:
        raise ReducerError(
            "check_reducer makes its examples with hypothesis, which is not installed:"
            " pip install hypothesis"
        ) from None
    if _answering:
        return  # the module that is checked checks itself, and is imported in the other process
    home = _home(reducer) if other_process else None
    elsewhere: AbstractContextManager[_Elsewhere | None]
    elsewhere = nullcontext() if home is None else _Elsewhere(home)
    found: list[str] = []

    @hypothesis.settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        # How fast the examples are made is no promise of the reducer's.
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    @hypothesis.given(events_strategy)
    def holds(given: Any) -> None:
        events = recorded(given)
        broken = _broken(reducer, events, asked)
        if broken is not None:
            found[:] = [f"{broken}; the smallest events found: [{_shown(events)}]"]
            raise AssertionError(found[0])

    with elsewhere as asked:
        try:
            holds()
        except hypothesis.errors.Flaky:
            if not found:
                raise  # the strategy is not the same each time, and no promise was broken
            raise AssertionError(
                f"{found[0]}, which broke nothing when they were tried again: the reducer does"
                " not do the same each time"
            ) from None


def recorded(given: Any) -> Events:
    """Generated events as they would come back from a log: versions and positions from 1."""
    made: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given]
    if not made or all(isinstance(each, RecordedEvent) for each in made):
        return made
    numbers = iter(range(1, len(made) + 1))
    call = prepare_one(
        "check", Append(STREAM, made), None, NO_DEFAULTS, lambda: f"event-{next(numbers):06d}"
    )
    return [
        RecordedEvent(
            position=number,
            stream=STREAM,
            version=number,
            id=event.id,
            type=event.type,
            schema_version=event.schema_version,
            payload=event.payload,
            # A second apart from one to the next, since the year 2026.
            recorded_us=1_767_225_600_000_000 + number * 1_000_000,
            occurred_us=event.occurred_us,
            actor=event.actor,
            causation_id=event.causation_id,
            correlation_id=event.correlation_id,
            derived_from=event.derived_from,
            tags=event.tags,
            context_json=event.context_json,
        )
        for number, event in enumerate(call.appends[0].events, start=1)
    ]


def _broken(reducer: Reducer[Any], events: Events, elsewhere: _Elsewhere | None) -> str | None:
    """What is to be said of the first promise that the events break."""
    for name, holds in _PROPERTIES.items():
        try:
            broken = holds(reducer, events)
        except ReducerError as exc:
            broken = str(exc)
        if broken is not None:
            return f"reducer {reducer.name!r} breaks {name!r}: {broken}"
    if elsewhere is None or elsewhere.state_hash(events) == state_hash(fold(events, reducer)):
        return None
    return (
        f"reducer {reducer.name!r} breaks 'the same state in another process': with another"
        " PYTHONHASHSEED its state hash differs"
    )


def _shown(events: Events) -> str:
    # Generated data, and no payload of anybody's: without it the failure cannot be followed.
    return ", ".join(f"{event.type} {event.payload.decode()}" for event in events)


def _folds(reducer: Reducer[Any], events: Events) -> str | None:
    try:
        fold(events, reducer)
    except ReducerError:
        raise
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}" + "".join(
            f" ({note})" for note in getattr(exc, "__notes__", ())
        )
    return None


def _input_stays(reducer: Reducer[Any], events: Events) -> str | None:
    for _ in replay(events, reducer):
        pass
    return None


def _twice(reducer: Reducer[Any], events: Events) -> str | None:
    if same(fold(events, reducer), fold(events, reducer)):
        return None
    return "two folds of the same events give two states"


def _split(reducer: Reducer[Any], events: Events) -> str | None:
    whole = fold(events, reducer)
    step = max(len(events) // SPLITS_MAX, 1)
    places = range(0, len(events) + 1, step)
    # All beginnings first: a handler that keeps something between two events then shows.
    beginnings = [fold(events[:place], reducer) for place in places]
    for place, state in zip(places, beginnings, strict=True):
        if not same(fold(events[place:], reducer, state), whole):
            return f"split behind event {place}, the fold gives another state"
    return None


def _snapshot(reducer: Reducer[Any], events: Events) -> str | None:
    codec = reducer.codec()
    whole = fold(events, reducer)
    for place in {len(events) // 2, len(events)}:
        kept = codec.decode(codec.encode(fold(events[:place], reducer)))
        if not same(fold(events[place:], reducer, kept), whole):
            return f"from a snapshot of event {place} the fold gives another state"
    return None


def _unknown(reducer: Reducer[Any], events: Events) -> str | None:
    if UNKNOWN_TYPE in reducer.steps():
        return None
    stranger = RecordedEvent(1, STREAM, 1, "unknown", UNKNOWN_TYPE, 1, b"{}", 0)
    mixed = [each for event in events for each in (event, stranger)]
    if same(fold([stranger, *mixed], reducer), fold(events, reducer)):
        return None
    return "an event that it does not handle changes the state"


_PROPERTIES: dict[str, Callable[[Reducer[Any], Events], str | None]] = {
    "the events can be folded": _folds,
    "the input stays as it is": _input_stays,
    "the same state twice": _twice,
    "the same state from any split": _split,
    "the same state through a snapshot": _snapshot,
    "unknown events are ignored": _unknown,
}


class _Home(msgspec.Struct):
    """Where a process finds the reducer: a member of a module, which has a name and a file."""

    module: str
    file: str
    member: str


def _home(reducer: Reducer[Any]) -> _Home:
    # The program itself last: to import it is to run it.
    modules = sorted(sys.modules.items(), key=lambda each: each[0] == "__main__")
    for name, module in modules:
        file = getattr(module, "__file__", None)
        if not isinstance(module, ModuleType) or not file:
            continue
        for member, value in vars(module).items():
            if value is reducer:
                return _Home(name, file, member)
    raise ReducerError(
        f"reducer {reducer.name!r} has no name in a module, by which another process could import"
        " it: define it at the top of one, or say other_process=False"
    )


_LENGTH = struct.Struct(">Q")
_answering = False


class _Elsewhere:
    """A process with another hash seed, which folds what it is sent; used in a `with` block."""

    def __init__(self, home: _Home) -> None:
        self._home = home

    def __enter__(self) -> _Elsewhere:
        import subprocess  # for who checks alone
        import tempfile

        seed = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"
        path = os.pathsep.join(each or os.getcwd() for each in sys.path)
        self._told = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from reducers.checking import answer; answer()"],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._told,
        )
        self._in = cast("IO[bytes]", self._process.stdin)
        self._out = cast("IO[bytes]", self._process.stdout)
        self._send(self._home)
        return self

    def __exit__(self, *_: object) -> None:
        import subprocess

        # What it reads ends, and so does it.
        for pipe in (self._in, self._out):
            try:
                pipe.close()
            except BrokenPipeError:
                continue
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._told.close()

    def state_hash(self, events: Events) -> str:
        """What it makes of the events; the name of an error where it makes nothing of them."""
        self._send(rows_of([(STREAM, events)]))
        data = _received(self._out)
        if data is None:
            self._process.wait()
            self._told.seek(0)
            last = self._told.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise ReducerError(
                f"check_reducer: {self._home.file!r} does not run in another process: {last}"
            )
        return msgspec.msgpack.decode(data, type=str)

    def _send(self, value: Any) -> None:
        try:
            _write(self._in, value)
        except BrokenPipeError:
            return  # it ended: that is seen when its answer is read


def _write(pipe: IO[bytes], value: Any) -> None:
    data = msgspec.msgpack.encode(value)
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def _received(pipe: IO[bytes]) -> bytes | None:
    """What `_write` wrote; None at the end."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    return pipe.read(size)


def answer() -> None:
    """What the other process does: it reads examples, and writes their state hashes."""
    global _answering
    _answering = True
    out, sys.stdout = sys.stdout, sys.stderr  # whatever the module prints
    first = _received(sys.stdin.buffer)
    if first is None:
        return
    home = msgspec.msgpack.decode(first, type=_Home)
    reducer = getattr(_module(home), home.member)
    while (data := _received(sys.stdin.buffer)) is not None:
        [(_, events)] = batch_of(msgspec.msgpack.decode(data))
        try:
            found = state_hash(fold(events, reducer))
        except Exception as exc:
            found = type(exc).__name__
        _write(out.buffer, found)


def _module(home: _Home) -> ModuleType:
    """The module under the name that it has in the first process, from the same file."""
    name = "__checked_main__" if home.module == "__main__" else home.module
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, home.file)
    if spec is None or spec.loader is None:
        raise ReducerError(f"check_reducer: {home.file!r} is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
