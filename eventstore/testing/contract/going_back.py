"""A log that goes back under its readers: another server takes over that had not all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ...errors import LogDiverged
from ...events import NewEvent, RecordedEvent
from ...limits import PAGE_BYTES_MAX
from ...query import Query
from ...store import EventStore
from ..clocks import FixedClock
from ..ids import SequentialIds
from .harness import PATIENCE_SECONDS, Harness

_LONG = 2_500
"""Events of a log that takes several pages to read."""


class _Failover:
    """An engine's place, in which another one stands from `turn` on."""

    def __init__(self, first: Any, second: Any) -> None:
        self._now, self._second = first, second

    def turn(self) -> None:
        self._now = self._second

    def __getattr__(self, name: str) -> Any:
        return getattr(self._now, name)


class _Two:
    """A log and its copy, and a store whose engine is the first one's until `turn`."""

    def __init__(self, first: EventStore, second: EventStore) -> None:
        self.first, self.second = first, second
        self._failover = _Failover(first._core.engine, second._core.engine)
        self.store = first.bind()
        self.store._core = _CoreOf(first._core, self._failover)  # type: ignore[assignment]

    async def both(self, count: int) -> None:
        """Appends that the copy has."""
        for store in (self.first, self.second):
            await store.append("s", _events("both", count))

    def turn(self) -> None:
        """The copy takes over."""
        self._failover.turn()


class _CoreOf:
    """A store's core with another engine in it."""

    def __init__(self, core: Any, engine: Any) -> None:
        self._core = core
        self.engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)


def _events(what: str, count: int) -> list[NewEvent]:
    return [NewEvent("n", f"{what} {n}", tags=["t"]) for n in range(count)]


_FOLLOWED: tuple[dict[str, Any], ...] = ({}, {"query": Query(tags=("t",))}, {"stream": "s"})
_READ: tuple[dict[str, Any], ...] = ({}, {"tags": ["t"]})


class GoingBackContract(Harness):
    """Nobody who reads on is given another log's events as if they followed."""

    @pytest_asyncio.fixture
    async def two(self, tmp_path: Path) -> AsyncIterator[_Two]:
        """Two logs whose ids and times are those of one log and of its copy."""
        opened = [
            await self.open_store(self.new_url(tmp_path), clock=FixedClock(), ids=SequentialIds())
            for _ in range(2)
        ]
        yield _Two(*opened)
        for store in opened:
            await store.close()

    @pytest.mark.parametrize("how", _FOLLOWED)
    async def test_the_log_went_back_and_was_appended_to_then_its_follower_is_told(
        self, two: _Two, how: dict[str, Any]
    ) -> None:
        """What stands now where it has read is not skipped in silence."""
        await two.both(5)
        seen: list[RecordedEvent] = []
        more = asyncio.Event()

        async def follow() -> None:
            async for event in two.store.subscribe(**how):
                seen.append(event)
                more.set()

        async with asyncio.timeout(PATIENCE_SECONDS):
            task = asyncio.create_task(follow())
            await two.first.append("s", _events("lost", 3))
            while len(seen) < 8:
                await more.wait()
                more.clear()
            await two.second.append("s", _events("new", 5))
            two.turn()
            await two.first.append("s", _events("nobody's", 1))  # which wakes it
            with pytest.raises(LogDiverged):
                await task
        assert len(seen) == 8

    @pytest.mark.parametrize("how", _FOLLOWED)
    async def test_a_whole_copy_takes_over_then_its_follower_goes_on(
        self, two: _Two, how: dict[str, Any]
    ) -> None:
        """Nothing was lost, so nothing is told."""
        await two.both(5)
        seen: list[RecordedEvent] = []
        more = asyncio.Event()

        async def follow() -> None:
            async for event in two.store.subscribe(**how):
                seen.append(event)
                more.set()

        async with asyncio.timeout(PATIENCE_SECONDS):
            task = asyncio.create_task(follow())
            while len(seen) < 5:
                await more.wait()
                more.clear()
            await two.second.append("s", _events("new", 2))
            two.turn()
            await two.first.append("s", _events("nobody's", 1))
            while len(seen) < 7:
                await more.wait()
                more.clear()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert [event.data for event in seen[5:]] == ["new 0", "new 1"]

    @pytest.mark.parametrize("how", _READ)
    @pytest.mark.parametrize("count", [_LONG, 10])
    async def test_the_log_goes_back_while_it_is_read_then_the_reader_is_told(
        self, two: _Two, how: dict[str, Any], count: int
    ) -> None:
        """Whether it is as long as it was, or shorter."""
        await two.both(5)
        await two.first.append("s", _events("lost", _LONG))
        await two.second.append("s", _events("new", count))
        seen: list[RecordedEvent] = []

        async def read() -> None:
            async for page in two.store.read_all(**how).pages():
                seen.extend(page)
                two.turn()

        with pytest.raises(LogDiverged):
            await read()
        assert 5 < len(seen) < _LONG
        assert {str(event.data).split()[0] for event in seen} == {"both", "lost"}

    @pytest.mark.parametrize("backwards", [False, True])
    @pytest.mark.parametrize("count", [_LONG, 10])
    async def test_the_log_goes_back_while_a_stream_is_read_then_the_reader_is_told(
        self, two: _Two, backwards: bool, count: int
    ) -> None:
        """A state is not folded from the beginning of one log and the end of another."""
        await two.both(5)
        await two.first.append("s", _events("lost", _LONG))
        await two.second.append("s", _events("new", count))
        seen: list[RecordedEvent] = []

        async def read() -> None:
            async for page in two.store.read("s", backwards=backwards).pages():
                seen.extend(page)
                two.turn()

        with pytest.raises(LogDiverged, match="'s'"):
            await read()
        assert 0 < len(seen) < _LONG
        assert {str(event.data).split()[0] for event in seen} <= {"both", "lost"}

    async def test_a_stream_of_large_events_goes_back_while_it_is_read_then_the_reader_is_told(
        self, two: _Two
    ) -> None:
        """An event as large as a page is looked at by itself."""
        large = "x" * (PAGE_BYTES_MAX + 1)
        for store, what in ((two.first, "lost"), (two.second, "new")):
            await store.append("s", _events("both", 99))
            await store.append("s", [NewEvent("n", f"{what} {large}"), *_events(what, 5)])
        found = [event.version async for event in two.store.read("s")]
        assert found == list(range(1, 106))
        pages = aiter(two.store.read("s").pages())
        assert (await anext(pages))[-1].version == 100
        two.turn()
        with pytest.raises(LogDiverged):
            await anext(pages)
