"""What would have happened: a history folded as it is and, beside it, with some events changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from eventstore import Append, InvalidEvent, NewEvent, Position
from eventstore.calls import NO_DEFAULTS, prepare_one
from eventstore.events import RecordedEvent, as_events

from .changeable import Watch
from .diffs import Change, diff, same
from .folding import fold, refuse_change

if TYPE_CHECKING:
    from .reducer import Reducer

S = TypeVar("S")
Which = str | int
"""An event's id, or its version."""


class Affected(msgspec.Struct, frozen=True):
    """An event that changed something else than it did: `event` as it stands in the log, what it
    changed `before`, and what it changed with the history as it was supposed."""

    event: RecordedEvent
    before: list[Change]
    after: list[Change]


class Counterfactual(msgspec.Struct, Generic[S], frozen=True):
    """The state `before`, of the history as it is, and the `state` of the supposed one, with the
    `changes` from that to this, and the `affected` events in their order."""

    before: S
    state: S
    changes: list[Change]
    affected: list[Affected]


def counterfactual(
    events: Iterable[RecordedEvent],
    reducer: Reducer[S],
    drop: Collection[Which] = (),
    replace: Mapping[Any, Any] | None = None,
    insert: Mapping[Any, Any] | None = None,
) -> Counterfactual[S]:
    """Folds the events as they are and with some dropped, replaced or inserted; nothing is written.

    Events are named by id, or by version where all are of one stream. `replace` gives each another
    event: a `NewEvent`, an instance of a registered class, a `RecordedEvent`, or a dict, which is
    other data of the same type; what it does not say (time, actor, tags) stays. `insert` gives an
    event, or several, behind the one named (0: before the first); they have its version, position
    and times. `affected` lists the events, replaced ones too, that are in both histories and
    whose own changes are not the same in both. Raises `InvalidEvent` for an event that is not
    there, that is named twice or that the store would refuse, `ReducerError` for a handler that
    changed the state it was given, and as `fold` does.
    """
    edits = _Edits(drop, replace or {}, insert or {})
    watch = Watch()
    state = supposed = reducer.initial
    affected: list[Affected] = []
    last: RecordedEvent | None = None
    for event in events:
        if last is None:
            supposed = _supposed(edits.first(event), reducer, supposed, watch)
        last = event
        instead, behind = edits.at(event)
        before = state
        if instead is event and not behind and supposed is before:
            state = supposed = fold((event,), reducer, before)
            continue  # nothing was changed so far: both are one history
        state = _fold(event, reducer, before, watch)
        if instead is not None:
            had, supposed = supposed, _supposed((instead,), reducer, supposed, watch)
            did, does = diff(before, state), diff(had, supposed)
            if not _alike(did, does):
                affected.append(Affected(event, did, does))
        supposed = _supposed(behind, reducer, supposed, watch)
    if last is None:
        supposed = _supposed(edits.first(_NOWHERE), reducer, supposed, watch)
    edits.check()
    return Counterfactual(state, supposed, diff(state, supposed), affected)


def _supposed(events: Iterable[RecordedEvent], reducer: Reducer[S], state: S, watch: Watch) -> S:
    try:
        for event in events:
            state = _fold(event, reducer, state, watch)
    except Exception as exc:
        exc.add_note("in the supposed history, not in the one that was recorded")
        raise
    return state


def _fold(event: RecordedEvent, reducer: Reducer[S], before: S, watch: Watch) -> S:
    """The next state. The one before is compared, and may be the other history's as well."""
    seen = watch.look(before)
    state = fold((event,), reducer, before)
    if watch.changed(seen):
        refuse_change(reducer, event)
    return state


def _alike(did: list[Change], does: list[Change]) -> bool:
    return len(did) == len(does) and all(
        one.op == other.op
        and one.path == other.path
        and same(one.before, other.before)
        and same(one.after, other.after)
        for one, other in zip(did, does, strict=True)
    )


