"""The cancellation sweep: every public coroutine, cancelled at its k-th wait for every k.

Two moments are tried at each wait: when it begins, and when what is awaited has come but the task
has not run yet. After each, nothing may be left: no open transaction, no connection, no task, no
file; and the same call with the same key gives one event.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any

import reducers
from eventstore import Append, EventStore, NewEvent
from eventstore.checkpoints import Checkpoints
from eventstore.outbox import Advance, Outbox, Statement
from eventstore.reading import Events
from eventstore.snapshots import Snapshot, Snapshots
from eventstore.store import Opening
from reducers import Decider, Reducer, take_snapshot, verify_snapshots
from tests.waiting import until

from .faults import Fault, Outcome, Run
from .processes import new_store, run_inside

WAITS_MAX = 200
"""A coroutine with more waits than this is not swept to its end: that would be a defect."""

SETTLE_SECONDS = 10.0
"""How long what a cancelled task has handed over may take to its end."""

WAIT_SECONDS = 0.3
READS_AFTER = 4
"""Reads that follow at once: more than there are connections to read with, so that each is used."""

Work = Callable[[EventStore, str], Coroutine[Any, Any, Any]]


class _CancelAt:
    """Awaits a coroutine, and cancels the task at its k-th wait: as it begins, or `late`."""

    def __init__(self, work: Coroutine[Any, Any, Any], k: int, late: bool) -> None:
        self._work, self._k, self._late = work, k, late
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        step: Callable[[], Any] = lambda: self._work.send(None)  # noqa: E731 - replaced below
        while True:
            try:
                awaited = step()
            except StopIteration as end:
                return end.value
            self.waits += 1
            if self.waits == self._k:
                if self._late and awaited is not None:
                    awaited.add_done_callback(lambda _: task.cancel())
                else:
                    task.cancel()
            try:
                yield awaited
            except BaseException as exc:
                step = lambda exc=exc: self._work.throw(exc)  # type: ignore[misc]  # noqa: E731
            else:
                step = lambda: self._work.send(None)  # noqa: E731


async def _drain(items: AsyncIterator[Any]) -> None:
    async with contextlib.aclosing(items) as bounded:  # type: ignore[type-var]
        async for _ in bounded:
            pass


async def _first(items: Any) -> None:
    async with contextlib.aclosing(aiter(items)) as bounded:
        await anext(bounded)


def _note(name: str) -> NewEvent:
    return NewEvent("note.added", {"name": name}, tags=["t"])


async def _lease(store: EventStore, name: str, verb: str) -> None:
    lease = await store.checkpoints.acquire(name, "ann")
    if lease is not None and verb == "renew":
        await store.checkpoints.renew(lease)
    if lease is not None:
        await store.checkpoints.release(lease)


_NEW_TENANT = "append by a new tenant"
_names = Reducer("names", initial=0, version=1, snapshot_every=1)


@_names.on("note.added")
def _count_name(state: int, _: Any) -> int:
    return state + 1


def _decide(state: int, name: str) -> list[NewEvent]:
    return [_note(name)]


async def _change(store: EventStore, name: str) -> None:
    """A row of a view, in one transaction with its checkpoint."""
    outbox = store.outbox
    table = "embeddings" if outbox.schema is None else f"{outbox.schema}.embeddings"
    slots = "?, ?, ?, ?" if outbox.schema is None else "$1, $2, $3, $4"
    row = (await outbox.tenant_id(), "cancelled", name.encode(), b"vector")
    lease = await store.checkpoints.acquire(name, "ann")
    assert lease is not None
    moved = await outbox.change(
        [Statement(f"INSERT INTO {table} VALUES ({slots})", (row,))], [Advance(lease, 0, 1)]
    )
    assert moved
    await store.checkpoints.release(lease)


async def _inherit(store: EventStore, name: str) -> None:
    """What a fork begins with, read as a relay does."""
    made = await reducers.fork(store, "seed", into=f"inherits/{name}", idempotency_key=name)
    await store.outbox.inherited(made.events[0])


_KEPT = Snapshot(1, 1, b"{}", b"h" * 32)
_url: contextvars.ContextVar[str] = contextvars.ContextVar("url")
WORK: dict[str, Work] = {
    "append": lambda s, name: s.append("a", _note(name), idempotency_key=name),
    "append_many": lambda s, name: s.append_many(
        [Append("a", [_note(name)]), Append("b", [_note(name)])], idempotency_key=name
    ),
    _NEW_TENANT: lambda s, name: s.tenant(name).append("a", _note(name), idempotency_key=name),
    "lookup": lambda s, name: s.lookup("seed", "seed"),
    "read": lambda s, name: s.read("seed").list(),
    "read_all": lambda s, name: s.read_all(tags=["t"]).list(),
    "subscribe": lambda s, name: _first(s.subscribe()),
    "subscribe at the end": lambda s, name: _first_new(s, name),
    "subscribe to a stream": lambda s, name: _first(s.subscribe(stream="seed")),
    "events.list": lambda s, name: s.read_all().list(),
    "events.pages": lambda s, name: _drain(s.read_all().pages()),
    "head": lambda s, name: s.head(),
    "version": lambda s, name: s.version("seed"),
    "event": lambda s, name: s.event("seed-id"),
    "caused_by": lambda s, name: _drain(s.caused_by("cause")),
    "streams": lambda s, name: _drain(s.streams("se")),
    "tenants": lambda s, name: s.tenants(),
    "verify": lambda s, name: s.verify(),
    "checkpoints.load": lambda s, name: s.checkpoints.load("reader"),
    "checkpoints.save": lambda s, name: s.checkpoints.save("reader", 1),
    "checkpoints.acquire": lambda s, name: _lease(s, name, "acquire"),
    "checkpoints.renew": lambda s, name: _lease(s, name, "renew"),
    "checkpoints.release": lambda s, name: _lease(s, name, "release"),
    "checkpoints.held_by": lambda s, name: s.checkpoints.held_by("reader"),
    "checkpoints.tenants_behind": lambda s, name: s.checkpoints.tenants_behind("reader"),
    "snapshots.save": lambda s, name: s.snapshots.save("seed", "r", "f", _KEPT),
    "snapshots.find": lambda s, name: s.snapshots.find("seed", "r", "f"),
    "snapshots.has_parent": lambda s, name: s.snapshots.has_parent("seed"),
    "snapshots.list": lambda s, name: s.snapshots.list("seed"),
    "snapshots.drop": lambda s, name: s.snapshots.drop("seed"),
    "outbox.tenant_id": lambda s, name: s.tenant(name).outbox.tenant_id(),
    "outbox.head": lambda s, name: s.outbox.head(),
    "outbox.page": lambda s, name: s.outbox.page(0, 1),
    "outbox.wait": lambda s, name: s.outbox.wait(0),
    "outbox.change": _change,
    "outbox.query": lambda s, name: s.outbox.query("SELECT 1"),
    "outbox.tell": lambda s, name: s.outbox.tell("$told", "$told", {"name": name}),
    "take_snapshot": lambda s, name: take_snapshot(_names, s, "seed"),
    "verify_snapshots": lambda s, name: verify_snapshots(_names, s, "seed"),
    "fork": lambda s, name: reducers.fork(s, "seed", into=f"fork/{name}", idempotency_key=name),
    "outbox.inherited": _inherit,
    "lineage": lambda s, name: reducers.lineage(s, "seed-id"),
    "tainted": lambda s, name: reducers.tainted(s, "seed-id"),
    "shadow": lambda s, name: reducers.shadow(s, _names, _names, ["seed"], processes=0),
    "verify_states": lambda s, name: reducers.verify_states(_names, s, "seed"),
    "divergence": lambda s, name: reducers.divergence(s, "seed", "a"),
    "reducer.diff": lambda s, name: _names.diff(s, "seed", "a"),
    "reducer.bisect": lambda s, name: _names.bisect(s, "seed", lambda state: state > 0),
    "reducer.blame": lambda s, name: _names.blame(s, "seed", ""),
    "reducer.load": lambda s, name: _names.load(s, "seed"),
    "decider.run": lambda s, name: Decider(_names, _decide).run(s, "a", name, idempotency_key=name),
    "open": lambda s, name: _open_and_close(_url.get()),
    "close": lambda s, name: _open_and_close(_url.get()),
}
"""Every public coroutine and reading of a store, with harmless arguments."""

_WRITES = ("append", "append_many", _NEW_TENANT, "decider.run")


async def _first_new(store: EventStore, name: str) -> None:
    """A subscription that waits at the end of the log until something comes."""
    following = asyncio.ensure_future(_first(store.subscribe(after=await store.head())))
    try:
        await store.append("a", _note(name))
        await following
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def _open_and_close(url: str) -> None:
    """Not on the file that is open already: there SQLite keeps the descriptors of a connection
    that is closed as long as another one of the process has locks on the file, for the next."""
    beside = f"{url}-beside" if url.startswith("sqlite:") else url
    store = await EventStore.open(beside)
    await store.close()


def public_names() -> set[str]:
    """What can be awaited or iterated on a store, found by looking at it."""
    names = {"open", "close"}
    names |= {n for n in reducers.__all__ if inspect.iscoroutinefunction(getattr(reducers, n))}
    for prefix, owner in (
        ("", EventStore),
        ("checkpoints.", Checkpoints),
        ("snapshots.", Snapshots),
        ("events.", Events),
        ("outbox.", Outbox),
        ("reducer.", Reducer),
        ("decider.", Decider),
    ):
        for name, member in vars(owner).items():
            if name.startswith("_") or not inspect.isfunction(member):
                continue
            given = str(inspect.signature(member).return_annotation)
            waits = inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
            if waits or given == "Events":
                names.add(prefix + name)
    assert hasattr(Opening, "__await__")
    return names


async def sweep(run: Run) -> Outcome:
    """All of `WORK`, in a process of its own."""
    url = await new_store(run)
    every = 1 if run.scale >= 1 else 6 if run.is_small else 3
    share = [name for n, name in enumerate(WORK) if (n + run.seed) % every == 0]
    if run.defect is not None:
        share = ["append", "read", "read_all"]
    outcome = await run_inside(run, "cancel:trial", url, names=share)
    missing = public_names() - set(WORK)
    if missing:
        outcome.violations.append(f"public, and not swept: {', '.join(sorted(missing))}")
    outcome.note = f"{len(share)} of {len(WORK)} coroutines"
    run.ground.drop(url)
    return outcome


async def trial(url: str, seed: int, names: list[str]) -> tuple[int, list[str]]:
    """Sweeps each of the named works; stops at one that leaves something behind."""
    del seed
    trials, broken = 0, list[str]()
    _url.set(url)
    store = await EventStore.open(url)
    seeded = NewEvent(
        "note.added", {"name": "seed"}, id="seed-id", tags=["t"], causation_id="cause"
    )
    await store.append("seed", seeded, idempotency_key="seed")
    await _warm_up(store)
    for name in names:
        await WORK[name](store, f"{name} before")
        rest = await _at_rest()
        for late in (False, True):
            tried, told = await _sweep_one(store, name, late, rest)
            trials += tried
            broken += told
        if broken:
            return trials, broken  # not closed: that might wait for ever for what was left behind
    broken += [f"verify: {damage}" for damage in (await store.verify()).damages]
    await store.close()
    return trials, broken


async def _warm_up(store: EventStore) -> None:
    """What a store makes when it is first needed, and keeps, is made: as many connections as
    there may be, and the one that listens once somebody has waited for a while."""
    for name in ("append", _NEW_TENANT, "read", "read_all", "head"):
        await asyncio.gather(*(WORK[name](store, f"{name} {n}") for n in range(READS_AFTER * 4)))
    waiting = asyncio.ensure_future(_first(store.subscribe(after=await store.head())))
    await asyncio.sleep(WAIT_SECONDS)
    await store.append("a", _note("warm"))
    await waiting


async def _sweep_one(
    store: EventStore, name: str, late: bool, rest: tuple[int, int, int]
) -> tuple[int, list[str]]:
    work, broken = WORK[name], list[str]()
    for k in range(1, WAITS_MAX):
        key = f"{name} {k} {'late' if late else 'at once'}"
        cancelled = _CancelAt(work(store, key), k, late)
        task = asyncio.ensure_future(_await(cancelled))
        beside = asyncio.ensure_future(store.append("beside", _note(key)))
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await asyncio.wait([task])
                await beside
                if name in _WRITES:
                    broken += await _retried(store, work, key)
                await store.append("beside", _note(key))
                for _ in range(READS_AFTER):
                    await store.read("beside", limit=1).list()
            await until(lambda: _at_most(rest), SETTLE_SECONDS)
        except TimeoutError:
            left = f"tasks, threads, files: {_resources()} instead of {rest}"
            broken.append(f"{key}: something is left behind or locked ({left})")
            return k, broken
        if not task.cancelled() and (exc := task.exception()) is not None:
            broken.append(f"{key}: ended with {type(exc).__name__}")
        if cancelled.waits < k:
            return k, broken
    return WAITS_MAX, [f"{name}: waits more than {WAITS_MAX} times"]


async def _await(work: _CancelAt) -> Any:
    return await work


async def _retried(store: EventStore, work: Work, key: str) -> list[str]:
    """The same again, twice: one event stands in each stream, whatever had become of the first."""
    for _ in range(2):
        await work(store, key)
    log = store.tenant(key) if key.startswith(_NEW_TENANT) else store
    notes = log.read_all(types=["note.added"])
    standing = [event.stream async for event in notes if event["name"] == key]
    due = ["a", "b"] if key.startswith("append_many") else ["a"]
    wrong = [stream for stream in due if standing.count(stream) != 1]
    return [f"{key}: sent again under its key it stands {standing}"] if wrong else []


def _resources() -> tuple[int, int, int]:
    """Tasks of this loop, threads and open files of this process.

    The loop's own pool keeps its threads, at rest, until the loop ends; one that is at work there
    has a file open.
    """
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    threads = [one for one in threading.enumerate() if not one.name.startswith("asyncio_")]
    return len(asyncio.all_tasks()), len(threads), files


def _at_most(rest: tuple[int, int, int]) -> bool:
    return all(now <= then for now, then in zip(_resources(), rest, strict=True))


async def _at_rest() -> tuple[int, int, int]:
    """The resources when nothing more changes by itself."""
    seen = [_resources()]

    def same() -> bool:
        seen.append(_resources())
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    await until(same, SETTLE_SECONDS)
    return seen[-1]


FAULT = Fault(
    "cancel",
    "every public coroutine cancelled at each of its waits: nothing is left, a retry writes once",
    sweep,
    dict.fromkeys(
        ("sqlite", "postgres"), ("leaks a cancelled reader's connection", "drops the key check")
    ),
)
