"""Events whose key could not be told, or is another one by now; keys that wait while a sink is
filled anew; and what a drop is in another generation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from eventstore import EventStore, NewEvent, RecordedEvent
from projections import (
    CacheView,
    KeyParked,
    Projection,
    ProjectionError,
    RelationalView,
    Upsert,
    ViewStale,
)
from projections.asking import serving
from projections.relay import Relay, dropping, letters, replaying
from projections.relay.generations import begin
from projections.relay.progress import reincarnate
from projections.sinks import Build
from projections.view import View
from reducers import Reducer

from .stage import Boom, Outside, generations_of, rows_of


@pytest_asyncio.fixture
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    """A store in memory or in a file."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/log.db"
    async with EventStore.open(url) as store:
        yield store


both = pytest.mark.parametrize("opened", ["memory", "sqlite"], indirect=True)


class Code:
    """Code that is wrong for some numbers until it is mended: in `key`, or in the handler."""

    def __init__(self) -> None:
        self.no_key: set[int] = set()
        self.bad: set[int] = set()

    def key(self, event: RecordedEvent) -> Any:
        if event.data["n"] in self.no_key:
            raise Boom("key")
        return event.data["key"]

    def check(self, event: RecordedEvent) -> None:
        if event.data["n"] in self.bad:
            raise Boom("handler")


def last_view(code: Code, name: str = "lasts", **options: Any) -> RelationalView:
    """A map: the last number of each key."""
    table = sa.Table(
        name, sa.MetaData(), sa.Column("k", sa.Text, primary_key=True), sa.Column("n", sa.Integer)
    )

    def made(event: RecordedEvent) -> Upsert:
        code.check(event)
        return Upsert(event.data["key"], {"n": event.data["n"]})

    projection = Projection(name, key=code.key, map=made, types=["add"])
    return RelationalView(projection, table, attempts=1, **options)


def sums_view(code: Code, name: str = "sums", **options: Any) -> CacheView:
    """A fold: the sum of each key."""
    reducer: Reducer[Any] = Reducer(name, initial=0)

    @reducer.on("add")
    def add(state: Any, event: RecordedEvent) -> Any:
        code.check(event)
        return state + event.data["n"]

    return CacheView(Projection(name, key=code.key, fold=reducer), attempts=1, **options)


async def say(store: EventStore, key: str, n: int, stream: str = "s") -> int:
    """Appends a number of a key; its position."""
    return (await store.append(stream, NewEvent("add", {"key": key, "n": n}))).position


async def plain(view: View) -> dict[Any, int]:
    """The numbers in the rows that serve."""
    rows = await rows_of(view)
    return {key: each["n"] if isinstance(each, dict) else each for key, each in rows.items()}


async def build_of(view: View) -> Build:
    """Where the serving generation's rows are."""
    return (await serving(view))[0]


async def standing(build: Build) -> list[tuple[str, int, bool, int]]:
    """(key, position, whether it failed, attempts) of what waits."""
    return [
        (each.key, each.position, each.error is not None, each.attempts)
        for each in await letters.load(build)
        if each.dropped_reason is None
    ]


@both
@pytest.mark.parametrize("partitions", [1, 4])
async def test_no_key_could_be_told_then_a_retry_brings_every_event_to_its_own_key(
    opened: EventStore, partitions: int
) -> None:
    """One partition parks it, and whoever owns the key that it turns out to have gets it."""
    code = Code()
    code.no_key = set(range(12))
    lasts = last_view(code, partitions=partitions).bind(opened)
    sums = sums_view(code, partitions=partitions).bind(opened)
    for n in range(12):
        await say(opened, f"k{n}", n, f"s{n}")
    await Relay(opened, [lasts, sums]).run_once()
    assert len(await standing(await build_of(lasts))) == 12
    code.no_key.clear()
    for view in (lasts, sums):
        await letters.ask_retry(await build_of(view))
    await Relay(opened, [lasts, sums]).run_once()
    for view in (lasts, sums):
        assert await plain(view) == {f"k{n}": n for n in range(12)}
        assert await letters.load(await build_of(view)) == []


