"""Seeded defects turn the oracle red: an importer's in the events, a reducer's in the states.

A comparison that agrees with everything proves nothing. Each defect here is one that an importer
or a reducer could have; the streams are the imported ones, changed in that one way.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from eventstore import EventStore, NewEvent, RecordedEvent

from .conftest import Imported
from .product import faults, folded, opened, streams_by_key
from .sources import WITH_CALLS, courses
from .stating import Course, Stated
from .walking import marks_of, points

Event = tuple[str, dict[str, Any]]
Events = list[Event]

EVENTS_MAX = 75
"""Defects are seeded one after another, each a stream of its own: short sessions do."""

MEANINGFUL = {
    "message.added",
    "tool.requested",
    "tool.completed",
    "tool.failed",
    "model.called",
    "context.changed",
    "session.ended",
}


class Picked(NamedTuple):
    """A session of a kind, as it was imported."""

    course: Course
    recorded: list[RecordedEvent]


class Seeded:
    """An imported session, and a place to write it down changed."""

    def __init__(self, store: EventStore, picked: Picked) -> None:
        self._store = store
        self._written = 0
        self.course, self.recorded = picked

    @property
    def events(self) -> Events:
        """Types and data, to be changed."""
        return [(event.type, copy.deepcopy(event.untyped().data)) for event in self.recorded]

    async def faults(self, events: Events) -> list[str]:
        """What the oracle says of such a stream."""
        self._written += 1
        stream = f"seeded/{self._written}"
        await self._store.append(stream, [NewEvent(kind, data) for kind, data in events])
        return faults(self.course, await self._store.read(stream).list())


@pytest.fixture(scope="session", params=WITH_CALLS)
def picked(request: pytest.FixtureRequest, imported: Imported) -> Picked:
    """The session of each kind with the most failed calls, repeated ids, answers of models and
    calls, of the short ones in which a call succeeds."""
    return asyncio.run(_picked(request.param, imported))


async def _picked(kind: str, imported: Imported) -> Picked:
    async with opened(imported, kind) as store:
        streams = await streams_by_key(store)
        versions = {info.name: info.version async for info in store.streams(prefix="session/")}
        short = [one for one in courses(kind) if versions[streams[one.key]] <= EVENTS_MAX]
        course = max(short, key=_trouble)
        return Picked(course, await store.read(streams[course.key]).list())


def _trouble(course: Course) -> tuple[bool, int, int, int]:
    calls = course.tail.calls
    odd = sum(call.id is None for call in calls)
    succeeds = any(call.status == "completed" for call in calls)
    return succeeds, course.tail.failed, odd + course.tail.spent.answers, len(calls)


@pytest.fixture
async def seeded(picked: Picked) -> AsyncIterator[Seeded]:
    """A picked session to be changed."""
    async with EventStore.open("memory://") as store:
        yield Seeded(store, picked)


async def test_stream_is_written_down_unchanged_then_the_oracle_is_green(seeded: Seeded) -> None:
    """What turns red below is the defect, not the way it is seeded."""
    assert await seeded.faults(seeded.events) == []
    kinds = {kind for kind, _ in seeded.events}
    assert {"message.added", "tool.requested", "tool.completed"} <= kinds


async def test_any_event_is_left_out_then_red(seeded: Seeded) -> None:
    """Each event that means something is missed, one at a time: a record of it stands there, so
    that nothing but the state can tell."""
    events = seeded.events
    tried = 0
    for n, (kind, data) in enumerate(events):
        if kind in MEANINGFUL and not _repeats(events, n):
            changed = list(events)
            kept = {"source_record": data["source_record"]} if "source_record" in data else {}
            changed[n] = ("source.recorded", {"kind": "left out", **kept})
            assert await seeded.faults(changed), f"{kind} at version {n + 1} was not missed"
            tried += 1
    assert tried > len(seeded.course.records) // 3


def _repeats(events: Events, n: int) -> bool:
    """Whether the event says again what one before it has said of the same model's answer."""
    kind, data = events[n]
    told = [one for kind, one in events[:n] if kind == "model.called"]
    return kind == "model.called" and data.get("response_id") is not None and data in told


