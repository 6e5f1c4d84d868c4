"""Going through a session: bisect, with snapshots and without, blame, diff, and replayed steps."""

from __future__ import annotations

import msgspec
from immutables import Map

from eventstore import EventStore, RecordedEvent
from reducers import Reducer, bisect, blame, diff, fold, replay

from ..bench import Bench, url_of
from ..measuring import Bar, Line, Section, Series, Side, Timing, in_turns, rates, seconds, timing
from ..workload import (
    Noted,
    Totals,
    add_noted,
    fill_stream,
    topics_whole,
    totals,
    typed_events,
)

_CHANGED = 10
_DIFFS = 20
"""Diffs in one sample, which is then some tens of milliseconds long."""

_kept = Reducer("bench.totals-kept", Totals())


@_kept.on(Noted)
def _add(state: Totals, event: object) -> Totals:
    return add_noted(state, event.data)  # type: ignore[attr-defined]  # a recorded event


class _Cell(msgspec.Struct, frozen=True):
    """Four leaves of a large state."""

    title: str
    status: str
    pieces: int
    share: float


async def bisecting(bench: Bench) -> Section:
    """The first event after which something holds, in a long stream, against one fold."""
    sizes, path, name = bench.sizes, bench.new_path(), "session/long"
    count = sizes.long_stream

    async with EventStore.open(url_of(path)) as store:
        kept = await _grown(store, name, count)
        early, late = _furthest(kept, 0, count // 2), _furthest(kept, count // 2, count)
        events = await store.read(name).list()
        fold(events, totals)  # decodes the data, which the events keep

        sides = _stored(store, name, count, early, late) | _in_memory(events)
        taken = await in_turns(sizes.rounds, sides)
    bench.remove(path)
    ms = {side: _milliseconds(timings, 1) for side, timings in taken.items()}
    one_load, one_fold = "one fold of the stored stream", "one fold of the same events"
    work = f"bisect of a stored stream of {count:,} events"
    in_memory = f"bisect of {count:,} events in memory"
    return Section(
        "bisect",
        [
            _against(work, ms["linear"], ms["load"], one_load, 1.2),
            _against(f"{work}, by snapshots, late", ms["late"], ms["load"], one_load, 0.1),
            _against(f"{work}, by snapshots, early", ms["early"], ms["load"], one_load, 0.1),
            _against(in_memory, ms["pure"], ms["fold"], one_fold, None),
        ],
        [
            "The fold is `load` without a snapshot, typed events into three fields. Without"
            " snapshots what is looked for is the last event: the pass goes as far as it can. The"
            f" {len(kept)} snapshots are those that the store has left, of a stream that was loaded"
            f" after every {_kept.snapshot_every} events. With them it is the event that lies"
            f" furthest behind one: of the second half of the stream {late.behind:,} events behind,"
            f" of the first {early.behind:,}.",
            "In memory the events hold their decoded data already, on both sides, so that nothing"
            " but the fold and the question is timed; it has no bar, for one call of an empty"
            " function for each event is a good part of it.",
        ],
    )


class _Place(msgspec.Struct, frozen=True):
    """A version, and how many events it lies behind a snapshot."""

    version: int
    behind: int


async def _grown(store: EventStore, name: str, count: int) -> list[int]:
    """The versions of the snapshots that stand when a stream has grown and was loaded often."""
    every = _kept.snapshot_every or 0
    for start in range(0, count, every):
        await fill_stream(store, name, typed_events(min(every, count - start)))
        await _kept.load(store, name)
    return [each.version for each in await store.snapshots.list(name)]


def _furthest(kept: list[int], low: int, high: int) -> _Place:
    """Of the versions above one and up to another the last before a snapshot that lies furthest
    behind the one before it."""
    pairs = zip([0, *kept], kept, strict=False)
    places = [_Place(after, after - before) for before, after in pairs if low < after <= high]
    return max(places, key=lambda place: place.behind)


def _stored(
    store: EventStore, name: str, count: int, early: _Place, late: _Place
) -> dict[str, Side]:
    async def load() -> Timing:
        with timing() as time:
            loaded = await totals.load(store, name)
        _expect(loaded.version, count)
        return time

    async def linear() -> Timing:
        with timing() as time:
            found = await totals.bisect(store, name, lambda state: state.count >= count)
        _expect(found.event.version if found else 0, count)
        return time

    async def skipping(version: int) -> Timing:
        with timing() as time:
            found = await _kept.bisect(
                store, name, lambda state: state.count >= version, monotone=True
            )
        _expect(found.event.version if found else 0, version)
        return time

    return {
        "load": load,
        "linear": linear,
        "late": lambda: skipping(late.version),
        "early": lambda: skipping(early.version),
    }


def _in_memory(events: list[RecordedEvent]) -> dict[str, Side]:
    count = len(events)

    async def folded() -> Timing:
        with timing() as time:
            state = fold(events, totals)
        _expect(state.count, count)
        return time

    async def pure() -> Timing:
        with timing() as time:
            found = bisect(events, totals, lambda state: state.count >= count)
        _expect(found.event.version if found else 0, count)
        return time

    return {"fold": folded, "pure": pure}


async def blaming(bench: Bench) -> Section:
    """Who gave one entry of a state its values, in a long stream, against one fold of it."""
    sizes, path = bench.sizes, bench.new_path()
    count = sizes.long_stream
    async with EventStore.open(url_of(path)) as store:
        await fill_stream(store, "session/blamed", typed_events(count))
        events = await store.read("session/blamed").list()
    bench.remove(path)
    topic = events[0].data.topic
    texts = [event.data.text[:40] for event in events if event.data.topic == topic]
    wanted = sum(text != before for text, before in zip(texts, [None, *texts], strict=False))

    async def folded() -> Timing:
        with timing() as time:
            state = fold(events, topics_whole)
        _expect(state.count, count)
        return time

    async def blamed() -> Timing:
        with timing() as time:
            found = blame(events, topics_whole, f"/by_topic/{topic}")
        _expect(len(found), wanted)
        return time

    taken = await in_turns(sizes.rounds, {"fold": folded, "blame": blamed})
    ms = {side: _milliseconds(timings, 1) for side, timings in taken.items()}
    work = f"blame of one entry of a state, {count:,} events in memory"
    return Section(
        "blame",
        [_against(work, ms["blame"], ms["fold"], "one fold of the same events", None)],
        [
            f"The state has a hundred entries, each event sets one of them, and {wanted:,} events"
            " are blamed. Blame folds forth, keeps a state now and then, and folds each stretch"
            " again on its way back; events hold their decoded data on both sides. It has no bar.",
        ],
    )


async def stepping(bench: Bench) -> Section:
    """Diffs of large states that share most of their parts, and replays of a small one."""
    sizes = bench.sizes
    leaves = sizes.state_leaves
    flat = Map({f"leaf-{number:05}": f"value {number}" for number in range(leaves)})
    cells = Map({f"cell-{n:05}": _Cell(f"title {n}", "open", n, n / 7) for n in range(leaves // 4)})
    flat_after, cells_after = flat, cells
    for n in range(_CHANGED):
        flat_after = flat_after.set(f"leaf-{n * leaves // _CHANGED:05}", "changed")
        name = f"cell-{n * (leaves // 4) // _CHANGED:05}"
        cell = msgspec.structs.replace(cells[name], status="done")
        cells_after = cells_after.set(name, cell)
    path, count = bench.new_path(), sizes.stream_events
    async with EventStore.open(url_of(path)) as store:
        await fill_stream(store, "session/steps", typed_events(count))
        events = await store.read("session/steps").list()
    bench.remove(path)

    def diffs(before: object, after: object) -> Side:
        async def compared() -> Timing:
            with timing() as time:
                for _ in range(_DIFFS):
                    changes = diff(before, after)
            _expect(len(changes), _CHANGED)
            return time

        return compared

    async def steps() -> Timing:
        with timing() as time:
            changed = sum(1 for step in replay(events, totals) if step.changes)
        _expect(changed, count)
        return time

    flat_diff, cells_diff = diffs(flat, flat_after), diffs(cells, cells_after)
    taken = await in_turns(sizes.rounds, {"flat": flat_diff, "cells": cells_diff, "steps": steps})
    flat_ms, cells_ms = _milliseconds(taken["flat"], _DIFFS), _milliseconds(taken["cells"], _DIFFS)
    steps_rate = rates(taken["steps"], count)
    bar, work = Bar(5, "ms", at_most=True), f"diff of two states of {leaves:,} leaves, 10 differ"
    return Section(
        "replay",
        [
            Line(f"{work}: one map", flat_ms, "ms", judged=flat_ms, judged_unit="ms", bar=bar),
            Line(
                f"{work}: a map of Structs",
                *(cells_ms, "ms"),
                judged=cells_ms,
                judged_unit="ms",
                bar=bar,
            ),
            Line(
                "replay with the changes of each step, small state",
                *(steps_rate, "/s"),
                judged=steps_rate,
                judged_unit="/s",
                bar=Bar(20_000, "/s"),
            ),
        ],
        [
            "The second state was made from the first by setting ten entries of an"
            " `immutables.Map`: one of strings, or one of Structs of four fields, of which one"
            f" changed. A sample is {_DIFFS} diffs. The replay is of {count:,} typed events in"
            " memory, decoded with the first sample; each changes a state of three fields, and"
            " every step's changes are computed.",
        ],
    )


def _against(work: str, ours: Series, fold_ms: Series, fold_name: str, limit: float | None) -> Line:
    bar = None if limit is None else Bar(limit, "x", at_most=True)
    return Line(work, ours, "ms", fold_ms, fold_name, ours.over(fold_ms), "x", bar)


def _milliseconds(timings: list[Timing], repeats: int) -> Series:
    return Series(tuple(1e3 * value / repeats for value in seconds(timings).values))


def _expect(found: int, wanted: int) -> None:
    if found != wanted:
        raise RuntimeError(f"found {found}, {wanted} was to be found")
