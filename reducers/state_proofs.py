"""Where kept states and the events part: hashes of snapshots, of this and of other code, compared
with a replay."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from eventstore.snapshots import SnapshotInfo

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
    """A line of snapshots, those of one fingerprint, that does not agree with a replay by the
    present reducer, or a damaged snapshot of it.

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


class _Line(msgspec.Struct):
    """The snapshots of one fingerprint: up to `after` they agree, with `state` there."""

    state: Any
    after: int = 0
    has_parted: bool = False


async def verify_states(reducer: Reducer[Any], store: EventStore, stream: str) -> StateReport:
    """Computes the state hash at each of the reducer's snapshots anew, those of other versions and
    of former code included, and says for each line of them where it parts from the replay, if it
    does, and why; damaged ones are told one by one.

    Nothing is changed. Raises `Corrupt` for damage in the log. If cancelled, nothing is left open.
    """
    infos = [each for each in await store.snapshots.list(stream) if each.reducer == reducer.name]
    proof = _Proof(reducer, store, infos)
    state, version = reducer.initial, 0
    async for page in store.read(stream).pages():
        version, start = page[-1].version, 0
        for index, event in enumerate(page):
            if event.version in proof.wanted:
                state = fold(page[start : index + 1], reducer, state)
                start = index + 1
                await proof.compare(event.version, event.position, state)
        state = fold(page[start:], reducer, state)
    # Those behind the end are of another log.
    for beyond in sorted(proof.wanted):
        await proof.compare(beyond, None, None)
    found = sorted(proof.partings, key=lambda each: (each.fingerprint, each.at))
    checked = tuple(sorted(proof.checked))
    return StateReport(stream, reducer.name, version, checked, proof.unstamped, tuple(found))


class _Proof:
    """What is known of a stream's snapshots as the replay goes by; it holds one state a line."""

    def __init__(self, reducer: Reducer[Any], store: EventStore, infos: list[SnapshotInfo]) -> None:
        self.partings: list[Parting] = []
        self.checked: set[int] = set()
        self.unstamped = 0
        self.wanted: dict[int, list[SnapshotInfo]] = {}
        for info in infos:
            self.wanted.setdefault(info.version, []).append(info)
        self._reducer, self._store = reducer, store
        self._lines = {info.fingerprint: _Line(reducer.initial) for info in infos}

    async def compare(self, version: int, position: int | None, state: Any) -> None:
        """Holds the snapshots of a version against the replay, None where it ends before."""
        expected = None if position is None else state_hash(state)
        for info in self.wanted.pop(version):
            kept = await self._read(info)
            if kept is None:
                continue
            if kept.stamp is None and kept.sound:
                self.unstamped += 1
                continue
            self.checked.add(version)
            stamp = kept.stamp if info.position == position else None
            if stamp is None or not kept.sound or not _is_whole(self._reducer, kept, stamp):
                self._tell_damage(kept)
            else:
                await self._judge(kept, stamp, state, stamp.state_hash == expected)

    async def _judge(self, kept: _Kept, stamp: Stamp, state: Any, agrees: bool) -> None:
        line = self._lines[kept.info.fingerprint]
        if line.has_parted:
            return
        if agrees:
            line.state, line.after = state, kept.info.version
            return
        line.has_parted = True
        cause = _cause(self._reducer, stamp, kept.info.fingerprint)
        paths = _paths(self._reducer, kept, state)
        event = await _first_that_changes(self._reducer, self._store, kept.info, line, paths)
        at = kept.info.version
        self.partings.append(
            Parting(cause, kept.info.fingerprint, stamp.version, line.after, at, event, paths)
        )

    def _tell_damage(self, kept: _Kept) -> None:
        info = kept.info
        version = None if kept.stamp is None or not kept.sound else kept.stamp.version
        after = self._lines[info.fingerprint].after
        self.partings.append(
            Parting("data", info.fingerprint, version, after, info.version, info.version)
        )

    async def _read(self, info: SnapshotInfo) -> _Kept | None:
        find, mark = self._store.snapshots.find, info.fingerprint
        snapshot = await find(info.stream, info.reducer, mark, until=info.version)
        # Another process may have dropped it since it was listed.
        if snapshot is None or snapshot.version != info.version:
            return None
        stamp, encoded = unstamped(snapshot.state)
        sound = sha256(snapshot.state).digest() == snapshot.state_hash
        return _Kept(info, stamp, encoded, sound)


def _is_whole(reducer: Reducer[Any], kept: _Kept, stamp: Stamp) -> bool:
    """Whether the state is the one that was stamped. Only the code that kept it can say so."""
    if kept.info.fingerprint != reducer.fingerprint():
        return True
    try:
        return state_hash(reducer.codec().decode(kept.encoded)) == stamp.state_hash
    except ReducerError:
        return False


def _cause(reducer: Reducer[Any], stamp: Stamp, fingerprint: str) -> Cause:
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
    line: _Line,
    paths: tuple[str, ...],
) -> int:
    """The first event behind those that agree that changes one of the paths, as the code is now."""
    state = line.state
    count = info.version - line.after
    if not paths:
        return info.version
    async for page in store.read(info.stream, after=line.after, limit=count).pages():
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
