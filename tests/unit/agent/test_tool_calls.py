"""Tool calls: pending until a result, and what doubled, late and lonely events mean."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import NewEvent
from reducers.agent import ToolCall, ToolError, tool_calls
from reducers.agent import vocabulary as v

Folded = Any

ASK = v.tool_requested(
    tool_call_id="t1", tool_name="search", tool_call_arguments={"q": "x"}, requestor="assistant"
)
ANSWER = v.tool_completed(tool_call_id="t1", tool_name="search", tool_call_result=["y"])
FAIL = v.tool_failed(tool_call_id="t1", error_type="timeout", message="too slow")


def test_a_call_is_requested_then_it_is_pending(folded: Folded) -> None:
    """What was asked for is known, and that an answer is awaited."""
    state = folded(tool_calls, ASK)
    assert state.calls["t1"] == ToolCall(
        number=1, name="search", arguments={"q": "x"}, requestor="assistant", attempts=1
    )
    assert state.calls["t1"].status == "pending"
    assert state.pending_ids == ["t1"]


def test_a_call_completes_then_it_has_its_result(folded: Folded) -> None:
    """A result ends a call and leaves what was asked for."""
    state = folded(tool_calls, ASK, ANSWER)
    call = state.calls["t1"]
    assert (call.status, call.result, call.error) == ("completed", ["y"], None)
    assert (call.name, call.arguments) == ("search", {"q": "x"})
    assert (state.pending_ids, state.failures) == ([], 0)


def test_a_call_fails_then_it_has_its_error(folded: Folded) -> None:
    """A failure ends a call too, and says why."""
    state = folded(tool_calls, ASK, FAIL)
    call = state.calls["t1"]
    assert (call.status, call.error) == ("failed", ToolError("timeout", "too slow"))
    assert (state.pending_ids, state.failures) == ([], 1)


def test_a_failure_without_a_message_then_the_text_that_came_back_is_it(folded: Folded) -> None:
    """Sources that only flag a result as an error say in it what went wrong; a message of the
    event's own goes first, and a result that is no text is none."""
    told: list[tuple[dict[str, Any], str | None]] = [
        ({"tool_call_result": "no such order"}, "no such order"),
        ({"tool_call_result": "no such order", "message": "too slow"}, "too slow"),
        ({"tool_call_result": ["no such order"]}, None),
    ]
    for data, message in told:
        call = folded(tool_calls, ASK, v.tool_failed(tool_call_id="t1", **data)).calls["t1"]
        assert (call.error, call.result) == (ToolError(None, message), data["tool_call_result"])


def test_calls_overlap_then_each_gets_its_own_result_and_order_stays(folded: Folded) -> None:
    """Results come in any order; calls stay in the order in which they were asked for."""
    ask = [v.tool_requested(tool_call_id=f"t{n}", tool_name="f") for n in (9, 3, 5, 1)]
    state = folded(
        tool_calls,
        *ask,
        v.tool_completed(tool_call_id="t5", tool_call_result="five"),
        v.tool_failed(tool_call_id="t9"),
    )
    assert [call_id for call_id, _ in state.in_order] == ["t9", "t3", "t5", "t1"]
    assert [call.status for _, call in state.in_order] == [
        "failed",
        "pending",
        "completed",
        "pending",
    ]
    assert state.pending_ids == ["t3", "t1"]
    assert state.requested == 4


def test_a_result_for_a_call_nobody_requested_then_it_is_kept_but_counts_as_no_request(
    folded: Folded,
) -> None:
    """Nothing that came back is lost, and counts of requests stay true."""
    state = folded(tool_calls, ANSWER)
    call = state.calls["t1"]
    assert (call.status, call.result, call.name, call.attempts) == ("completed", ["y"], "search", 0)
    assert (state.requested, state.pending_ids) == (0, [])


def test_a_request_comes_after_its_result_then_the_call_stays_ended(folded: Folded) -> None:
    """Sources are not always in order; a late request fills in, it does not wait for ever."""
    state = folded(tool_calls, FAIL, ASK)
    call = state.calls["t1"]
    assert (call.status, call.arguments, call.attempts) == ("failed", {"q": "x"}, 1)
    assert call.error == ToolError("timeout", "too slow")
    assert (state.requested, state.pending_ids) == (1, [])


def test_a_call_completes_twice_then_the_last_result_counts(folded: Folded) -> None:
    """A further result replaces the one before."""
    other = v.tool_completed(tool_call_id="t1", tool_call_result="later")
    assert folded(tool_calls, ASK, ANSWER, other).calls["t1"].result == "later"
    state = folded(tool_calls, ASK, ANSWER, FAIL)
    assert (state.calls["t1"].status, state.calls["t1"].result) == ("failed", None)


def test_a_failure_is_told_twice_then_it_counts_once(folded: Folded) -> None:
    """Counts of failures count failures, not rows that repeat one."""
    assert folded(tool_calls, ASK, FAIL, FAIL).failures == 1


def test_a_failed_call_is_tried_again_then_the_failure_still_counts(folded: Folded) -> None:
    """A retry under the same id is pending again; that the first attempt failed stays known."""
    again = folded(tool_calls, ASK, FAIL, ASK)
    assert (again.pending_ids, again.calls["t1"].error) == (["t1"], None)
    assert again.calls["t1"].attempts == 2
    done = folded(tool_calls, ASK, FAIL, ASK, ANSWER)
    assert (done.calls["t1"].status, done.failures, done.requested) == ("completed", 1, 1)


def test_a_pending_call_is_requested_again_then_the_later_request_counts(folded: Folded) -> None:
    """A repeated request is the same attempt, with what was stated last."""
    other = v.tool_requested(tool_call_id="t1", tool_call_arguments={"q": "z"})
    call = folded(tool_calls, ASK, other).calls["t1"]
    assert (call.name, call.arguments, call.attempts) == ("search", {"q": "z"}, 1)


@pytest.mark.parametrize("call_id", [None, "", True, [], {"a": 1}, 1.5])
def test_an_id_cannot_be_read_then_a_request_has_its_events_id_and_a_result_none(
    folded: Folded, call_id: Any
) -> None:
    """A request without an id is still seen; a result without one belongs to no call."""
    state = folded(
        tool_calls,
        NewEvent("tool.requested", {"tool_call_id": call_id, "tool_name": "f"}),
        NewEvent("tool.completed", {"tool_call_id": call_id}),
        NewEvent("tool.failed", {"tool_call_id": call_id}),
    )
    assert state.pending_ids == ["e1"]
    assert (len(state.calls), state.failures) == (1, 0)


def test_an_id_is_an_integer_then_its_digits_are_the_id(folded: Folded) -> None:
    """Sources that number their calls need no mapping."""
    state = folded(
        tool_calls,
        NewEvent("tool.requested", {"tool_call_id": 7}),
        NewEvent("tool.completed", {"tool_call_id": "7"}),
    )
    assert state.calls["7"].status == "completed"
