"""The same calls on every engine: the same answers, bytes and hashes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from eventstore import Append, AppendCondition, EventStore, EventStoreError, NewEvent, Query
from eventstore.testing import FixedClock, SequentialIds


async def _history(store: EventStore) -> list[Any]:
    """Calls that are written, refused and repeated; what each answered."""
    said: list[Any] = []

    async def send(stream: str, events: Any, **options: Any) -> None:
        try:
            result = await store.append(stream, events, **options)
            said.append((result.version, result.position, result.duplicate))
        except EventStoreError as error:
            said.append((type(error).__name__, str(error)))

    nul = {"nul": "\0", "zero": -0.0, "big": 1e308, "b": 1, "a": "\u20ac\U0001f600"}
    await send("s", NewEvent("n", nul, tags=["x", "y"]), actor="ann", context={"c": "\0"})
    await send("s", [NewEvent("m", [n], id=f"i{n}") for n in range(5)], idempotency_key="k")
    await send("s", [NewEvent("m", [n], id=f"i{n}") for n in range(5)], idempotency_key="k")
    await send("s", [NewEvent("m", [n], id=f"i{n}") for n in range(5)])
    await send("s", NewEvent("m", "other", id="i1"))
    await send("s", NewEvent("m", 1), idempotency_key="k")
    await send("s", NewEvent("m", 1), expected=3)
    await send("r", NewEvent("m", 1, derived_from=["i1", "i2"], causation_id="i3"), expected=0)
    condition = AppendCondition(Query(types=("n",), tags=("x",)))
    await send("q", NewEvent("m", 1), condition=condition)
    await send("q", [], expected=0)
    results = await store.append_many(
        [Append("q", NewEvent("m", 1)), Append("s", []), Append("t", [NewEvent("n", 2)] * 3)],
        idempotency_key="k",
    )
    said.append([(result.version, result.position) for result in results])
    await store.tenant("\u00e9").append("s", NewEvent("n", 1, tags=["x"]))
    await asyncio.gather(*(send(f"g{n}", NewEvent("n", n)) for n in range(20)))
    return said


async def test_one_history_is_written_to_every_engine_then_all_logs_are_equal(
    url: str, tmp_path: Path
) -> None:
    """Answer by answer, event by event, hash by hash."""
    seen = []
    for place in ("memory://", f"sqlite:///{tmp_path}/log.db", url):
        clock = FixedClock()
        async with EventStore.open(place, clock=clock, ids=SequentialIds()) as store:
            said = [str(answer).replace(store.url, "") for answer in await _history(store)]
            log = await store.read_all().list()
            engine = store._core.engine
            hashes = [await engine.hash_at("default", event.position) for event in log]
            assert None not in hashes
            seen.append((said, log, hashes, await engine.hash_at("\u00e9", 1)))
    assert seen[0] == seen[1]
    assert seen[1] == seen[2]


async def test_a_payload_is_nothing_for_jsonb_then_the_view_shows_it_all_the_same(
    store: EventStore, raw: Any
) -> None:
    """`events_json` breaks for no event, and for none of its columns."""
    await store.append(
        "s", NewEvent("n", {"nul": "\0", "big": 1e308}, tags=["t"]), context={"c": "\0"}
    )
    await store.append("s", NewEvent("n", "text"))
    rows = await raw.fetch("SELECT * FROM eventstore.events_json ORDER BY position")
    assert rows[0]["data"] == '{"big":1e308,"nul":"\\u0000"}'
    assert [row["data_jsonb"] for row in rows] == [None, '"text"']
    assert [row["stream"] for row in rows] == ["s", "s"]


async def test_another_store_appends_without_notify_then_a_reader_sees_it_soon(url: str) -> None:
    """Polling is the truth; NOTIFY only makes it sooner."""
    quiet = f"{url}?notify=off"
    async with EventStore.open(quiet) as one, EventStore.open(quiet) as two:
        reader = asyncio.create_task(anext(aiter(one.subscribe())))
        await asyncio.sleep(0)
        await two.append("s", NewEvent("n", 1))
        assert (await asyncio.wait_for(reader, 20)).data == 1
