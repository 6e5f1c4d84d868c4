"""Time travel over real recorded sessions, held against what their sources say.

The sources are read here with `json` alone. What an event is in a source, this module knows by
one rule: a message is one event, each call that it asks for is one more, and so is an answer.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator
from functools import cache
from itertools import combinations
from typing import Any

import pytest

from cli.importers import import_paths
from eventstore import EventStore, NewEvent, RecordedEvent, Version
from reducers import (
    bisect,
    blame,
    first_divergence,
    fold,
    fork,
    state_hash,
    to_json,
)
from reducers.agent import ToolCalls, agent, tool_calls
from reducers.blaming import Blamed
from tests.acceptance.oracle.sources import RECORDED

RETAIL = RECORDED / "tau2-bench" / "gpt-4.1_retail_default_1trial.json"
AIRLINE = RECORDED / "tau-bench" / "gpt-4o-airline.json"


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a store with both files in it, imported once."""
    url = f"sqlite:///{tmp_path_factory.mktemp('imported') / 'store.db'}"

    async def fill() -> None:
        async with EventStore.open(url, synchronous="NORMAL") as store:
            await import_paths(store, [RETAIL, AIRLINE])

    asyncio.run(fill())
    return url


@pytest.fixture
async def store(imported: str) -> AsyncIterator[EventStore]:
    async with EventStore.open(imported, synchronous="NORMAL") as opened:
        yield opened


def simulations() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(RETAIL.read_text())["simulations"]
    return found


def events_of(message: dict[str, Any]) -> int:
    """How many events a message is, where no model's usage is told."""
    return 2 if message["role"] == "tool" else 1 + len(message.get("tool_calls") or [])


async def test_sessions_have_tool_errors_then_bisect_finds_each_where_the_source_has_it(
    store: EventStore,
) -> None:
    """The first error of each of the 8 retail sessions that have one, all 12, and none in the
    other 32: by the answer's message, and by the id of its call."""
    sessions, errors = 0, 0
    for simulation in simulations():
        failed = [
            (place, message)
            for place, message in enumerate(simulation["messages"], 1)
            if message["role"] == "tool" and message["error"]
        ]
        stream = f"session/{simulation['id']}"
        events = await store.read(stream).list()
        sessions += bool(failed)
        errors += len(failed)
        for count in range(1, len(failed) + 2):
            found = bisect(events, tool_calls, _at_least(count))
            stored = await tool_calls.bisect(store, stream, _at_least(count), monotone=True)
            if count > len(failed):
                assert found is None
                assert stored is None
                continue
            place, message = failed[count - 1]
            assert found is not None
            assert stored is not None
            assert stored.event == found.event
            assert found.event.type == "tool.failed"
            assert found.event.data["tool_call_id"] == message["id"]
            assert found.event.data["tool_call_result"] == message["content"]
            before = events[: found.event.version]
            assert sum(event.type == "message.added" for event in before) == place
    assert (sessions, errors) == (8, 12)


def _at_least(count: int) -> Any:
    def failed(state: ToolCalls) -> bool:
        return state.failures >= count

    return failed


