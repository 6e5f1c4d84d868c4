"""A store that may not be written is read as a file that does not change, for as long as it does
not. (Permissions do not bind root, who may run these tests, so the engine is told that there are
none; tests/acceptance has the same with real ones.)"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from eventstore import EventStore, NewEvent, StorageFailed
from eventstore.engines.sqlite import engine as engine_module
from eventstore.engines.sqlite import opening
from eventstore.engines.sqlite.errors import permission_step
from eventstore.engines.sqlite.unwritable import is_unwritable
from tests.waiting import PATIENCE_SECONDS

_NOTES = [NewEvent("t", n) for n in range(3)]


@asynccontextmanager
async def _unwritable(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EventStore]:
    with monkeypatch.context() as patched:
        patched.setattr(opening, "is_unwritable", lambda path: True)
        store = await EventStore.open(url)
    async with store:
        assert store.describe()["immutable"] is True
        yield store


async def _written(url: str, *, folded_in: bool) -> EventStore | None:
    """Three more events, in the log beside the file, or closed and folded into it."""
    store = await EventStore.open(url)
    await store.append("s", _NOTES)
    if folded_in:
        await store.close()
        return None
    return store


@pytest.mark.parametrize("folded_in", [False, True], ids=["in its log", "in the file"])
async def test_others_write_to_a_file_that_is_read_as_still_then_reading_on_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch, folded_in: bool
) -> None:
    """Neither what stood before is given as what stands, nor a mixture of both; opened again, it
    has all."""
    async with EventStore.open(url) as store:
        await store.append("s", _NOTES)
    async with _unwritable(url, monkeypatch) as still:
        assert await still.head() == 3
        assert len(await still.read("s").list()) == 3
        other = await _written(url, folded_in=folded_in)
        questions: list[Any] = [still.head(), still.version("s"), still.read_all().list()]
        for question in (*questions, still.read("s").list(), still.verify()):
            with pytest.raises(StorageFailed, match="somebody writes to it") as refused:
                await question
            assert refused.value.next_step.startswith("open it again")
        if other is not None:
            await other.close()
    async with _unwritable(url, monkeypatch) as again:
        assert await again.head() == 6


async def test_others_write_to_a_file_that_is_read_as_still_then_a_subscription_ends(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for events is not left waiting for what this store cannot see."""
    monkeypatch.setattr(engine_module, "POLL_SECONDS", 0.001)
    async with EventStore.open(url) as store:
        await store.append("s", _NOTES)
    async with _unwritable(url, monkeypatch) as still:
        follower = aiter(still.subscribe(after=3))
        waiting = asyncio.ensure_future(anext(follower))
        await _written(url, folded_in=True)
        with pytest.raises(StorageFailed, match="somebody writes to it"):
            await asyncio.wait_for(waiting, PATIENCE_SECONDS)


async def test_nobody_writes_to_a_file_that_is_read_as_still_then_it_is_read_to_its_end(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers beside each other, and one who opens it to write and writes nothing, change
    nothing."""
    async with EventStore.open(url) as store:
        await store.append("s", _NOTES)
    async with _unwritable(url, monkeypatch) as one, _unwritable(url, monkeypatch) as two:
        async with EventStore.open(url) as idle:
            assert await idle.head() == 3
            assert [len(await each.read("s").list()) for each in (one, two)] == [3, 3]
        assert (await one.verify()).events == 3
        with pytest.raises(StorageFailed, match="nothing was written"):
            await one.append("s", NewEvent("t", 4))


@pytest.mark.parametrize("can_ask", [True, False])
def test_a_process_acts_as_somebody_else_then_their_rights_decide(
    file: Path, monkeypatch: pytest.MonkeyPatch, can_ask: bool
) -> None:
    """Of a program that gave its rights up, only the user who it was may write; where the system
    cannot be asked for whom it acts, it is asked for that one."""

    def access(path: str, mode: int, *, effective_ids: bool = False) -> bool:
        return not effective_ids

    file.touch()
    assert not is_unwritable(str(file))
    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(os, "supports_effective_ids", {access} if can_ask else set())
    assert is_unwritable(str(file)) is can_ask
    assert ("to the file" in permission_step(str(file))) is can_ask
