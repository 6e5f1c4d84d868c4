"""How far it is from any version of a stream back to a snapshot, as the documents say it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from eventstore import EventStore, NewEvent
from reducers import Reducer

EVENTS = 9_000


@pytest.mark.parametrize("loads", [1, EVENTS // 500])
async def test_states_are_small_then_no_version_is_far_behind_a_snapshot(loads: int) -> None:
    """A sixteenth of the stream and 500 events, or 1,000: loaded as it grew, and loaded once."""
    assert await _furthest(Reducer("small", 0), _count, loads) <= max(EVENTS / 16 + 500, 1_000)


async def test_the_state_grows_with_a_stream_that_is_loaded_once_then_few_are_kept() -> None:
    """To look back then folds more than that: what is kept on the way takes 16 bytes an event."""
    assert await _furthest(Reducer("messages", ()), _collect, 1) > EVENTS / 2


async def _furthest(reducer: Reducer[Any], handler: Any, loads: int) -> int:
    reducer.on("n")(handler)
    async with EventStore.open("memory://") as store:
        for _ in range(loads):
            await store.append("s", [NewEvent("n", {"text": "x" * 100})] * (EVENTS // loads))
            await reducer.load(store, "s")
        kept = [0, *sorted(each.version for each in await store.snapshots.list("s"))]
    assert kept[-1] == EVENTS
    return max(after - before for before, after in pairwise(kept))


def _count(state: Any, event: Any) -> Any:
    return state + 1


def _collect(state: Any, event: Any) -> Any:
    return (*state, event["text"])
