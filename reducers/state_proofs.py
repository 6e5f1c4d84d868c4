"""Where kept states and the events part: hashes of snapshots, of this and of other code, compared
with a replay."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from eventstore.snapshots import Snapshot, SnapshotInfo

from .diffs import diff
from .errors import ReducerError
from .folding import fold
from .json_form import state_hash
from .replaying import replay
from .stamps import Stamp, unstamped

if TYPE_CHECKING:
    from eventstore import EventStore, RecordedEvent

    from .reducer import Reducer

Cause = Literal["version", "code", "data", "unseen"]


class Parting(msgspec.Struct, frozen=True):
    """One line of snapshots that does not agree with a replay by the present reducer.

    They part at an event behind version `after` (0: none agrees) and not behind `at`: `cause` says
    why. *version*: another version of the reducer kept the state. *code*: the same version, edited
    since. *data*: the snapshot is damaged, or is of another log. *unseen*: the same code by its
    fingerprint: it is not deterministic, or hangs on code that a fingerprint does not see.
    `event` is the version of the event that is named: the first between the two that now
    changes one of the `paths` which differ, `at` where that cannot be told. `kept_version` is
    that of the reducer that kept the state, None where it does not say.
    """

    cause: Cause
    fingerprint: str
    kept_version: int | None
    after: int
    at: int
    event: int
    paths: tuple[str, ...] = ()

    @property
    def is_damage(self) -> bool:
        """Whether loads could be given a wrong state: not so by other code, which none uses."""
        return self.cause in ("data", "unseen")


class StateReport(msgspec.Struct, frozen=True):
    """What `verify_states` found in a stream of `version` events: the versions whose states were
    compared, how many snapshots of earlier programs bear no hash, and where states part."""

    stream: str
    reducer: str
    version: int
    checked: tuple[int, ...]
    unstamped: int
    partings: tuple[Parting, ...]

    @property
    def ok(self) -> bool:
        """Whether every kept state is what the events give now."""
        return not self.partings


class _Kept(msgspec.Struct):
    info: SnapshotInfo
    stamp: Stamp | None
    encoded: bytes
    sound: bool


async def verify_states(reducer: Reducer[Any], store: EventStore, stream: str) -> StateReport:
    """Computes the state hash at each of the reducer's snapshots anew, those of other versions and
    of former code included, and says for each line of them where it parts from the replay, if it
    does, and why.

    Nothing is changed. Raises `Corrupt` for damage in the log. If cancelled, nothing is left open.
    """
    kept = await _all_kept(reducer, store, stream)
    told = [each for each in kept if each.stamp is not None or not each.sound]
    states, positions, version = await _states_at(
        reducer, store, stream, {each.info.version for each in told}
    )
    partings = []
    for mark in sorted({each.info.fingerprint for each in told}):
        line = [each for each in told if each.info.fingerprint == mark]
        found = await _parting(reducer, store, line, states, positions)
        if found is not None:
            partings.append(found)
    checked = tuple(sorted({each.info.version for each in told}))
    without = len(kept) - len(told)
    return StateReport(stream, reducer.name, version, checked, without, tuple(partings))


async def _all_kept(reducer: Reducer[Any], store: EventStore, stream: str) -> list[_Kept]:
    found = []
    for info in await store.snapshots.list(stream, inherited=not reducer.sees_streams()):
        if info.reducer != reducer.name:
            continue
        mark, version = info.fingerprint, info.version
        snapshot = await store.snapshots.find(info.stream, reducer.name, mark, until=version)
        # Another process may have dropped it since it was listed.
        if snapshot is not None and snapshot.version == version:
            found.append(_read(info, snapshot))
    return sorted(found, key=lambda each: each.info.version)


def _read(info: SnapshotInfo, snapshot: Snapshot) -> _Kept:
    stamp, encoded = unstamped(snapshot.state)
    sound = sha256(snapshot.state).digest() == snapshot.state_hash
    return _Kept(info, stamp, encoded, sound)


async def _states_at(
    reducer: Reducer[Any], store: EventStore, stream: str, versions: set[int]
) -> tuple[dict[int, Any], dict[int, int], int]:
    """The replay's state and position at each of the versions, and the stream's last version."""
    states: dict[int, Any] = {}
    positions: dict[int, int] = {}
    state, version = reducer.initial, 0
    async for page in store.read(stream).pages():
        version = page[-1].version
        start = 0
        for index, event in enumerate(page):
            if event.version in versions:
                state = fold(page[start : index + 1], reducer, state)
                start = index + 1
                states[event.version], positions[event.version] = state, event.position
        state = fold(page[start:], reducer, state)
    return states, positions, version


async def _parting(
    reducer: Reducer[Any],
    store: EventStore,
    line: list[_Kept],
    states: dict[int, Any],
    positions: dict[int, int],
) -> Parting | None:
    """The first snapshot of one fingerprint that does not agree, and what is known of it."""
    after = 0
    for kept in line:
        info, stamp = kept.info, kept.stamp
        state = states.get(info.version)
        stands = positions.get(info.version) == info.position
        whole = stands and kept.sound and stamp is not None and _is_whole(reducer, kept, stamp)
        if whole and stamp is not None and stamp.state_hash == state_hash(state):
            after = info.version
            continue
        cause = _cause(reducer, stamp if whole else None, info.fingerprint)
        version = None if stamp is None or not kept.sound else stamp.version
        if cause == "data":
            return Parting(cause, info.fingerprint, version, after, info.version, info.version)
        paths = _paths(reducer, kept, state)
        event = await _first_that_changes(reducer, store, info, after, states, paths)
        return Parting(cause, info.fingerprint, version, after, info.version, event, paths)
    return None


def _is_whole(reducer: Reducer[Any], kept: _Kept, stamp: Stamp) -> bool:
    """Whether the state is the one that was stamped. Only the code that kept it can say so."""
    if kept.info.fingerprint != reducer.fingerprint():
        return True
    try:
        return state_hash(reducer.codec().decode(kept.encoded)) == stamp.state_hash
    except ReducerError:
        return False


def _cause(reducer: Reducer[Any], stamp: Stamp | None, fingerprint: str) -> Cause:
    if stamp is None:
        return "data"
    if stamp.version != reducer.version:
        return "version"
    return "unseen" if fingerprint == reducer.fingerprint() else "code"


def _paths(reducer: Reducer[Any], kept: _Kept, state: Any) -> tuple[str, ...]:
    """Where the kept state and the present one differ, if the kept one can still be read."""
    try:
        changes = diff(reducer.codec().decode(kept.encoded), state)
    except (ReducerError, AttributeError):
        return ()
    return tuple(dict.fromkeys(change.path for change in changes))


async def _first_that_changes(
    reducer: Reducer[Any],
    store: EventStore,
    info: SnapshotInfo,
    after: int,
    states: dict[int, Any],
    paths: tuple[str, ...],
) -> int:
    """The first event behind `after` that changes one of the paths, as the code is now."""
    state = states[after] if after else reducer.initial
    count = info.version - after
    if not paths:
        return info.version
    async for page in store.read(info.stream, after=after, limit=count).pages():
        event, state = _first_in(page, reducer, state, paths)
        if event is not None:
            return event.version
    return info.version


def _first_in(
    page: list[RecordedEvent], reducer: Reducer[Any], state: Any, paths: tuple[str, ...]
) -> tuple[RecordedEvent | None, Any]:
    for step in replay(page, reducer, state):
        state = step.after
        if any(_touch(change.path, path) for change in step.changes for path in paths):
            return step.event, state
    return None, state


def _touch(one: str, other: str) -> bool:
    """Whether one path is the other, or holds it."""
    return one == other or f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
