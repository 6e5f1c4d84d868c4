"""The session: what is known of it, its end, and the shared state."""

from __future__ import annotations

from typing import Any

from eventstore import NewEvent
from reducers.agent import session
from reducers.agent import vocabulary as v

Folded = Any


def test_a_session_starts_then_what_it_states_is_known(folded: Folded) -> None:
    """Everything that the first event says of a session is in its state."""
    state = folded(
        session,
        v.session_started(
            conversation_id="c1",
            title="Refund",
            agent_name="support",
            provider_name="openai",
            system_instructions="Be kind.",
            source={"kind": "tau-bench", "task_id": 3},
            attributes={"trial": 0},
        ),
    )
    assert (state.started, state.ended) == (True, False)
    assert (state.conversation_id, state.title) == ("c1", "Refund")
    assert (state.agent_name, state.provider_name) == ("support", "openai")
    assert state.system_instructions == "Be kind."
    assert state.source == {"kind": "tau-bench", "task_id": 3}
    assert dict(state.attributes) == {"trial": 0}


def test_a_second_start_then_it_replaces_only_what_it_states(folded: Folded) -> None:
    """A source may learn a session's title late; nothing else is lost by that."""
    state = folded(
        session,
        v.session_started(conversation_id="c1", agent_name="a", attributes={"x": 1, "y": 1}),
        v.session_started(title="Late", attributes={"y": 2}),
    )
    assert (state.conversation_id, state.agent_name, state.title) == ("c1", "a", "Late")
    assert dict(state.attributes) == {"x": 1, "y": 2}


def test_a_session_ends_then_reason_and_outcome_are_known(folded: Folded) -> None:
    """How a session ended, and what came of it, is in its state."""
    state = folded(
        session,
        v.session_started(title="t"),
        v.session_ended(reason="user_stop", outcome={"reward": 1.0}, attributes={"seconds": 3}),
    )
    assert (state.ended, state.end_reason, state.outcome) == (True, "user_stop", {"reward": 1.0})
    assert (state.title, dict(state.attributes)) == ("t", {"seconds": 3})


def test_an_ended_session_starts_again_then_it_goes_on(folded: Folded) -> None:
    """A resumed session is not shown as ended, and has no outcome until it ends again."""
    state = folded(
        session,
        v.session_ended(reason="x", outcome={"reward": 0}),
        v.session_started(),
    )
    assert (state.ended, state.end_reason, state.outcome) == (False, None, {})


def test_the_context_changes_then_each_key_has_its_last_value(folded: Folded) -> None:
    """Shared state is updated key by key; null is a value and removes nothing."""
    state = folded(
        session,
        v.context_changed(delta={"cart": [1], "city": "Oslo"}),
        v.context_changed(delta={"cart": [], "name": None}),
    )
    assert dict(state.shared) == {"cart": [], "city": "Oslo", "name": None}


def test_fields_that_cannot_be_read_then_what_was_known_stays(folded: Folded) -> None:
    """A title that is a number is no title, a delta that is a list no delta."""
    state = folded(
        session,
        v.session_started(title="Known", source={"kind": "x"}),
        NewEvent("session.started", {"title": 5, "source": "y", "attributes": [1]}),
        NewEvent("session.started", ["not", "an", "object"]),
        NewEvent("context.changed", {"delta": ["a"]}),
        NewEvent("session.ended", {"reason": 1, "outcome": 2}),
    )
    assert (state.title, state.source) == ("Known", {"kind": "x"})
    assert dict(state.attributes) == dict(state.shared) == {}
    assert (state.ended, state.end_reason, state.outcome) == (True, None, {})