async def test_record_is_left_out_then_red(seeded: Seeded) -> None:
    """An event goes with the mark of its record: the record is missed, whatever it meant."""
    events = seeded.events
    for n, (_, data) in enumerate(events):
        if isinstance(data.get("source_record", {}).get("at"), int):
            assert await seeded.faults(events[:n] + events[n + 1 :]), f"version {n + 1}"


async def test_two_events_have_each_others_data_then_red(seeded: Seeded) -> None:
    """Neighbours of one type change places, their records' marks stay."""
    events = seeded.events
    tried = 0
    for kind in sorted(MEANINGFUL):
        places = [n for n, (one, _) in enumerate(events) if one == kind]
        for first, second in pairwise(places):
            one, other = (_unmarked(events[n][1]) for n in (first, second))
            if one != other:
                changed = list(events)
                changed[first] = (kind, {**other, **_mark(events[first][1])})
                changed[second] = (kind, {**one, **_mark(events[second][1])})
                assert await seeded.faults(changed), f"{kind} at versions {first + 1}, {second + 1}"
                tried += 1
    assert tried > 5


def _mark(data: dict[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in data if name == "source_record"}


def _unmarked(data: dict[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in data if name != "source_record"}


async def test_usage_is_counted_twice_then_red(seeded: Seeded) -> None:
    """An answer of a model is told a second time, as another one: its tokens count again."""
    events = seeded.events
    places = [n for n, (kind, _) in enumerate(events) if kind == "model.called"]
    for n in places:
        again = {**events[n][1], "response_id": "another"}
        assert await seeded.faults([*events[: n + 1], ("model.called", again), *events[n + 1 :]])
    spends = seeded.course.tail.spent.answers > 0
    assert bool(places) == spends


CHANGES: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "a call stays pending": ("tool.completed", lambda data: {**data, "tool_call_id": "no such"}),
    "an outcome is another": ("tool.completed", lambda data: {**data, "tool_call_result": "?"}),
    "an argument is another": ("tool.requested", lambda data: {**data, "tool_call_arguments": {}}),
    "a call's name is another": ("tool.requested", lambda data: {**data, "tool_name": "?"}),
    "the user asked": ("tool.requested", lambda data: {**data, "requestor": "somebody"}),
    "a role is another": ("message.added", lambda data: {**data, "role": "system"}),
    "a word is another": (
        "message.added",
        lambda data: {**data, "parts": [{"type": "text", "content": "?"}, *data["parts"]]},
    ),
    "what was thought is said": (
        "message.added",
        lambda data: {
            **data,
            "parts": [{**one, "type": _other(one["type"])} for one in data["parts"]],
        },
    ),
    "a token more": (
        "model.called",
        lambda data: {
            **data,
            "usage": {**data["usage"], "input_tokens": data["usage"]["input_tokens"] + 1},
        },
    ),
    "a millionth of a dollar more": (
        "model.called",
        lambda data: {**data, "cost": data.get("cost", 0.0) + 1e-6},
    ),
}
"""Small changes of one event, by what they do to the session."""


def _other(kind: str) -> str:
    return {"text": "reasoning", "reasoning": "text"}.get(kind, "part")


@pytest.mark.parametrize("change", CHANGES)
async def test_one_event_is_another_then_red(change: str, seeded: Seeded) -> None:
    """The first and the last event of a type say something else; where the source has no such
    events, the stream has none."""
    kind, changed = CHANGES[change]
    events = seeded.events
    places = [n for n, (one, data) in enumerate(events) if one == kind and changed(data) != data]
    assert bool(places) == (kind != "model.called" or seeded.course.tail.spent.answers > 0)
    for n in {*places[:1], *places[-1:]}:
        found = await seeded.faults([*events[:n], (kind, changed(events[n][1])), *events[n + 1 :]])
        assert found, f"{kind} at version {n + 1}"


async def test_failed_call_is_told_as_completed_or_the_other_way_then_red(seeded: Seeded) -> None:
    """Whether a call failed is the source's to say."""
    events = seeded.events
    other = {"tool.completed": "tool.failed", "tool.failed": "tool.completed"}
    places = [n for n, (kind, _) in enumerate(events) if kind in other]
    for n in places:
        kind, data = events[n]
        assert await seeded.faults([*events[:n], (other[kind], data), *events[n + 1 :]])
    failed = sum(events[n][0] == "tool.failed" for n in places)
    assert failed == seeded.course.tail.failed


async def test_event_comes_a_record_too_late_then_red_though_the_end_is_right(
    seeded: Seeded,
) -> None:
    """An outcome that is told with the next record gives the right state in the end and a wrong
    one before: every version counts."""
    events = seeded.events
    marks = [n for n, (_, data) in enumerate(events) if "source_record" in data]
    for n, (kind, _) in enumerate(events):
        following = next((mark for mark in marks if mark > n), None)
        if kind == "tool.completed" and following is not None:
            late = [
                *events[:n],
                *events[n + 1 : following + 1],
                events[n],
                *events[following + 1 :],
            ]
            assert await seeded.faults(late), f"version {n + 1}"


STATES: dict[str, Callable[[Stated], Stated]] = {
    "nothing is pending": lambda state: state._replace(
        calls=tuple(call._replace(status="completed", outcome="null") for call in state.calls)
    ),
    "a call is forgotten": lambda state: state._replace(calls=state.calls[:-1]),
    "messages are turned round": lambda state: state._replace(messages=state.messages[::-1]),
    "a message is there twice": lambda state: state._replace(
        messages=state.messages + state.messages[-1:]
    ),
    "an answer of a model more": lambda state: state._replace(
        spent=state.spent._replace(answers=state.spent.answers + 1)
    ),
    "a rounding error": lambda state: state._replace(
        spent=state.spent._replace(cost=state.spent.cost + 1e-12)
    ),
    "an error more": lambda state: state._replace(raised=("timeout: ?",)),
    "it has ended": lambda state: state._replace(ended=not state.ended),
    "a reward": lambda state: state._replace(reward="0.5"),
    "1 is 1.0": lambda state: state._replace(shared='{"_time": 1.0}'),
}
"""What a wrong reducer could make of the right events."""


@pytest.mark.parametrize("defect", STATES)
async def test_state_of_one_version_is_wrong_then_red(defect: str, seeded: Seeded) -> None:
    """A state that is wrong at a single version where a record ends, whichever it is, is seen, and
    that version is named."""
    states = list(folded(seeded.recorded))
    places = points(seeded.course, marks_of(seeded.recorded))
    ends = [True, *(ends for _, _, ends in places)]
    tried = 0
    for n, state in enumerate(states):
        wrong = STATES[defect](state)
        if ends[n] and wrong != state:
            found = faults(seeded.course, seeded.recorded, [*states[:n], wrong, *states[n + 1 :]])
            tried += 1
            assert found, f"version {n}"
            assert f"version {n}:" in found[0]
    assert tried > 5


MEMORIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another user's": lambda data: {**data, "attributes": {**data["attributes"], "user": "Eve"}},
    "nobody's": lambda data: {**data, "attributes": {}},
    "other words": lambda data: {**data, "content": data["content"].upper()},
    "another turn's": lambda data: {**data, "memory_id": data["memory_id"] + "1"},
}
"""What could be wrong with a memory."""


