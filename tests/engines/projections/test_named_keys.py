"""Keys of several kinds that look alike: each has its state, its row and its place among the dead
letters, live and rebuilt."""

from __future__ import annotations

from typing import Any

from eventstore import EventStore, NewEvent, RecordedEvent
from projections import CacheView, Projection
from projections.projection import Key
from reducers import Reducer

from .stage import feed, letters_of, rows_of

KEYS: list[Key] = [5, "5", '"5"', ("a", 1), '["a",1]', ("a", "1"), "a", "007", -5]


def key_of(event: RecordedEvent) -> Key:
    found = event.data["key"]
    made: Key = tuple(found) if isinstance(found, list) else found
    return made


async def test_keys_look_alike_then_each_has_its_own_state_and_a_rebuild_finds_no_difference(
    store: EventStore,
) -> None:
    """A fold of 5 has no event of "5" in it; what a failing event of one key holds back is that
    key."""
    count: Reducer[Any] = Reducer("alike", initial=[])
    failing: set[Key] = {"5"}

    @count.on("said")
    def said(state: Any, event: RecordedEvent) -> Any:
        if key_of(event) in failing:
            raise ValueError
        return [*state, event.version]

    projection = Projection("alike", key=key_of, fold=count)
    view = CacheView(projection, attempts=1, partitions=3).bind(store)
    wanted: dict[Key, list[int]] = {}
    for key in [*KEYS, *KEYS]:
        stored = list(key) if isinstance(key, tuple) else key
        result = await store.append("s", NewEvent("said", {"key": stored}))
        wanted.setdefault(key, []).append(result.version)
    await feed(store, view).run_once()
    parked = wanted.pop("5")
    assert await letters_of(view) == [('"5"', parked[0], True), ('"5"', parked[1], False)]
    assert await rows_of(view) == wanted
    assert {key: (await view.get(key)).value for key in wanted} == wanted
    assert await view.rows([*wanted, "5"]) == wanted
    failing.clear()
    async with feed(store, view) as relay:
        (report,) = await relay.rebuild("alike", compare=True)
    assert report.comparison is not None
    assert [each.key for each in report.comparison.differences] == ["5"]
    assert (await view.get("5")).value == parked
