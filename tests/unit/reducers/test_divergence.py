"""Where two sessions part."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import RecordedEvent, event_type, upcast
from reducers import Change, first_divergence
from reducers.divergence import Divergence


def recorded(stream: str, version: int, kind: str, data: Any, schema: int = 1) -> RecordedEvent:
    payload = msgspec.json.encode(data, order="sorted")
    return RecordedEvent(version, stream, version, f"{stream}-{version}", kind, schema, payload, 0)


def session(stream: str, words: list[str]) -> list[RecordedEvent]:
    return [recorded(stream, n, "said", {"text": text}) for n, text in enumerate(words, 1)]


sessions = st.lists(st.sampled_from("ab"), max_size=6)


@given(sessions, sessions)
def test_two_sessions_are_compared_then_the_first_pair_that_differs_is_told(
    one: list[str], other: list[str]
) -> None:
    """By place, whatever else is said about the events; None only when all are the same."""
    found = first_divergence(session("one", one), session("other", other))
    common = len([*itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other))])  # noqa: B905
    if one == other:
        assert found is None
        return
    assert found is not None
    assert found.common == common
    assert (found.a is None) == (len(one) == common)
    assert (found.b is None) == (len(other) == common)
    if found.a is not None and found.b is not None:
        assert (found.a.data["text"], found.b.data["text"]) == (one[common], other[common])
        assert found.changes == [Change("replace", "/text", one[common], other[common])]


def test_events_differ_in_type_then_they_are_not_the_same() -> None:
    """The same data may mean two things."""
    a, b = recorded("a", 1, "said", {"x": 1}), recorded("b", 1, "heard", {"x": 1})
    assert first_divergence([a], [b]) == Divergence(0, a, b, [])
    number = recorded("b", 1, "said", {"x": 1.0})
    assert first_divergence([a], [number]) == Divergence(
        0, a, number, [Change("replace", "/x", 1, 1.0)]
    )


def test_a_key_is_given_then_only_what_it_says_counts() -> None:
    """Ids that a program draws for each run can be left out."""
    one = [recorded("a", 1, "said", {"text": "x", "id": "1"})]
    other = [recorded("b", 1, "said", {"text": "x", "id": "2"})]
    assert first_divergence(one, other) is not None
    assert first_divergence(one, other, key=lambda event: event.data["text"]) is None


def test_they_part_then_nothing_behind_is_taken() -> None:
    """Sessions are read no further than they are alike."""
    endless = iter(session("a", ["x"] * 9))
    found = first_divergence(endless, session("b", ["x", "y", "x"]))
    assert found is not None
    assert found.common == 1
    assert next(endless).version == 3


@pytest.mark.parametrize("registered", [False, True])
def test_schema_versions_differ_then_data_is_compared_as_of_today(registered: bool) -> None:
    """An event that says the same in the words of an older schema is the same."""
    if registered:

        @event_type("said", version=2)
        class Said(msgspec.Struct, frozen=True):
            text: str

    upcast("said", from_version=1)(lambda data: {"text": data["t"]})
    old, new = recorded("a", 1, "said", {"t": "x"}), recorded("b", 1, "said", {"text": "x"}, 2)
    assert first_divergence([old], [new]) is None
    other = recorded("b", 1, "said", {"text": "y"}, 2)
    found = first_divergence([old], [other])
    assert found == Divergence(0, old, other, [Change("replace", "/text", "x", "y")])
