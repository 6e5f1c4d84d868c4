"""The server-side function: what it sees behind a lock, and what is sent twice."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import asyncpg
import pytest

from eventstore import (
    Append,
    AppendCondition,
    ConditionFailed,
    Conflict,
    EventStore,
    Expected,
    IdempotencyMismatch,
    InvalidEvent,
    NewEvent,
    Query,
    StorageFailed,
)
from eventstore.calls import NO_DEFAULTS, Call, Outcome, Refused, Written, prepare_one
from eventstore.engines.postgres.batch import arguments_of, outcomes_of
from eventstore.engines.postgres.errors import is_retried
from eventstore.engines.postgres.statements import Statements
from eventstore.ids import UuidSevens
from tests.waiting import until

from .inside import engine_of

_attempts = itertools.count()
_ids = UuidSevens()


def _call(stream: str, event: NewEvent, expected: Any = Expected.ANY, key: Any = None) -> Call:
    return prepare_one("default", Append(stream, event, expected), key, NO_DEFAULTS, _ids)


async def _send(
    raw: Any, calls: list[Call], attempt: str | None = None, lost: tuple[str, ...] = ()
) -> list[Outcome]:
    """What a writer does, on a connection of the test's own."""
    attempt = attempt or f"test/{next(_attempts)}"
    arguments = arguments_of(calls, attempt, lost, 1_000_000, check=True)
    return outcomes_of(calls, await raw.fetchrow(Statements("eventstore").append_batch, *arguments))


def _as_sent_again(call: Call) -> Call:
    call.given_ids = tuple(event.id for part in call.appends for event in part.events)
    return call


async def _waits_for_lock(raw: Any) -> None:
    """Returns when some session waits for a row that another one holds."""
    waiting: list[Any] = []

    async def look() -> None:
        while not waiting:
            waiting.extend(
                await raw.fetch(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND query LIKE '%append_batch%' AND datname = current_database()"
                )
            )

    task = asyncio.create_task(look())
    await until(task.done)
    await task


async def test_a_batch_waited_for_the_head_then_it_judges_by_what_stands_after_the_wait(
    store: EventStore, raw: Any, url: str
) -> None:
    """Versions, conditions and keys alike: a snapshot from before the wait would miss them all."""
    await store.append("s", NewEvent("n", 1))
    other = await asyncpg.connect(url)
    held = raw.transaction()
    await held.start()
    call = _call("s", NewEvent("n", 2, tags=["t"]), key="k")
    (first,) = await _send(raw, [call])
    assert isinstance(first, Written)
    tasks = [
        asyncio.create_task(store.append("s", NewEvent("n", 3), expected=1)),
        asyncio.create_task(
            store.append("r", NewEvent("n", 4), condition=AppendCondition(Query(tags=("t",))))
        ),
        asyncio.create_task(store.append("s", NewEvent("n", 5), idempotency_key="k")),
        asyncio.create_task(store.append("q", NewEvent("n", 6), expected=0)),
    ]
    await _waits_for_lock(other)
    await held.commit()
    await other.close()
    conflict, condition, mismatch, written = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(conflict, Conflict)
    assert conflict.actual == 2
    assert isinstance(condition, ConditionFailed)
    assert isinstance(mismatch, IdempotencyMismatch)
    assert not isinstance(written, BaseException)
    assert written.position == 3


async def test_the_holder_of_the_head_rolls_back_then_the_batch_that_waited_is_written(
    store: EventStore, raw: Any, url: str
) -> None:
    """What was never committed leaves no hole."""
    await store.append("s", NewEvent("n", 1))
    other = await asyncpg.connect(url)
    held = raw.transaction()
    await held.start()
    await _send(raw, [_call("s", NewEvent("n", 2))])
    task = asyncio.create_task(store.append("s", NewEvent("n", 3), expected=1))
    await _waits_for_lock(other)
    await held.rollback()
    await other.close()
    assert (await task).position == 2


@pytest.mark.parametrize("key", [None, "k"])
async def test_the_lost_sending_was_first_then_the_second_writes_nothing(
    store: EventStore, raw: Any, key: str | None
) -> None:
    """Ids that stand count as written, whether a key says so too or not."""
    call = _call("s", NewEvent("n", 1), key=key)
    await _send(raw, [call], "w/1")
    (outcome,) = await _send(raw, [_as_sent_again(call)], "w/2", ("w/1",))
    assert outcome == Written([(1, 1, 1)], 1_000_000, duplicate=True)
    assert len(await store.read_all().list()) == 1


async def test_the_second_sending_was_first_then_the_lost_one_writes_nothing(
    store: EventStore, raw: Any
) -> None:
    """Also where its calls were refused: what was refused is not written behind the answer."""
    written = _call("s", NewEvent("n", 1))
    refused = _call("r", NewEvent("n", 2), Expected.STREAM_EXISTS)
    for alone in ([written], [refused], [refused, written]):
        first, second = f"w/{next(_attempts)}", f"w/{next(_attempts)}"
        old = arguments_of(alone, first, (), 1_000_000, check=True)
        await _send(raw, [_as_sent_again(call) for call in alone], second, (first,))
        await store.append("r", NewEvent("n", 3))
        head = await store.head()
        with pytest.raises(asyncpg.PostgresError) as superseded:
            await raw.fetchrow(Statements("eventstore").append_batch, *old)
        assert superseded.value.sqlstate == "ES002"
        assert await store.head() == head
        refused = _call(f"r{head}", NewEvent("n", 2), Expected.STREAM_EXISTS)
        written = _call("s", NewEvent("n", 1))


