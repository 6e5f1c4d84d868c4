"""How soon a subscription wakes, for its own process and for another, and what idling costs."""

from __future__ import annotations

import asyncio
import time

from eventstore import EventStore, NewEvent, RecordedEvent

from ..bench import Bench, url_of
from ..children import Child
from ..measuring import Bar, Line, Section, Series, percentile, timing

_PAUSE_SECONDS = 0.002
"""Between two appends: the subscriber shall be asleep when the next one comes."""

Arrival = tuple[int, int]
"""When an event was sent and when it was received, in ns."""
Wake = tuple[float, float]
"""Milliseconds from the call of `append` to the event, and from its answer to the event."""


async def wake_ups(bench: Bench) -> Section:
    """Wake-up times in process and across processes, and the share of a core when idle."""
    sizes, path = bench.sizes, bench.new_path()
    own: list[list[float]] = []
    after_answer: list[list[float]] = []
    foreign: list[list[float]] = []
    idle: list[float] = []
    async with EventStore.open(url_of(path)) as store:
        for _ in range(sizes.rounds):
            wakes = await _own_process(store, sizes.wakeups)
            own.append([wake[0] for wake in wakes])
            after_answer.append([wake[1] for wake in wakes])
            foreign.append(await _other_process(store, url_of(path), sizes.foreign_wakeups))
            idle.append(await _idle(store, sizes.idle_seconds))
    bench.remove(path)
    return Section(
        "subscribe",
        [
            _line("wakes for an append of its process, p50", own, 0.5, None),
            _line("wakes for an append of its process, p99", own, 0.99, 5),
            _line("after that append has answered, p99", after_answer, 0.99, None),
            _line("wakes for an append of another process, p50", foreign, 0.5, None),
            _line("wakes for an append of another process, p99", foreign, 0.99, 100),
            _share(Series(tuple(idle))),
        ],
        [
            "From just before `append` is called until the subscriber has the event in its hands:"
            f" the commit is in it. {sizes.wakeups} appends a round in process,"
            f" {sizes.foreign_wakeups} from another one at uneven distances of 5 to 95 ms (so few"
            " that their p99 is the slowest of all). Idle: one subscription, processor time of the"
            f" whole process over {sizes.idle_seconds:g} s.",
        ],
    )


def _line(work: str, rounds: list[list[float]], share: float, limit_ms: float | None) -> Line:
    ours = Series(tuple(percentile(values, share) for values in rounds))
    bar = None if limit_ms is None else Bar(limit_ms, "ms", at_most=True)
    return Line(
        f"subscription {work}", ours, "ms", judged=ours if bar else None, judged_unit="ms", bar=bar
    )


def _share(idle: Series) -> Line:
    bar = Bar(1, "% of a core", at_most=True)
    return Line(
        "idle subscription", idle, "% of a core", judged=idle, judged_unit="% of a core", bar=bar
    )


async def _own_process(store: EventStore, count: int) -> list[Wake]:
    head, arrivals, arrived = await store.head(), list[Arrival](), asyncio.Event()

    async def receive() -> None:
        async for event in store.subscribe(after=head):
            arrivals.append(_arrival(event))
            arrived.set()

    receiving, answered = asyncio.ensure_future(receive()), list[int]()
    for _ in range(count):
        await asyncio.sleep(_PAUSE_SECONDS)
        sent = {"sent_ns": time.monotonic_ns()}
        await store.append("bench/own", [NewEvent("bench.sent", sent)])
        answered.append(time.monotonic_ns())
        await arrived.wait()
        arrived.clear()
    receiving.cancel()
    # The subscriber may have the event before the caller has its answer: no wait at all then.
    return [
        ((received - sent) / 1e6, max(0, received - answer) / 1e6)
        for (sent, received), answer in zip(arrivals, answered, strict=True)
    ]


async def _other_process(store: EventStore, url: str, count: int) -> list[float]:
    child = await asyncio.to_thread(Child, "writer", url, str(count))
    try:
        events = aiter(store.subscribe(after=await store.head()))
        child.go()
        arrivals = [_arrival(await anext(events)) for _ in range(count)]
        return [(received - sent) / 1e6 for sent, received in arrivals]
    finally:
        await asyncio.to_thread(child.end)


async def _idle(store: EventStore, seconds: float) -> float:
    waiting = asyncio.ensure_future(anext(aiter(store.subscribe(after=await store.head()))))
    with timing() as spent:
        await asyncio.sleep(seconds)
    waiting.cancel()
    return 100 * spent.cpu_seconds / spent.seconds


def _arrival(event: RecordedEvent) -> Arrival:
    # The monotonic clock is one for all processes of a machine.
    return event.data["sent_ns"], time.monotonic_ns()
