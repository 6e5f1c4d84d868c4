"""Before a new reducer is shipped: stored sessions folded with both, in processes of their own.

The parent reads the store, which it was handed and which no other process opens, and hands events
on, a batch of streams at a time; the children fold and compare. Events go as plain rows.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import BrokenExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from eventstore.events import RecordedEvent

from .diffs import diff
from .errors import ReducerError
from .folding import UNSET, fold
from .reducer import Reducer

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from eventstore import EventStore

BATCH_EVENTS_MAX = 2_000
"""Events that are handed to a process at once: some MiB, more work than to hand over."""

STREAM_EVENTS_MAX = 20_000
"""Events of one stream that are handed on. A longer one is folded by the parent, page by page."""

PATHS_KEPT = 20
"""Differing paths told for a stream; more only say that everything differs."""

END_SECONDS = 2.0
"""What processes are given to end by themselves when no answer is wanted any more. They fold and
hold nothing, so to kill them loses nothing."""

PROCESSES_MAX = 32
"""More processes than this wait for the one that reads."""


class Shadowed(msgspec.Struct, frozen=True):
    """A stream of `version` events in which the two reducers do not agree at the end: the `paths`
    of the final states that differ (at most 20; `more` counts the rest), or the `error` that only
    one of them, or either, came to, with its class and place and never a payload."""

    stream: str
    version: int
    paths: tuple[str, ...] = ()
    more: int = 0
    old_error: str | None = None
    new_error: str | None = None


class ShadowReport(msgspec.Struct, frozen=True):
    """What `shadow` found: how many `streams` and `events` were folded, and those that differ, by
    name."""

    streams: int
    events: int
    different: tuple[Shadowed, ...]

    @property
    def ok(self) -> bool:
        """Whether both reducers give the same states throughout."""
        return not self.different


Progress = Callable[[int, int], None]
"""Is called with the streams and the events that are done so far."""


async def shadow(
    store: EventStore,
    old: Reducer[Any] | str,
    new: Reducer[Any] | str,
    streams: Iterable[str] | None = None,
    prefix: str = "",
    processes: int | None = None,
    progress: Progress | None = None,
) -> ShadowReport:
    """Folds stored streams with two reducers, and reports which final states differ, and where.

    A reducer is named ``path/to/file.py:name`` or ``package.module:name``, and is imported by each
    process; or it is the object itself, and then everything is folded in this process, because
    code does not travel. `streams` are looked at, or else all that begin with `prefix`.
    `processes` is how many fold beside this one: None is one for each processor, 0 none. They are
    spawned, so a script that calls this needs ``if __name__ == "__main__":``. Memory holds a few
    batches of 2,000 events; a stream of more than 20,000 is folded here, page by page. A stream in
    which a reducer raises is reported, and ends nothing. Both reducers see one registry of event
    types: types that both use stand in a module that both import. Raises `ReducerError` for a name
    that leads to no reducer, and where a process ends before its work does. If cancelled, the
    processes end after the batch they are at, and are killed after 2 seconds, meanwhile others on
    this loop go on; nothing is left open. They end as well when this process is killed.
    """
    pair = (old, new)
    for each in pair:
        named_reducer(each) if isinstance(each, str) else None
    count = _process_count(processes)
    if count == 0 or not all(isinstance(each, str) for each in pair):
        pool = None
    else:
        pool = _pool(count)
    try:
        return await _shadow(store, _batches(store, streams, prefix), pair, pool, count, progress)
    except BrokenExecutor:
        raise ReducerError(
            "shadow: a process that folds ended by itself: it was killed, for its memory perhaps,"
            " or a reducer's module ends it; processes=0 folds everything in this one"
        ) from None
    finally:
        if pool is not None:
            await _end(pool)


async def _end(pool: ProcessPoolExecutor) -> None:
    """Ends the processes, in a thread: a reducer that never ends would hold this loop for ever. If
    cancelled, they are killed at once."""
    # No public name has them before Python 3.14, and the pool forgets them when it is shut down.
    processes = list((pool._processes or {}).values())
    ended = asyncio.get_running_loop().run_in_executor(
        None, lambda: pool.shutdown(wait=True, cancel_futures=True)
    )
    try:
        await asyncio.wait({ended}, timeout=END_SECONDS)
    finally:
        if not ended.done():
            for each in processes:
                each.kill()
    await ended


def _pool(count: int) -> ProcessPoolExecutor:
    # Imported here: to import `reducers` shall not cost what only this needs.
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    return ProcessPoolExecutor(count, get_context("spawn"), _begin)


def _begin() -> None:
    """What a process does first: it leaves Ctrl-C to its parent, and does not outlive it."""
    import signal
    from multiprocessing import parent_process
    from threading import Thread

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)  # nobody is there any more to be told

    Thread(target=follow, daemon=True).start()


def _process_count(processes: int | None) -> int:
    if processes is None:
        processes = os.cpu_count() or 1
    if type(processes) is not int or processes < 0:
        raise ReducerError("shadow: processes is an int from 0 on, or None")
    return min(processes, PROCESSES_MAX)


_Batch = list[tuple[str, list[RecordedEvent]]]
_Answer = tuple[int, int, list[Shadowed]]


async def _shadow(
    store: EventStore,
    batches: AsyncIterator[_Batch | str],
    pair: tuple[Any, Any],
    pool: ProcessPoolExecutor | None,
    count: int,
    progress: Progress | None,
) -> ShadowReport:
    done, events, different = 0, 0, list[Shadowed]()

    def take(answer: _Answer) -> None:
        nonlocal done, events
        done, events = done + answer[0], events + answer[1]
        different.extend(answer[2])
        if progress is not None:
            progress(done, events)

    waiting: set[asyncio.Future[_Answer]] = set()
    loop = asyncio.get_running_loop()
    async for batch in batches:
        if isinstance(batch, str):
            take(await _compare_long(store, batch, *(_loaded(each) for each in pair)))
            continue
        if pool is None:
            take(_compare_batch(batch, *(_loaded(each) for each in pair)))
            await asyncio.sleep(0)  # others on this loop go on between batches
            continue
        folded = loop.run_in_executor(
            pool, _in_child, msgspec.msgpack.encode(rows_of(batch)), *pair
        )
        # One that fails ends all: of the others nobody is to complain that they were not asked.
        folded.add_done_callback(lambda each: each.cancelled() or each.exception())
        waiting.add(folded)
        # Two a process: one that is folded, and one that waits for it.
        if len(waiting) >= 2 * count:
            finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in finished:
                take(each.result())
    while waiting:
        finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in finished:
            take(each.result())
    different.sort(key=lambda each: each.stream)
    return ShadowReport(done, events, tuple(different))


async def _batches(
    store: EventStore, streams: Iterable[str] | None, prefix: str
) -> AsyncIterator[_Batch | str]:
    """Streams with their events, some together; of one that is too long its name alone."""
    batch: _Batch = []
    size = 0
    async for name in _names(store, streams, prefix):
        if await store.version(name) > STREAM_EVENTS_MAX:
            yield name
            continue
        events = await store.read(name).list()
        batch.append((name, events))
        size += len(events)
        if size >= BATCH_EVENTS_MAX:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def _names(
    store: EventStore, streams: Iterable[str] | None, prefix: str
) -> AsyncIterator[str]:
    if streams is not None:
        for name in streams:
            yield name
        return
    async for info in store.streams(prefix):
        yield info.name


_FIELDS = tuple(name for name in RecordedEvent.__struct_fields__ if not name.startswith("_"))


def rows_of(batch: _Batch) -> list[Any]:
    """Streams and their events as plain data."""
    return [
        (name, [[getattr(event, field) for field in _FIELDS] for event in events])
        for name, events in batch
    ]


def _in_child(encoded: bytes, old: str, new: str) -> _Answer:
    """Runs in a process of its own."""
    batch = batch_of(msgspec.msgpack.decode(encoded))
    return _compare_batch(batch, _loaded(old), _loaded(new))


def batch_of(rows: list[Any]) -> _Batch:
    """What `rows_of` made plain, again."""
    return [
        (name, [_event(dict(zip(_FIELDS, row, strict=True))) for row in events])
        for name, events in rows
    ]


def _event(fields: dict[str, Any]) -> RecordedEvent:
    fields["tags"], fields["derived_from"] = tuple(fields["tags"]), tuple(fields["derived_from"])
    return RecordedEvent(**fields)


def _compare_batch(batch: _Batch, old: Reducer[Any], new: Reducer[Any]) -> _Answer:
    found = []
    for name, events in batch:
        compared = _compare(name, events, old, new)
        if compared is not None:
            found.append(compared)
    return len(batch), sum(len(events) for _, events in batch), found


def _compare(
    name: str, events: list[RecordedEvent], old: Reducer[Any], new: Reducer[Any]
) -> Shadowed | None:
    version = events[-1].version if events else 0
    return _told(name, version, _state(events, old), _state(events, new))


def _told(
    name: str, version: int, old: tuple[Any, str | None], new: tuple[Any, str | None]
) -> Shadowed | None:
    (before, old_error), (after, new_error) = old, new
    if old_error is not None or new_error is not None:
        return Shadowed(name, version, old_error=old_error, new_error=new_error)
    changes = diff(before, after)
    if not changes:
        return None
    paths = tuple(change.path for change in changes[:PATHS_KEPT])
    return Shadowed(name, version, paths, max(len(changes) - PATHS_KEPT, 0))


async def _compare_long(
    store: EventStore, name: str, old: Reducer[Any], new: Reducer[Any]
) -> _Answer:
    count = 0
    states: list[tuple[Any, str | None]] = [(old.initial, None), (new.initial, None)]
    async for page in store.read(name).pages():
        count += len(page)
        states = [
            (state, error) if error is not None else _state(page, reducer, state)
            for (state, error), reducer in zip(states, (old, new), strict=True)
        ]
    found = _told(name, count, *states)
    return 1, count, [] if found is None else [found]


def _state(
    events: list[RecordedEvent], reducer: Reducer[Any], state: Any = UNSET
) -> tuple[Any, str | None]:
    try:
        return fold(events, reducer, state), None
    except Exception as exc:
        # Its message may hold a payload, but for those of reducers.
        detail = f": {exc}" if isinstance(exc, ReducerError) else ""
        notes = "".join(f" ({note})" for note in getattr(exc, "__notes__", ()))
        return None, f"{type(exc).__name__}{detail}{notes}"


def _loaded(reducer: Reducer[Any] | str) -> Reducer[Any]:
    return named_reducer(reducer) if isinstance(reducer, str) else reducer


def named_reducer(name: str) -> Reducer[Any]:
    """The reducer at ``path/to/file.py:name`` or ``package.module:name``; its module is imported,
    and so run, once in a process. Raises `ReducerError` where there is none."""
    place, separator, member = name.rpartition(":")
    if not separator:
        raise ReducerError(f"shadow: {name!r} is neither file.py:name nor package.module:name")
    module = load_file(Path(place)) if place.endswith(".py") else _module(place)
    found = getattr(module, member, None)
    if not isinstance(found, Reducer):
        raise ReducerError(f"shadow: {place!r} holds no reducer {member!r}")
    return found


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        raise ReducerError(f"shadow: no module {exc.name!r}") from None


def load_file(path: Path) -> Any:
    """The module of a Python file, imported, and so run, once in a process, and once more when it
    was edited. Raises `ReducerError` where there is none, and what its code raises."""
    if not path.is_file():
        raise ReducerError(f"shadow: no Python file {str(path)!r}")
    # By its path, so that two files of one name, the old and the new, are two modules.
    digest = sha256(os.fsencode(path.resolve()) + b"\0" + path.read_bytes()).hexdigest()
    name = f"shadowed_{digest[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ReducerError(f"shadow: no Python file {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
