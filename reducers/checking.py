"""`check_reducer`: what is promised of a reducer, tried on events that a strategy makes.

hypothesis makes the events and finds the smallest that break a promise; it is imported here alone,
and only when somebody checks. The process with another hash seed folds all examples at once, so
that it is started once a check.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

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

ROUNDS_MAX = 10
"""Processes that are started to make a failure smaller: each takes some tenths of a second."""

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
    `RecordedEvent`. For each list: two folds give the same state, so does a fold that is split
    anywhere, and one through a snapshot's bytes; no handler changes its input; an event of
    unknown type changes nothing; and a process with another PYTHONHASHSEED comes to the same state
    hash. For that the reducer stands in a module, under a name; `other_process=False` leaves it
    out. Raises `AssertionError` that names the property and the smallest events that break it,
    and `ReducerError` where hypothesis is missing or the reducer cannot be imported elsewhere.
    """
    try:
        import hypothesis
    except ModuleNotFoundError:
        raise ReducerError(
            "check_reducer makes its examples with hypothesis, which is not installed:"
            " pip install hypothesis"
        ) from None
    home = _home(reducer) if other_process else None
    examples: list[Events] = []

    @hypothesis.settings(max_examples=max_examples, deadline=None, database=None)
    @hypothesis.given(events_strategy)
    def holds(given: Any) -> None:
        events = recorded(given)
        _check(reducer, events)
        examples.append(events)

    holds()
    if home is not None:
        _check_elsewhere(reducer, home, examples)


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


def _check(reducer: Reducer[Any], events: Events) -> None:
    for name, holds in _PROPERTIES.items():
        try:
            broken = holds(reducer, events)
        except ReducerError as exc:
            broken = str(exc)
        if broken is not None:
            _fail(reducer, name, broken, events)


def _fail(reducer: Reducer[Any], name: str, broken: str, events: Events) -> None:
    # Generated data, and no payload of anybody's: without it the failure cannot be followed.
    shown = ", ".join(f"{event.type} {event.payload.decode()}" for event in events)
    raise AssertionError(
        f"reducer {reducer.name!r} breaks {name!r}: {broken}; the smallest events found: [{shown}]"
    )


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
    for place in range(0, len(events) + 1, step):
        if not same(fold(events[place:], reducer, fold(events[:place], reducer)), whole):
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
    "the input stays as it is": _input_stays,
    "the same state twice": _twice,
    "the same state from any split": _split,
    "the same state through a snapshot": _snapshot,
    "unknown events are ignored": _unknown,
}

ELSEWHERE = "the same state in another process"


class _Home(msgspec.Struct):
    """Where a process finds the reducer: a member of a module, which has a name and a file."""

    module: str
    file: str
    member: str


def _home(reducer: Reducer[Any]) -> _Home:
    for name, module in list(sys.modules.items()):
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


def _check_elsewhere(reducer: Reducer[Any], home: _Home, examples: list[Events]) -> None:
    failing = _differing(reducer, home, examples)
    if not failing:
        return
    smallest = min(failing, key=len)
    for _ in range(ROUNDS_MAX):
        smaller = _differing(reducer, home, list(_without_one(smallest)))
        if not smaller:
            break
        smallest = smaller[0]
    _fail(reducer, ELSEWHERE, "with another PYTHONHASHSEED its state hash differs", smallest)


def _without_one(events: Events) -> Iterator[Events]:
    if len(events) > 1:
        for place in range(len(events)):
            yield [*events[:place], *events[place + 1 :]]


def _differing(reducer: Reducer[Any], home: _Home, examples: list[Events]) -> list[Events]:
    """The examples of which a process with another hash seed makes another state."""
    if not examples:
        return []
    hashes = _hashes_elsewhere(home, examples)
    return [
        events
        for events, found in zip(examples, hashes, strict=True)
        if state_hash(fold(events, reducer)) != found
    ]


def _hashes_elsewhere(home: _Home, examples: list[Events]) -> list[str]:
    import subprocess  # for who checks alone

    seed = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    done = subprocess.run(
        [sys.executable, "-c", "from reducers.checking import answer; answer()"],
        input=msgspec.msgpack.encode((home, rows_of([(STREAM, each) for each in examples]))),
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
        capture_output=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ReducerError(f"check_reducer: {home.file!r} does not run in another process: {last}")
    return msgspec.msgpack.decode(done.stdout, type=list[str])


def answer() -> None:
    """What the other process does: it reads examples, and writes their state hashes."""
    out, sys.stdout = sys.stdout, sys.stderr  # whatever the module prints
    raw, rows = msgspec.msgpack.decode(sys.stdin.buffer.read())
    home = msgspec.convert(raw, _Home)
    reducer = getattr(_module(home), home.member)
    hashes = [state_hash(fold(events, reducer)) for _, events in batch_of(rows)]
    out.buffer.write(msgspec.msgpack.encode(hashes))


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
