"""``eventstore snapshot``: the stored states of a stream, which are a cache and no more."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from eventstore import EventStore
from reducers import Reducer, take_snapshot

from ..exits import wrong_usage
from ..loading import DEFAULT_REDUCER, find_reducer
from ..naming import find_stream
from ..options import (
    DEFAULT_URL,
    JsonOption,
    ReducerOption,
    StoreOption,
    StreamArgument,
    TenantOption,
    open_store,
)
from ..rendering.screen import Screen
from ..rendering.values import count
from ..watching import watched

FINGERPRINT_SHOWN = 12
"""Characters of a fingerprint: enough to tell two versions of a reducer's code apart."""


def snapshot_command(
    stream: StreamArgument,
    listing: Annotated[
        bool, typer.Option("--list", help="List them; this is what happens by itself.")
    ] = False,
    take: Annotated[bool, typer.Option("--take", help="Keep the state as it is now.")] = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Forget all of this stream's snapshots.")
    ] = False,
    reducer: ReducerOption = DEFAULT_REDUCER,
    store: StoreOption = DEFAULT_URL,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """List, take or drop the snapshots of a stream. They save time, and never hold the truth.

    \b
    Examples:
      $ eventstore snapshot board/7 --take
      $ eventstore snapshot board/7 --list --json
      $ eventstore snapshot board/7 --drop
    """
    if listing + take + drop > 1:
        raise wrong_usage("--list, --take and --drop exclude each other", "choose one")
    folding = find_reducer(reducer) if take else None
    asyncio.run(_snapshot((store, tenant), stream, folding, drop, as_json))


async def _snapshot(
    where: tuple[str, str | None],
    stream: str,
    taking: Reducer[Any] | None,
    drop: bool,
    as_json: bool,
) -> None:
    screen = Screen()
    async with open_store(*where) as store:
        name = await find_stream(store, stream)
        if taking is not None:
            with watched(store, "folding", quiet=as_json) as read:
                loaded = await take_snapshot(taking, read, name)
            found = {"stream": name, "reducer": taking.name, "version": loaded.version}
            _say(screen, found, f"{name}: kept the state at version {loaded.version}", as_json)
        elif drop:
            number = await store.snapshots.drop(name)
            told = f"{name}: {count(number, 'snapshot')} dropped"
            _say(screen, {"stream": name, "dropped": number}, told, as_json)
        else:
            await _list(screen, store, name, as_json)


def _say(screen: Screen, found: dict[str, Any], told: str, as_json: bool) -> None:
    if as_json:
        screen.json(found)
    else:
        screen.line(told)


async def _list(screen: Screen, store: EventStore, stream: str, as_json: bool) -> None:
    kept = await store.snapshots.list(stream)
    if as_json:
        for info in kept:
            screen.json(
                {
                    "stream": info.stream,
                    "reducer": info.reducer,
                    "fingerprint": info.fingerprint,
                    "version": info.version,
                    "position": info.position,
                    "state_bytes": info.state_bytes,
                    "state_hash": info.state_hash.hex(),
                }
            )
        return
    if not kept:
        screen.line(f"{stream}: no snapshots")
        return
    rows = [
        (
            info.reducer,
            info.fingerprint[:FINGERPRINT_SHOWN],
            f"{info.version:,}",
            f"{info.position:,}",
            f"{info.state_bytes:,}",
        )
        for info in kept
    ]
    screen.table(
        ("reducer", "fingerprint", "version", "position", "bytes"),
        rows,
        right="version position bytes",
    )
