"""A fork's pages: how many reads of streams one takes, however deep forks are nested."""

from __future__ import annotations

import pytest

from eventstore import EventStore, NewEvent, RecordedEvent
from eventstore.calls import Fork
from eventstore.engines.forked import forked_page
from eventstore.testing import SequentialIds

DEPTH = 50


class Reads:
    """What a page asked for, of streams that stand in a store of memory."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self.asked = 0

    async def page(self, after: int, limit: int, backwards: bool) -> list[int]:
        """The versions of a page of the last fork."""
        engine, tenant = self._store.outbox._engine(), self._store.outbox.tenant

        async def own(
            name: str, low: int, after: int, limit: int, back: bool
        ) -> list[RecordedEvent]:
            self.asked += 1
            events = await self._store.read(name, after=0).list()
            mine = [e for e in events if e.version > low]
            if back:
                return [e for e in reversed(mine) if e.version < after][:limit]
            return [e for e in mine if e.version > after][:limit]

        async def fork_of(name: str) -> Fork | None:
            self.asked += 1
            return await engine.find_fork(tenant, name)

        last = f"s{DEPTH}"
        fork = await engine.find_fork(tenant, last)
        assert fork is not None
        found = await forked_page(own, fork_of, last, fork, after, limit, backwards)
        return [event.version for event in found]


@pytest.mark.parametrize(
    ("after", "limit", "backwards", "versions", "asked_max"),
    [
        (DEPTH, 9, False, [DEPTH + 1], 1),
        (DEPTH - 2, 9, False, [DEPTH - 1, DEPTH, DEPTH + 1], 5),
        (DEPTH + 2, 3, True, [DEPTH + 1, DEPTH, DEPTH - 1], 5),
        (0, 99, False, list(range(1, DEPTH + 2)), 2 * DEPTH + 1),
        (DEPTH + 2, 99, True, list(range(DEPTH + 1, 0, -1)), 2 * DEPTH + 1),
    ],
)
async def test_forks_are_nested_deep_then_a_page_asks_for_what_it_gives_alone(
    after: int, limit: int, backwards: bool, versions: list[int], asked_max: int
) -> None:
    """A page looks into the streams that it is made of, and into no others behind them."""
    async with EventStore.open("memory://", ids=SequentialIds()) as store:
        await store.append("s0", NewEvent("n", 1))
        for n in range(DEPTH):
            await store.fork(f"s{n}", f"s{n + 1}", n + 1)
        reads = Reads(store)
        assert await reads.page(after, limit, backwards) == versions
        assert reads.asked <= asked_max
