"""Processes that are killed while they append: what was acknowledged stands, nothing is torn."""

from __future__ import annotations

import json
import random
from pathlib import Path

from eventstore import EventStore, NewEvent
from eventstore.testing import History
from tests.acceptance.sqlite_processes import Process

SEED = 20261121
KILLS = 24
CALLERS = 12


async def test_a_process_is_killed_again_and_again_then_what_it_acknowledged_stands(
    tmp_path: Path,
) -> None:
    """SIGKILL at random moments, on one file that lives on: every acknowledged append is there
    whole and where its answer said, no append is there in part, and keys are honoured."""
    url = f"sqlite:///{tmp_path}/killed.db"
    chance = random.Random(SEED)
    said: dict[str, tuple[int, int, int]] = {}  # key: caller, events, last position
    for turn in range(KILLS):
        async with Process(url) as process:
            head = await process.ask("open_store")
            assert head >= max((last for _, _, last in said.values()), default=0)
            await process.tell("append_until_killed", name=f"turn{turn}", callers=CALLERS)
            lines = [await process.line() for _ in range(chance.randrange(1, 120))]
            lines += await process.kill()
        for line in lines:
            caller, key, count, position = json.loads(line)
            said[key] = (caller, count, position)
    assert len(said) >= KILLS
    async with EventStore.open(url) as store:
        log = await store.read_all().list()
        History().check_log(log)
        assert (await store.verify()).damages == ()
        found: dict[str, list[tuple[int, int]]] = {}
        for event in log:
            found.setdefault(event["key"], []).append((event["n"], event.position))
        for key, (_, count, last) in said.items():
            due = [(n, last - count + 1 + n) for n in range(count)]
            assert found[key] == due, f"seed {SEED}: {key}"
        for key, places in found.items():  # those whose answer was lost are whole as well
            count = 1 + int(key.rsplit("/", 1)[1]) % 5
            assert [n for n, _ in places] == list(range(count)), f"seed {SEED}: {key}"
        for key, places in found.items():
            caller, count = key.split("/")[1], len(places)
            notes = [NewEvent("note.added", {"key": key, "n": n}) for n in range(count)]
            again = await store.append(f"crash/{caller}", notes, idempotency_key=key)
            assert (again.duplicate, again.position) == (True, places[-1][1])
        assert await store.head() == len(log)
