"""A view that cannot be made, fed or dropped: the others go on, and it is tried again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from eventstore import EventStore, StorageFailed
from projections import ProjectionError, SinkUnavailable
from projections.projection import Projection
from projections.relay import feeding, generations, making, relay
from projections.relay.worker import Worker
from projections.sinks import Build
from projections.view import View
from tests.waiting import until

from .stage import (
    Outside,
    add,
    counted,
    counts_in,
    counts_view,
    feed,
    generations_of,
    notes_in,
    notes_projection,
    notes_view,
    texts_of,
)


class Failing(Outside):
    """A sink that fails where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.create_fails: Exception | None = None
        self.drop_fails: Exception | None = None
        self.check_fails: Exception | None = None
        self.waits: asyncio.Event | None = None
        self.asked: list[str] = []

    async def create(self, build: Build) -> Sequence[Any]:
        self.asked.append("create")
        if self.waits is not None:
            await self.waits.wait()
        if self.create_fails is not None:
            raise self.create_fails
        return await super().create(build)

    async def drop(self, build: Build) -> Sequence[Any]:
        self.asked.append("drop")
        if self.drop_fails is not None:
            raise self.drop_fails
        return await super().drop(build)

    async def check(self, build: Build) -> None:
        self.asked.append("check")
        if self.check_fails is not None:
            raise self.check_fails


def failing(sink: Failing, *, version: int = 1, **options: Any) -> View:
    """The notes in such a sink."""
    return View(notes_projection("failing", version=version), sink, **options)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried at once."""
    for module in (making, feeding):
        monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
        monkeypatch.setattr(module, "AGAIN_SECONDS_MAX", 0.02)
    monkeypatch.setattr(relay, "LOOK_SECONDS", 0.02)


@pytest.mark.parametrize(
    "error",
    [ImportError("its client is not installed"), ConnectionError("secret"), StorageFailed("disk")],
    ids=lambda error: type(error).__name__,
)
async def test_a_view_cannot_be_made_then_others_are_fed_and_it_is_tried_again(
    store: EventStore, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once, without what strangers say; and it is fed as soon as it can be made."""
    sink = Failing()
    sink.create_fails = error
    view, counts = failing(sink).bind(store), counts_view().bind(store)
    await add(store, "s", "k", "a")
    with caplog.at_level(logging.ERROR, "eventstore"):
        async with feed(store, view, counts) as fed:
            await fed.caught_up()
            assert await counted(counts) == await counts_in(store)
            assert fed.failed == {"failing": error}
            await until(lambda: len(sink.asked) > 2)
            sink.create_fails = None
            await until(lambda: sink.rows and sink.values())
            await until(lambda: not fed.failed)
    assert caplog.text.count("it is not fed yet") == 1
    assert "secret" not in caplog.text


async def test_a_view_cannot_be_made_then_running_once_raises_when_others_are_done(
    store: EventStore,
) -> None:
    """What keeps one from being made is not swallowed."""
    sink = Failing()
    sink.create_fails = ImportError("its client is not installed")
    counts = counts_view().bind(store)
    await add(store, "s", "k", "a")
    with pytest.raises(ImportError):
        await feed(store, failing(sink), counts).run_once()
    assert await counted(counts) == await counts_in(store)


async def test_no_view_can_be_made_then_running_ends_only_for_what_does_not_pass(
    store: EventStore,
) -> None:
    """A server that is down is waited for; a package that is missing is not."""
    sink = Failing()
    sink.create_fails = SinkUnavailable("the sink is down")
    running = asyncio.create_task(feed(store, failing(sink)).run())
    await until(lambda: len(sink.asked) > 2)
    assert not running.done()
    sink.create_fails = ImportError("its client is not installed")
    with pytest.raises(ImportError):
        await asyncio.wait_for(running, 10)


