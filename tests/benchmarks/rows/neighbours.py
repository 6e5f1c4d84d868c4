"""Neighbours in the same run: the PyPI packages eventsourcing and umadb, where they install.

Each does the same work by its own means: one event an append, from one caller and from 64, and
10,000 events of one stream folded to a state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Protocol

from eventstore import EventStore

from ..bench import Bench, stream_names, url_of
from ..measuring import Bar, Line, Section, Timing, in_turns, rates, timing
from ..workload import Callers, fill_stream, plain_events, totals, typed_events


class Neighbour(Protocol):
    """What each is asked to do; every method prepares what it can before its clock starts."""

    def from_callers(self) -> Timing: ...
    def one_by_one(self) -> Timing: ...
    def replay(self) -> Timing: ...
    def read_log(self) -> Timing: ...
    def close(self) -> None: ...


_STREAM = "session/replayed"
_AHEAD = Bar(1, "x")


async def neighbours(bench: Bench) -> Section:
    """Side by side with both, in turns."""
    names = [name for name in ("eventsourcing", "umadb") if find_spec(name) is not None]
    missing = [name for name in ("eventsourcing", "umadb") if name not in names]
    if not names:
        return Section("neighbours", [], not_run="eventsourcing and umadb are not installed here")
    path = bench.new_path()
    with ExitStack() as stack:
        others = {name: stack.enter_context(_open(name, bench)) for name in names}
        async with EventStore.open(url_of(path)) as store:
            lines = await _compare(bench, store, others)
    bench.remove(path)
    notes = [f"{name} is not installed here and was not measured." for name in missing]
    return Section("neighbours", lines, [*_NOTES, *notes])


_NOTES = [
    "eventsourcing: SQLite file in WAL with SQLite's default `synchronous=FULL`; an aggregate"
    " event of about 400 bytes of JSON by `save`; 64 threads, each with an aggregate of its own"
    " (the library gives the file to one writer at a time). Replay is `repository.get`; the log is"
    " read through its recorder's notifications, 1,000 at a time.",
    "umadb: the server of its wheel on the loopback interface, a client for each of 64 threads,"
    " one event an append with one tag. It has no reducers: replay reads the stream by its tag and"
    " decodes and folds in Python as ours does. Its clients' processor time and the server share"
    " the cores.",
    "Ours: one file, open for the whole row, in this process; replay is `Reducer.load` without a"
    " snapshot. The ratio is ours against theirs, and the bar is to stay ahead.",
]


@contextmanager
def _open(name: str, bench: Bench) -> Iterator[Neighbour]:
    """The neighbour's side, imported only when it is there."""
    folder = bench.folder / name
    side: Neighbour
    if name == "eventsourcing":
        from ..neighbours.event_sourcing import EventSourcing

        side = EventSourcing(folder, bench.sizes)
    else:
        from ..neighbours.uma import Uma

        side = Uma(folder, bench.sizes)
    try:
        yield side
    finally:
        side.close()


async def _compare(bench: Bench, store: EventStore, others: dict[str, Neighbour]) -> list[Line]:
    sizes = bench.sizes
    per_caller = sizes.neighbour_appends_a_caller
    many = sizes.callers * per_caller
    callers = Callers(stream_names(sizes.callers), per_caller, plain_events(many))
    few = sizes.single_appends // 4
    singles = plain_events(few)
    await fill_stream(store, _STREAM, typed_events(sizes.stream_events))

    async def from_callers() -> None:
        await callers.run(store)

    async def one_by_one() -> None:
        for event in singles:
            await store.append("session/single", [event])

    async def replay() -> None:
        loaded = await totals.load(store, _STREAM)
        if loaded.state.count != sizes.stream_events:
            raise RuntimeError(f"replayed {loaded.state.count} events")

    lines: list[Line] = []
    for work, ours, verb, count, bar in (
        (f"{sizes.callers} callers, 1 event each", from_callers, "from_callers", many, _AHEAD),
        ("1 caller, one by one", one_by_one, "one_by_one", few, None),
        (
            f"replay of {sizes.stream_events:,} events",
            replay,
            "replay",
            sizes.stream_events,
            _AHEAD,
        ),
    ):
        sides = {name: _side(getattr(other, verb)) for name, other in others.items()}
        taken = await in_turns(sizes.rounds, {**sides, "ours": _timed(ours)})
        mine = rates(taken["ours"], count)
        for name in others:
            theirs = rates(taken[name], count)
            lines.append(Line(work, mine, "/s", theirs, name, mine.over(theirs), "x", bar))
    lines.extend(await _read_logs(bench, others))
    return lines


async def _read_logs(bench: Bench, others: dict[str, Neighbour]) -> list[Line]:
    """A log read from end to end; payloads stay as they are stored."""
    count, path = bench.sizes.neighbour_events, bench.new_path()
    async with EventStore.open(url_of(path)) as store:
        await fill_stream(store, "session/read", plain_events(count))

        async def read() -> None:
            seen = 0
            async for page in store.read_all().pages():
                seen += len(page)
            if seen != count:
                raise RuntimeError(f"read {seen} of {count} events")

        sides = {name: _side(other.read_log) for name, other in others.items()}
        taken = await in_turns(bench.sizes.rounds, {**sides, "ours": _timed(read)})
    bench.remove(path)
    mine, lines = rates(taken["ours"], count), []
    for name in others:
        theirs = rates(taken[name], count)
        work = f"read the log of {count:,} events, undecoded"
        lines.append(Line(work, mine, "/s", theirs, name, mine.over(theirs)))
    return lines


def _timed(work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[Timing]]:
    async def run() -> Timing:
        with timing() as time:
            await work()
        return time

    return run


def _side(work: Callable[[], Timing]) -> Callable[[], Awaitable[Timing]]:
    async def run() -> Timing:
        return work()

    return run