@pytest.fixture
async def bank(imported: Imported) -> AsyncIterator[Seeded]:
    """A day of a memory bank to be changed: one with several turns."""
    async with opened(imported, "memorybank") as store:
        streams = await streams_by_key(store)
        course = max(courses("memorybank"), key=lambda one: len(one.records))
        picked = Picked(course, await store.read(streams[course.key]).list())
    async with EventStore.open("memory://") as store:
        yield Seeded(store, picked)


@pytest.mark.parametrize("defect", MEMORIES)
async def test_memory_is_wrong_or_left_out_then_red(defect: str, bank: Seeded) -> None:
    """Each memory of a day counts, with its words and its user."""
    events = bank.events
    assert await bank.faults(events) == []
    places = [n for n, (kind, _) in enumerate(events) if kind == "memory.remembered"]
    assert len(places) > 5
    for n in places:
        kind, data = events[n]
        assert await bank.faults([*events[:n], (kind, MEMORIES[defect](data)), *events[n + 1 :]])
        assert await bank.faults([*events[:n], *events[n + 1 :]])


async def test_versions_lag_by_one_then_red(seeded: Seeded) -> None:
    """States that are each right, but one version late, are seen."""
    states = list(folded(seeded.recorded))
    assert faults(seeded.course, seeded.recorded, [states[0], *states[:-1]])
