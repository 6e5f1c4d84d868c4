"""Snapshots: stored states by stream, reducer and fingerprint; a cache that may be dropped."""

from __future__ import annotations

import pytest
import pytest_asyncio

from ...events import Append
from ...limits import SNAPSHOT_BYTES_MAX
from ...snapshots import Snapshot
from ...store import EventStore
from .harness import Harness, notes, whole


def _state(version: int, text: bytes = b"state") -> Snapshot:
    return Snapshot(version, version * 2, text + b"%d" % version, b"h" * 32)


class SnapshotContract(Harness):
    """What is kept, what is found, and what is dropped."""

    @pytest_asyncio.fixture
    async def filled(self, store: EventStore) -> EventStore:
        """A store with two streams."""
        await store.append_many([Append("s", notes(3)), Append("t", notes(1))])
        return store

    async def test_the_stream_has_no_events_then_its_state_is_not_kept(
        self, filled: EventStore
    ) -> None:
        """A state is the fold of a stream; where there is none, there is nothing to keep."""
        assert await filled.snapshots.save("none", "r", "f", _state(1)) is False
        assert await filled.snapshots.find("none", "r", "f") is None

    async def test_a_state_is_kept_then_it_is_found_as_it_was(self, filled: EventStore) -> None:
        """Bytes are bytes: nothing in them means anything to the store."""
        state = Snapshot(7, 9, bytes(range(256)), bytes(32))
        assert await filled.snapshots.find("s", "r", "f") is None
        assert await filled.snapshots.save("s", "r", "f", state) is True
        assert await filled.snapshots.find("s", "r", "f") == state
        empty = Snapshot(8, 10, b"", b"")
        assert await filled.snapshots.save("s", "r", "f", empty) is True
        assert await filled.snapshots.find("s", "r", "f") == empty

    @pytest.mark.parametrize(
        ("until", "version"), [(1, None), (2, 2), (3, 2), (5, 5), (8, 8), (99, 8)]
    )
    async def test_a_version_is_asked_for_then_the_newest_at_or_below_it_is_found(
        self, filled: EventStore, until: int, version: int | None
    ) -> None:
        """Loads at an earlier version never get a later state."""
        for kept in (5, 2, 8):
            await filled.snapshots.save("s", "r", "f", _state(kept))
        found = await filled.snapshots.find("s", "r", "f", until=until)
        assert found == (None if version is None else _state(version))

    async def test_scope_reducer_or_fingerprint_is_another_then_it_is_not_found(
        self, filled: EventStore
    ) -> None:
        """Fingerprints live side by side, and another's state is never taken."""
        await filled.snapshots.save("s", "r", "f", _state(3))
        await filled.snapshots.save("s", "r", "g", _state(4))
        assert await filled.snapshots.find("s", "r", "f") == _state(3)
        assert await filled.snapshots.find("s", "r", "g") == _state(4)
        for place in (("t", "r", "f"), ("s", "q", "f"), ("s", "r", "h")):
            assert await filled.snapshots.find(*place) is None

    async def test_one_version_is_kept_twice_then_the_last_one_stands(
        self, filled: EventStore
    ) -> None:
        """A state of the same version replaces the former."""
        await filled.snapshots.save("s", "r", "f", _state(3, b"old"))
        await filled.snapshots.save("s", "r", "f", _state(3, b"new"))
        assert await filled.snapshots.find("s", "r", "f") == _state(3, b"new")
        assert len(await filled.snapshots.list("s")) == 1

    async def test_many_versions_are_kept_then_fewer_stay_the_further_back_they_lie(
        self, filled: EventStore
    ) -> None:
        """Each reducer and fingerprint keeps its own: the newest, and some of every part of the
        stream."""
        await filled.snapshots.save("s", "r", "other", _state(1))
        for version in range(2, 129, 2):
            await filled.snapshots.save("s", "r", "f", _state(version))
        listed = await filled.snapshots.list("s")
        kept = [i.version for i in listed if i.fingerprint == "f"]
        assert kept == [
            *(2, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104),
            *(112, 116, 120, 122, 124, 126, 128),
        ]
        assert [i.version for i in listed if i.fingerprint == "other"] == [1]
        assert await filled.snapshots.find("s", "r", "f", until=31) == _state(24)

    async def test_a_stream_was_forked_then_what_it_kept_up_to_there_is_found_of_the_fork(
        self, filled: EventStore
    ) -> None:
        """Only where it is asked for, nothing behind the version where a fork leaves its parent,
        and the fork's own before all."""
        await filled.fork("s", "f", 2)
        await filled.fork("f", "g", 1)
        for version in (1, 2, 3):
            await filled.snapshots.save("s", "r", "f", _state(version))
        find = filled.snapshots.find
        assert await find("f", "r", "f") is None
        assert await find("f", "r", "f", inherited=True) == _state(2)
        assert await find("f", "r", "f", inherited=True, until=1) == _state(1)
        assert await find("g", "r", "f", inherited=True) == _state(1)
        assert await find("s", "r", "f", inherited=True) == _state(3)
        await filled.snapshots.save("f", "r", "f", _state(3, b"own"))
        assert await find("f", "r", "f", inherited=True) == _state(3, b"own")
        listed = await filled.snapshots.list("f", inherited=True)
        assert [(i.stream, i.version) for i in listed] == [("f", 3), ("s", 1), ("s", 2)]

    async def test_snapshots_are_listed_then_their_sizes_are_told(self, filled: EventStore) -> None:
        """What `eventstore snapshot` shows, without the states themselves."""
        await filled.snapshots.save("s", "b", "f", _state(2))
        await filled.snapshots.save("s", "a", "f", _state(3))
        listed = await filled.snapshots.list("s")
        assert [(i.stream, i.reducer, i.fingerprint, i.version) for i in listed] == [
            ("s", "a", "f", 3),
            ("s", "b", "f", 2),
        ]
        assert [(i.position, i.state_bytes, i.state_hash) for i in listed] == [
            (6, 6, b"h" * 32),
            (4, 6, b"h" * 32),
        ]
        assert await filled.snapshots.list("none") == []

    async def test_snapshots_are_dropped_then_the_log_is_as_before(
        self, filled: EventStore
    ) -> None:
        """A cache: losing it costs time, never truth."""
        before = await whole(filled)
        await filled.snapshots.save("s", "a", "f", _state(2))
        await filled.snapshots.save("s", "b", "f", _state(3))
        await filled.snapshots.save("t", "a", "f", _state(1))
        assert await filled.snapshots.drop("s") == 2
        assert await filled.snapshots.drop("s") == 0
        assert await filled.snapshots.find("t", "a", "f") == _state(1)
        assert await filled.snapshots.drop() == 1
        assert await whole(filled) == before

    async def test_a_state_is_too_large_then_it_is_not_kept_and_nothing_fails(
        self, filled: EventStore
    ) -> None:
        """A state beyond the bound is refused a snapshot, never refused a load."""
        large = Snapshot(1, 1, bytes(SNAPSHOT_BYTES_MAX + 1), b"")
        assert await filled.snapshots.save("s", "r", "f", large) is False
        assert await filled.snapshots.find("s", "r", "f") is None
