"""The proof that snapshots tell the truth: snapshot + tail == full replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from eventstore.events import RecordedEvent
from eventstore.snapshots import Snapshot

from .diffs import same
from .folding import fold
from .kept import Loaded, decoded, inherits

if TYPE_CHECKING:
    from eventstore import EventStore

    from .reducer import Reducer


class SnapshotReport(msgspec.Struct, frozen=True):
    """What `verify_snapshots` found in one stream of `version` events.

    `checked` are the versions of this reducer's snapshots, of a fork those of its parents that it
    uses among them; of these `wrong` are damaged or give
    another state than the events do, and `other` counts those of other code, which no load uses.
    """

    stream: str
    version: int
    checked: tuple[int, ...]
    wrong: tuple[int, ...]
    other: int

    @property
    def ok(self) -> bool:
        """Whether every snapshot gives what a full replay gives."""
        return not self.wrong


async def verify_snapshots(reducer: Reducer[Any], store: EventStore, stream: str) -> SnapshotReport:
    """Folds the whole stream, and from each of the reducer's snapshots on to the next one, or to
    the head, and compares: each snapshot with the replay at its version, and what came of it with
    the replay there. So each of them, with its tail, is proven to give what the whole gives.

    Nothing is changed: `store.snapshots.drop(stream)` drops wrong ones, and the next load makes
    new ones. Raises `Corrupt` for damage in the log. If cancelled, nothing is left open.
    """
    snapshots, other = await _snapshots(reducer, store, stream)
    proof = _Proof(reducer)
    pending = sorted(snapshots, key=lambda found: found.version)
    version = 0
    async for page in store.read(stream).pages():
        version = page[-1].version
        while pending and pending[0].version <= version:
            found = pending.pop(0)
            before = [event for event in page if event.version <= found.version]
            page = page[len(before) :]
            proof.go_on(before)
            stands = bool(before) and before[-1].position == found.position
            proof.hold(found.version, decoded(reducer, stream, found) if stands else None)
        proof.go_on(page)
    proof.end()
    # A snapshot behind the end of the log is of another log.
    proof.wrong.update(found.version for found in pending)
    checked = tuple(sorted(found.version for found in snapshots))
    return SnapshotReport(stream, version, checked, tuple(sorted(proof.wrong)), other)


class _Proof:
    """The replay, beside it what comes of the last sound snapshot, and which are wrong so far."""

    def __init__(self, reducer: Reducer[Any]) -> None:
        self.wrong: set[int] = set()
        self._reducer = reducer
        self._state = reducer.initial
        self._tail: Any = None
        self._start = 0

    def go_on(self, events: list[RecordedEvent]) -> None:
        """Folds the next events twice."""
        self._state = fold(events, self._reducer, self._state)
        if self._start:
            self._tail = fold(events, self._reducer, self._tail)

    def hold(self, version: int, loaded: Loaded[Any] | None) -> None:
        """Compares a snapshot with the replay; where it is sound the tail goes on from it."""
        if loaded is None or not _equal(loaded.state, self._state):
            self.wrong.add(version)
            return
        self.end()
        self._start, self._tail = version, loaded.state

    def end(self) -> None:
        """Compares what came of a snapshot with the replay."""
        if self._start and not same(self._tail, self._state):
            self.wrong.add(self._start)


def _equal(kept: Any, replayed: Any) -> bool:
    # By kind, which the JSON form does not show, and by the type of numbers, which == does not.
    return bool(kept == replayed) and same(kept, replayed)


async def _snapshots(
    reducer: Reducer[Any], store: EventStore, stream: str
) -> tuple[list[Snapshot], int]:
    mine, other = [], 0
    mark = reducer.fingerprint()
    inherited = await inherits(reducer, store, stream)
    for info in await store.snapshots.list(stream, inherited=inherited):
        if info.reducer != reducer.name:
            continue
        if info.fingerprint != mark:
            other += 1
            continue
        found = await store.snapshots.find(info.stream, reducer.name, mark, until=info.version)
        # Another process may have dropped it since it was listed.
        if found is not None and found.version == info.version:
            mine.append(found)
    return mine, other