async def test_trials_of_a_task_then_they_part_where_their_sources_do(store: EventStore) -> None:
    """For all pairs of the four trials of each of the 50 tasks: as many events are the same as
    the equal messages at the front are, and the next one is that of the first other message."""
    sources = {
        (run["task_id"], run["trial"]): run["traj"] for run in json.loads(AIRLINE.read_text())
    }
    histories: dict[tuple[int, int], list[RecordedEvent]] = {}
    async for info in store.streams(prefix="session/"):
        started, *events = await store.read(info.name).list()
        told = started.data["attributes"]
        if (told.get("task_id"), told.get("trial")) in sources and "timestamp" not in told:
            histories[told["task_id"], told["trial"]] = events
    assert len(histories) == len(sources) == 200
    pairs = 0
    for task in range(50):
        for one, other in combinations(range(4), 2):
            messages, others = sources[task, one], sources[task, other]
            first = 0
            while messages[first] == others[first]:
                first += 1
            found = first_divergence(histories[task, one], histories[task, other])
            assert found is not None
            assert found.common == sum(events_of(message) for message in messages[:first])
            for event, message in ((found.a, messages[first]), (found.b, others[first])):
                assert event is not None
                assert event.data["role"] == message["role"] == "user"
                assert [part["content"] for part in event.data["parts"]] == [message["content"]]
            pairs += 1
    assert pairs == 300


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each plain value in a JSON value, and each empty container, with its path."""
    if isinstance(value, (dict, list)) and value:
        named = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in named:
            token = str(name).replace("~", "~0").replace("/", "~1")
            yield from leaves(item, f"{path}/{token}")
    else:
        yield path, value


@cache
def carried(payload: bytes) -> frozenset[tuple[type, Any]]:
    """The plain values that stand in an event itself, 1 and True and 1.0 apart."""
    values = (value for _, value in leaves(json.loads(payload)))
    return frozenset((type(value), value) for value in values if value not in ([], {}))


COUNTED = {"status", "attempts", "number", "failures", "started", "ended"}
"""Members of a state that say how far something is, or the how manieth it is."""


def is_said(blamed: Blamed, value: Any) -> bool:
    """Whether the event itself says the value or, of a sum, what was added to it. What is none,
    empty or counted is said by no event."""
    member = blamed.path.rpartition("/")[2]
    if blamed.path.startswith("/usage/"):
        added = blamed.after - (blamed.before or 0) if "rest" not in blamed.path else None
        if member == "calls" or added is None:
            return added in (1, None)
        data = json.loads(blamed.event.payload)
        return math.isclose(added, {**data, **data["usage"]}.get(member, 0), abs_tol=1e-9)
    if value in (None, [], {}) or member in COUNTED:
        return True
    return (type(value), value) in carried(blamed.event.payload)


async def twenty_sessions(store: EventStore) -> list[str]:
    """The shortest of the retail sessions, three of which have a tool error and three have none,
    and fourteen of the airline's shorter half: each leaf is blamed by itself, which takes folds."""
    infos = {info.name: info.version async for info in store.streams(prefix="session/")}
    erring: dict[bool, list[str]] = {True: [], False: []}
    for simulation in simulations():
        has_error = any(message.get("error") for message in simulation["messages"])
        erring[has_error].append(f"session/{simulation['id']}")
    retail = [
        name
        for names in erring.values()
        for name in sorted(names, key=lambda name: infos[name])[:3]
    ]
    airline = [name for name in infos if name not in {*erring[True], *erring[False]}]
    return [*retail, *sorted(airline, key=lambda name: infos[name])[:98:7]]


async def test_leaves_of_final_states_then_each_is_blamed_on_an_event_that_carries_its_value(
    store: EventStore,
) -> None:
    """Every leaf of the state of 20 sessions: it has its value after the blamed event and ever
    after, and has another one or none before it, by folding every prefix; and the value stands in
    the event's own data. Whom nobody is blamed for, it stands in the initial state."""
    streams = await twenty_sessions(store)
    assert len(set(streams)) == 20
    for stream in streams:
        events = await store.read(stream).list()
        prefixes = [dict(leaves(to_json(fold(events[:n], agent)))) for n in range(len(events) + 1)]
        assert prefixes[-1]
        for path, value in prefixes[-1].items():
            found = blame(events, agent, path)
            first = found[0].event.version if found else 0
            assert all(_is(prefix, path, value) for prefix in prefixes[first:]), path
            if not found:
                continue
            newest = found[0]
            assert newest.path == path
            assert to_json(newest.after) == value
            assert not _is(prefixes[first - 1], path, value), path
            assert is_said(newest, value), path


def _is(prefix: dict[str, Any], path: str, value: Any) -> bool:
    return path in prefix and type(prefix[path]) is type(value) and prefix[path] == value


async def test_sessions_are_forked_in_the_middle_then_the_original_tail_gives_the_original_state(
    store: EventStore,
) -> None:
    """Of all 240 sessions: the tail is appended to the fork, whose state hash is then that of the
    original, and the original has nothing more than before."""
    names = [info.name async for info in store.streams(prefix="session/")]
    assert len(names) == 240
    await asyncio.gather(*(fork_and_go_on(store, name) for name in names))  # one commit for many


async def fork_and_go_on(store: EventStore, name: str) -> None:
    """Forks a session in the middle and appends the other half, with a look at each moment."""
    events = await store.read(name).list()
    middle = len(events) // 2
    into = f"fork/{name}"
    result = await fork(store, name, at=Version(middle), into=into)
    begun = await agent.load(store, into)
    assert state_hash(begun.state) == state_hash(fold(events[:middle], agent))
    tail = [
        NewEvent(event.type, json.loads(event.payload), occurred_at=event.occurred_at)
        for event in events[middle:]
    ]
    await store.append(into, tail, expected=result.version)
    ended = await agent.load(store, into)
    assert state_hash(ended.state) == state_hash(fold(events, agent))
    assert await store.version(name) == len(events)