@both
@pytest.mark.parametrize("partitions", [1, 3])
async def test_later_events_of_the_key_flowed_then_a_retry_neither_loses_nor_goes_back(
    opened: EventStore, partitions: int
) -> None:
    """An event that comes late to its key is put where it belongs in the order."""
    code = Code()
    code.no_key = {10}
    lasts = last_view(code, partitions=partitions).bind(opened)
    sums = sums_view(code, partitions=partitions).bind(opened)
    for n in (1, 10, 100):
        await say(opened, "a", n)
    await Relay(opened, [lasts, sums]).run_once()
    assert (await plain(lasts), await plain(sums)) == ({"a": 100}, {"a": 101})
    code.no_key.clear()
    for view in (lasts, sums):
        await letters.ask_retry(await build_of(view))
    await Relay(opened, [lasts, sums]).run_once()
    assert (await plain(lasts), await plain(sums)) == ({"a": 100}, {"a": 111})
    assert await standing(await build_of(sums)) == []


@both
async def test_the_event_fails_in_its_own_key_then_that_key_is_parked_from_it_on(
    opened: EventStore,
) -> None:
    """What was applied behind it waits as well, as a rebuild would have it."""
    code = Code()
    code.no_key, code.bad = {10}, {10}
    outside = Outside()
    lasts, sums = last_view(code).bind(opened), sums_view(code).bind(opened)
    kept = View(last_view(code, "kept").projection, outside, attempts=1).bind(opened)
    views = [lasts, sums, kept]
    for n in (1, 10, 100):
        await say(opened, "a", n)
    await say(opened, "b", 7)
    await Relay(opened, views).run_once()
    code.no_key.clear()
    for view in views:
        await letters.ask_retry(await build_of(view))
    await Relay(opened, views).run_once()
    for view in views:
        assert await plain(view) == {"a": 1, "b": 7}
        assert await standing(await build_of(view)) == [("a", 2, True, 1), ("a", 3, False, 0)]
        code.bad.clear()
        await letters.ask_retry(await build_of(view))
        await Relay(opened, views).run_once()
        code.bad = {10}
    assert (await plain(lasts), await plain(sums)) == ({"a": 100, "b": 7}, {"a": 111, "b": 7})
    assert await plain(kept) == {"a": 100, "b": 7}


@both
async def test_a_sink_is_emptied_while_a_key_waits_then_what_went_before_is_restored(
    opened: EventStore,
) -> None:
    """The row as of the last event that was applied stands again; reason, attempts and a wish that
    is open are kept."""
    code = Code()
    code.bad = {2}
    outside = Outside()
    kept = View(last_view(code).projection, outside, attempts=1).bind(opened)
    for n in (1, 2, 3):
        await say(opened, "a", n)
    await Relay(opened, [kept]).run_once()
    build = await build_of(kept)
    before = await letters.load(build)
    outside.empty()
    await reincarnate(build)
    await Relay(opened, [kept]).run_once()
    assert await plain(kept) == {"a": 1}
    assert await letters.load(build) == before
    assert [(each.position, each.attempts) for each in before] == [(2, 1), (3, 0)]
    code.bad.clear()
    await letters.ask_retry(build, "a")
    outside.empty()
    await reincarnate(await build_of(kept))
    await Relay(opened, [kept]).run_once()
    assert await plain(kept) == {"a": 3}
    assert await letters.load(build) == []


