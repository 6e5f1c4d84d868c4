"""Opening, cancelling, closing, and use from where a store does not belong."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest

from ...errors import InvalidEvent, Misuse, StoreClosed
from ...events import Append
from ...store import EventStore
from ..clocks import FixedClock
from ..history import History
from .harness import PATIENCE_SECONDS, Harness, note, notes, numbers, whole

_MODULE_NAME = "_engine_contract"


class LifecycleContract(Harness):
    """Nothing is lost by cancelling or closing, and misuse is told."""

    async def test_a_store_is_opened_in_both_ways_then_it_works(self, tmp_path: Path) -> None:
        """Awaited and closed by hand, or entered."""
        store = await EventStore.open(self.new_url(tmp_path))
        await store.append("s", note())
        await store.close()
        await store.close()
        async with EventStore.open(self.new_url(tmp_path)) as other:
            assert await other.head() == 0
        async with await EventStore.open(self.new_url(tmp_path)) as third:
            assert (await third.append("s", note())).position == 1

    async def test_the_store_is_opened_again_then_everything_stands(self, tmp_path: Path) -> None:
        """Answered means kept: events, ids, keys, tags, tenants, metadata."""
        if not self.keeps:
            return
        url = self.new_url(tmp_path)
        async with await self.open_store(url, clock=FixedClock()) as store:
            first = await store.append(
                "s",
                [note("a", id="a", tags=["x"]), note("b", causation_id="a")],
                idempotency_key="k",
                actor="ann",
                context={"c": 1},
            )
            await store.append_many([Append("t", notes(2))], idempotency_key="m")
            await store.tenant("acme").append("s", note())
            before = await whole(store)
        async with await self.open_store(url, clock=FixedClock()) as store:
            assert await whole(store) == before
            again = await store.append(
                "s",
                [note("a", id="a", tags=["x"]), note("b", causation_id="a")],
                idempotency_key="k",
                actor="ann",
                context={"c": 1},
            )
            assert (again.duplicate, again.events) == (True, first.events)
            assert (await store.append_many([Append("t", notes(2))], idempotency_key="m"))[
                0
            ].duplicate is True
            assert [e.position async for e in store.caused_by("a")] == [2]
            assert len(await store.read_all(tags=["x"]).list()) == 1
            assert await store.tenants() == ["acme", "default"]
            assert (await store.append("s", notes(1))).position == 5
            assert (await store.verify()).damages == ()

    async def test_callers_are_cancelled_then_a_retry_with_the_same_key_writes_once(
        self, store: EventStore
    ) -> None:
        """Cancelling a caller never cancels a commit, and never tears one."""

        async def send(n: int) -> None:
            await store.append("s", notes(2, start=n * 10), idempotency_key=f"k{n}")

        tasks = [asyncio.create_task(send(n)) for n in range(40)]
        for turn, task in enumerate(tasks):
            for _ in range(turn % 5):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        history = History()
        for n in range(40):
            result = await store.append("s", notes(2, start=n * 10), idempotency_key=f"k{n}")
            history.acknowledged(result)
            assert numbers(list(result.events)) == [n * 10, n * 10 + 1]
        log = await store.read_all().list()
        history.check_log(log)
        assert sorted(numbers(log)) == sorted(n * 10 + i for n in range(40) for i in (0, 1))

    async def test_a_read_is_cancelled_then_the_store_goes_on(self, store: EventStore) -> None:
        """A cancelled read leaves nothing open that could hold up a writer."""
        await store.append("s", notes(3_000))
        for turns in range(12):
            task = asyncio.create_task(store.read_all().list())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (await store.append("s", note())).position == 3_001
        assert len(await store.read("s").list()) == 3_001

    async def test_the_store_closes_then_what_waits_is_written_or_refused_and_answered(
        self, tmp_path: Path
    ) -> None:
        """`close` refuses new work and drains: every caller gets an answer that is true."""
        url = self.new_url(tmp_path)
        store = await self.open_store(url)

        async def send(n: int) -> int | None:
            try:
                return (await store.append("s", notes(1, start=n))).position
            except StoreClosed:
                return None

        tasks = [asyncio.create_task(send(n)) for n in range(30)]
        await asyncio.sleep(0)
        await asyncio.wait_for(store.close(), PATIENCE_SECONDS)
        answered = [p for p in await asyncio.gather(*tasks) if p is not None]
        assert sorted(answered) == list(range(1, len(answered) + 1))
        assert len(answered) == 30
        if self.keeps:
            async with await self.open_store(url) as again:
                assert await again.head() == len(answered)

    async def test_the_store_is_closed_then_every_door_refuses(self, tmp_path: Path) -> None:
        """Whatever is asked of a closed store, also of its views: StoreClosed."""
        store = await self.open_store(self.new_url(tmp_path))
        view = store.tenant("acme").bind(actor="ann")
        await view.append("s", notes(2))
        read, log = view.read("s"), view.read_all()
        checkpoints, snapshots = view.checkpoints, view.snapshots
        half_way = aiter(view.read_all())
        await anext(half_way)
        await view.close()
        for used in (store, view):
            for call in (
                used.append("s", note()),
                used.append_many([Append("s", note())]),
                used.lookup("s", "k"),
                used.head(),
                used.version("s"),
                used.event("x"),
                used.tenants(),
                used.verify(),
                anext(used.streams()),
                anext(used.caused_by("x")),
            ):
                with pytest.raises(StoreClosed):
                    await call
            for ask in (partial(used.read, "s"), used.read_all, used.subscribe):
                with pytest.raises(StoreClosed):
                    ask()
            for name in ("checkpoints", "outbox", "snapshots"):
                with pytest.raises(StoreClosed):
                    getattr(used, name)
        for events in (read, log):
            with pytest.raises(StoreClosed):
                await events.list()
        with pytest.raises(StoreClosed):
            [event async for event in half_way]
        with pytest.raises(StoreClosed):
            await checkpoints.load("r")
        with pytest.raises(StoreClosed):
            await snapshots.find("s", "r", "f")

    async def test_another_loop_uses_the_store_then_it_is_misuse(self, store: EventStore) -> None:
        """A store belongs to the loop that opened it; what was taken from it does too."""
        await store.append("s", notes(1))
        read = store.read("s")

        async def use() -> None:
            with pytest.raises(Misuse, match="event loop"):
                await store.append("s", note())
            with pytest.raises(Misuse, match="event loop"):
                await store.head()
            with pytest.raises(Misuse, match="event loop"):
                store.read_all()
            with pytest.raises(Misuse, match="event loop"):
                await read.list()
            with pytest.raises(Misuse, match="event loop"):
                await store.close()

        await asyncio.to_thread(asyncio.run, use())
        with pytest.raises(Misuse, match="event loop"):
            await asyncio.to_thread(store.read, "s")
        assert await store.head() == 1

    async def test_a_forked_process_uses_the_store_then_it_is_misuse(self, tmp_path: Path) -> None:
        """A store belongs to the process that opened it; the parent's is not harmed."""
        module = sys.modules[type(self).__module__]
        program = _FORK.format(
            file=str(module.__file__),
            name=type(self).__name__,
            module=_MODULE_NAME,
            folder=str(tmp_path),
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            textwrap.dedent(program),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"},
        )
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS * 2)
        assert out.decode().split() == ["child:Misuse", "parent:2"], err.decode()

    @pytest.mark.parametrize("url", ["nothing://x", "", "sqlite:relative.db", "sqlite://", "x"])
    async def test_the_url_is_no_store_then_it_is_refused(self, url: str) -> None:
        """A URL that no engine knows is the caller's mistake, told at once."""
        with pytest.raises(InvalidEvent, match="URL"):
            await EventStore.open(url)


_FORK = """
    import asyncio, importlib.util, os, sys
    from pathlib import Path
    spec = importlib.util.spec_from_file_location({module!r}, {file!r})
    module = sys.modules[{module!r}] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from eventstore import Misuse, NewEvent

    async def main():
        suite = getattr(module, {name!r})()
        store = await suite.open_store(suite.new_url(Path({folder!r})))
        await store.append("s", NewEvent("t", 1))
        child = os.fork()
        if child == 0:
            try:
                await store.append("s", NewEvent("t", 2))
                print("child:written", flush=True)
            except Misuse:
                print("child:Misuse", flush=True)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        print("parent:%d" % (await store.append("s", NewEvent("t", 3))).position, flush=True)
        await store.close()

    asyncio.run(main())
"""
