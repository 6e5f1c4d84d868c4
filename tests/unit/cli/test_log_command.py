"""``eventstore log`` and ``eventstore streams``."""

from __future__ import annotations

import io
import json
import sys

import pytest

from .conftest import Run


def versions(out: str) -> list[tuple[str, int]]:
    """(stream, version) of each line of JSON."""
    return [(event["stream"], event["version"]) for event in map(json.loads, out.splitlines())]


@pytest.fixture
def two(board: Run) -> Run:
    """``board/7`` with three events, and ``note/1`` with one that bears a tag."""
    board("append", "note/1", "note.added", '{"text": "hi"}', "--tag", "user:ann")
    return board


def test_stream_then_oldest_first(two: Run) -> None:
    """A stream is shown by version."""
    assert versions(two("log", "board/7", "--json").out) == [("board/7", n) for n in (1, 2, 3)]


def test_no_stream_then_the_whole_log(two: Run) -> None:
    """Without a stream the log is shown by position, with the stream of each event."""
    ran = two("log")
    assert [line.split()[0] for line in ran.out.splitlines()] == ["1", "2", "3", "4"]
    assert "note/1" in ran.out.splitlines()[3]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("board/7", "--after", "1"), [("board/7", 2), ("board/7", 3)]),
        (("board/7", "--after", "@2"), [("board/7", 3)]),
        (("board/7", "--reverse", "-n", "2"), [("board/7", 3), ("board/7", 2)]),
        (("board/7", "--reverse", "--after", "2"), [("board/7", 3)]),
        (("board/7", "--type", "task.changed"), [("board/7", 2)]),
        (("board/7", "--type", "task.changed", "--type", "x"), [("board/7", 2)]),
        (("board/7", "--limit", "0"), []),
        (("--after", "3"), [("note/1", 1)]),
        (("--after", "@3"), [("note/1", 1)]),
        (("--tag", "user:ann"), [("note/1", 1)]),
        (("--type", "note.added", "--tag", "user:ben"), []),
        (("--reverse", "-n", "2"), [("note/1", 1), ("board/7", 3)]),
        (("--reverse", "--after", "3"), [("note/1", 1)]),
        (("--reverse", "--type", "task.added"), [("board/7", 3), ("board/7", 1)]),
        (("--follow", "-n", "4"), [("board/7", 1), ("board/7", 2), ("board/7", 3), ("note/1", 1)]),
        (("board/7", "--follow", "-n", "1", "--after", "2"), [("board/7", 3)]),
    ],
)
def test_choice_then_those_events(
    two: Run, arguments: tuple[str, ...], shown: list[tuple[str, int]]
) -> None:
    """Filters, bounds and order do what they say, alone and together."""
    ran = two("log", *arguments, "--json")
    assert ran.code == 0
    assert versions(ran.out) == shown


def test_json_then_every_field(two: Run) -> None:
    """A line of JSON holds the whole event."""
    event = json.loads(two("log", "note/1", "--json").out)
    assert set(event) == {
        "position", "stream", "version", "id", "type", "schema_version", "data", "tags", "actor",
        "causation_id", "correlation_id", "derived_from", "context", "occurred_at", "recorded_at",
    }  # fmt: skip
    assert event["data"] == {"text": "hi"}


def test_long_log_backwards_then_nothing_left_out(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading from the end in windows gives every position once."""
    lines = "".join('{"type": "t"}\n' for _ in range(2_500))
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    run("append", "s", "-")
    out = run("log", "--reverse", "--json").out
    assert [version for _, version in versions(out)] == list(range(2_500, 0, -1))


def test_escape_sequences_in_data_then_shown_as_text(run: Run) -> None:
    """Nothing that an event holds steers the terminal of its reader."""
    run("append", "s", "message.added", '{"role": "user", "content": "\\u001b[2Jgone"}')
    out = run("log", "s").out
    assert "\x1b" not in out
    assert "\\x1b[2Jgone" in out


@pytest.mark.parametrize(
    "arguments", [("--follow", "--reverse"), ("--after", "x"), ("--after", "2026-03-01T10:00:00Z")]
)
def test_wrong_usage_then_exit_code_2(two: Run, arguments: tuple[str, ...]) -> None:
    """Options that contradict or say nothing are wrong usage."""
    assert two("log", *arguments).code == 2


def test_streams_then_name_events_and_times(two: Run) -> None:
    """The listing is ordered by name and counts events."""
    lines = two("streams").out.splitlines()
    assert lines[0].split() == ["stream", "events", "first", "last"]
    assert [line.split()[:2] for line in lines[1:]] == [["board/7", "3"], ["note/1", "1"]]


def test_streams_under_a_prefix_then_only_those(two: Run) -> None:
    """A prefix limits the listing; --json gives a line for each."""
    (line,) = two("streams", "note/", "--json").out.splitlines()
    found = json.loads(line)
    assert (found["stream"], found["version"]) == ("note/1", 1)
    assert found["first_recorded_at"] == found["last_recorded_at"]


def test_streams_limit_then_the_first_ones(two: Run) -> None:
    """--limit ends the listing."""
    assert len(two("streams", "--limit", "1", "--json").out.splitlines()) == 1
    assert two("streams", "--limit", "0", "--json").out == ""


def test_no_stream_under_the_prefix_then_said(two: Run) -> None:
    """An empty listing is an answer, not an error."""
    ran = two("streams", "zzz")
    assert (ran.code, ran.out) == (0, "0 streams under 'zzz'\n")


@pytest.mark.parametrize(
    "arguments", [("--after", "5"), ("board/7", "--after", "@5"), ("--follow", "--after", "5")]
)
def test_position_beyond_the_end_then_refused(two: Run, arguments: tuple[str, ...]) -> None:
    """A position that does not exist is told with the log's end, not waited for."""
    ran = two("log", *arguments)
    assert ran.code == 1
    assert "the log ends at position 4" in ran.err
