"""The recorded folders hold what their README says: by the oracle, by the state, by the report."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from eventstore import EventStore
from reducers.agent import agent

from .conftest import Imported
from .product import opened, streams_by_key
from .seeing import Seeing
from .sources import KINDS, RECORDED, courses, folder
from .stating import Course, Stated
from .walking import marks_of

STATED: dict[str, dict[str, float]] = {
    "tau2-bench-retail": {"sessions": 40, "messages": 1105, "tool_calls": 299, "errors": 12},
    "tau2-bench-telecom": {"sessions": 40, "messages": 2238, "tool_calls": 689, "errors": 0},
    "tau-bench": {"sessions": 200, "messages": 5308, "tool_calls": 1164, "reward": 84},
    "claude-code": {"sessions": 5, "records": 1863 + 10 + 4 + 15 + 39},
    "adk": {"sessions": 5, "records": 34 + 41 + 50 + 6 + 9},
    "memorybank": {"sessions": 150, "turns": 566, "memories": 566},
}
"""What the README beside the recorded sessions says of each kind."""

CLAUDE_CODE_STATED = {
    ("258c7280-ae70-4798-800f-63464d01a85d",): {"records": 1863, "tool_calls": 186, "errors": 7},
    ("258c7280-ae70-4798-800f-63464d01a85d", "a881341"): {"records": 10},
    ("258c7280-ae70-4798-800f-63464d01a85d", "acompact-fffbd0"): {"records": 4},
    ("55604662-cf2a-4331-851a-ec234028f8ca",): {"records": 15},
    ("d6e0bada-1959-4eec-a9d2-0bfade768d8f",): {"records": 39, "tool_calls": 6},
}
"""What it says of the files one by one."""

DELTAS_STATED = {
    "bcf712b9-2a62-422b-be8a-aafde8e270d0": (41, 9),
    "9056575a-70ad-410e-84ea-a2af3aa7dbed": (50, 10),
}
"""ADK sessions with events that have a state_delta: events, and those that have one."""


def counted(state: Stated, records: int) -> Counter[str]:
    """The counts of one session, by the state at its end."""
    return Counter(
        {
            "sessions": 1,
            "records": records,
            "messages": len(state.messages),
            "turns": state.turns,
            "tool_calls": len(state.calls),
            "errors": state.failed + len(state.raised),
            "memories": len(state.memories),
            "reward": json.loads(state.reward) or 0,
            "input_tokens": state.spent.input_tokens,
            "output_tokens": state.spent.output_tokens,
            "cache_read_input_tokens": state.spent.cache_read,
            "cache_creation_input_tokens": state.spent.cache_creation,
        }
    )


def by_the_oracle(found: tuple[Course, ...]) -> Counter[str]:
    """The counts of the sources."""
    return sum((counted(one.tail, len(one.records)) for one in found), Counter[str]())


async def by_the_state(store: EventStore, streams: list[str]) -> Counter[str]:
    """The counts of the store: the records that events name, and the newest states."""
    total: Counter[str] = Counter()
    for stream in streams:
        events = await store.read(stream).list()
        records = sum(isinstance(mark, int) for mark in marks_of(events))
        loaded = await agent.load(store, stream)
        assert loaded.version == len(events)
        total += counted(Seeing().stated(loaded.state), records)
    return total


def the(names: dict[str, Any], counts: Counter[str]) -> dict[str, float]:
    """The counts that are named."""
    return {name: counts[name] for name in names}


@pytest.mark.parametrize("kind", KINDS)
async def test_kind_is_imported_then_the_stated_counts_by_source_and_by_state(
    kind: str, imported: Imported
) -> None:
    """Sessions, messages, tool calls, errors and reward are those of the README, counted from the
    sources and, on its own, from the states of the store."""
    from_source = by_the_oracle(courses(kind))
    async with opened(imported, kind) as store:
        streams = await streams_by_key(store)
        from_state = await by_the_state(store, [streams[one.key] for one in courses(kind)])
    assert the(STATED[kind], from_source) == STATED[kind]
    assert the(STATED[kind], from_state) == STATED[kind]
    assert from_state == from_source


@pytest.mark.parametrize("place", sorted({folder(kind) for kind in KINDS}))
async def test_folder_is_imported_then_no_session_more_and_the_report_counts_the_same(
    place: str, imported: Imported
) -> None:
    """Each session of the sources is one stream and there are no others; the command's report
    tells what the oracle counts."""
    kinds = [kind for kind in KINDS if folder(kind) == place]
    found = [one for kind in kinds for one in courses(kind)]
    async with opened(imported, kinds[0]) as store:
        assert set(await streams_by_key(store)) == {one.key for one in found}
    total = imported(place).total
    counts = by_the_oracle(tuple(found))
    told = {name: total[name] or 0 for name in counts if name != "memories"}
    assert told == the(told, counts)
    assert total["cost"] == pytest.approx(sum(one.tail.spent.cost for one in found))


@pytest.mark.parametrize("key", CLAUDE_CODE_STATED, ids="/".join)
async def test_claude_code_file_then_its_own_counts(
    key: tuple[str, ...], imported: Imported
) -> None:
    """Each file, a subagent's too, has the rows, calls and errors that the README names."""
    stated = CLAUDE_CODE_STATED[key]
    (course,) = [one for one in courses("claude-code") if one.key == key]
    async with opened(imported, "claude-code") as store:
        streams = await streams_by_key(store)
        seen = await by_the_state(store, [streams[key]])
    assert the(stated, counted(course.tail, len(course.records))) == stated
    assert the(stated, seen) == stated


@pytest.mark.parametrize("name", DELTAS_STATED)
async def test_adk_session_then_as_many_changes_of_state_as_the_source_has(
    name: str, imported: Imported
) -> None:
    """Events with a state_delta change the shared state, no others do before the end."""
    events, deltas = DELTAS_STATED[name]
    (course,) = [one for one in courses("adk") if one.key == (name,)]
    states = [Stated(), *course.records]
    changes = sum(a.shared != b.shared for a, b in pairwise(states))
    assert (len(course.records), changes) == (events, deltas)
    async with opened(imported, "adk") as store:
        recorded = await store.read(f"session/{name}").list()
    assert sum(event.type == "context.changed" for event in recorded) == deltas


@pytest.mark.parametrize("domain", ["retail", "telecom"])
def test_costs_of_the_oracle_then_those_that_the_source_adds_up(domain: str) -> None:
    """tau2-bench states what agent and user cost in all: the oracle's sums are the same."""
    path = RECORDED / "tau2-bench" / f"gpt-4.1_{domain}_default_1trial.json"
    stated = {
        one["id"]: one["agent_cost"] + one["user_cost"]
        for one in json.loads(path.read_text())["simulations"]
    }
    found = {one.key[0]: one.tail.spent.cost for one in courses(f"tau2-bench-{domain}")}
    assert found == pytest.approx(stated)
    assert all(cost > 0 for cost in found.values())
