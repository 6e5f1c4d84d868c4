"""Opening and closing, again and again or not at all, leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path
from typing import Any

import pytest

from eventstore import Conflict, EventStore, NewEvent, StoreClosed
from tests.waiting import PATIENCE_SECONDS

from .conftest import open_things


async def test_a_store_is_opened_and_closed_forty_times_then_nothing_has_grown(url: str) -> None:
    """No thread, no descriptor, no memory: each store is gone once it is closed and let go."""
    async with EventStore.open(url) as store:
        await store.append("s", NewEvent("t", 0))
    del store
    gc.collect()
    before = open_things()
    engines: list[weakref.ref[Any]] = []
    for n in range(40):
        async with EventStore.open(url) as store:
            await store.append("s", NewEvent("t", n))
            assert len(await store.read("s", limit=3).list()) == min(3, n + 2)
            async for _ in store.subscribe(after=n):
                break
            engines.append(weakref.ref(store._core.engine))
    del store
    await asyncio.sleep(0)
    gc.collect()
    assert [engine() for engine in engines] == [None] * 40
    assert open_things() == before


async def test_readers_wait_when_the_store_closes_then_each_has_an_answer(url: str) -> None:
    """More readers than connections at the moment of closing: each is served or told, no one is
    left waiting."""
    store = await EventStore.open(url)
    await store.append("s", [NewEvent("t", n) for n in range(3_000)])
    reads = [asyncio.create_task(store.read_all(after=n).list()) for n in range(60)]
    follower = asyncio.create_task(anext(aiter(store.subscribe(after=3_000))))
    for _ in range(20):
        await asyncio.sleep(0)
    await asyncio.wait_for(store.close(), PATIENCE_SECONDS)
    done, waiting = await asyncio.wait([*reads, follower], timeout=PATIENCE_SECONDS)
    assert waiting == set()
    for task in done:
        failure = task.exception()
        assert failure is None or isinstance(failure, StoreClosed)
    assert isinstance(follower.exception(), StoreClosed)


async def test_refused_and_repeated_appends_wait_when_the_store_closes_then_each_hears_the_truth(
    url: str,
) -> None:
    """What was accepted before the closing is answered in full: a conflict with the events that
    were missed, a repeated key with its first answer."""
    store = await EventStore.open(url)
    notes = [NewEvent("t", n) for n in range(50)]
    first = await store.append("s", notes, idempotency_key="k")
    refused = [
        asyncio.create_task(store.append("s", NewEvent("t", 1), expected=3)) for _ in range(20)
    ]
    repeated = [
        asyncio.create_task(store.append("s", notes, idempotency_key="k")) for _ in range(10)
    ]
    await asyncio.sleep(0)
    await asyncio.wait_for(store.close(), PATIENCE_SECONDS)
    for task in refused:
        with pytest.raises(Conflict) as told:
            await task
        assert [event.data for event in told.value.events] == list(range(3, 50))
    for task in repeated:
        again = await task
        assert (again.duplicate, again.events) == (True, first.events)


async def test_a_long_verify_runs_when_the_store_closes_then_it_ends_at_its_next_page(
    url: str,
) -> None:
    """Closing waits for a page, not for a whole log."""
    store = await EventStore.open(url)
    await store.append("s", [NewEvent("t", n) for n in range(5_000)])
    seen: list[int] = []
    closing: list[asyncio.Task[None]] = []

    def progress(done: int, total: int) -> None:
        seen.append(done)
        if not closing:
            closing.append(asyncio.ensure_future(store.close()))

    with pytest.raises(StoreClosed):
        await store.verify(progress=progress)
    await closing[0]
    assert len(seen) <= 2


_PROGRAM = """
    import asyncio, sys
    from eventstore import EventStore, NewEvent

    async def main():
        global kept
        kept = await EventStore.open(sys.argv[1])
        await kept.append("s", NewEvent("t", 1))
        async for event in kept.subscribe():
            break
        {end}

    asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("end", "code"), [("pass", 0), ("raise SystemExit(3)", 3), ("raise ValueError", 1)]
)
def test_a_program_ends_without_closing_then_it_ends_and_what_was_answered_stands(
    url: str, end: str, code: int
) -> None:
    """A forgotten close, or an error on the way to it, must not keep the process alive."""
    program = textwrap.dedent(_PROGRAM).format(end=end)
    ended = subprocess.run(
        [sys.executable, "-c", program, url], timeout=PATIENCE_SECONDS, capture_output=True
    )
    assert ended.returncode == code, ended.stderr.decode()

    async def look() -> int:
        async with EventStore.open(url) as store:
            return await store.head()

    assert asyncio.run(look()) == 1


def test_a_store_is_used_with_every_warning_an_error_then_there_is_none(file: Path) -> None:
    """Opening a new and an old file, working and closing in development mode: nothing on stderr."""
    program = """
        import asyncio, sys
        from eventstore import EventStore, NewEvent

        async def main():
            # How long a turn of the loop takes is the machine's affair: no limit for that note.
            asyncio.get_running_loop().slow_callback_duration = float("inf")
            for _ in range(2):
                async with EventStore.open(sys.argv[1]) as store:
                    await store.append("s", NewEvent("t", 1))
                    await store.read("s").list()
                    async for event in store.subscribe():
                        break

        asyncio.run(main())
    """
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(program),
         f"sqlite:///{file}"],
        timeout=PATIENCE_SECONDS,
        capture_output=True,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr.decode()) == (0, "")
