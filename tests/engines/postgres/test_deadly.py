"""What the server dies of is not asked or sent for ever, and others do not suffer for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventstore import AppendResult, EventStore, NewEvent, OutcomeUnknown, StorageFailed
from eventstore.engines.postgres.connections import LOSSES_MAX
from tests.waiting import until

from .inside import engine_of


async def test_a_question_ends_its_session_each_time_then_it_is_given_up_after_a_few(
    store: EventStore,
) -> None:
    """A lost connection is replaced; one that is lost over the same question again and again is
    the question's fault, and others may be ended with it."""
    await store.append("s", NewEvent("n", 1))
    asked = 0

    async def deadly(connection: Any) -> None:
        nonlocal asked
        asked += 1
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    connections = engine_of(store)._reading
    async with asyncio.timeout(15):
        with pytest.raises(StorageFailed, match="damaged data"):
            await connections.run(deadly)
    assert asked == LOSSES_MAX
    assert len(await store.read_all().list()) == 1


_DEADLY = """
CREATE SEQUENCE public.deaths;
CREATE FUNCTION public.die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF convert_from(NEW.payload, 'UTF8') = '"deadly"' THEN
    PERFORM nextval('public.deaths'), pg_terminate_backend(pg_backend_pid());
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER die BEFORE INSERT ON eventstore.events FOR EACH ROW EXECUTE FUNCTION public.die();
"""


async def test_an_append_ends_its_session_each_time_then_its_neighbours_are_written(
    url: str, raw: Any
) -> None:
    """A batch that is lost again and again goes call by call; the one at fault is sent ever more
    rarely until the patience is over, and those beside it and behind it stand once."""
    async with EventStore.open(url, busy_timeout_seconds=4) as store:
        await store.append("s", NewEvent("n", 0))
        await raw.execute(_DEADLY)
        await _one_is_deadly(store)
        # Twice in flight, a few times in its batch, and after 0.25, 0.5, 1 and 2 s alone.
        deaths = await raw.fetchval("SELECT last_value FROM public.deaths")
        assert LOSSES_MAX < deaths <= 4 * LOSSES_MAX


async def _one_is_deadly(store: EventStore) -> None:
    # The first one is in flight while the others gather behind it.
    sent = [
        asyncio.create_task(store.append("s", NewEvent("n", data)))
        for data in (1, 2, "deadly", 3, 4)
    ]
    async with asyncio.timeout(15):  # half of the patience that a lost server is waited for
        found = await asyncio.gather(*sent, return_exceptions=True)
    assert [type(each) for each in found] == [
        *([AppendResult] * 2),
        OutcomeUnknown,
        *([AppendResult] * 2),
    ]
    assert "this append alone" in str(found[2].__cause__)  # type: ignore[union-attr]
    assert "deadly" not in f"{found[2]} {found[2].__cause__}"  # type: ignore[union-attr]
    assert [event.data for event in await store.read("s").list()] == [0, 1, 2, 3, 4]
    assert (await store.verify()).damages == ()


async def test_every_append_ends_its_session_then_all_are_told_when_the_patience_is_over(
    url: str, raw: Any
) -> None:
    """Many that are at fault are not each waited for."""
    async with EventStore.open(url, busy_timeout_seconds=1) as store:
        await store.append("s", NewEvent("n", 0))
        await raw.execute(_DEADLY)
        sent = [asyncio.create_task(store.append("s", NewEvent("n", "deadly"))) for _ in range(12)]
        async with asyncio.timeout(10):
            found = await asyncio.gather(*sent, return_exceptions=True)
        assert {type(each) for each in found} == {OutcomeUnknown}
        await until(lambda: not engine_of(store)._writer._lanes)
        assert [event.data for event in await store.read("s").list()] == [0]
