"""Views that follow a log while it is appended to: what they cost an append, and their lag."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator

import msgspec

from eventstore import EventStore
from projections import Relay
from tests.servers.redis import RedisServer

from ..bench import Bench, stream_names, url_of
from ..children import Child
from ..measuring import Bar, Line, Section, Series, percentile
from ..viewing import LOOK_SECONDS, SIX, Sent, agent_events, filled, offer, six_views

_WARM_APPENDS = 200
"""Before the clock starts: caches are filled and every statement is prepared."""

_LOAD = (
    "The load is open: an append is made every {each:g} ms, whether or not those before are"
    " answered, {seconds:g} s a sample, one event of about 400 bytes each, five in a row into one"
    " of {streams} streams (a question, a call, its result, an answer, a memory). The views are the"
    f" stock views {', '.join(f'`{name}`' for name in SIX)}. Each sample has a fresh file, and"
    f" begins behind {_WARM_APPENDS} appends that the views have."
)


async def beside_views(bench: Bench) -> Section:
    """Appends at a steady rate, with six views fed by another process and with none."""
    sizes = bench.sizes
    alone: list[list[float]] = []
    beside: list[list[float]] = []
    for _ in range(sizes.rounds):
        alone.append((await _one_load(bench, relay=None)).sent.milliseconds())
        load = await _one_load(bench, relay="other", is_watched=False)
        beside.append(load.sent.milliseconds())
    work = f"append at {sizes.offered_per_second:,}/s, six views fed by another process"
    return Section(
        "views_append",
        [
            _against(f"{work}, p50", alone, beside, 0.5, 1.1),
            _against(f"{work}, p99", alone, beside, 0.99, 1.3),
        ],
        [
            _load(bench),
            "From just before `append` is called until its answer. Without views and with them in"
            " turns; without means no relay, no view and no other process. The relay has its own"
            " process and shares the two cores and the file's one writer with the appends. Nobody"
            " watches the views meanwhile, but they must have all events in the end.",
        ],
    )


async def lags(bench: Bench) -> Section:
    """How long after an append all six views have its event."""
    embedded: list[list[float]] = []
    same: list[list[float]] = []
    redis: list[list[float]] = []
    with RedisServer() as server:
        for _ in range(bench.sizes.rounds):
            embedded.append((await _one_load(bench, relay="other")).lags())
            same.append((await _one_load(bench, relay="same")).lags())
            redis.append((await _one_load(bench, relay="other", cache_url=server.new_url())).lags())
    work = f"live lag of six views at {bench.sizes.offered_per_second:,} appends/s"
    return Section(
        "views_lag",
        [
            *_lag_lines(f"{work}, embedded, fed by another process", embedded),
            *_lag_lines(f"{work}, embedded, fed by the same process", same),
            *_lag_lines(f"{work}, the cache in Redis, fed by another process", redis),
        ],
        [
            _load(bench),
            "From just before `append` is called until a third process, which looks into the file"
            f" every {LOOK_SECONDS * 1000:g} ms, finds that the slowest of the six views has the"
            " event: the commit of the append is in it. A view whose sink is Redis moves when"
            " Redis has acknowledged. Redis is the server that the tests bring, on loopback, with"
            " its append-only file.",
        ],
    )


class _Load(msgspec.Struct):
    """What one load came to. `seen` holds when the slowest view was seen at which position."""

    sent: Sent
    seen: list[tuple[int, int]]

    def lags(self) -> list[float]:
        """Milliseconds from each append until it is in all views."""
        found, at = [], 0
        for position, sent_ns in sorted(zip(self.sent.positions, self.sent.sent_ns, strict=True)):
            while self.seen[at][1] < position:
                at += 1
            found.append((self.seen[at][0] - sent_ns) / 1e6)
        return found


async def _one_load(
    bench: Bench, relay: str | None, cache_url: str | None = None, *, is_watched: bool = True
) -> _Load:
    """Offers the load once: with no relay, with one in this process, or with one in another; a
    third process watches when the views have what, or nobody does."""
    sizes, path = bench.sizes, bench.new_path()
    streams = stream_names(sizes.offered_streams)
    events = agent_events(_WARM_APPENDS + sizes.offered_events)
    args = [] if cache_url is None else [cache_url]
    async with EventStore.open(url_of(path)) as store, contextlib.AsyncExitStack() as open_:
        for number, event in enumerate(events[:_WARM_APPENDS]):
            await store.append(streams[number // 5 % len(streams)], [event])
        if relay is None:
            load = _Load(await _offer(bench, store, streams), [])
        else:
            if relay == "same":
                await open_.enter_async_context(Relay(store, six_views(cache_url)))
            else:
                child = await asyncio.to_thread(Child, "relay", url_of(path), *args)
                open_.push_async_callback(_end, child)
            await filled(six_views(cache_url), store, await store.head())
            last = await store.head() + sizes.offered_events
            if is_watched:
                watcher = await asyncio.to_thread(Child, "watch", str(path), str(last))
                sent = await _offer(bench, store, streams)
                seen = json.loads(await asyncio.to_thread(watcher.end))
                load = _Load(sent, [(ns, position) for ns, position in seen])
            else:
                load = _Load(await _offer(bench, store, streams), [])
                await filled(six_views(cache_url), store, last)
    bench.remove(path)
    return load


async def _offer(bench: Bench, store: EventStore, streams: list[str]) -> Sent:
    events = agent_events(_WARM_APPENDS + bench.sizes.offered_events)[_WARM_APPENDS:]
    return await offer(store, streams, events, bench.sizes.offered_per_second)


async def _end(child: Child) -> None:
    child.go()
    await asyncio.to_thread(child.end)


def _load(bench: Bench) -> str:
    sizes = bench.sizes
    return _LOAD.format(
        each=1000 / sizes.offered_per_second,
        seconds=sizes.offered_events / sizes.offered_per_second,
        streams=sizes.offered_streams,
    )


def _against(
    work: str, alone: list[list[float]], beside: list[list[float]], share: float, limit: float
) -> Line:
    bare = Series(tuple(percentile(values, share) for values in alone))
    ours = Series(tuple(percentile(values, share) for values in beside))
    bar = Bar(limit, "x", at_most=True)
    return Line(work, ours, "ms", bare, "the same without views", ours.over(bare), "x", bar)


def _lag_lines(work: str, rounds: list[list[float]]) -> Iterator[Line]:
    middle = Series(tuple(percentile(values, 0.5) for values in rounds))
    slow = Series(tuple(percentile(values, 0.99) for values in rounds))
    yield Line(f"{work}, p50", middle, "ms")
    bar = Bar(100, "ms", at_most=True)
    yield Line(f"{work}, p99", slow, "ms", judged=slow, judged_unit="ms", bar=bar)
