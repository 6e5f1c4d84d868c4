"""A log that is going to be damaged, and what every read of it gives."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

from eventstore import EventStore, NewEvent, RecordedEvent, StorageFailed

STREAMS = 7
EVENTS = 210

FILTERED = ("by tag", "by type")
"""Reads that an index may hide events from; that it does is for `verify` to find."""

Read = Callable[[EventStore], Awaitable[list[RecordedEvent]]]


async def fill_store(store: EventStore, chance: random.Random) -> None:
    """Appends what will be damaged."""
    for n in range(EVENTS):
        data = {"n": n, "x": "y" * chance.randrange(200)}
        event = NewEvent("note.added", data, tags=[f"t:{n % 3}"])
        await store.append(f"s/{n % STREAMS}", event, actor="ann", idempotency_key=f"k{n}")


def _reads() -> dict[str, Read]:
    reads: dict[str, Read] = {
        "the log": lambda store: store.read_all().list(),
        "by tag": lambda store: store.read_all(tags=["t:1"]).list(),
        "by type": lambda store: store.read_all(types=["note.added"]).list(),
    }
    for n in range(STREAMS):
        reads[f"s/{n}"] = lambda store, n=n: store.read(f"s/{n}").list()  # type: ignore[misc]
        reads[f"s/{n} backwards"] = lambda store, n=n: store.read(f"s/{n}", backwards=True).list()
    return reads


async def answers(store: EventStore) -> dict[str, Any]:
    """What each read gives: its events, or the error that it raises."""
    found: dict[str, Any] = {}
    for name, read in _reads().items():
        try:
            found[name] = await read(store)
        except Exception as exc:
            found[name] = exc
            if isinstance(exc, StorageFailed):
                break  # a server that died of it takes seconds to come back, for each more
    return found
