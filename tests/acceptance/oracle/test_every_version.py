"""The state of imported sessions is what their sources say, at every version.

The oracle reads the recorded files by itself (`stating.py` and the modules of the sources); how a
version is tied to a record, and what is checked inside one, is told in `walking.py`.
"""

from __future__ import annotations

import pytest

from eventstore import Version
from reducers.agent import agent

from .conftest import Imported
from .product import faults, opened, replayed, streams_by_key, ten
from .seeing import Seeing
from .sources import KINDS, WITH_CALLS, courses
from .stating import differences
from .walking import inside, marks_of, points

LOADS = 12
"""Versions of a session that are loaded one by one: each reads the stream anew."""


@pytest.mark.parametrize("kind", KINDS)
async def test_imported_session_then_what_its_source_says_at_every_version(
    kind: str, imported: Imported
) -> None:
    """Texts by role, calls with their outcomes, pending ones, tokens and cost: folded event by
    event, every session of every kind agrees with its source at each version."""
    async with opened(imported, kind) as store:
        streams = await streams_by_key(store)
        for course in courses(kind):
            events = await store.read(streams[course.key]).list()
            assert len(events) > len(course.records)
            assert faults(course, events)[:5] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_ten_sessions_are_replayed_then_each_step_is_what_the_source_says(
    kind: str, imported: Imported
) -> None:
    """`replay` shows the same states as folding."""
    async with opened(imported, kind) as store:
        streams = await streams_by_key(store)
        for course in ten(kind):
            events = await store.read(streams[course.key]).list()
            assert faults(course, events, replayed(events))[:5] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_ten_sessions_are_loaded_at_a_version_then_what_the_source_says_there(
    kind: str, imported: Imported
) -> None:
    """`load(at=Version(n))` gives the state of exactly that version, and names it; with the
    snapshots that loading leaves behind as well as without."""
    async with opened(imported, kind) as store:
        streams = await streams_by_key(store)
        for course in ten(kind):
            stream = streams[course.key]
            events = await store.read(stream).list()
            places = points(course, marks_of(events))
            last = len(events)
            some = sorted({1, 2, last} | {max(1, last * n // LOADS) for n in range(1, LOADS)})
            for version in [*some, *reversed(some)]:
                loaded = await agent.load(store, stream, at=Version(version))
                assert (loaded.version, loaded.position) == (version, events[version - 1].position)
                before, after, ends = places[version - 1]
                seen = Seeing().stated(loaded.state)
                wrong = differences(after, seen) if ends else inside(before, after, seen)[1]
                assert wrong == [], f"{course.name} at version {version}"
            newest = await agent.load(store, stream)
            assert differences(course.tail, Seeing().stated(newest.state)) == []


@pytest.mark.parametrize("kind", WITH_CALLS)
def test_ten_sessions_of_the_oracle_then_they_hold_what_can_go_wrong(kind: str) -> None:
    """Ten sessions are ten, or all there are; among those of a kind are calls that fail, ids that
    repeat or are missing, users' own calls, several that wait at once, tokens and costs: wherever
    the source has such."""
    chosen = ten(kind)
    assert len(chosen) == min(10, len(courses(kind)))
    states = [course.tail for course in chosen]
    calls = [call for state in states for call in state.calls]
    assert calls
    assert all(len(course.records) > 3 for course in chosen)
    assert any(state.failed for state in states) == (kind in ("tau2-bench-retail", "claude-code"))
    assert any(call.id is None for call in calls) == (kind in ("tau-bench", "adk"))
    assert any(call.requestor == "user" for call in calls) == (kind == "tau2-bench-telecom")
    assert any(state.spent.cost for state in states) == kind.startswith("tau2-bench")
    assert any(state.spent.input_tokens for state in states) == (kind != "tau-bench")
    waiting = {len(state.pending) for course in chosen for state in course.records}
    assert {0, 1} <= waiting
    assert (max(waiting) > 1) == (kind not in ("tau-bench", "adk"))
