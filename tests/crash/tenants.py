"""Tenants: whatever one of them asks with what the other one has, it gets nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from eventstore import AppendCondition, EventStore, LogDiverged, NewEvent, Query
from eventstore.snapshots import Snapshot

from .faults import Fault, Outcome, Run
from .processes import new_store, run_inside

EVENTS = 60
_WAIT_SECONDS = 0.3
"""How long a subscription may find something that it must not; what is there comes at once."""

CROWD = 18
"""Tenants beside the two that ask each other."""


async def ask_across(run: Run) -> Outcome:
    """Two tenants in one store, full of things; each read of one with every name of the other."""
    url = await new_store(run)
    outcome = await run_inside(run, "tenants:trial", url, events=run.times(EVENTS))
    run.ground.drop(url)
    return outcome


async def _all(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def trial(url: str, seed: int, events: int) -> tuple[int, list[str]]:
    """Fills both, then asks each one for all that the other one has."""
    del seed
    broken: list[str] = []
    trials = 0
    async with EventStore.open(url) as root:
        tenants = {name: root.tenant(name) for name in ("acme", "bolt")}
        for n in range(CROWD):  # they write at once, so that their batches lie between each other
            tenants[f"crowd{n}"] = root.tenant(f"crowd{n}")
        try:
            await asyncio.gather(
                *(_fill(name, store, _share(name, events)) for name, store in tenants.items())
            )
        except LogDiverged as exc:
            return len(tenants), [f"a tenant is held against another one's log: {exc}"]
        for asker, owner in (("acme", "bolt"), ("bolt", "acme")):
            for n in range(events):
                for question, ask in _questions(tenants[asker], owner, n).items():
                    trials += 1
                    found = await ask()
                    if found not in (None, [], 0, False):
                        broken.append(f"{asker} asked for {owner}'s {question} and found something")
        for name, store in tenants.items():
            own = await store.read_all().list()
            trials += 1
            count = _share(name, events)
            if [event.position for event in own] != list(range(1, count + 1)) or any(
                not event.stream.startswith(f"{name}/") for event in own
            ):
                broken.append(f"{name}'s log is not its own")
    return trials, broken


def _share(name: str, events: int) -> int:
    """How much a tenant has; those of the crowd have little."""
    return max(1, events // 6) if name.startswith("crowd") else events


async def _fill(name: str, store: EventStore, events: int) -> None:
    for n in range(events):
        event = NewEvent(
            f"{name}.added",
            {"n": n},
            id=f"{name}-id-{n}",
            tags=[f"{name}:{n}"],
            causation_id=f"{name}-cause-{n}",
            derived_from=[f"{name}-source-{n}"],
        )
        await store.append(f"{name}/{n}", event, idempotency_key=f"{name}-key-{n}")
        kept = Snapshot(1, n + 1, b"state", b"h" * 32)
        await store.snapshots.save(f"{name}/{n}", name, "mark", kept)
        await store.checkpoints.save(f"{name}-reader-{n}", n + 1)
        await store.checkpoints.acquire(f"{name}-lease-{n}", "owner", seconds=600)


def _questions(store: EventStore, owner: str, n: int) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Every read of the public API, with names that only the other one has."""
    stream, tag = f"{owner}/{n}", f"{owner}:{n}"

    async def condition() -> bool:
        asked = AppendCondition(Query(types=(f"{owner}.added",), tags=(tag,)))
        result = await store.append("nothing", [], condition=asked)  # refused if it matches
        return result.version > 0

    async def a_snapshot() -> object:
        return await store.snapshots.find(stream, owner, "mark")

    async def a_refusal() -> bool:
        lease = await store.checkpoints.acquire(f"{owner}-lease-{n}", "asker")
        if lease is not None:
            await store.checkpoints.release(lease)
        return lease is None  # somebody else's lease is in the way

    async def a_subscription() -> object:
        following = aiter(store.subscribe(stream=stream))
        waiting = asyncio.ensure_future(anext(following))
        done, _ = await asyncio.wait([waiting], timeout=_WAIT_SECONDS if n < 2 else 0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return bool(done)

    return {
        "event": lambda: store.event(f"{owner}-id-{n}"),
        "causation id": lambda: _all(store.caused_by(f"{owner}-cause-{n}")),
        "source": lambda: _all(store.caused_by(f"{owner}-source-{n}")),
        "key": lambda: store.lookup(stream, f"{owner}-key-{n}"),
        "stream": lambda: store.read(stream).list(),
        "stream from its end": lambda: store.read(stream, backwards=True).list(),
        "version": lambda: store.version(stream),
        "tag": lambda: store.read_all(tags=[tag]).list(),
        "type": lambda: store.read_all(types=[f"{owner}.added"]).list(),
        "query": lambda: store.read_all(query=[Query(tags=(tag,))]).list(),
        "stream names": lambda: _all(store.streams(f"{owner}/")),
        "condition": condition,
        "snapshot": a_snapshot,
        "snapshots": lambda: store.snapshots.list(stream),
        "snapshots to drop": lambda: store.snapshots.drop(stream),
        "lease": a_refusal,
        "subscription": a_subscription,
        "lease's holder": lambda: store.checkpoints.held_by(f"{owner}-lease-{n}"),
        "checkpoint": lambda: store.checkpoints.load(f"{owner}-reader-{n}"),
    }


FAULT = Fault(
    "tenants",
    "every read of one tenant with every name of the other: nothing",
    ask_across,
    dict.fromkeys(("sqlite", "postgres"), ("forgets the tenant",)),
)
