"""Messages: their order, parts and text."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import NewEvent
from reducers.agent import conversation
from reducers.agent import vocabulary as v

Folded = Any


def test_messages_are_added_then_they_stand_in_event_order(folded: Folded) -> None:
    """The conversation is its messages, first one first, with role, id and name."""
    state = folded(
        conversation,
        v.message_added(role="system", content="Be kind."),
        v.message_added(role="user", content="hi", message_id="m1", name="ann"),
        v.message_added(role="assistant", content="hello"),
    )
    assert [(m.role, m.text) for m in state.messages] == [
        ("system", "Be kind."),
        ("user", "hi"),
        ("assistant", "hello"),
    ]
    assert (state.messages[1].message_id, state.messages[1].name) == ("m1", "ann")
    assert state.turns == 1


def test_a_message_has_reasoning_then_its_text_does_not(folded: Folded) -> None:
    """Text is what was said, not what was thought; both can be asked for."""
    state = folded(
        conversation,
        v.message_added(
            role="assistant",
            parts=[
                v.reasoning_part("They want "),
                v.text_part("Your refund"),
                {"type": "blob", "modality": "image", "content": "aGk="},
                v.reasoning_part("money."),
                v.text_part(" is on its way."),
            ],
        ),
    )
    (message,) = state.messages
    assert message.text == "Your refund is on its way."
    assert message.reasoning == "They want money."
    assert len(message.parts) == 5


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"content": "plain"}, "plain"),
        ({"content": ["a", "b"]}, "ab"),
        ({"content": [{"type": "text", "text": "as providers say it"}]}, "as providers say it"),
        ({"parts": [{"type": "text", "content": "first"}], "content": "second"}, "first"),
        ({"parts": "not a list", "content": "used instead"}, "used instead"),
        ({"parts": [1, None, ["x"], {"type": "text", "content": "left"}]}, "left"),
        ({"parts": [{"type": "text", "content": 5}, {"type": "text"}, {}]}, ""),
        ({"parts": []}, ""),
        ({"content": None}, ""),
        ({}, ""),
    ],
)
def test_content_in_any_shape_then_its_text_is_defined(
    folded: Folded, data: dict[str, Any], text: str
) -> None:
    """Strings are text parts, objects are parts, anything else is no part."""
    (message,) = folded(conversation, NewEvent("message.added", {"role": "user", **data})).messages
    assert message.text == text


@pytest.mark.parametrize("data", [{}, [], "hi", 5, None, {"role": 7}])
def test_an_event_that_holds_no_message_then_an_empty_one_stands_for_it(
    folded: Folded, data: Any
) -> None:
    """An event is never dropped from the count, whatever it holds."""
    (message,) = folded(conversation, NewEvent("message.added", data)).messages
    assert (message.role, message.parts, message.text) == ("", (), "")


def test_one_message_comes_in_two_events_then_both_are_seen(folded: Folded) -> None:
    """A message that a source splits over rows becomes visible row by row."""
    state = folded(
        conversation,
        v.message_added(role="assistant", content="Let me see.", message_id="m1"),
        v.message_added(role="assistant", content="It is open.", message_id="m1"),
    )
    assert [m.text for m in state.messages] == ["Let me see.", "It is open."]