class _Edits:
    """What to change, looked up event by event; at the end all of it must have been used."""

    def __init__(
        self, drop: Collection[Which], replace: Mapping[Any, Any], insert: Mapping[Which, Any]
    ) -> None:
        if isinstance(drop, (str, bytes)) or not isinstance(drop, Collection):
            raise InvalidEvent("drop: a list of ids and versions")
        self._drop = dict.fromkeys(drop)
        self._replace = dict(replace)
        self._insert = {which: list(as_events(given)) for which, given in insert.items()}
        self._beginning = self._insert.pop(0, [])
        self._used: set[tuple[str, Which]] = set()
        for which in (*self._drop, *self._replace, *self._insert):
            if not isinstance(which, str):
                _check_version(which)

    def first(self, event: RecordedEvent) -> list[RecordedEvent]:
        """What stands before the first event."""
        return _inserted(self._beginning, event, 0)

    def at(self, event: RecordedEvent) -> tuple[RecordedEvent | None, list[RecordedEvent]]:
        """What stands in an event's place, None for nothing, and behind it."""
        replaced = self._found("replace", self._replace, event)
        dropped = self._found("drop", self._drop, event)
        if len(replaced) + len(dropped) > 1:
            raise InvalidEvent(f"version {event.version}: dropped or replaced twice")
        instead: RecordedEvent | None = event
        if dropped:
            instead = None
        elif replaced:
            instead = _replaced(event, replaced[0])
        behind = [each for given in self._found("insert", self._insert, event) for each in given]
        return instead, _inserted(behind, event, event.version)

    def _found(self, kind: str, edits: Mapping[Any, Any], event: RecordedEvent) -> list[Any]:
        found = []
        names: tuple[Which, Which] = (event.id, event.version)
        for which in names:
            if edits and which in edits:
                if (kind, which) in self._used:
                    raise InvalidEvent(f"{kind}: {which!r} is there twice; name events by their id")
                self._used.add((kind, which))
                found.append(edits[which])
        return found

    def check(self) -> None:
        """Raises `InvalidEvent` for what was not there."""
        kinds = (("drop", self._drop), ("replace", self._replace), ("insert", self._insert))
        for kind, edits in kinds:
            for which in edits:
                if (kind, which) not in self._used:
                    raise InvalidEvent(f"{kind}: there is no event {which!r} in this history")


def _check_version(which: object) -> None:
    if isinstance(which, (bool, Position)) or not isinstance(which, int) or which < 1:
        raise InvalidEvent(f"{which!r}: name an event by its id, or by its version from 1 on")


def _replaced(event: RecordedEvent, given: Any) -> RecordedEvent:
    if isinstance(given, RecordedEvent):
        return given
    new = NewEvent(event.type, given) if isinstance(given, dict) else given
    return _recorded(new, event, event.id)


def _inserted(given: list[Any], beside: RecordedEvent, version: int) -> list[RecordedEvent]:
    bare = RecordedEvent(
        beside.position if version else max(beside.position - 1, 0),
        beside.stream,
        version,
        "",
        "",
        1,
        b"",
        beside.recorded_us,
        beside.occurred_us,
    )
    numbers = count(1)
    return [
        each
        if isinstance(each, RecordedEvent)
        else _recorded(each, bare, f"inserted-{version}-{next(numbers)}")
        for each in given
    ]


def _recorded(new: Any, beside: RecordedEvent, event_id: str) -> RecordedEvent:
    """A new event as the store would record it, and for the rest as the one beside it."""
    call = prepare_one("", Append(beside.stream, [new]), None, NO_DEFAULTS, lambda: event_id)
    (made,) = call.appends[0].events
    said = {
        name: value
        for name in ("occurred_us", "causation_id", "derived_from", "tags", "context_json")
        if (value := getattr(made, name)) not in (None, ())
    }
    return msgspec.structs.replace(
        beside,
        id=made.id,
        type=made.type,
        schema_version=made.schema_version,
        payload=made.payload,
        _data=msgspec.UNSET,
        **said,
    )


_NOWHERE = RecordedEvent(1, "supposed", 1, "", "", 1, b"", 0)
"""Stands for the first event of a history that has none."""
