"""Events whose key could not be told, or is another one by now; keys that wait while a sink is
filled anew; and what a drop is in another generation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from eventstore import EventStore, NewEvent, RecordedEvent
from projections import CacheView, Projection, RelationalView, Upsert
from projections.asking import serving
from projections.relay import Relay, letters
from projections.relay.progress import reincarnate
from projections.sinks import Build
from projections.view import View
from reducers import Reducer

from .stage import Boom, Outside, rows_of

KEYS = ("a", "b", "c", "d", "e", "f")


@pytest_asyncio.fixture
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    """A store in memory or in a file."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/log.db"
    async with EventStore.open(url) as store:
        yield store


both = pytest.mark.parametrize("opened", ["memory", "sqlite"], indirect=True)


class Code:
    """Code that is wrong for some numbers until it is mended: in `key`, or in the handler."""

    def __init__(self) -> None:
        self.no_key: set[int] = set()
        self.bad: set[int] = set()

    def key(self, event: RecordedEvent) -> Any:
        if event.data["n"] in self.no_key:
            raise Boom("key")
        return event.data["key"]

    def check(self, event: RecordedEvent) -> None:
        if event.data["n"] in self.bad:
            raise Boom("handler")


def last_view(code: Code, name: str = "lasts", **options: Any) -> RelationalView:
    """A map: the last number of each key."""
    table = sa.Table(
        name, sa.MetaData(), sa.Column("k", sa.Text, primary_key=True), sa.Column("n", sa.Integer)
    )

    def made(event: RecordedEvent) -> Upsert:
        code.check(event)
        return Upsert(event.data["key"], {"n": event.data["n"]})

    projection = Projection(name, key=code.key, map=made, types=["add"])
    return RelationalView(projection, table, attempts=1, **options)


def sums_view(code: Code, name: str = "sums", **options: Any) -> CacheView:
    """A fold: the sum of each key."""
    reducer: Reducer[Any] = Reducer(name, initial=0)

    @reducer.on("add")
    def add(state: Any, event: RecordedEvent) -> Any:
        code.check(event)
        return state + event.data["n"]

    return CacheView(Projection(name, key=code.key, fold=reducer), attempts=1, **options)


async def say(store: EventStore, key: str, n: int, stream: str = "s") -> int:
    """Appends a number of a key; its position."""
    return (await store.append(stream, NewEvent("add", {"key": key, "n": n}))).position


async def plain(view: View) -> dict[Any, int]:
    """The numbers in the rows that serve."""
    rows = await rows_of(view)
    return {key: each["n"] if isinstance(each, dict) else each for key, each in rows.items()}


async def build_of(view: View) -> Build:
    """Where the serving generation's rows are."""
    return (await serving(view))[0]


async def standing(build: Build) -> list[tuple[str, int, bool, int]]:
    """(key, position, whether it failed, attempts) of what waits."""
    return [
        (each.key, each.position, each.error is not None, each.attempts)
        for each in await letters.load(build)
        if each.dropped_reason is None
    ]


@both
@pytest.mark.parametrize("partitions", [1, 4])
async def test_no_key_could_be_told_then_a_retry_brings_every_event_to_its_own_key(
    opened: EventStore, partitions: int
) -> None:
    """One partition parks it, and whoever owns the key that it turns out to have gets it."""
    code = Code()
    code.no_key = set(range(12))
    lasts = last_view(code, partitions=partitions).bind(opened)
    sums = sums_view(code, partitions=partitions).bind(opened)
    for n in range(12):
        await say(opened, f"k{n}", n, f"s{n}")
    await Relay(opened, [lasts, sums]).run_once()
    assert len(await standing(await build_of(lasts))) == 12
    code.no_key.clear()
    for view in (lasts, sums):
        await letters.ask_retry(await build_of(view))
    await Relay(opened, [lasts, sums]).run_once()
    for view in (lasts, sums):
        assert await plain(view) == {f"k{n}": n for n in range(12)}
        assert await letters.load(await build_of(view)) == []


@both
@pytest.mark.parametrize("partitions", [1, 3])
async def test_later_events_of_the_key_flowed_then_a_retry_neither_loses_nor_goes_back(
    opened: EventStore, partitions: int
) -> None:
    """An event that comes late to its key is put where it belongs in the order."""
    code = Code()
    code.no_key = {10}
    lasts = last_view(code, partitions=partitions).bind(opened)
    sums = sums_view(code, partitions=partitions).bind(opened)
    for n in (1, 10, 100):
        await say(opened, "a", n)
    await Relay(opened, [lasts, sums]).run_once()
    assert (await plain(lasts), await plain(sums)) == ({"a": 100}, {"a": 101})
    code.no_key.clear()
    for view in (lasts, sums):
        await letters.ask_retry(await build_of(view))
    await Relay(opened, [lasts, sums]).run_once()
    assert (await plain(lasts), await plain(sums)) == ({"a": 100}, {"a": 111})
    assert await standing(await build_of(sums)) == []


@both
async def test_the_event_fails_in_its_own_key_then_that_key_is_parked_from_it_on(
    opened: EventStore,
) -> None:
    """What was applied behind it waits as well, as a rebuild would have it."""
    code = Code()
    code.no_key, code.bad = {10}, {10}
    outside = Outside()
    lasts, sums = last_view(code).bind(opened), sums_view(code).bind(opened)
    kept = View(last_view(code, "kept").projection, outside, attempts=1).bind(opened)
    views = [lasts, sums, kept]
    for n in (1, 10, 100):
        await say(opened, "a", n)
    await say(opened, "b", 7)
    await Relay(opened, views).run_once()
    code.no_key.clear()
    for view in views:
        await letters.ask_retry(await build_of(view))
    await Relay(opened, views).run_once()
    for view in views:
        assert await plain(view) == {"a": 1, "b": 7}
        assert await standing(await build_of(view)) == [("a", 2, True, 1), ("a", 3, False, 0)]
        code.bad.clear()
        await letters.ask_retry(await build_of(view))
        await Relay(opened, views).run_once()
        code.bad = {10}
    assert (await plain(lasts), await plain(sums)) == ({"a": 100, "b": 7}, {"a": 111, "b": 7})
    assert await plain(kept) == {"a": 100, "b": 7}


@both
async def test_a_sink_is_emptied_while_a_key_waits_then_what_went_before_is_restored(
    opened: EventStore,
) -> None:
    """The row as of the last event that was applied stands again; reason, attempts and a wish that
    is open are kept."""
    code = Code()
    code.bad = {2}
    outside = Outside()
    kept = View(last_view(code).projection, outside, attempts=1).bind(opened)
    for n in (1, 2, 3):
        await say(opened, "a", n)
    await Relay(opened, [kept]).run_once()
    build = await build_of(kept)
    before = await letters.load(build)
    outside.empty()
    await reincarnate(build)
    await Relay(opened, [kept]).run_once()
    assert await plain(kept) == {"a": 1}
    assert await letters.load(build) == before
    assert [(each.position, each.attempts) for each in before] == [(2, 1), (3, 0)]
    code.bad.clear()
    await letters.ask_retry(build, "a")
    outside.empty()
    await reincarnate(await build_of(kept))
    await Relay(opened, [kept]).run_once()
    assert await plain(kept) == {"a": 3}
    assert await letters.load(build) == []