@both
async def test_a_parked_key_is_read_then_the_answer_is_good_for_what_comes_before(
    opened: EventStore,
) -> None:
    """Nobody is told that a row has an event that waits: position and time are those before it,
    and beyond the budget it is refused as a late view is."""
    code = Code()
    code.bad = {2}
    sums, lasts = sums_view(code).bind(opened), last_view(code).bind(opened)
    for n in (1, 2, 3):
        await say(opened, "a", n)
    later = await say(opened, "b", 4)
    await Relay(opened, [sums, lasts]).run_once()
    first = (await opened.read("s").list())[0]
    for view in (sums, lasts):
        answer = await view.get("a")
        assert (answer.position, answer.stale) == (1, True)
        assert answer.recorded_at == first.recorded_at
        assert (await view.get("a", at_least=1)).position == 1
        with pytest.raises(KeyParked):
            await view.get("a", at_least=later)
        other = await view.get("b", at_least=later)
        assert (other.position, other.stale) == (later, False)
    strict = sums_view(code, fresh_seconds=1e-9, when_late="raise").bind(opened)
    with pytest.raises(ViewStale) as late:
        await strict.get("a")
    assert late.value.position == 1
    assert (await strict.get("b")).position == later
    folded = await strict.get("a", late="fold")
    assert (folded.value, folded.position, folded.stale) == (1, 1, True)


@both
async def test_a_row_has_another_name_than_its_key_then_its_answer_heeds_the_dead_letters(
    opened: EventStore,
) -> None:
    """A map's row is of the key of the event that made it, or that is waited for; one that is not
    there is not said to be absent for certain while an event fails that may be its own."""
    code = Code()
    table = sa.Table(
        "byn", sa.MetaData(), sa.Column("id", sa.Text, primary_key=True), sa.Column("n", sa.Integer)
    )

    def made(event: RecordedEvent) -> Upsert:
        code.check(event)
        return Upsert(f"row {event.data['n'] % 10}", {"n": event.data["n"]})

    projection = Projection("byn", key=code.key, map=made, types=["add"])
    view = RelationalView(projection, table, attempts=1).bind(opened)
    code.bad = {12}
    for key, n in (("a", 1), ("a", 12), ("a", 11), ("b", 3)):
        at = await say(opened, key, n)
    await Relay(opened, [view]).run_once()
    assert (await view.get("row 3", at_least=at)).stale is False
    for missing in ("row 1", "row 2"):
        with pytest.raises(KeyParked) as parked:
            await view.get(missing, at_least=at)
        assert (parked.value.key, parked.value.position) == ("a", 2)
        answer = await view.get(missing)
        assert (answer.position, answer.stale) == (1, True)


async def builds_of(view: View) -> list[Build]:
    """All generations of a view that are fed."""
    outbox = view.store.outbox
    tenant_id = await outbox.tenant_id()
    found = [each for each in await generations_of(view) if each.state != "retired"]
    return [each.build(outbox, view.name, tenant_id) for each in found]


async def values(view: View, build: Build) -> dict[Any, Any]:
    """The rows of one generation."""
    return {row.key: row.value async for page in view.sink.scan(build) for row in page}


@both
async def test_an_event_is_dropped_while_a_build_waits_at_it_then_that_one_goes_on_too(
    opened: EventStore,
) -> None:
    """What waits behind the event in another generation is delivered there as well."""
    code = Code()
    code.bad = {2}
    sums = sums_view(code).bind(opened)
    for n in (1, 2, 3):
        await say(opened, "a", n)
    await Relay(opened, [sums]).run_once()
    await begin(sums, opened.outbox, "comparing")
    await Relay(opened, [sums]).run_once()
    await dropping.drop(await build_of(sums), "a", "no good")
    await Relay(opened, [sums]).run_once()
    for build in await builds_of(sums):
        assert await standing(build) == []
        assert await values(sums, build) == {"a": 4}
        assert not await letters.is_asked(build)


