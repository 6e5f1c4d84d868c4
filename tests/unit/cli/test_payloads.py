"""JSON handed in on the command line or by a pipe."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli.exits import ExitCode, Stop
from cli.payloads import parse_event, parse_json


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no JSON"),
        ('{"a": 1, "a": 2}', "same key twice"),
        ('[{"b": {"a": 1, "a": 2}}]', "same key twice"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ("-Infinity", "-Infinity is no JSON number"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5_000, "too many digits"),
    ],
)
def test_what_readers_could_read_differently_then_refused(text: str, reason: str) -> None:
    """Broken or ambiguous JSON is wrong usage; the reason names the place."""
    with pytest.raises(Stop, match=reason) as stopped:
        parse_json(text, "DATA")
    assert stopped.value.code == ExitCode.USAGE
    assert stopped.value.message.startswith("DATA: ")


def test_refused_json_then_content_not_in_the_message() -> None:
    """An error never repeats the payload."""
    with pytest.raises(Stop) as stopped:
        parse_json('{"password": "hunter2" oops}', "DATA")
    assert "hunter2" not in stopped.value.message + stopped.value.next_step


def test_whole_event_then_every_field_is_taken() -> None:
    """A line may hold all that an event has."""
    event = parse_event(
        '{"type": "t", "data": [1], "tags": ["a"], "id": "e1", "causation_id": "c",'
        ' "derived_from": ["d"], "context": {"k": 1}, "occurred_at": "2026-03-01T10:00:00Z"}',
        "line 1",
    )
    assert (event.type, event.data, list(event.tags), event.id) == ("t", [1], ["a"], "e1")
    assert (event.causation_id, list(event.derived_from), event.context) == ("c", ["d"], {"k": 1})
    assert event.occurred_at == datetime(2026, 3, 1, 10, tzinfo=UTC)


def test_only_a_type_then_empty_data() -> None:
    """Data may be left out."""
    assert parse_event('{"type": "t"}', "line 1").data == {}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "1",
        "{}",
        '{"type": 1}',
        '{"type": "t", "tag": []}',
        '{"type": "t", "tags": "a"}',
        '{"type": "t", "occurred_at": 5}',
        '{"type": "t", "occurred_at": "2026-03-01T10:00:00"}',
    ],
)
def test_no_event_then_usage_error(text: str) -> None:
    """A line that is no event is refused, an unknown field too: it may be a typing error."""
    with pytest.raises(Stop) as stopped:
        parse_event(text, "stdin line 3")
    assert stopped.value.code == ExitCode.USAGE
