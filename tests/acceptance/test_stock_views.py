"""The stock views over all recorded sessions, in SQLite and in PostgreSQL.

The oracle (`oracle/gathering.py`, `oracle/viewing.py`) computes the same rows from the events by
code that knows nothing of views.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
import sqlalchemy as sa

from eventstore import EventStore, NewEvent, RecordedEvent
from projections import Delete, KeyParked, Projection, RelationalView, Relay, Upsert
from projections.stock import memories, messages, sessions, stock_views, tool_calls, usage
from projections.stock.columns import Json, Moment, Words
from reducers import fold, to_json
from reducers.agent import agent
from tests.engines.databases import template
from tests.servers.postgres import PostgresServer

from .conftest import EVENTSTORE, SECONDS_MAX
from .oracle.gathering import VIEWS
from .oracle.sources import RECORDED
from .oracle.viewing import Event, plain, row_differences

ENGINES = ("sqlite", "postgresql")


class Fed(NamedTuple):
    """A store with all recorded sessions, whose stock views are fed; its events."""

    url: str
    recorded: list[RecordedEvent]
    events: list[Event]


@pytest.fixture(scope="module", params=ENGINES)
def fed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fed]:
    """Imported by the real command, and fed to the head."""
    here = tmp_path_factory.mktemp("stock")
    server = None
    if request.param == "sqlite":
        url = f"sqlite:///{here / 'store.db'}"
    else:
        server = request.getfixturevalue("postgres")
        url = server.new_url(template(server))
    ran = subprocess.run(
        [str(EVENTSTORE), "import", str(RECORDED), "--store", url, "--json"],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    recorded = asyncio.run(_feed(url))
    yield Fed(url, recorded, [plain(event) for event in recorded])
    if server is not None:
        server.drop(url)


async def _feed(url: str) -> list[RecordedEvent]:
    async with EventStore.open(url) as store:
        await Relay(store, list(stock_views(with_vectors=False).values())).run_once()
        return await store.read_all().list()


@pytest_asyncio.fixture
async def store(fed: Fed) -> AsyncIterator[EventStore]:
    """That store, opened."""
    async with EventStore.open(fed.url) as opened:
        yield opened


@pytest_asyncio.fixture(params=ENGINES)
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    """A store with nothing in it."""
    if request.param == "sqlite":
        async with EventStore.open(f"sqlite:///{tmp_path}/log.db") as opened:
            yield opened
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    url = postgres.new_url(template(postgres))
    async with EventStore.open(url) as opened:
        yield opened
    postgres.drop(url)


@pytest.mark.parametrize("name", VIEWS)
async def test_all_sessions_are_imported_then_each_view_is_what_independent_code_folds(
    name: str, fed: Fed, store: EventStore
) -> None:
    """Each table has exactly the rows that the oracle computes from the events, every time to the
    microsecond and in UTC, every number of its type."""
    view = stock_views(with_vectors=False)[name].bind(store)
    assert isinstance(view, RelationalView)
    rows = await view.query(sa.select(view.table))
    wanted = VIEWS[name].rows(fed.events)
    assert len(wanted) > 50
    assert row_differences(VIEWS[name].keys, wanted, rows, decoded=True)[:5] == []
    times = [row[key] for row in rows for key in row if key.endswith("_at")]
    assert {time.utcoffset() for time in times if time is not None} <= {timedelta(0)}


async def test_all_sessions_are_imported_then_session_state_is_the_state_of_each_stream(
    fed: Fed, store: EventStore
) -> None:
    """The cache has for each stream what folding its events with `agent` gives, as JSON, and no
    row for a stream without an event of the vocabulary."""
    view = stock_views(with_vectors=False)["session_state"].bind(store)
    streams: dict[str, list[RecordedEvent]] = {}
    for event in fed.recorded:
        streams.setdefault(event.stream, []).append(event)
    known = agent.steps()
    wanted = {
        stream: to_json(fold(events, agent))
        for stream, events in streams.items()
        if any(event.type in known for event in events)
    }
    assert len(wanted) > 400
    assert await view.rows(list(streams)) == wanted


async def test_nothing_of_the_recorded_sessions_is_odd_then_no_key_is_parked(
    store: EventStore,
) -> None:
    """Every view has taken every event, up to the head."""
    head = await store.head()
    for view in stock_views(with_vectors=False).values():
        answer = (
            await view.bind(store).get("nobody", at_least=head)
            if view.name in _BY_TEXT
            else (await view.bind(store).get(_NOBODY[view.name], at_least=head))
        )
        assert (answer.position, answer.value) == (head, None)
    schema = f"{store.outbox.schema}." if store.outbox.schema else ""
    assert await store.outbox.query(f"SELECT count(*) FROM {schema}dead_letters") == [(0,)]


_BY_TEXT = ("sessions", "usage", "session_state")
_NOBODY: dict[str, Any] = {
    "audit": 10**9,
    "messages": ("nobody", "none"),
    "tool_calls": ("nobody", "none"),
    "memories": ("nobody", "none"),
}


async def test_dashboards_ask_in_sqlalchemy_then_both_databases_answer_alike(
    store: EventStore,
) -> None:
    """Groups, joins, times as aware datetimes and paths into JSON columns are asked in the same
    words on both engines."""
    m = memories.table
    by_user = await memories.bind(store).query(
        sa.select(m.c.user, sa.func.count().label("n")).group_by(m.c.user).order_by(m.c.user)
    )
    assert (len(by_user), sum(row["n"] for row in by_user)) == (15, 566)
    day = datetime(2023, 4, 27, tzinfo=UTC)
    of_emily = m.c.attributes["user"].as_string() == "Emily"
    found = await memories.bind(store).query(
        sa.select(m).where(of_emily, m.c.created_at >= day, m.c.created_at < day + timedelta(1))
    )
    assert found
    assert {row["stream"] for row in found} == {"session/Emily/2023-04-27"}
    s, u = sessions.table, usage.table
    costs = await sessions.bind(store).query(
        sa.select(s.c.source_kind, sa.func.sum(u.c.cost).label("cost"))
        .join(u, u.c.stream == s.c.stream)
        .group_by(s.c.source_kind)
        .having(sa.func.sum(u.c.cost) > 0),
        usage.bind(store),
    )
    assert {row["source_kind"]: round(row["cost"], 6) for row in costs} == {"tau2-bench": 7.800348}
    latest = await messages.bind(store).query(
        sa.select(sa.func.max(messages.table.c.recorded_at).label("at"))
    )
    assert latest[0]["at"].utcoffset() == timedelta(0)


async def test_memory_is_corrected_and_forgotten_then_readers_of_their_own_writes_see_it(
    empty: EventStore,
) -> None:
    """A row follows remembering, correcting, forgetting and remembering anew, each seen by who
    waits for its position."""
    view, key = memories.bind(empty), ("session/1", "likes")

    async def told(kind: str, **data: Any) -> dict[str, Any] | None:
        event = NewEvent(f"memory.{kind}", {"memory_id": "likes", **data}, tags=["user:ann"])
        result = await empty.append("session/1", event)
        answer = await view.get(key, at_least=result.position)
        value: dict[str, Any] | None = answer.value
        return value

    async with Relay(empty, [view]):
        first = await told("remembered", content="tea")
        second = await told("corrected", content={"drink": "coffee"}, reason="asked again")
        assert await told("forgotten") is None
        assert await told("corrected", content="too late") is None
        third = await told("remembered", content="water", attributes={"user": "ben"})
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first["text"], first["user"], first["corrections"]) == ("tea", "ann", 0)
    assert (second["text"], second["content"]) == ('{"drink":"coffee"}', {"drink": "coffee"})
    assert (second["user"], second["reason"], second["corrections"]) == ("ann", "asked again", 1)
    assert second["created_at"] == first["created_at"] < second["changed_at"]
    assert (third["user"], third["corrections"]) == ("ben", 0)
    assert third["created_at"] == third["changed_at"] > second["changed_at"]
    events = [plain(event) async for event in empty.read_all()]
    rows = await view.query(sa.select(memories.table))
    assert (
        row_differences(("stream", "memory_id"), VIEWS["memories"].rows(events), rows, decoded=True)
        == []
    )


async def test_tool_says_what_a_database_finds_hard_then_the_row_is_still_there(
    empty: EventStore,
) -> None:
    """Numbers of any size, a NUL, a key that looks like JSON: values come back as they were; only
    a text with a NUL shows U+FFFD in PostgreSQL, which has no NUL."""
    result = {"large": 1e300, "zero": -0.0, "one": 1.0, "max": 2**63 - 1, "nul": "a\0b", "": None}
    call = {"tool_call_id": '["x"]', "tool_name": "f\0g", "tool_call_arguments": "17"}
    await empty.append(
        "s",
        [
            NewEvent("tool.requested", call),
            NewEvent("tool.completed", {**call, "tool_call_result": result}),
        ],
    )
    await Relay(empty, [tool_calls]).run_once()
    (row,) = await tool_calls.bind(empty).query(sa.select(tool_calls.table))
    assert (row["call_id"], row["arguments"]) == ('["x"]', "17")
    assert repr(row["result"]) == repr(dict(sorted(result.items())))
    assert row["name"] == ("f\0g" if empty.outbox.dialect == "sqlite" else "f\ufffdg")
    answer = await tool_calls.bind(empty).get(("s", '["x"]'))
    assert answer.value["status"] == "completed"


async def test_time_without_a_zone_then_the_key_is_parked_and_no_query_takes_one(
    empty: EventStore,
) -> None:
    """A naive time is refused where it is written and where it is asked for: it would mean
    another moment on another machine."""
    table = sa.Table(
        "seen",
        sa.MetaData(),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", Moment),
        sa.Column("data", Json),
        sa.Column("words", Words),
    )
    projection = Projection("seen", map=_seen, types=["seen", "gone"])
    view = RelationalView(projection, table, attempts=1).bind(empty)
    result = await empty.append("good", NewEvent("seen", {"zone": True}))
    bad = await empty.append("bad", NewEvent("seen", {"zone": False}))
    await Relay(empty, [view]).run_once()
    assert (await view.get("good", at_least=result.position)).value["at"] == datetime(
        2026, 1, 2, 1, tzinfo=UTC
    )
    with pytest.raises(KeyParked):
        await view.get("bad", at_least=bad.position)
    with pytest.raises(Exception, match="a time has a zone"):
        await view.query(sa.select(table).where(table.c.at > datetime(2026, 1, 1)))
    await empty.append("good", NewEvent("gone", {}))
    await Relay(empty, [view]).run_once()
    assert await view.query(sa.select(table)) == []


def _seen(event: RecordedEvent) -> Upsert | Delete:
    if event.type == "gone":
        return Delete(event.stream)
    at = datetime.fromisoformat("2026-01-02T03:00:00+02:00")
    if not event.data["zone"]:
        at = at.replace(tzinfo=None)
    return Upsert(event.stream, {"at": at, "data": {"n": 1}, "words": "x"})


async def test_id_is_more_than_a_database_can_hold_then_that_call_is_parked_and_no_other(
    empty: EventStore,
) -> None:
    """A call whose id has a NUL, or is longer than an index entry, is a row in SQLite; in
    PostgreSQL it is parked, and its neighbours flow."""
    odd = ["a\0b", "".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(5_000))]
    for call_id in (*odd, "plain"):
        await empty.append("s", NewEvent("tool.requested", {"tool_call_id": call_id}))
    head = await empty.head()
    view = RelationalView(tool_calls.projection, tool_calls.table, attempts=1).bind(empty)
    await Relay(empty, [view]).run_once()
    assert (await view.get(("s", "plain"), at_least=head)).value["status"] == "pending"
    for call_id in odd:
        if empty.outbox.dialect == "sqlite":
            assert (await view.get(("s", call_id), at_least=head)).value["attempts"] == 1
        else:
            with pytest.raises(KeyParked):
                await view.get(("s", call_id), at_least=head)
