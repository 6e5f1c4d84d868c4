"""Events that cannot be applied: tried, parked, tried again on demand, or dropped with a reason."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest
import sqlalchemy as sa

from eventstore import EventStore, NewEvent, RecordedEvent
from eventstore.outbox import Statement
from projections import CacheView, Projection, ProjectionError, RelationalView, Upsert, ViewNotBuilt
from projections.asking import serving
from projections.relay import letters
from projections.relay.dropping import drop
from projections.relay.generations import begin
from projections.sinks import Build
from projections.view import View
from tests.waiting import until

from .stage import (
    Faults,
    add,
    counted,
    counts_in,
    counts_view,
    feed,
    generations_of,
    letters_of,
    notes_in,
    notes_view,
    rows_of,
    texts_of,
)

TRIES = 3


async def build_of(view: View) -> Build:
    """Where the serving generation's rows are."""
    return (await serving(view))[0]


async def test_an_event_fails_three_times_then_works_then_nothing_is_parked(
    store: EventStore,
) -> None:
    """Trouble that passes is waited for."""
    faults = Faults()
    faults.left["odd"] = 3
    counts = counts_view(faults=faults, attempts=5).bind(store)
    for n, text in enumerate(["a", "odd", "b"]):
        await add(store, "s", f"n{n}", text)
    await feed(store, counts).run_once()
    assert await letters_of(counts) == []
    assert await counted(counts) == await counts_in(store) == {"s": (3, 5)}
    assert faults.tried["odd"] == 4


