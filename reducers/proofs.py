"""The proof that snapshots tell the truth: snapshot + tail == full replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from eventstore.snapshots import Snapshot

from .diffs import same
from .folding import fold
from .kept import decoded

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
    """Folds the whole stream, and from each of the reducer's snapshots its tail, and compares:
    each snapshot with the replay at its version, and both at the head.

    Nothing is changed: `store.snapshots.drop(stream)` drops wrong ones, and the next load makes
    new ones. Raises `Corrupt` for damage in the log. If cancelled, nothing is left open.
    """
    snapshots, other = await _snapshots(reducer, store, stream)
    tails: dict[int, Any] = {}
    wrong = set()
    pending = sorted(snapshots, key=lambda found: found.version)
    state, version = reducer.initial, 0
    async for page in store.read(stream).pages():
        version = page[-1].version
        while pending and pending[0].version <= version:
            found = pending.pop(0)
            before = [event for event in page if event.version <= found.version]
            page = page[len(before) :]
            state, tails = _on(reducer, before, state, tails)
            loaded = decoded(reducer, stream, found)
            stands = bool(before) and before[-1].position == found.position
            if loaded is None or not stands or not _equal(loaded.state, state):
                wrong.add(found.version)
            else:
                tails[found.version] = loaded.state
        state, tails = _on(reducer, page, state, tails)
    # A snapshot behind the end of the log is of another log.
    wrong.update(found.version for found in pending)
    wrong.update(start for start, tail in tails.items() if not same(tail, state))
    checked = tuple(sorted(found.version for found in snapshots))
    return SnapshotReport(stream, version, checked, tuple(sorted(wrong)), other)


def _equal(kept: Any, replayed: Any) -> bool:
    # By kind, which the JSON form does not show, and by the type of numbers, which == does not.
    return bool(kept == replayed) and same(kept, replayed)


def _on(
    reducer: Reducer[Any], events: list[Any], state: Any, tails: dict[int, Any]
) -> tuple[Any, dict[int, Any]]:
    tails = {start: fold(events, reducer, tail) for start, tail in tails.items()}
    return fold(events, reducer, state), tails


async def _snapshots(
    reducer: Reducer[Any], store: EventStore, stream: str
) -> tuple[list[Snapshot], int]:
    mine, other = [], 0
    mark = reducer.fingerprint()
    for info in await store.snapshots.list(stream, inherited=not reducer.sees_streams()):
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
