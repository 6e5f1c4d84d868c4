"""One line's worth of a session."""

from __future__ import annotations

from typing import Any

import pytest

from reducers.agent import Summary, agent, shorten, summary, title
from reducers.agent import vocabulary as v

Folded = Any


def test_a_session_is_summed_up_then_each_figure_is_counted(folded: Folded) -> None:
    """Turns are user messages, errors failed calls and raised errors, tokens in and out."""
    state = folded(
        agent,
        v.session_started(title="Refund"),
        v.message_added(role="system", content="Be kind."),
        v.message_added(role="user", content="hi"),
        v.message_added(role="assistant", content="hello"),
        v.message_added(role="user", content="refund"),
        v.model_called(usage={"input_tokens": 10, "output_tokens": 3}, cost=0.5),
        v.tool_requested(tool_call_id="t1"),
        v.tool_failed(tool_call_id="t1"),
        v.tool_requested(tool_call_id="t2"),
        v.error_raised(message="x"),
        v.tool_completed(tool_call_id="unasked"),
    )
    found = summary(state)
    assert found == Summary(
        title="Refund",
        turns=2,
        messages=4,
        tool_calls=2,
        pending=1,
        errors=2,
        input_tokens=10,
        output_tokens=3,
        cost=0.5,
        ended=False,
    )
    assert found.tokens == 13


def test_nothing_happened_then_the_summary_is_empty(folded: Folded) -> None:
    """The initial state has a summary too."""
    assert summary(folded(agent)) == Summary("(untitled)", 0, 0, 0, 0, 0, 0, 0, 0.0, False)


def test_a_session_has_no_title_then_the_users_first_words_are_it(folded: Folded) -> None:
    """Titles fall back to what the user said first, then to the conversation's id."""
    started = v.session_started(conversation_id="c1", title="  ")
    said = [
        v.message_added(role="assistant", content="How can I help?"),
        v.message_added(role="user", parts=[v.reasoning_part("hm")]),
        v.message_added(role="user", content="I want\n\n my  money back"),
        v.message_added(role="user", content="now"),
    ]
    assert title(folded(agent, started, *said)) == "I want my money back"
    assert title(folded(agent, started)) == "c1"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        (" \n\t ", ""),
        ("a" * 60, "a" * 60),
        ("a" * 61, "a" * 59 + "…"),
        ("word " * 20, ("word " * 11 + "word") + "…"),
        ("red \x1b[31mtext\x00 \u202e x", "red [31mtext x"),
        ("x" + " " * 5000 + "y", "x…"),
    ],
)
def test_a_text_is_shortened_then_it_is_one_safe_line(text: str, line: str) -> None:
    """A title fits its column, and does nothing to a terminal."""
    assert shorten(text) == line
    assert len(shorten(text)) <= 60