async def test_an_event_always_fails_then_its_key_waits_and_all_others_flow(
    store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It and all later ones of its key wait in order; nothing is skipped, nothing is counted
    twice, and it is tried no more than it may be."""
    faults = Faults()
    faults.left["secret"] = None
    counts = counts_view(faults=faults, attempts=TRIES).bind(store)
    texts = ["a", "secret", "b"]
    for text in texts:
        for stream in ("bad", "good"):
            shown = "xx" if stream == "good" and text == "secret" else text
            await add(store, stream, "k", shown)
    with caplog.at_level(logging.WARNING):
        relay = feed(store, counts)
        await relay.run_once()
        await add(store, "bad", "k", "c")
        await relay.run_once()
    assert await letters_of(counts) == [("bad", 3, True), ("bad", 5, False), ("bad", 7, False)]
    assert await counted(counts) == {"bad": (1, 1), "good": (3, 4)}
    assert faults.tried["secret"] == TRIES
    found = await letters.load(await build_of(counts))
    assert [each.attempts for each in found] == [TRIES, 0, 0]
    assert "secret" not in caplog.text
    assert "secret" not in repr(found)


async def test_what_failed_is_mended_then_a_retry_delivers_in_order(store: EventStore) -> None:
    """The events of the key are applied in the order in which they were appended."""
    faults = Faults()
    faults.left["bad"] = None
    notes = notes_view(faults=faults, attempts=1).bind(store)
    async with feed(store, notes):
        for text in ("a", "bad", "b", "c"):
            position = await add(store, "s", "k", text)
        await until(lambda: _waits(notes, 3))
        assert await texts_of(notes) == {"k": "a"}
        faults.left.clear()
        assert await letters.ask_retry(await build_of(notes)) == 3
        await until(lambda: _waits(notes, 0))
        assert await texts_of(notes) == {"k": "c"}
        position = await add(store, "s", "k", "d")
        answer = await notes.get("k", at_least=position)
        assert answer.value["text"] == "d"


async def test_a_retry_fails_again_then_the_key_waits_and_is_not_tried_by_itself(
    store: EventStore,
) -> None:
    """A wish is one try; what is in front of the failing event is delivered."""
    faults = Faults()
    faults.left = {"bad": None, "worse": None}
    notes = notes_view(faults=faults, attempts=1).bind(store)
    relay = feed(store, notes)
    for text in ("bad", "b", "worse", "c"):
        await add(store, "s", "k", text)
    await relay.run_once()
    build = await build_of(notes)
    for _ in range(2):
        await letters.ask_retry(build, "s")
        await relay.run_once()
        await relay.run_once()
    assert faults.tried["bad"] == 3
    assert [each.attempts for each in await letters.load(build)] == [3, 0, 0, 0]
    assert await texts_of(notes) == {}
    del faults.left["bad"]
    await letters.ask_retry(build, "s")
    await relay.run_once()
    assert await letters_of(notes) == [("s", 3, True), ("s", 4, False)]
    assert await texts_of(notes) == {"k": "b"}


async def test_an_event_is_dropped_then_the_reason_is_kept_and_the_rest_follows(
    store: EventStore,
) -> None:
    """The audit event stands in the log, the letter stays, and a rebuild drops it as well."""
    faults = Faults()
    faults.left["bad"] = None
    counts = counts_view(faults=faults, attempts=1).bind(store)
    async with feed(store, counts) as relay:
        for text in ("a", "bad", "bb"):
            await add(store, "s", "k", text)
        await until(lambda: _waits(counts, 2))
        build = await build_of(counts)
        position = await drop(build, "s", "a typing error")
        await until(lambda: _waits(counts, 0))
        assert await counted(counts) == {"s": (2, 3)}
        told = await store.read("$views/counts").list()
        assert [(e.position, e.type, e.data["reason"]) for e in told] == [
            (position, "$view.dropped", "a typing error")
        ]
        assert (told[0].data["key"], told[0].data["position"]) == ("s", 2)
        report = (await relay.rebuild("counts"))[0]
        assert report.replaced == 1
        assert await counted(counts) == {"s": (2, 3)}
        assert await letters_of(counts) == []
        dropped = await letters.load(await build_of(counts))
        assert [each.dropped_reason for each in dropped] == ["a typing error"]


async def test_dropping_is_asked_for_without_a_reason_then_it_is_refused(
    store: EventStore,
) -> None:
    """Nothing is dropped without a word, nor what does not wait."""
    faults = Faults()
    faults.left["bad"] = None
    notes = notes_view(faults=faults, attempts=1).bind(store)
    await add(store, "s", "k", "bad")
    await feed(store, notes).run_once()
    build = await build_of(notes)
    for reason in ("", "  ", None):
        with pytest.raises(ProjectionError, match="reason"):
            await drop(build, "s", reason)  # type: ignore[arg-type]
    with pytest.raises(ProjectionError, match="no dead letter"):
        await drop(build, "t", "it is bad")
    with pytest.raises(ProjectionError, match="no dead letter"):
        await drop(build, "s", "it is bad", position=7)
    await drop(build, "s", "it is bad")
    with pytest.raises(ProjectionError, match="no dead letter"):
        await drop(build, "s", "it is bad")
    assert await store.head() == 2


async def test_dropping_is_cancelled_then_it_can_be_done_again(store: EventStore) -> None:
    """However far it came, the letter is dropped once and the key flows."""
    faults = Faults()
    faults.left["bad"] = None
    notes = notes_view(faults=faults, attempts=1).bind(store)
    relay = feed(store, notes)
    for n in range(12):
        await add(store, f"s{n}", f"k{n}", "bad")
    await relay.run_once()
    build = await build_of(notes)
    for n in range(12):
        task = asyncio.create_task(drop(build, f"s{n}", "it is bad"))
        for _ in range(n * 2):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.outbox.change([])
        waiting = await letters.load(build, key=f"s{n}")
        if waiting[0].dropped_reason is None:
            await drop(build, f"s{n}", "it is bad")
    await relay.run_once()
    assert await letters_of(notes) == []
    told = {e.data["key"] async for e in store.read("$views/notes")}
    assert told == {f"s{n}" for n in range(12)}


async def test_an_event_is_dropped_before_a_build_comes_to_it_then_the_build_drops_it_too(
    store: EventStore,
) -> None:
    """What was given up for one generation is given up for the one that is being built."""
    faults = Faults()
    faults.left["bad"] = None
    old = notes_view(faults=faults, attempts=1).bind(store)
    await add(store, "s", "k", "bad")
    await feed(store, old).run_once()
    await begin(old, store.outbox)
    await drop(await build_of(old), "s", "it is bad")
    await add(store, "s", "k", "good")
    await feed(store, old).run_once()
    assert [each.state for each in await generations_of(old)] == ["retired", "serving"]
    assert await letters_of(old) == []
    assert await texts_of(old) == {"k": "good"}


async def test_a_view_is_to_stop_then_it_stops_where_it_failed(store: EventStore) -> None:
    """Nothing after the failing event is applied; mended, it goes on from there."""
    faults = Faults()
    faults.left["bad"] = None
    notes = notes_view(faults=faults, attempts=2, on_error="stop").bind(store)
    others = counts_view().bind(store)
    relay = feed(store, notes, others)
    for text in ("a", "bad", "b"):
        await add(store, "s", text, text)
    with pytest.raises(Exception, match="stopped at position 2"):
        await relay.run_once()
    assert await texts_of(notes) == {"a": "a"}
    assert await letters_of(notes) == []
    assert await counted(others) == await counts_in(store)
    faults.left.clear()
    await relay.run_once()
    assert await texts_of(notes) == await notes_in(store)


async def test_one_tenant_always_fails_then_the_others_are_unharmed(store: EventStore) -> None:
    """Whatever a tenant's events do, another tenant's view follows its own."""

    def added(event: Any) -> Upsert:
        if event.data["text"].startswith("bad"):
            raise ValueError("no")
        return Upsert(event.data["id"], {"text": event.data["text"], "n": 0})

    projection = Projection("notes", map=added, types=["note.added"])
    notes = RelationalView(projection, notes_view().table, attempts=2)
    bad, good = store.tenant("bad"), store.tenant("good")
    async with feed(store, notes, all_tenants=True) as relay:
        for n in range(30):
            await add(bad, f"s{n}", f"k{n}", f"bad {n}")
            await add(good, f"s{n}", f"k{n}", f"good {n}")
        await until(lambda: _has(notes.bind(good), 30))
        assert await texts_of(notes.bind(good)) == await notes_in(good)
        await until(lambda: _waits(notes.bind(bad), 30))
        assert await rows_of(notes.bind(bad)) == {}
        assert relay.failed == {}


async def test_the_database_refuses_a_row_then_only_its_key_is_parked(store: EventStore) -> None:
    """A NULL where there may be none, or a duplicate: its neighbours of the page are written."""
    table = sa.Table(
        "places",
        sa.MetaData(),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("code", sa.Text, unique=True),
    )
    projection = Projection("places")

    @projection.on("place.told")
    def told(event: Any) -> Upsert:
        return Upsert(event.stream, dict(event.data))

    places = RelationalView(projection, table, attempts=1).bind(store)
    data: list[dict[str, Any]] = [
        {"name": "a", "code": "1"},
        {"name": None, "code": "2"},
        {"name": "c", "code": "1"},
        {"name": "d", "code": "4", "odd": 1},
        {"name": "e", "code": "5"},
    ]
    for n, each in enumerate(data):
        await store.append(f"p{n}", NewEvent("place.told", each))
    await feed(store, places).run_once()
    assert sorted(await rows_of(places)) == ["p0", "p4"]
    assert [key for key, _, _ in await letters_of(places)] == ["p1", "p2", "p3"]


async def test_everything_fails_then_it_is_parked_at_a_good_pace(store: EventStore) -> None:
    """Code that is wrong for every event does not wait for a second at each."""
    faults = Faults()
    counts = counts_view(faults=faults, attempts=5).bind(store)
    for n in range(150):
        faults.left[f"bad {n}"] = None
        await add(store, f"s{n}", "k", f"bad {n}")
    async with asyncio.timeout(40):
        await feed(store, counts).run_once()
    assert len(await letters_of(counts)) == 150
    assert max(faults.tried.values()) <= 5


async def test_a_key_is_built_again_then_its_row_is_that_of_the_log(store: EventStore) -> None:
    """One key alone, while the others go on."""
    counts, notes = counts_view().bind(store), notes_view().bind(store)
    async with feed(store, counts, notes) as relay:
        for n in range(5):
            await add(store, f"s{n % 2}", f"k{n % 2}", "x" * n)
        await relay.caught_up()
        broken = "UPDATE {}view_counts_1 SET n = 99".format(
            f"{store.outbox.schema}." if store.outbox.schema else ""
        )
        await store.outbox.change([Statement(broken)])
        await relay.rebuild_key("counts", "s0")
        await until(lambda: _is_counted(counts, "s0", 3))
        assert (await counted(counts))["s1"] == (99, 4)
        await until(lambda: _no_wishes(counts))
        await add(store, "s0", "k0", "yy")
        await relay.caught_up()
        assert (await counted(counts))["s0"] == (4, 8)
        await relay.rebuild_key("notes", "s1")
        await until(lambda: _no_wishes(notes))
        assert await texts_of(notes) == await notes_in(store)


async def test_code_was_mended_then_a_key_built_again_has_the_row_of_an_older_event(
    store: EventStore,
) -> None:
    """A cache takes it, though what stands there was made by a newer event."""
    left_out: list[int] = []

    def told(event: RecordedEvent) -> Upsert | None:
        return None if event.data["n"] in left_out else Upsert(event.stream, event.data["n"])

    view = CacheView(Projection("told", map=told, types=["told"])).bind(store)
    for n in (1, 2):
        await store.append("s", NewEvent("told", {"n": n}))
    relay = feed(store, view)
    await relay.run_once()
    left_out.append(2)
    await relay.rebuild_key("told", "s")
    await relay.run_once()
    assert (await view.get("s")).value == 1
    await store.append("s", NewEvent("told", {"n": 3}))
    await relay.run_once()
    assert (await view.get("s")).value == 3


async def test_no_event_has_the_key_then_building_it_again_says_so(store: EventStore) -> None:
    """Such as a row's key, where events are ordered by their streams; its row stays."""
    notes = notes_view(partitions=2).bind(store)
    await add(store, "s", "k", "a")
    relay = feed(store, notes)
    await relay.run_once()
    await relay.rebuild_key("notes", "k")
    await relay.run_once()
    (wish,) = await letters.load(await build_of(notes))
    assert (wish.key, wish.position, wish.error) == ("k", 0, "no event of the log has this key")
    assert wish.retry_asked is None
    assert await texts_of(notes) == {"k": "a"}


async def _is_counted(view: View, key: str, n: int) -> bool:
    return (await counted(view))[key][0] == n


async def _no_wishes(view: View) -> bool:
    return await letters.load(await build_of(view)) == []


async def _waits(view: View, count: int) -> bool:
    with contextlib.suppress(ViewNotBuilt):
        return len(await letters_of(view)) == count
    return False


async def _has(view: View, count: int) -> bool:
    with contextlib.suppress(ViewNotBuilt):
        return len(await rows_of(view)) == count
    return False
