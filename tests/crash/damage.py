"""Damage: flipped bits, changed rows and lost tails are seen, and never served.

Events come back as they were written, or `Corrupt` is raised; and `verify` names what it is. Only
the loss of the log's tail is not seen by itself: it leaves a log that is whole. Against a head
that was kept elsewhere it is.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import asyncpg

from eventstore import Corrupt, EventStore, EventStoreError, KnownHead, NewEvent, RecordedEvent

from .faults import Fault, Outcome, Run
from .filled import EVENTS, FILTERED, answers, fill_store
from .grounds import PostgresGround
from .pages import damage_pages
from .processes import new_store, run_inside

FLIPS, TAILS, ROWS = 400, 200, 30


async def do_damage(run: Run) -> Outcome:
    """Each engine in its own way; in processes of their own, where a defect harms nobody."""
    if isinstance(run.ground, PostgresGround):
        url = await new_store(run)
        rows = run.times(ROWS)
        outcome = await run_inside(run, "damage:trial_rows", url, rows=rows)
        run.ground.drop(url)
        pages = await damage_pages(run)
        outcome.add(pages.trials, pages.violations)
        outcome.note = f"{rows} rows changed, {pages.trials} bits of files, with checksums or not"
        return outcome
    with tempfile.TemporaryDirectory(prefix="eventstore-damage-") as folder:
        url = f"sqlite:///{folder}/log.db"
        flips, tails = run.times(FLIPS), run.times(TAILS)
        outcome = await run_inside(run, "damage:trial_file", url, flips=flips, tails=tails)
        outcome.note = f"{flips} flipped bits, {tails} tails"
    return outcome


async def trial_file(url: str, seed: int, flips: int, tails: int) -> tuple[int, list[str]]:
    """Flips bits of the file, then damages and cuts the write-ahead log."""
    chance, broken = random.Random(seed), list[str]()
    path = Path(url.removeprefix("sqlite:///"))
    async with EventStore.open(url) as store:
        await fill_store(store, chance)
        sound = await answers(store)
        known = (await store.verify()).head
    whole = path.read_bytes()
    work = path.with_name("work.db")
    for n in range(flips):
        place, bit = chance.randrange(len(whole)), 1 << chance.randrange(8)
        damaged = bytearray(whole)
        damaged[place] ^= bit
        work.write_bytes(damaged)
        told = await _look(f"sqlite:///{work}", sound)
        broken += [f"flip {n} at byte {place}: {line}" for line in told]
        for left in work.parent.glob("work.db*"):
            left.unlink()
    broken += await _cut_tails(path, chance, tails, sound["the log"], known)
    return flips + tails, broken


async def _look(url: str, sound: dict[str, Any], is_one_row: bool = False) -> list[str]:
    """Opens what is damaged: each read gives what was written, or `Corrupt`; verify names it, and
    where one row alone is damaged its stream and version, too."""
    try:
        store = await EventStore.open(url)
    except EventStoreError:
        return []  # told, and nothing served
    except Exception as exc:
        return [f"opening breaks with {type(exc).__name__}, which is not the store's"]
    try:
        told = _served(await answers(store), sound)
        is_seen = told is None
        try:
            damages = (await store.verify()).damages
        except Exception as exc:
            return [f"verify itself breaks: {type(exc).__name__}"]
        if is_seen and not damages:
            return ["a read is refused or lacks events, and verify finds nothing"]
        if any(not damage.kind for damage in damages):
            return ["verify does not say the kind of the damage"]
        places = {event.position: (event.stream, event.version) for event in sound["the log"]}
        for one in damages:
            if one.kind == "hash" and one.position is None:
                return [f"verify does not say where: {one.message}"]
            named = (one.stream, one.version)
            is_of_row = is_one_row and one.kind in ("hash", "gap")
            if is_of_row and named != places.get(one.position or 0, named):
                return [f"verify names {named}: {one.message}"]
        return told or []
    finally:
        await store.close()


def _served(found: dict[str, Any], sound: dict[str, Any]) -> list[str] | None:
    """What was served that is not what was written; None where a read was refused, or a filtered
    one lacks events."""
    wrong, refused = [], False
    for name, answer in found.items():
        if isinstance(answer, Exception):
            refused = True
            if not isinstance(answer, Corrupt):
                wrong.append(f"{name}: {type(answer).__name__} instead of Corrupt: {answer}")
        elif name in FILTERED and all(event in sound[name] for event in answer):
            refused = refused or answer != sound[name]  # what an index hides, `verify` must find
        elif answer != sound[name]:
            wrong.append(f"{name}: {len(answer)} events were served that are not those written")
    return wrong or (None if refused else [])


async def _cut_tails(
    path: Path, chance: random.Random, tails: int, log: list[RecordedEvent], known: KnownHead
) -> list[str]:
    """A store whose last commits are in the write-ahead log only, copied and cut or damaged
    there: what is left is a prefix of the log, and the kept head tells."""
    broken = []
    alive = path.with_name("alive.db")
    shutil.copy(path, alive)
    async with EventStore.open(f"sqlite:///{alive}") as store:
        for n in range(40):
            await store.append("tail", NewEvent("note.added", {"n": n}))
        full = await store.read_all().list()
        head = (await store.verify()).head
        file, wal = alive.read_bytes(), alive.with_name("alive.db-wal").read_bytes()
    assert full[: len(log)] == log
    assert head.position == known.position + 40
    work = path.with_name("cut.db")
    for n in range(tails):
        work.write_bytes(file)
        damaged = bytearray(wal)
        place = chance.randrange(len(wal))
        if n % 2:
            damaged[place] ^= 1 << chance.randrange(8)
        else:
            del damaged[place:]
        work.with_name("cut.db-wal").write_bytes(damaged)
        broken += [f"tail {n}: {line}" for line in await _look_at_tail(work, full, head)]
        for left in work.parent.glob("cut.db*"):
            left.unlink()
    return broken


async def _look_at_tail(work: Path, full: list[RecordedEvent], head: KnownHead) -> list[str]:
    async with EventStore.open(f"sqlite:///{work}") as store:
        left = await store.read_all().list()
        if left != full[: len(left)]:
            return ["what is left is no prefix of the log"]
        if (await store.verify()).damages:
            return ["what is left is no whole log"]
        kinds = [damage.kind for damage in (await store.verify(head=head)).damages]
        due = [] if len(left) == len(full) else ["tail"]
        if kinds != due:
            return [f"{len(full) - len(left)} events are lost, and the kept head says {kinds}"]
    return []


_CHANGES = (
    "UPDATE eventstore.events SET payload = convert_to('{{\"n\":-1}}', 'UTF8')"
    " WHERE position = {0}",
    "UPDATE eventstore.events SET payload = set_byte(payload, 3, get_byte(payload, 3) # 1)"
    " WHERE position = {0}",
    "UPDATE eventstore.events SET actor = 'bob' WHERE position = {0}",
    "UPDATE eventstore.events SET recorded_at = recorded_at + 1 WHERE position = {0}",
    "UPDATE eventstore.events SET hash = decode(repeat('00', 32), 'hex') WHERE position = {0}",
    "UPDATE eventstore.events SET tags = '[\"t:9\"]' WHERE position = {0}",
    "DELETE FROM eventstore.events WHERE position = {0}",
    "UPDATE eventstore.events SET version = version + 100 WHERE position = {0}",
    "UPDATE eventstore.events SET stream_id = stream_id + 100 WHERE position = {0}",
    "UPDATE eventstore.events SET position = position + 1000 WHERE position = {0}",
)


async def trial_rows(url: str, seed: int, rows: int) -> tuple[int, list[str]]:
    """Changes a row of PostgreSQL as its owner, who can switch the triggers off."""
    chance, broken = random.Random(seed), list[str]()
    async with EventStore.open(url) as store:
        await fill_store(store, chance)
        sound = await answers(store)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("ALTER TABLE eventstore.events DISABLE TRIGGER ALL")
        await connection.execute("CREATE TABLE kept AS SELECT * FROM eventstore.events")
        for _ in range(rows):
            change = chance.choice(_CHANGES).format(chance.randrange(1, EVENTS + 1))
            await connection.execute(change)
            told = await _look(url, sound, is_one_row=True)
            if not told and not await _is_refused(url):
                told = ["the damage is not seen"]
            broken += [f"{change}: {line}" for line in told]
            await connection.execute("DELETE FROM eventstore.events")
            await connection.execute("INSERT INTO eventstore.events SELECT * FROM kept")
    finally:
        await connection.close()
    return rows, broken


async def _is_refused(url: str) -> bool:
    async with EventStore.open(url) as store:
        try:
            await store.read_all().list()
        except Corrupt:
            return True
    return False


FAULT = Fault(
    "damage",
    "flipped bits, changed rows, lost tails: seen and named, never served",
    do_damage,
    dict.fromkeys(("sqlite", "postgres"), ("serves what does not match its hash",)),
    prove_scale=0.3,
)
