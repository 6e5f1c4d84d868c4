"""Random histories with events that fail, code that is mended, retries and drops: a view that lived
through all of it is what a rebuild makes, and what plain code makes of the log without what was
dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore import EventStore, RecordedEvent
from projections import CacheView, Projection
from projections.asking import serving
from projections.relay import Relay, dropping, letters
from projections.relay.generations import begin
from projections.relay.progress import reincarnate
from projections.sinks import Build
from projections.view import View
from reducers import Reducer

from .stage import Outside, generations_of
from .test_moved_keys import Code, last_view, say

KEYS = st.sampled_from(["a", "b"])
ADDS = st.tuples(
    st.just("add"), KEYS, st.sampled_from(["a", "s"]), st.sampled_from(["good", "bad", "no key"])
)
OTHERS = st.tuples(
    st.sampled_from(
        ["feed", "mend", "mend keys", "retry", "drop", "begin", "refill", "build again"]
    ),
    st.integers(0, 2),
)
histories = st.lists(ADDS | OTHERS, min_size=3, max_size=25)


def order_view(code: Code, partitions: int) -> CacheView:
    """A fold that tells in which order its events came."""
    reducer: Reducer[Any] = Reducer("orders", initial=[])

    @reducer.on("add")
    def add(state: Any, event: RecordedEvent) -> Any:
        code.check(event)
        return [*state, event.data["n"]]

    projection = Projection("orders", key=code.key, fold=reducer, row=lambda key, ns: ns or None)
    return CacheView(projection, attempts=1, partitions=partitions)


class Life:
    """A store with three views, and what is done to them."""

    def __init__(self, store: EventStore, partitions: int) -> None:
        self.store, self.code, self.outside, self.n = store, Code(), Outside(), 0
        lasts = last_view(self.code, partitions=partitions)
        kept = last_view(self.code, "kept").projection
        self.views: list[View] = [
            lasts.bind(store),
            order_view(self.code, partitions).bind(store),
            View(kept, self.outside, attempts=1, partitions=partitions).bind(store),
        ]

    async def feed(self) -> None:
        """Feeds all generations up to the head."""
        await Relay(self.store, self.views).run_once()

    async def add(self, key: str, stream: str, kind: str) -> None:
        """Appends one event, which may fail."""
        self.n += 1
        if kind == "bad":
            self.code.bad.add(self.n)
        elif kind == "no key":
            self.code.no_key.add(self.n)
        await say(self.store, key, self.n, stream)

    async def do(self, what: str, number: int) -> None:
        """Something else."""
        if what == "mend":
            self.code.bad.clear()
        if what in ("mend", "mend keys"):
            self.code.no_key.clear()
            return
        await self.feed()
        view = self.views[number]
        build, generation = await serving(view)
        if what == "retry":
            await letters.ask_retry(build)
        elif what == "drop":
            for letter in (await letters.load(build))[number:]:
                if letter.dropped_reason is None and letter.position > 0:
                    await dropping.drop(build, letter.key, "no good")
                    return
        elif what == "begin" and len(await self.builds(view)) == 1:
            await begin(view, self.store.outbox, "comparing")
        elif what == "refill":
            self.outside.empty()
            for each in await self.builds(self.views[2]):
                await reincarnate(each)
        elif what == "build again":
            await letters.ask_rebuild(build, "a", generation.partitions)

    async def builds(self, view: View) -> list[Build]:
        """The generations that are fed."""
        outbox = self.store.outbox
        tenant_id = await outbox.tenant_id()
        found = [each for each in await generations_of(view) if each.state != "retired"]
        return [each.build(outbox, view.name, tenant_id) for each in found]

    async def check(self) -> None:
        """Every generation of every view has what plain code makes of the log."""
        for view in self.views:
            wanted = await self.wanted(view.name)
            for build in await self.builds(view):
                found = {r.key: r.value async for page in view.sink.scan(build) for r in page}
                if view.name != "orders":
                    found = {key: value["n"] for key, value in found.items()}
                assert found == wanted, (view.name, build.generation)
                left = await letters.load(build)
                assert [e for e in left if e.position > 0 and not e.dropped_reason] == []

    async def wanted(self, name: str) -> dict[Any, Any]:
        """The rows by code of its own, without what was dropped."""
        told = await self.store.read(f"$views/{name}").list()
        dropped = {event.data["position"] for event in told}
        rows: dict[Any, Any] = {}
        async for event in self.store.read_all(types=["add"]):
            if event.position not in dropped:
                key, n = event.data["key"], event.data["n"]
                rows[key] = [*rows.get(key, []), n] if name == "orders" else n
        return rows


async def live(url: str, history: list[Any], partitions: int) -> None:
    """Lives through a history, mends everything, builds anew, and compares."""
    async with EventStore.open(url) as store:
        life = Life(store, partitions)
        await life.feed()
        for what, *rest in history:
            await (life.add(*rest) if what == "add" else life.do(what, *rest))
        await life.feed()
        await life.do("mend", 0)
        for view in life.views:
            for build in await life.builds(view):
                await letters.ask_retry(build)
        await life.feed()
        await life.check()
        for view in life.views:
            if len(await life.builds(view)) == 1:
                await begin(view, store.outbox)
        await life.feed()
        await life.check()


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("what", ["build again", "refill"])
async def test_a_key_is_made_again_then_what_waits_as_it_goes_to_the_key_that_it_has(
    what: str, partitions: int
) -> None:
    """An event whose key cannot be told waits as its stream, which may be named as a key is. Built
    again, that key took the letter with it, and the event was in no row."""
    added = [("add", "a", "a", "good"), ("add", "b", "a", "no key")]
    await live("memory://", [*added, (what, 0), ("mend keys", 0)], partitions)


@settings(max_examples=25, deadline=None)
@given(history=histories, partitions=st.sampled_from([1, 3]))
async def test_events_fail_and_are_tried_again_or_dropped_then_live_is_rebuilt(
    history: list[Any], partitions: int
) -> None:
    """Whatever failed, was mended, tried again, given up, refilled or built beside it."""
    await live("memory://", history, partitions)


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=histories, partitions=st.sampled_from([1, 3]))
async def test_the_same_in_a_file_then_live_is_rebuilt(
    history: list[Any], partitions: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same in SQLite as it is used."""
    folder: Path = tmp_path_factory.mktemp("log")
    await live(f"sqlite:///{folder}/log.db", history, partitions)
