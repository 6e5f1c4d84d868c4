"""Pages that the workers of a relay share: read once, and nobody's trouble but the reader's own."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from pydantic import BaseModel

from eventstore import EventStore, NewEvent, Query, event_type
from eventstore.registry import isolated_registry
from projections import Projection, RelationalView
from projections.relay.reading import Pages
from projections.relay.sharing import SharedPages
from tests.waiting import until

from .stage import add, counts_view, feed, notes_table


class Counting:
    """An outbox that counts the pages that are read from it."""

    def __init__(self, store: EventStore) -> None:
        self._outbox = store.outbox
        self.tenant = store.outbox.tenant
        self.read = 0

    async def page(self, *args: object) -> object:
        """As the outbox's."""
        self.read += 1
        return await self._outbox.page(*args)  # type: ignore[arg-type]  # as they came


async def test_workers_keep_up_then_a_page_is_read_once_and_each_picks_its_own() -> None:
    """The same events, decoded once, whoever asks; who begins anew reads anew."""
    async with EventStore.open("memory://") as store:
        for number in range(6):
            await store.append("s", NewEvent(f"t{number % 2}", number))
        outbox, shared = Counting(store), SharedPages()
        queries = [[Query(types=("t0",))], [Query(types=("t1",))], []]
        workers = [Pages(outbox, asked, 100, shared) for asked in queries]  # type: ignore[arg-type]
        pages = await asyncio.gather(*[worker.take(0, 6) for worker in workers])
        assert [[e.data for e in page.events] for page in pages] == [
            [0, 2, 4],
            [1, 3, 5],
            [0, 1, 2, 3, 4, 5],
        ]
        assert {page.scanned_to for page in pages} == {6}
        assert pages[0].events[0] is pages[2].events[0]
        assert outbox.read == 1
        again = Pages(outbox, [], 100, shared)  # type: ignore[arg-type]
        await again.take(0, 6)
        assert outbox.read == 2
        await again.take(0, 6)
        assert outbox.read == 2
        await shared.close()


async def test_the_log_went_back_meanwhile_then_who_knows_its_new_end_reads_anew() -> None:
    """A page is of the log that ended as its reader knew it to, not only of those positions."""
    async with EventStore.open("memory://") as store:
        await store.append("s", NewEvent("t", 1))
        outbox, shared = Counting(store), SharedPages()
        one, other = (Pages(outbox, [], 100, shared) for _ in range(2))  # type: ignore[arg-type]
        await one.take(0, 1, b"as it was")
        await other.take(0, 1, b"as it is")
        assert outbox.read == 2
        await shared.close()


class Said(BaseModel):
    """What a handler may change, because pydantic lets it."""

    words: list[str]


async def test_a_handler_changes_its_event_then_another_view_is_given_what_was_said() -> None:
    """A handler that cheats harms its own view."""
    with isolated_registry():
        event_type("said")(Said)
        async with EventStore.open("memory://") as store:
            await store.append("s", Said(words=["z", "a"]))
            shared = SharedPages()
            one, other = (Pages(store.outbox, [], 100, shared) for _ in range(2))
            first, second = await asyncio.gather(one.take(0, 1), other.take(0, 1))
            first.events[0].data.words.sort()
            assert second.events[0].data.words == ["z", "a"]
            await shared.close()


async def test_more_pages_are_read_than_are_kept_then_closing_ends_all_of_them() -> None:
    """Also those that were pushed out while they were being read."""

    class Never(Counting):
        async def page(self, *args: object) -> object:
            self.read += 1
            await asyncio.Event().wait()
            raise AssertionError("nobody sets it")

    async with EventStore.open("memory://") as store:
        outbox, shared = Never(store), SharedPages()
        pages = [Pages(outbox, [], 100, shared) for _ in range(9)]  # type: ignore[arg-type]
        before = asyncio.all_tasks()
        waits = [asyncio.create_task(each.take(n, 10)) for n, each in enumerate(pages)]
        await until(lambda: outbox.read == 9)
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        await shared.close()
        assert asyncio.all_tasks() == before


async def test_a_worker_is_cancelled_then_the_others_get_the_page() -> None:
    """Who is let go takes nothing with him."""
    async with EventStore.open("memory://") as store:
        await store.append("s", NewEvent("t", 1))
        shared = SharedPages()
        one, other = (Pages(store.outbox, [], 100, shared) for _ in range(2))
        gone, waits = asyncio.create_task(one.take(0, 1)), asyncio.create_task(other.take(0, 1))
        await asyncio.sleep(0)
        gone.cancel()
        assert [event.data for event in (await waits).events] == [1]
        assert (await asyncio.gather(gone, return_exceptions=True))[0].__class__ is (
            asyncio.CancelledError
        )
        await shared.close()


async def test_an_event_of_one_view_is_damaged_then_the_other_view_goes_on(tmp_path: Path) -> None:
    """Though both want the same page: a view stops at damage in its own events."""
    file = tmp_path / "log.db"
    counts = counts_view()
    async with EventStore.open(f"sqlite:///{file}") as store:
        async with feed(store, counts) as relay:
            await relay.caught_up()
        await add(store, "s", "k", "text")
        await store.append("s", NewEvent("nobody.cares", {"n": 1}))
        with sqlite3.connect(file) as raw:
            for (name,) in raw.execute(
                "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            ).fetchall():
                raw.execute(f"DROP TRIGGER {name}")
            raw.execute(
                """UPDATE events SET payload = CAST('{"n":2}' AS BLOB) WHERE position = 2"""
            )
        raw.close()
        # The counts follow notes alone; the other view wants to see everything.
        every = RelationalView(Projection("every", map=lambda event: None), notes_table("every"))
        async with feed(store, counts, every) as relay:
            bound = counts.bind(store)

            async def has_it() -> bool:
                return (await bound.get("s")).value == {"stream": "s", "n": 1, "sum": 4}

            await until(has_it)
            await until(lambda: relay.failed)
            assert list(relay.failed) == ["every"]
