"""``eventstore append``."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from .conftest import Run


def pipe(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Makes `text` what the next call reads from standard input."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_one_event_then_its_line_is_shown(run: Run) -> None:
    """An append answers with what stands in the log now."""
    ran = run("append", "board/7", "task.added", '{"task_id": "1"}', "--actor", "ann")
    assert ran.code == 0
    assert ran.out.split()[:2] == ["1", "v1"]
    assert "task.added" in ran.out
    assert "ann" in ran.out
    assert Path("eventstore.db").exists()


def test_json_then_one_object(run: Run) -> None:
    """--json gives version, position and the new ids."""
    found = json.loads(run("append", "s", "t", "--json").out)
    assert (found["stream"], found["version"], found["position"]) == ("s", 1, 1)
    assert found["duplicate"] is False
    assert len(found["events"]) == 1


def test_every_option_then_stored(run: Run) -> None:
    """Key, actor, tags, causes and source time reach the log."""
    run("append", "s", "t", "1", "--json")
    options = ["--actor", "ann", "--tag", "a", "--tag", "b", "--causation", "c1"]
    options += ["--correlation", "r1", "--occurred", "2026-03-01T10:00:00Z"]
    assert run("append", "s", "u", '{"k": [1, null]}', *options).code == 0
    event = json.loads(run("log", "s", "--after", "1", "--json").out)
    assert event["data"] == {"k": [1, None]}
    assert (event["actor"], event["tags"]) == ("ann", ["a", "b"])
    assert (event["causation_id"], event["correlation_id"]) == ("c1", "r1")
    assert event["occurred_at"] == "2026-03-01T10:00:00.000000Z"


@pytest.mark.parametrize(
    ("expected", "code"), [("any", 0), ("none", 1), ("exists", 0), ("1", 0), ("0", 1), ("2", 1)]
)
def test_expectation_then_judged(run: Run, expected: str, code: int) -> None:
    """--expected is the store's own expectation; a conflict is exit code 1."""
    run("append", "s", "t")
    ran = run("append", "s", "t", "--expected", expected)
    assert ran.code == code
    assert ("found version 1" in ran.err) == (code == 1)


def test_same_key_twice_then_written_once(run: Run) -> None:
    """A retry under the same key gives the first answer again."""
    first = json.loads(run("append", "s", "t", "--key", "k", "--json").out)
    again = json.loads(run("append", "s", "t", "--key", "k", "--json").out)
    assert again == {**first, "duplicate": True}
    assert "written before" in run("append", "s", "t", "--key", "k").out


def test_same_key_other_content_then_refused(run: Run) -> None:
    """A key that stands for something else is refused by the store."""
    run("append", "s", "t", "--key", "k")
    ran = run("append", "s", "t", '{"other": true}', "--key", "k")
    assert ran.code == 1
    assert "use a new key" in ran.err


def test_whole_events_piped_then_one_append(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON Lines on standard input are appended together, each with its own type and tags."""
    pipe(monkeypatch, '{"type": "a", "data": {"n": 1}, "tags": ["x"]}\n\n{"type": "b"}\n')
    assert json.loads(run("append", "s", "-", "--tag", "y", "--json").out)["version"] == 2
    events = [json.loads(line) for line in run("log", "s", "--json").out.splitlines()]
    assert [(event["type"], event["tags"]) for event in events] == [("a", ["x", "y"]), ("b", ["y"])]


def test_no_type_and_a_pipe_then_events_are_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a TYPE standard input holds the events."""
    pipe(monkeypatch, '{"type": "a"}\n')
    assert run("append", "s").code == 0


def test_data_piped_then_one_event_for_each_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a TYPE and - every line is one event's data."""
    pipe(monkeypatch, '{"n": 1}\n{"n": 2}\n')
    assert json.loads(run("append", "s", "t", "-", "--json").out)["version"] == 2


def test_one_bad_line_then_nothing_is_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines are one append: a line that is no event refuses all, and is named."""
    pipe(monkeypatch, '{"type": "a"}\n{"type": "b"\n')
    ran = run("append", "s", "-")
    assert ran.code == 2
    assert "stdin line 2" in ran.err
    assert not Path("eventstore.db").exists()


def test_nothing_piped_then_usage_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty input is a mistake in a script, and is told."""
    pipe(monkeypatch, "\n")
    assert run("append", "s", "-").code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("s", "t", "{"),
        ("s", "t", '{"a": 1, "a": 2}'),
        ("s", "t", "1", "--expected", "soon"),
        ("s", "t", "1", "--expected", "-1"),
        ("s", "t", "1", "--occurred", "yesterday"),
        ("s", "-", "{}"),
    ],
)
def test_wrong_usage_then_exit_code_2(run: Run, arguments: tuple[str, ...]) -> None:
    """What the command line itself gets wrong is exit code 2, and nothing is made."""
    assert run("append", *arguments).code == 2
    assert not Path("eventstore.db").exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ('{"a": 1e999}', "NaN or infinity"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ('{"a": 9223372036854775808}', "beyond signed 64 bits"),
    ],
)
def test_data_beyond_the_limits_then_the_store_says_no(run: Run, data: str, reason: str) -> None:
    """The door's limits hold on the command line too; the message gives path and reason."""
    ran = run("append", "s", "t", data)
    assert ran.code == 1
    assert reason in ran.err
    assert "$.a" in ran.err


def test_tenant_then_a_log_of_its_own(run: Run) -> None:
    """--tenant writes and reads another log in the same file."""
    run("append", "s", "t", "--tenant", "acme")
    assert run("log", "s").code == 1
    assert run("log", "s", "--tenant", "acme").out.count("\n") == 1