async def test_calls_of_one_batch_depend_on_each_other_then_each_sees_those_before(
    store: EventStore, raw: Any
) -> None:
    """Versions, keys, given ids, conditions, in queue order, with refusals in between."""
    outcomes = await _send(
        raw,
        [
            _call("s", NewEvent("n", 1, id="a", tags=["t"]), expected=0, key="k"),
            _call("s", NewEvent("n", 1, id="a", tags=["t"]), expected=0, key="k"),
            _call("s", NewEvent("n", 9), expected=0),
            _call("s", NewEvent("n", 1, id="a", tags=["t"])),
            _call("s", NewEvent("n", 9, id="a", tags=["t"])),
            _call("s", NewEvent("m", 2), expected=1),
        ],
    )
    first = Written([(1, 1, 1)], 1_000_000)
    again = Written([(1, 1, 1)], 1_000_000, duplicate=True)
    assert outcomes == [
        first,
        again,
        Refused("conflict", 0, 1),
        again,
        Refused("id", 0, detail="a"),
        Written([(2, 2, 1)], 1_000_000),
    ]
    assert (await store.verify()).damages == ()


@pytest.mark.parametrize("number", [2, 999])
async def test_a_remembered_id_is_not_that_streams_then_nothing_is_written(
    store: EventStore, raw: Any, number: int
) -> None:
    """Neither under another stream's id nor under one that nobody has."""
    await store.append("s", NewEvent("n", 1))
    await store.append("r", NewEvent("n", 2))
    call = _call("s", NewEvent("n", 3))
    arguments = arguments_of([call], "w/1", (), 1_000_000, check=False, stream_ids=[number])
    with pytest.raises(asyncpg.PostgresError) as stale:
        await raw.fetchrow(Statements("eventstore").append_batch, *arguments)
    assert is_retried(stale.value)
    assert (await store.head(), (await store.verify()).damages) == (2, ())
    assert [info.name async for info in store.streams()] == ["r", "s"]


@pytest.mark.parametrize("number", [2, 999])
async def test_a_writer_remembers_a_wrong_id_then_it_asks_again(
    store: EventStore, number: int
) -> None:
    """Its caller hears nothing of it."""
    await store.append("s", NewEvent("n", 1))
    await store.append("r", NewEvent("n", 2))
    writer = engine_of(store)._writer
    writer._known.learn("default", {"s": 1}, [number])
    result = await store.append("s", NewEvent("n", 3))
    assert (result.version, result.position) == (2, 3)
    assert (await store.verify()).damages == ()


async def test_a_check_held_for_a_stream_without_events_then_its_first_append_is_written(
    store: EventStore,
) -> None:
    """What a check is told of such a stream is not taken for an id."""
    await store.append("s", NewEvent("n", 1))
    await store.append_many([Append("s", [NewEvent("n", 2)]), Append("none", [])])
    for version in (1, 2):
        assert (await store.append("none", NewEvent("n", 3))).version == version
    assert (await store.verify()).damages == ()


async def _fail(raw: Any, state: str, when: str) -> None:
    """Lets the database raise an error when an event that fits is inserted."""
    await raw.execute(
        "CREATE SEQUENCE public.tries; CREATE FUNCTION public.fail() RETURNS trigger"
        f" LANGUAGE plpgsql AS $$ BEGIN IF {when} THEN"
        f" RAISE EXCEPTION USING ERRCODE = '{state}', MESSAGE = 'canary-text',"
        " DETAIL = 'canary-detail'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER fail BEFORE INSERT ON eventstore.events FOR EACH ROW"
        " EXECUTE FUNCTION public.fail()"
    )


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_others_were_in_the_way_then_the_batch_is_run_again(
    store: EventStore, raw: Any, state: str
) -> None:
    """A deadlock or a serialization error is nobody's to hear of."""
    await _fail(raw, state, "nextval('public.tries') < 3")
    assert (await store.append("s", NewEvent("n", 1))).position == 1


@pytest.mark.parametrize(
    ("state", "kind", "said"),
    [("53100", StorageFailed, "disk is full"), ("XX000", StorageFailed, "XX000")],
)
async def test_one_call_of_a_batch_fails_then_only_it_does(
    store: EventStore, raw: Any, state: str, kind: type[Exception], said: str
) -> None:
    """Each is tried alone; nothing of the culprit stands, and no error says what was in it."""
    await _fail(raw, state, "convert_from(NEW.payload, 'UTF8') = '\"bad\"'")
    sent = [store.append(f"s{n}", NewEvent("n", "bad" if n == 3 else n)) for n in range(6)]
    answers = await asyncio.gather(*sent, return_exceptions=True)
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    assert failed == [answers[3]]
    assert isinstance(failed[0], kind)
    assert said in str(failed[0])
    for error in (failed[0], failed[0].__cause__):
        assert "canary-detail" not in str(error)
        assert "bad" not in str(error)
    assert (await store.head(), (await store.verify()).damages) == (5, ())


async def test_the_id_factory_repeats_itself_then_only_that_call_is_refused(url: str) -> None:
    """The database's own index says so; neighbours of the batch are written."""
    made = iter(["a", "b", "a", "c"])
    async with EventStore.open(url, ids=lambda: next(made)) as store:
        sent = [store.append("s", NewEvent("n", n)) for n in range(4)]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        assert [type(answer) for answer in answers].count(InvalidEvent) == 1
        assert isinstance(answers[2], InvalidEvent)
        assert [event.id for event in await store.read_all().list()] == ["a", "b", "c"]
