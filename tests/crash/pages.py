"""Damage in PostgreSQL's own files: bits of tables and indexes are flipped while it is stopped.

With data checksums, as PostgreSQL 18 has them by default, the server refuses such a page. Without
them it believes it: then what is served must match its hash, a server that dies of what it reads is
not asked for ever, and what an index or a damaged row hides is found by `verify`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eventstore import Corrupt, EventStore, EventStoreError, NewEvent, StorageFailed
from tests.servers.postgres import PostgresServer

from .faults import Outcome, Run
from .filled import answers, fill_store
from .processes import Worker, run_inside

FLIPS = 9
"""For each kind of server; in a database of its own each, in these relations, as the seed says."""
RELATIONS = (
    *("events", "events_by_position", "events_by_stream", "events_by_type"),
    *("event_tags_by_tag", "heads", "heads_pkey", "streams", "streams_by_name", "streams_pkey"),
    *("tenants", "tenants_name_key", "tags", "tags_by_name"),
    *("event_types", "event_types_name_key", "idempotency_keys", "keys_by_stream"),
)


async def damage_pages(run: Run) -> Outcome:
    """A server with checksums and one without, each of this trial's own; in a small run one
    of the two, as the seed says."""
    outcome = Outcome()
    for checksums in (run.seed % 2 == 0,) if run.is_small else (True, False):
        with contextlib.closing(_server(checksums)) as servers:
            server = await asyncio.to_thread(next, servers)
            found = await _damage(run, server, checksums)
            outcome.add(found.trials, found.violations)
    return outcome


def _server(checksums: bool) -> Iterator[Any]:
    server = PostgresServer()
    try:
        # Before 18 a folder has none unless it is asked for, and asking twice is refused.
        has = server.installation.major >= 18
        if has != checksums:
            switch = "--enable" if checksums else "--disable"
            server._run("pg_checksums", switch, "--no-sync", "-D", server.data)
        server.start()
        yield server
    finally:
        server.stop()


async def _damage(run: Run, server: PostgresServer, checksums: bool) -> Outcome:
    """Fills a database, copies it, damages each copy, and looks at all of them."""
    sound = server.new_url()
    async with Worker(run, sound) as worker:
        await worker.ask("call", target="tests.crash.pages:fill", seed=run.seed)
    copies = []
    chance = random.Random(f"{run.seed} {checksums}")
    for relation in chance.sample(RELATIONS, run.times(FLIPS)):
        url = await asyncio.to_thread(server.new_url, sound.rsplit("/", 1)[1])
        where = f"SELECT pg_relation_filepath('eventstore.{relation}')"
        ((file,),) = await asyncio.to_thread(server.execute, where, url.rsplit("/", 1)[1])
        copies.append((url, relation, server.data / file))
    server.execute("CHECKPOINT")
    server._run("pg_ctl", "-D", server.data, "-m", "fast", "-w", "-s", "stop")
    places = [(url, f"{relation}, {_flip(file, chance)}") for url, relation, file in copies]
    server.start()
    return await run_inside(run, "pages:trial", sound, places=places, checksums=checksums)


def _flip(file: Path, chance: random.Random) -> str:
    """Flips a bit of a byte that is not zero: most of what is zero is room that nobody reads."""
    damaged = bytearray(file.read_bytes())
    place = chance.choice([at for at, byte in enumerate(damaged) if byte])
    bit = chance.randrange(8)
    damaged[place] ^= 1 << bit
    file.write_bytes(damaged)
    return f"bit {bit} of byte {place}"


async def fill(url: str, seed: int) -> None:
    """Writes the log that all copies hold."""
    async with EventStore.open(url) as store:
        await fill_store(store, random.Random(seed))


async def trial(
    url: str, seed: int, places: list[tuple[str, str]], checksums: bool
) -> tuple[int, list[str]]:
    """Looks at each damaged copy of the store that the URL names."""
    del seed
    async with EventStore.open(url) as store:
        sound = await answers(store)
    broken = []
    for copy, what in places:
        told = await _look(copy, sound, checksums)
        broken += [f"{what}, checksums {'on' if checksums else 'off'}: {line}" for line in told]
    return len(places), broken


async def _look(url: str, sound: dict[str, Any], checksums: bool) -> list[str]:
    refusals: tuple[type[EventStoreError], ...] = (Corrupt,)
    if not checksums:
        refusals = (Corrupt, StorageFailed)  # the server may die of what it reads
    try:
        store = await EventStore.open(url)
    except refusals:
        return []
    broken = []
    async with store:
        found = await answers(store)
        is_refused = is_short = False
        for name, answer in found.items():
            if isinstance(answer, refusals):
                is_refused = True
            elif isinstance(answer, Exception):
                broken.append(f"{name}: {type(answer).__name__} instead of Corrupt: {answer}")
            elif answer != sound[name]:
                is_short = True
                if checksums or any(event not in sound[name] for event in answer):
                    broken.append(f"{name}: what was served is not what was written")
        if any(isinstance(answer, StorageFailed) for answer in found.values()):
            return broken  # told; and verify would read what the server dies of
        try:
            is_seen = bool((await store.verify()).damages)
        except StorageFailed:
            is_seen = not checksums
        if (is_refused or is_short) and not is_seen:
            broken.append("a read is refused or lacks events, and verify finds nothing")
        with contextlib.suppress(*refusals):
            await store.append("s/1", NewEvent("note.added", {"n": -1}))
    return broken
