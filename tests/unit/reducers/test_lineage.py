"""Lineage: what was derived from an event, over all streams, and what a correction builds on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import EventStore, NewEvent, Version
from reducers import ReducerError, fork, lineage, tainted
from reducers.agent import memory, vocabulary


async def append(store: EventStore, stream: str, name: str, **causes: Any) -> None:
    await store.append(stream, NewEvent("x", {}, id=name, **causes))


async def test_event_was_used_then_all_that_came_of_it_is_told_nearest_first(
    store: EventStore,
) -> None:
    """Effects are followed over streams, at any distance, each event once."""
    await append(store, "memory/1", "fact")
    await append(store, "memory/1", "other")
    await append(store, "session/2", "answer", causation_id="fact", derived_from=["other"])
    await append(store, "board/3", "card", causation_id="answer")
    await append(store, "session/4", "said", derived_from=["other", "fact"])
    await append(store, "board/3", "both", causation_id="said", derived_from=["card"])
    await append(store, "board/3", "unrelated", causation_id="other")
    found = await lineage(store, "fact")
    assert found.event.id == "fact"
    assert [(each.event.id, each.via, each.of, each.depth) for each in found.derived] == [
        ("answer", "causation_id", "fact", 1),
        ("said", "derived_from", "fact", 1),
        ("card", "causation_id", "answer", 2),
        ("both", "causation_id", "said", 2),
    ]
    assert not found.truncated
    assert (await lineage(store, "unrelated")).derived == []


async def test_events_name_each_other_in_a_ring_then_lineage_ends(store: EventStore) -> None:
    """Ids may be named before they exist; each event is told once, the first one never."""
    await append(store, "a", "one", causation_id="three")
    await append(store, "b", "two", derived_from=["one", "two"])
    await append(store, "c", "three", causation_id="two")
    found = await lineage(store, "one")
    assert [(each.event.id, each.depth) for each in found.derived] == [("two", 1), ("three", 2)]


@pytest.mark.parametrize(("events_max", "is_truncated"), [(1, True), (4, True), (5, False)])
async def test_lineage_is_longer_than_asked_for_then_it_ends_and_says_so(
    store: EventStore, events_max: int, is_truncated: bool
) -> None:
    """It holds no more events than it was told to."""
    await append(store, "a", "e0")
    for number in range(1, 6):
        await append(store, "a", f"e{number}", causation_id=f"e{number // 2}")
    found = await lineage(store, "e0", events_max=events_max)
    assert [each.event.id for each in found.derived] == [f"e{n}" for n in range(1, events_max + 1)]
    assert found.truncated is is_truncated
    assert (await tainted(store, "e0", events_max=events_max)).truncated is is_truncated


async def test_event_is_unknown_then_it_is_refused(store: EventStore) -> None:
    """A mistyped id has no empty lineage; the tenants of a store know nothing of each other."""
    await append(store.tenant("acme"), "a", "elsewhere")
    for ask in (lineage, tainted):
        with pytest.raises(ReducerError, match="no event has the id 'elsewhere'"):
            await ask(store, "elsewhere")
        with pytest.raises(ReducerError, match="events_max"):
            await ask(store, "elsewhere", events_max=0)


@given(st.lists(st.lists(st.integers(0, 14), max_size=3), min_size=1, max_size=12), st.data())
@settings(max_examples=25)
async def test_causes_are_any_graph_then_lineage_is_all_that_can_be_reached(
    graph: list[list[int]], data: st.DataObject
) -> None:
    """Against a closure over the named ids, computed another way."""
    start = data.draw(st.integers(0, len(graph) - 1))
    async with EventStore.open("memory://") as store:
        for number, causes in enumerate(graph):
            named = [f"e{cause}" for cause in dict.fromkeys(causes)]
            first = named[0] if named else None
            await append(
                store, f"s/{number % 3}", f"e{number}", causation_id=first, derived_from=named[1:]
            )
        reached = {start}
        for _ in graph:
            reached |= {n for n, causes in enumerate(graph) if reached & set(causes)}
        found = await lineage(store, f"e{start}")
        assert {each.event.id for each in found.derived} == {f"e{n}" for n in reached - {start}}
        assert len(found.derived) == len(reached) - 1
        depths = {found.event.id: 0, **{each.event.id: each.depth for each in found.derived}}
        assert all(each.depth == depths[each.of] + 1 for each in found.derived)


async def test_fact_was_wrong_then_what_is_tainted_is_told_by_stream_and_by_key(
    store: EventStore,
) -> None:
    """The report has what a correction builds on: keys, versions that were sound, and heads."""
    await store.append("memory/ann", vocabulary.memory_remembered(memory_id="m1", content="sound"))
    wrong = vocabulary.memory_remembered(memory_id="m2", content="wrong", id="wrong")
    await store.append("memory/ann", wrong)
    await store.append(
        "session/1",
        [
            vocabulary.message_added(role="user", content="hi"),
            vocabulary.tool_requested(tool_call_id="t1", id="ask", derived_from=["wrong"]),
            vocabulary.tool_completed(tool_call_id="t1", id="told", causation_id="ask"),
            vocabulary.task_added(task_id="7", id="task", causation_id="told"),
            vocabulary.context_changed(
                delta={"city": "Rome", "days": 3}, id="ctx", derived_from=["told"]
            ),
            vocabulary.memory_remembered(
                memory_id="", content="too", id="own-id", causation_id="wrong"
            ),
            vocabulary.approval_requested(approval_id="a", id="may", causation_id="ask"),
            vocabulary.message_added(role="assistant", content="bye", causation_id="told"),
        ],
    )
    before = await store.head()
    report = await tainted(store, "wrong")
    assert await store.head() == before
    assert report.event.id == "wrong"
    assert [each.event.id for each in report.derived] == [
        *("ask", "own-id"),
        *("told", "may"),
        *("task", "ctx", (await store.read("session/1").list())[-1].id),
    ]
    first, second = report.streams
    assert (first.stream, first.sound_version, first.version) == ("memory/ann", 1, 2)
    assert [(each.kind, each.key, each.event_ids) for each in first.keys] == [
        ("memory", "m2", ["wrong"])
    ]
    assert (second.stream, second.sound_version, second.version) == ("session/1", 1, 8)
    assert second.event_ids[:3] == ["ask", "told", "task"]
    assert [(each.kind, each.key, each.event_ids) for each in second.keys] == [
        ("approval", "a", ["may"]),
        ("context", "city", ["ctx"]),
        ("context", "days", ["ctx"]),
        ("memory", "own-id", ["own-id"]),
        ("task", "7", ["task"]),
        ("tool_call", "t1", ["ask", "told"]),
    ]
    assert (first.forked_from, second.forked_from) == (None, None)


async def test_correction_is_appended_then_the_state_is_mended_and_the_log_is_whole(
    store: EventStore,
) -> None:
    """A correction is further events, at the heads that the report names."""
    wrong = vocabulary.memory_remembered(memory_id="m", content="wrong", id="wrong")
    await store.append("memory/ann", wrong)
    (stream,) = (await tainted(store, "wrong")).streams
    mended = [
        vocabulary.memory_corrected(memory_id=each.key, content="right", reason="it was wrong")
        for each in stream.keys
    ]
    await store.append(stream.stream, mended, expected=stream.version)
    loaded = await memory.load(store, "memory/ann")
    assert loaded.state.entries["m"].content == "right"
    assert (await store.event("wrong")) is not None
    assert (await tainted(store, "wrong")).streams[0].event_ids == ["wrong"]


async def test_stream_was_forked_behind_a_tainted_event_then_the_fork_is_tainted(
    store: EventStore,
) -> None:
    """Forks have what they inherited, and forks of forks; one from before the event does not."""
    for name in ("fine", "wrong", "later"):
        await append(store, "s", name)
    await append(store, "s", "effect", causation_id="wrong")
    await fork(store, "s", at=Version(1), into="before")
    await fork(store, "s", at=Version(3), into="with")
    await append(store, "with", "own", causation_id="wrong")
    await fork(store, "with", into="with/again")
    report = await tainted(store, "wrong")
    told = [(each.stream, each.sound_version, each.forked_from) for each in report.streams]
    assert told == [("s", 1, None), ("with", 1, "s"), ("with/again", 1, "with")]
    assert report.streams[0].event_ids == ["wrong", "effect"]
    assert report.streams[1].event_ids == ["wrong", "own"]
    assert report.streams[2].event_ids == ["wrong", "own"]