async def test_a_sink_is_slow_to_be_made_then_a_new_tenant_is_fed_meanwhile(
    store: EventStore,
) -> None:
    """A look at the views does not wait for the slowest of them."""
    sink, counts = Failing(), counts_view()
    view = failing(sink)
    async with feed(store, view, counts, all_tenants=True) as fed:
        sink.waits = asyncio.Event()
        tenant = store.tenant("late")
        await add(tenant, "s", "k", "a")
        await until(lambda: ("late", "counts", 1) in fed._making.builds)
        await until(lambda: sink.asked)
        await fed.caught_up()
        assert await counted(counts.bind(tenant)) == await counts_in(tenant)
        assert ("late", "failing", 1) not in fed._making.builds
        sink.waits.set()
        await until(lambda: ("late", "failing", 1) in fed._making.builds)


async def test_an_old_generation_cannot_be_dropped_then_all_views_go_on(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, and goes when it can."""
    sink = Failing()
    view, counts = failing(sink).bind(store), counts_view().bind(store)
    async with feed(store, view, counts) as fed:
        await fed.rebuild("failing")
    sink.drop_fails = SinkUnavailable("the sink is down")
    monkeypatch.setattr(generations, "RETIRED_SECONDS", 0.0)
    await add(store, "s", "k", "a")
    await feed(store, view, counts).run_once()
    async with feed(store, view, counts) as fed:
        await until(lambda: sink.asked.count("drop") > 2)
        tenth = await add(store, "s", "k", "b")
        assert (await counts.get("s", at_least=tenth)).value["n"] == 2
        assert (await view.get("k", at_least=tenth)).value["text"] == "b"
        assert fed.failed == {}
        sink.drop_fails = None
        await until(lambda: _is_alone(view))


async def _is_alone(view: View) -> bool:
    return len(await generations_of(view)) == 1


@pytest.mark.parametrize(
    "error", [ConnectionError("reset"), ProjectionError("odd")], ids=lambda error: str(error)
)
async def test_a_worker_ended_by_what_may_pass_then_it_is_begun_again(
    store: EventStore, error: Exception
) -> None:
    """A sink that failed once does not end its view until the process is started again."""
    sink = Failing()
    view = failing(sink).bind(store)
    await add(store, "s", "k", "a")
    async with feed(store, view) as fed:
        await fed.caught_up()
        sink.check_fails = error
        await until(lambda: fed.failed == {"failing": error})
        sink.check_fails = None
        await until(lambda: not fed.failed)
        await add(store, "s", "k", "b")
        await fed.caught_up()
        assert sink.values()["k"]["text"] == "b"


async def test_a_view_has_stopped_then_its_worker_is_not_begun_again(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that cannot be applied is not tried for ever."""
    begun: list[str] = []
    run = Worker.run

    async def counting(self: Worker, *, once: bool = False) -> None:
        begun.append(self.view.name)
        await run(self, once=once)

    def fails(event: object) -> None:
        raise ValueError

    monkeypatch.setattr(Worker, "run", counting)
    broken = Projection("broken", map=fails, types=["note.added"])
    view = View(broken, Outside(), on_error="stop", attempts=1)
    counts = counts_view().bind(store)
    await add(store, "s", "k", "a")
    async with feed(store, view, counts) as fed:
        await until(lambda: "broken" in fed.failed)
        looks = fed._making.builds
        await until(lambda: fed._making.builds is not looks)  # looked at again since
        last = await add(store, "s", "k", "b")
        assert (await counts.get("s", at_least=last)).value["n"] == 2
    assert begun.count("broken") == 1


async def test_one_table_is_a_users_own_then_other_views_are_fed(store: EventStore) -> None:
    """A name that is taken in the database keeps one view from being made, and none else."""
    from eventstore.outbox import Statement

    prefix = f"{store.outbox.schema}." if store.outbox.schema else ""
    await store.outbox.change([Statement(f"CREATE TABLE {prefix}notes (mine BIGINT)")])
    notes, counts = notes_view().bind(store), counts_view().bind(store)
    await add(store, "s", "k", "a")
    async with feed(store, notes, counts) as fed:
        await fed.caught_up()
        assert await counted(counts) == await counts_in(store)
        assert set(fed.failed) == {"notes"}
        await store.outbox.change([Statement(f"DROP TABLE {prefix}notes")])
        await until(lambda: not fed.failed)
        await fed.caught_up()
        assert await texts_of(notes) == await notes_in(store)
