"""Approvals: what waits for a decision, what was decided and by whom."""

from __future__ import annotations

from typing import Any

from eventstore import NewEvent
from reducers import fold
from reducers.agent import approvals
from reducers.agent import vocabulary as v

Folded = Any

ASK = v.approval_requested(approval_id="a1", subject={"refund": 20}, tool_call_id="t1")
YES = v.approval_granted(approval_id="a1", reason="small")
NO = v.approval_denied(approval_id="a1")


def test_an_approval_is_requested_then_it_waits(folded: Folded) -> None:
    """What somebody has to agree to is visible, and who asked."""
    state = folded(approvals, ASK, actor="agent")
    approval = state.approvals["a1"]
    assert (approval.status, approval.subject, approval.tool_call_id) == (
        "pending",
        {"refund": 20},
        "t1",
    )
    assert (approval.requested_by, state.pending_ids) == ("agent", ["a1"])


def test_it_is_granted_then_decision_reason_and_decider_are_known(
    record: Any, folded: Folded
) -> None:
    """A decision ends the wait and names its actor."""
    asked = folded(approvals, ASK, actor="agent")
    state = fold(record(YES, actor="ann"), approvals, asked)
    approval = state.approvals["a1"]
    assert (approval.status, approval.reason) == ("granted", "small")
    assert (approval.requested_by, approval.decided_by) == ("agent", "ann")
    assert state.pending_ids == []


def test_it_is_decided_twice_then_the_later_decision_counts(folded: Folded) -> None:
    """Somebody may think better of it, in either direction."""
    assert folded(approvals, ASK, YES, NO).approvals["a1"].status == "denied"
    assert folded(approvals, ASK, NO, YES).approvals["a1"].status == "granted"


def test_it_is_requested_again_after_a_yes_then_it_waits_again(folded: Folded) -> None:
    """An old yes is no yes to a new question."""
    state = folded(approvals, ASK, YES, ASK)
    assert (state.approvals["a1"].status, state.pending_ids) == ("pending", ["a1"])
    assert folded(approvals, YES, ASK).pending_ids == ["a1"]


def test_nobody_requested_it_then_the_decision_is_kept_without_a_subject(folded: Folded) -> None:
    """A decision is a fact even when the question is not in the stream."""
    approval = folded(approvals, NO).approvals["a1"]
    assert (approval.status, approval.subject, approval.number) == ("denied", None, 1)


def test_several_wait_then_they_stand_in_request_order(folded: Folded) -> None:
    """The one that waits longest comes first."""
    ask = [v.approval_requested(approval_id=f"a{n}") for n in (5, 2, 9)]
    state = folded(approvals, *ask, v.approval_granted(approval_id="a2"))
    assert state.pending_ids == ["a5", "a9"]
    assert [key for key, _ in state.in_order] == ["a5", "a2", "a9"]


def test_ids_cannot_be_read_then_a_request_has_its_events_and_decisions_change_nothing(
    folded: Folded,
) -> None:
    """A decision without an id decides nothing."""
    state = folded(
        approvals,
        NewEvent("approval.requested", {"subject": "x"}),
        NewEvent("approval.granted", {"approval_id": None}),
        NewEvent("approval.denied", [1]),
    )
    assert state.pending_ids == ["e1"]
