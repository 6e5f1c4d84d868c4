"""The rows that stock views must have: counted by the README, by the sources, by the reducers.

What is tested here is the oracle of views itself, so that a view can be held against it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore import EventStore, NewEvent
from reducers import fold, to_json
from reducers.agent import agent, summary

from ..conftest import EVENTSTORE
from .conftest import Imported
from .gathering import VIEWS
from .product import streams_by_key
from .sources import KINDS, courses
from .viewing import Event, Rows, compact, plain, row_differences

Views = dict[str, Rows]


@pytest.fixture(scope="module")
def log(imported: Imported) -> list[Event]:
    """The events of a store that holds all recorded sessions."""

    async def read() -> list[Event]:
        async with EventStore.open(imported("").url) as store:
            return [plain(event) async for event in store.read_all()]

    return asyncio.run(read())


@pytest.fixture(scope="module")
def views(log: list[Event]) -> Views:
    """The rows of every stock view."""
    return {name: view.rows(log) for name, view in VIEWS.items()}


def test_all_sessions_are_imported_then_rows_as_the_readme_counts(views: Views) -> None:
    """Sessions, messages, calls, errors and memories of each source are as many as its README
    says."""
    by_kind: dict[str, Counter[str]] = {}
    for row in views["sessions"].values():
        names = ("messages", "turns", "tool_calls", "errors")
        counts = Counter({"sessions": 1, **{name: row[name] for name in names}})
        by_kind[row["source_kind"]] = by_kind.get(row["source_kind"], Counter()) + counts
    stated: dict[str, dict[str, int]] = {
        "tau2-bench": {
            "sessions": 80,
            "messages": 1105 + 2238,
            "tool_calls": 299 + 689,
            "errors": 12,
        },
        "tau-bench": {"sessions": 200, "messages": 5308, "tool_calls": 1164},
        "claude-code": {"sessions": 5},
        "adk": {"sessions": 5},
        "memorybank": {"sessions": 150, "turns": 566, "tool_calls": 0},
    }
    assert set(by_kind) == set(stated)
    for kind, counts in stated.items():
        assert {name: by_kind[kind][name] for name in counts} == counts
    long = views["sessions"][("session/258c7280-ae70-4798-800f-63464d01a85d",)]
    assert (long["tool_calls"], long["errors"]) == (186, 7)
    memories = views["memories"].values()
    assert (len(memories), len({row["user"] for row in memories})) == (566, 15)
    days = {row["created_at"] for row in memories}
    assert min(days) == datetime(2023, 4, 27, tzinfo=UTC)
    assert max(days) == datetime(2023, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize("kind", KINDS)
async def test_source_is_read_by_itself_then_the_rows_of_its_streams_say_the_same(
    kind: str, views: Views, imported: Imported
) -> None:
    """Messages, calls with their outcomes, tokens, costs and memories of each session are what
    the modules of the sources find in the files."""
    by_stream: dict[str, dict[str, list[Any]]] = {name: {} for name in views}
    for name, rows in views.items():
        for row in rows.values():
            by_stream[name].setdefault(row["stream"], []).append(row)
    async with EventStore.open(imported("").url) as store:
        streams = await streams_by_key(store)
    for course in courses(kind):
        own = {name: rows.get(streams[course.key], []) for name, rows in by_stream.items()}
        tail = course.tail
        assert [(row["role"], row["text"], row["reasoning"]) for row in own["messages"]] == [
            (said.role, said.text, said.reasoning) for said in tail.messages
        ]
        assert [
            (row["name"], compact(row["arguments"]), row["status"], row["error_message"])
            for row in own["tool_calls"]
        ] == [
            (call.name, compact(json.loads(call.arguments)), call.status, call.error)
            for call in tail.calls
        ]
        outcomes = [row["result"] for row in own["tool_calls"] if row["status"] != "pending"]
        assert outcomes == [json.loads(call.outcome) for call in tail.calls if call.outcome]
        spent = [(row["calls"], row["input_tokens"], row["cost"]) for row in own["usage"]]
        told = (tail.spent.answers, tail.spent.input_tokens, tail.spent.cost)
        assert spent == ([told] if tail.spent.answers else [])
        assert [(row["memory_id"], row["text"], row["user"]) for row in own["memories"]] == [
            tuple(memory) for memory in tail.memories
        ]
        (session,) = own["sessions"]
        assert session["status"] == ("ended" if tail.ended else "open")


def test_stream_is_exported_then_its_rows_are_those_of_the_log(
    log: list[Event], imported: Imported
) -> None:
    """What the command exports is what is read from the store."""
    stream = "session/Emily/2023-04-27"
    ran = subprocess.run(
        [str(EVENTSTORE), "export", stream, "--as", "events", "--store", imported("").url],
        capture_output=True,
        text=True,
        check=True,
    )
    exported = [json.loads(line) for line in ran.stdout.splitlines()]
    own = [event for event in log if event["stream"] == stream]
    assert len(exported) == len(own) > 10
    for view in VIEWS.values():
        assert view.rows(exported) == view.rows(own)


ODD = st.sampled_from([None, True, 7, -1, 2.0, 0.5, "", "a", "b", [], ["a"], {}, {"user": "ann"}])
FIELDS = {
    "session.started": ("title", "conversation_id", "source", "attributes"),
    "session.ended": ("reason", "outcome"),
    "message.added": ("role", "parts", "content", "name", "message_id"),
    "model.called": ("response_id", "response_model", "request_model", "usage", "cost"),
    "tool.requested": ("tool_call_id", "tool_name", "tool_call_arguments", "requestor"),
    "tool.completed": ("tool_call_id", "tool_name", "tool_call_result"),
    "tool.failed": ("tool_call_id", "tool_name", "tool_call_result", "error_type", "message"),
    "memory.remembered": ("memory_id", "content", "attributes"),
    "memory.corrected": ("memory_id", "content", "reason"),
    "memory.forgotten": ("memory_id", "reason"),
    "error.raised": ("error_type", "message"),
}
SENSIBLE = {
    "tool_call_id": st.sampled_from(["1", 1, "2"]),
    "memory_id": st.sampled_from(["1", "2"]),
    "response_id": st.sampled_from(["1", "2"]),
    "cost": st.floats(0, 1, allow_nan=False),
    "usage": st.fixed_dictionaries(
        {}, optional={"input_tokens": st.integers(0, 9), "output_tokens": ODD}
    ),
    "parts": st.lists(st.sampled_from(["c", {"type": "text", "text": "d"}, {"type": "reasoning"}])),
}


@st.composite
def histories(draw: st.DrawFn) -> list[NewEvent]:
    """Events of the vocabulary in any order, their fields right, odd or absent."""
    events = []
    for kind in draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=25)):
        values = {name: SENSIBLE.get(name, ODD) | ODD for name in FIELDS[kind]}
        data = draw(st.fixed_dictionaries({}, optional=values))
        events.append(NewEvent(kind, data, tags=draw(st.sampled_from([(), ("user:ben",)]))))
    return events


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=histories())
async def test_any_history_then_the_rows_say_what_the_reducers_fold(events: list[NewEvent]) -> None:
    """Whatever the log holds, rows and states of the stock reducers agree: two ways to one
    answer."""
    async with EventStore.open("memory://") as store:
        await store.append("s", events)
        recorded = await store.read("s").list()
    views = {name: view.rows([plain(event) for event in recorded]) for name, view in VIEWS.items()}
    state = fold(recorded, agent)
    _same_calls(views["tool_calls"], state)
    _same_memories(views["memories"], state)
    usage = views["usage"].get(("s",))
    assert (usage is None) == (state.usage.calls == 0)
    if usage is not None:
        names = ("calls", "input_tokens", "output_tokens", "cost")
        assert {name: usage[name] for name in names} == {
            name: getattr(state.usage, name) for name in names
        }
        assert {model: row["cost"] for model, row in usage["by_model"].items()} == {
            model: totals.cost for model, totals in state.usage.by_model.items()
        }
    said = [(row["role"], row["text"], row["reasoning"]) for row in views["messages"].values()]
    assert said == [(m.role, m.text, m.reasoning) for m in state.conversation.messages]
    session = views["sessions"].get(("s",))
    if session is not None:
        told = summary(state)
        assert (session["messages"], session["turns"]) == (told.messages, told.turns)
        assert (session["tool_calls"], session["pending_calls"]) == (told.tool_calls, told.pending)
        assert (session["errors"], session["status"] == "ended") == (told.errors, told.ended)
        assert (session["title"], session["end_reason"]) == (
            state.session.title,
            state.session.end_reason,
        )


def _same_calls(rows: Rows, state: Any) -> None:
    assert [key[1] for key in rows] == [call_id for call_id, _ in state.tool_calls.in_order]
    for row, (_, call) in zip(rows.values(), state.tool_calls.in_order, strict=True):
        names = ("name", "requestor", "message_id", "status", "attempts")
        assert {name: row[name] for name in names} == {name: getattr(call, name) for name in names}
        assert compact([row["arguments"], row["result"]]) == compact(
            [to_json(call.arguments), to_json(call.result)]
        )
        error = (None, None) if call.error is None else (call.error.type, call.error.message)
        assert (row["error_type"], row["error_message"]) == error


def _same_memories(rows: Rows, state: Any) -> None:
    assert {key[1] for key in rows} == set(state.memory.entries)
    for (_, memory_id), row in rows.items():
        entry = state.memory.entries[memory_id]
        names = ("source_event_id", "corrections", "reason")
        assert {name: row[name] for name in names} == {name: getattr(entry, name) for name in names}
        assert compact([row["content"], row["attributes"]]) == compact(
            [to_json(entry.content), to_json(entry.attributes)]
        )


def told(number: int, kind: str, tags: tuple[str, ...] = (), /, **data: Any) -> Event:
    """An event of one stream, as export prints it; it occurred on that day of a month."""
    envelope = ("actor", "causation_id", "correlation_id")
    return {
        **dict.fromkeys(envelope),
        **{"stream": "s", "version": number, "position": number + 100, "id": f"e{number}"},
        **{"type": kind, "data": data, "tags": list(tags)},
        "occurred_at": f"2026-03-{number:02}T00:00:00Z",
        "recorded_at": "2026-11-01T00:00:00Z",
    }


def day(number: int) -> datetime:
    return datetime(2026, 3, number, tzinfo=UTC)


def test_memory_is_changed_and_forgotten_then_its_user_and_its_times() -> None:
    """A correction keeps user and beginning; who is remembered anew after being forgotten begins
    again; a tag names the user where the data do not."""
    events = [
        told(1, "memory.remembered", ("team:a", "user:ann"), memory_id="m", content="x"),
        told(2, "memory.corrected", ("user:eve",), memory_id="m", content="y", reason="wrong"),
        told(3, "memory.remembered", memory_id="m", content="z", attributes={"type": "fact"}),
        told(4, "memory.forgotten", memory_id="m"),
        told(5, "memory.corrected", memory_id="m", content="too late"),
        told(6, "memory.remembered", memory_id="m", content=[1], attributes={"user": "ben"}),
    ]
    names = ("user", "text", "type", "corrections", "reason", "created_at", "changed_at")

    def after(count: int) -> tuple[Any, ...] | None:
        row = VIEWS["memories"].rows(events[:count]).get(("s", "m"))
        return None if row is None else tuple(row[name] for name in names)

    assert after(1) == ("ann", "x", None, 0, None, day(1), day(1))
    assert after(2) == ("ann", "y", None, 1, "wrong", day(1), day(2))
    assert after(3) == ("ann", "z", "fact", 1, None, day(1), day(3))
    assert after(4) is None
    assert after(5) is None
    assert after(6) == ("ben", "[1]", None, 0, None, day(6), day(6))


def test_call_is_asked_again_then_its_times_and_its_place() -> None:
    """A call keeps the place where it was first heard of; its times are those of the last request
    and of the result that stands."""
    events = [
        told(1, "tool.requested", tool_call_id="c", tool_name="find"),
        told(2, "tool.failed", tool_call_id="c", tool_call_result={"b": 1, "a": 2}),
        told(3, "tool.requested", tool_call_id="c"),
        told(4, "tool.completed", tool_call_id="c", tool_call_result="found"),
    ]
    names = ("position", "status", "result_text", "attempts", "requested_at", "ended_at")

    def after(count: int) -> tuple[Any, ...]:
        row = VIEWS["tool_calls"].rows(events[:count])[("s", "c")]
        return tuple(row[name] for name in names)

    assert after(1) == (101, "pending", None, 1, day(1), None)
    assert after(2) == (101, "failed", '{"a":2,"b":1}', 1, day(1), day(2))
    assert after(3) == (101, "pending", None, 2, day(3), None)
    assert after(4) == (101, "completed", "found", 2, day(3), day(4))


@pytest.mark.parametrize("name", VIEWS)
def test_rows_are_wrong_in_any_way_then_each_is_told(name: str, views: Views) -> None:
    """A comparison that agrees with everything proves nothing: a row too few, too many, twice, and
    each column with another value are seen; rows that are right are not."""
    keys, wanted = VIEWS[name].keys, dict(list(views[name].items())[-40:])
    rows = list(wanted.values())
    assert row_differences(keys, wanted, rows, decoded=True) == []
    assert row_differences(keys, wanted, reversed(rows), decoded=True) == []
    assert row_differences(keys, wanted, rows[1:], decoded=True)
    assert row_differences(keys, wanted, [*rows, rows[0]], decoded=True)
    assert row_differences(keys, dict(list(wanted.items())[1:]), rows, decoded=True)
    for column, value in rows[-1].items():
        other = datetime(1999, 1, 1, tzinfo=UTC) if column.endswith("_at") else f"not {value}"
        changed = [*rows[:-1], {**rows[-1], column: other}]
        assert row_differences(keys, wanted, changed, decoded=True), column
        left_out = {key: one for key, one in rows[-1].items() if key != column}
        if column not in keys:
            assert row_differences(keys, wanted, [*rows[:-1], left_out], decoded=True), column
