"""All stock reducers at once: total, the same however the fold is split, linear, and kept."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventstore import EventStore, NewEvent, RecordedEvent
from reducers import Reducer, changes_to_patch, diff, fold, replay, state_hash, to_json
from reducers.agent import (
    agent,
    approvals,
    conversation,
    errors,
    memory,
    session,
    summary,
    tasks,
    tool_calls,
    usage,
)
from reducers.agent import vocabulary as v

Record = Callable[..., list[RecordedEvent]]

PARTS = {
    "session": session,
    "conversation": conversation,
    "tool_calls": tool_calls,
    "memory": memory,
    "usage": usage,
    "tasks": tasks,
    "approvals": approvals,
    "errors": errors,
}

_IDS = st.sampled_from(["1", "2", "3"])
_NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
_PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "reasoning", "blob"]) | _JSON}, optional={"content": _JSON}
)
_USAGE = st.fixed_dictionaries(
    {},
    optional={
        name: st.integers(0, 10**6) | _JSON
        for name in ("input_tokens", "output_tokens", "cache_read_input_tokens")
    },
)
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "role": st.sampled_from(["user", "assistant"]),
    "parts": st.lists(_PART | _JSON, max_size=3),
    "content": st.text(max_size=5),
    "usage": _USAGE,
    "cost": st.floats(0, 10),
    "response_model": st.sampled_from(["a", "b"]),
    "delta": st.dictionaries(st.text(max_size=2), _JSON, max_size=2),
    "attributes": st.dictionaries(st.text(max_size=2), _JSON, max_size=2),
    "outcome": st.dictionaries(st.text(max_size=2), _JSON, max_size=2),
    "title": st.text(max_size=5),
    "status": st.sampled_from(["pending", "completed"]),
    "tool_call_result": _JSON,
    "tool_call_arguments": _JSON,
    "subject": _JSON,
    "message": st.text(max_size=5),
    **dict.fromkeys(("tool_call_id", "memory_id", "task_id", "approval_id", "response_id"), _IDS),
}
_DATA = st.fixed_dictionaries(
    {}, optional={name: well_formed | _JSON for name, well_formed in _FIELDS.items()}
)
EVENTS = st.lists(
    st.builds(NewEvent, st.sampled_from((*v.TYPES, "unknown.type")), _DATA | _JSON), max_size=25
)


@given(EVENTS, st.integers(0, 25))
@settings(max_examples=100)
def test_any_events_are_folded_then_nothing_raises_and_a_split_makes_no_difference(
    record: Record, events: list[NewEvent], split: int
) -> None:
    """Whatever the log holds there is a state, it is the same in one fold or two, and it has a
    summary."""
    recorded = record(*events)
    whole = fold(recorded, agent)
    parted = fold(recorded[split:], agent, fold(recorded[:split], agent))
    assert parted == whole
    assert state_hash(parted) == state_hash(whole)
    assert summary(whole).tool_calls <= len(whole.tool_calls.calls)


@given(EVENTS)
@settings(max_examples=50)
def test_any_events_are_folded_then_the_combined_state_is_its_parts_states(
    record: Record, events: list[NewEvent]
) -> None:
    """`agent` computes nothing of its own."""
    recorded = record(*events)
    whole = fold(recorded, agent)
    for name, reducer in PARTS.items():
        assert getattr(whole, name) == fold(recorded, reducer)


@given(EVENTS)
@settings(max_examples=50)
def test_any_events_are_folded_then_what_is_pending_is_what_has_no_result(
    record: Record, events: list[NewEvent]
) -> None:
    """The pending ids that are kept are those that a walk over all calls would find."""
    state = fold(record(*events), agent)
    for pending, every in (
        (state.tool_calls.pending_ids, state.tool_calls.in_order),
        (state.approvals.pending_ids, state.approvals.in_order),
    ):
        assert pending == [key for key, item in every if item.status == "pending"]
    assert not set(state.memory.entries) & set(state.memory.forgotten)


@given(EVENTS)
@settings(max_examples=50)
def test_any_events_are_folded_then_totals_are_the_sums_over_models(
    record: Record, events: list[NewEvent]
) -> None:
    """Nothing is counted for a session that is not counted for one of its models."""
    state = fold(record(*events), usage)
    for name in ("calls", "input_tokens", "output_tokens", "cache_read_input_tokens"):
        assert getattr(state, name) == sum(getattr(m, name) for m in state.by_model.values())
    assert state.cost == pytest.approx(sum(m.cost for m in state.by_model.values()), abs=1e-9)


@given(EVENTS, EVENTS)
@settings(max_examples=50)
def test_any_state_is_kept_as_a_snapshot_then_it_comes_back_and_goes_on_the_same(
    record: Record, events: list[NewEvent], more: list[NewEvent]
) -> None:
    """A snapshot is as good as the events before it."""
    state = fold(record(*events), agent)
    back = agent.codec().decode(agent.codec().encode(state))
    assert back == state
    assert state_hash(back) == state_hash(state)
    later = record(*events, *more)[len(events) :]
    assert state_hash(fold(later, agent, back)) == state_hash(fold(later, agent, state))


@given(EVENTS, EVENTS)
@settings(max_examples=50)
def test_any_two_states_are_compared_then_their_patch_leads_from_one_to_the_other(
    record: Record, one: list[NewEvent], other: list[NewEvent]
) -> None:
    """States of the same and of different sessions can be told apart, wholly."""
    before, after = fold(record(*one), agent), fold(record(*other), agent)
    patch = changes_to_patch(diff(before, after))
    assert jsonpatch.apply_patch(to_json(before), patch) == to_json(after)


@given(EVENTS)
@settings(max_examples=50)
def test_any_events_are_replayed_then_no_handler_has_changed_its_input(
    record: Record, events: list[NewEvent]
) -> None:
    """The stock handlers are pure: replay, which watches for it, names none of them."""
    recorded = record(*events)
    steps = list(replay(recorded, agent))
    assert [step.event for step in steps] == recorded
    assert not steps or steps[-1].after == fold(recorded, agent)


async def test_a_long_session_is_loaded_again_then_from_a_snapshot_and_equal(
    record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    """The agent's state is one that a load may keep, without a warning, and find again."""
    async with EventStore.open("memory://") as store:
        events = [
            event for pair in zip(_calls(400), _responses(400), strict=False) for event in pair
        ]
        await store.append("session/1", events)
        first = await agent.load(store, "session/1")
        (kept,) = await store.snapshots.list("session/1")
        assert (kept.reducer, kept.version) == ("agent", len(events))
        await store.append("session/1", [v.message_added(role="user", content="more")])
        second = await agent.load(store, "session/1")
        whole = fold(await store.read("session/1").list(), agent)
    assert second.state == whole != first.state
    assert state_hash(second.state) == state_hash(whole)
    assert caplog.records == []