@both
async def test_an_event_is_dropped_that_a_build_has_applied_then_it_is_taken_out_there(
    opened: EventStore,
) -> None:
    """Live is rebuilt: the generation of mended code makes the key again without the event."""
    code, mended = Code(), Code()
    code.bad = {2}
    old = sums_view(code).bind(opened)
    for n in (1, 2, 3):
        await say(opened, "a", n)
    await say(opened, "only", 2)
    await Relay(opened, [old]).run_once()
    new = sums_view(mended).bind(opened)
    await begin(new, opened.outbox, "comparing")
    code.bad = set()
    await Relay(opened, [new]).run_once()
    built = (await builds_of(new))[1]
    assert await values(new, built) == {"a": 6, "only": 2}
    for key in ("a", "only"):
        await dropping.drop(await build_of(old), key, "no good")
    await Relay(opened, [new]).run_once()
    assert await values(new, built) == {"a": 4}
    async with Relay(opened, [new]) as relay:
        await relay.rebuild("sums", compare=True)
        (report,) = await relay.rebuild("sums", compare=True)
    assert report.comparison is not None
    assert report.comparison.differing == 0
    assert await plain(new) == {"a": 4}


@both
async def test_an_event_is_delivered_while_it_is_dropped_then_the_drop_is_refused_and_told(
    opened: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told that an event was given up which stands in the rows; the log has both."""
    code = Code()
    code.bad = {2}
    sums = sums_view(code).bind(opened)
    for n in (1, 2, 3):
        await say(opened, "a", n)
    await Relay(opened, [sums]).run_once()
    build, waiting = await build_of(sums), letters.waiting

    async def just_before(*args: Any) -> Any:
        found = await waiting(*args)
        monkeypatch.setattr(letters, "waiting", waiting)
        code.bad.clear()
        await letters.ask_retry(build)
        await Relay(opened, [sums]).run_once()
        return found

    monkeypatch.setattr(letters, "waiting", just_before)
    with pytest.raises(ProjectionError, match="delivered meanwhile"):
        await dropping.drop(build, "a", "no good")
    told = [event.type for event in await opened.read("$views/sums").list()]
    assert told == ["$view.dropped", "$view.kept"]
    assert await letters.load(build) == []
    assert await plain(sums) == {"a": 6}


@both
async def test_a_view_stopped_at_an_event_then_it_is_dropped_by_its_position(
    opened: EventStore,
) -> None:
    """What no code can apply is got past, with a reason; nothing but the event that it stopped at
    is dropped so."""
    code = Code()
    code.bad = {2}
    sums = sums_view(code, on_error="stop").bind(opened)
    for n in (1, 2, 3):
        await say(opened, "a", n)
    with pytest.raises(Exception, match="stopped at position 2"):
        await Relay(opened, [sums]).run_once()
    build = await build_of(sums)
    for position in (None, 1, 3, 99):
        with pytest.raises(ProjectionError, match="no dead letter"):
            await dropping.drop(build, "a", "no good", position)
    await dropping.drop(build, "a", "no good", 2)
    await Relay(opened, [sums]).run_once()
    assert await plain(sums) == {"a": 4}


@both
async def test_many_keys_are_tried_again_then_the_feed_has_its_turns_meanwhile(
    opened: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wishes are done in slices; an event of the moment does not wait for all of them."""
    code = Code()
    sums = sums_view(code).bind(opened)
    for n in range(300):
        code.bad.add(n)
        await say(opened, f"k{n}", n, f"s{n}")
    await Relay(opened, [sums]).run_once()
    assert len(await standing(await build_of(sums))) == 300
    code.bad.clear()
    await letters.ask_retry(await build_of(sums))
    await say(opened, "live", 1000)
    left: list[int] = []
    check = Code.check

    def note(self: Code, event: RecordedEvent) -> None:
        check(self, event)
        left.append(event.data["n"])

    monkeypatch.setattr(replaying, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(Code, "check", note)
    await Relay(opened, [sums]).run_once()
    assert left.index(1000) < 250
    assert await plain(sums) == {**{f"k{n}": n for n in range(300)}, "live": 1000}
    assert await standing(await build_of(sums)) == []
