"""Errors that are no tool's."""

from __future__ import annotations

from typing import Any

from eventstore import NewEvent
from reducers.agent import RaisedError, errors
from reducers.agent import vocabulary as v


def test_errors_are_raised_then_they_stand_in_order_with_their_events(folded: Any) -> None:
    """Each error says what it was and which event tells of it, also when it says nothing else."""
    state = folded(
        errors,
        v.error_raised(error_type="timeout", message="no answer"),
        NewEvent("error.raised", {"error_type": 5, "message": ["x"]}),
        NewEvent("error.raised", "boom"),
    )
    assert list(state.errors) == [
        RaisedError("e1", "timeout", "no answer"),
        RaisedError("e2"),
        RaisedError("e3"),
    ]