def _conversation(n: int) -> Iterable[NewEvent]:
    return (v.message_added(role="user", content="x") for _ in range(n))


def _calls(n: int) -> Iterable[NewEvent]:
    for number in range(n):
        yield v.tool_requested(tool_call_id=f"t{number}", tool_name="f")
        if number % 2:
            yield v.tool_completed(tool_call_id=f"t{number}", tool_call_result=1)


def _responses(n: int) -> Iterable[NewEvent]:
    return (
        v.model_called(response_id=f"r{number}", usage={"input_tokens": 1}, cost=0.1)
        for number in range(n)
    )


def _memories(n: int) -> Iterable[NewEvent]:
    for number in range(n):
        yield v.memory_remembered(memory_id=f"m{number}", content="x")
        if number % 2:
            yield v.memory_forgotten(memory_id=f"m{number}")


def _plan(n: int) -> Iterable[NewEvent]:
    return (v.task_added(task_id=f"k{number}", title="x") for number in range(n))


def _questions(n: int) -> Iterable[NewEvent]:
    return (v.approval_requested(approval_id=f"a{number}") for number in range(n))


def _raised(n: int) -> Iterable[NewEvent]:
    return (v.error_raised(message="x") for _ in range(n))


def _context(n: int) -> Iterable[NewEvent]:
    return (v.context_changed(delta={f"key{number}": number}) for number in range(n))


_LAST = 40
"""Steps that are measured: more than the 32 items of a persistent list's chunk."""


@pytest.mark.parametrize(
    "events",
    [_conversation, _calls, _responses, _memories, _plan, _questions, _raised, _context],
)
def test_a_state_is_ten_times_larger_then_an_event_costs_about_the_same(
    record: Record, events: Callable[[int], Iterable[NewEvent]]
) -> None:
    """Folding is linear: no event copies or walks the state, so what one allocates and calls does
    not grow with it. (A tuple of 10,000 items copied per event would be 80,000 bytes.)"""
    small, large = (_work(record, list(events(n))) for n in (1_000, 10_000))
    assert large[0] <= 2 * small[0] + 2_000
    assert large[1] <= 2 * small[1] + 20


def _work(record: Record, events: list[NewEvent], reducer: Reducer[Any] = agent) -> tuple[int, int]:
    """(bytes allocated, functions called) for the costliest of the last events."""
    recorded = record(*events)
    for event in recorded[-_LAST:]:
        event.data
    state = fold(recorded[:-_LAST], reducer)
    calls = 0

    def count(frame: Any, what: str, arg: Any) -> None:
        nonlocal calls
        calls += what in ("call", "c_call")

    bytes_max = calls_max = 0
    for event in recorded[-_LAST:]:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        after = fold([event], reducer, state)
        bytes_max = max(bytes_max, tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
        calls = 0
        profiler = sys.getprofile()
        sys.setprofile(count)
        try:
            fold([event], reducer, state)
        finally:
            sys.setprofile(profiler)
        calls_max = max(calls_max, calls)
        state = after
    return bytes_max, calls_max


def test_a_reducer_copies_its_state_then_the_measure_of_work_shows_it(record: Record) -> None:
    """The measure itself is proved: a handler that copies, and one that walks, are found out."""
    copying: Reducer[tuple[Any, ...]] = Reducer("copying", initial=())
    walking: Reducer[int] = Reducer("walking", initial=0)

    @copying.on("message.added")
    def copied(state: tuple[Any, ...], event: RecordedEvent) -> tuple[Any, ...]:
        return (*state, event.id)

    @walking.on("message.added")
    def walked(state: int, event: RecordedEvent) -> int:
        return sum(1 for _ in range(state)) + 1

    small, large = (list(_conversation(n)) for n in (200, 2_000))
    assert _work(record, large, copying)[0] > 2 * _work(record, small, copying)[0] + 2_000
    assert _work(record, large, walking)[1] > 2 * _work(record, small, walking)[1] + 20
