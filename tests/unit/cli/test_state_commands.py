"""``eventstore state``, ``diff`` and ``replay``."""

from __future__ import annotations

import json
from pathlib import Path

import jsonpatch
import pytest

from .conftest import Run

COUNTER = """
from reducers import Reducer

count = Reducer("count", initial=0)
titles = Reducer("titles", initial={})


@count.on("task.added")
def added(state, event):
    return state + 1


@titles.on("task.added")
def titled(state, event):
    return {**state, event["task_id"]: event["title"]}
"""


@pytest.fixture
def counting(board: Run) -> Run:
    """The board, and a file of the user's own reducers beside it."""
    Path("counting.py").write_text(COUNTER)
    return board


def test_state_then_overview_of_the_session(board: Run) -> None:
    """The default reducer is `agent`, shown as an overview."""
    ran = board("state", "board/7")
    assert ran.code == 0
    assert "board/7  version 3, position 3, reducer agent" in ran.out
    assert "completed" in ran.out
    assert "Order food" in ran.out


def test_state_json_then_one_object(board: Run) -> None:
    """--json gives the state with the version and position it stands at."""
    found = json.loads(board("state", "board/7", "--reducer", "tasks", "--json").out)
    assert (found["stream"], found["version"], found["position"]) == ("board/7", 3, 3)
    assert found["reducer"] == "tasks"
    assert found["state"]["tasks"]["2"]["title"] == "Order food"


@pytest.mark.parametrize("at", ["0", "2020-01-01T00:00:00Z"])
def test_state_before_the_stream_begins_then_said_with_where_it_does(board: Run, at: str) -> None:
    """An empty state is not mistaken for a session in which nothing happened."""
    board("append", "board/8", "task.added", '{"task_id": "1"}')
    for command in (("state", "board/8", "--at", at), ("state", "board/8", "--at", "@2")):
        ran = board(*command)
        assert ran.code == 0
        assert "nothing yet: board/8 begins with version 1 at position 4, recorded 20" in ran.out
        assert "nothing yet" not in board(*command, "--json").out
        part = board(*command, "--path", "/tasks")
        assert "nothing yet" in part.err
        assert "nothing yet" not in part.out
    assert "nothing yet" not in board("state", "board/8", "--at", "1").out
    assert "version 0 (before its first event)" in board("diff", "board/8", at).out


def test_state_before_an_imported_stream_then_its_own_time_too(run: Run) -> None:
    """With source time, where the stream begins in that time is told."""
    run("append", "s", "t", "--occurred", "2026-03-01T10:00:00Z")
    ran = run("state", "s", "--at", "2026-02-01T10:00:00Z", "--by", "occurred")
    assert ", occurred 2026-03-01T10:00:00Z" in ran.out


@pytest.mark.parametrize(("at", "status"), [("1", "pending"), ("@2", "completed"), ("0", None)])
def test_state_at_a_point_then_of_that_point(board: Run, at: str, status: str | None) -> None:
    """--at gives the state as it was, version 0 the state before all."""
    found = json.loads(board("state", "board/7", "--at", at, "--reducer", "tasks", "--json").out)
    assert found["state"]["tasks"].get("1", {}).get("status") == status


def test_state_at_a_time_then_inclusive(board: Run) -> None:
    """An ISO time takes the events recorded up to it."""
    second = json.loads(board("log", "board/7", "--json").out.splitlines()[1])
    at = second["recorded_at"]
    found = json.loads(board("state", "board/7", "--at", at, "--json").out)
    assert found["version"] == 2


def test_state_by_occurred_then_source_time(run: Run) -> None:
    """--by occurred goes by the source's own time, wherever the event stands in the log."""
    for number, hour in ((1, 12), (2, 10)):
        data = json.dumps({"task_id": str(number)})
        run("append", "s", "task.added", data, "--occurred", f"2026-03-01T{hour}:00:00Z")
    arguments = ("--at", "2026-03-01T11:00:00Z", "--by", "occurred", "--reducer", "tasks")
    found = json.loads(run("state", "s", *arguments, "--json").out)
    assert list(found["state"]["tasks"]) == ["2"]


def test_state_path_then_only_that(board: Run) -> None:
    """--path prints what stands there, as JSON."""
    arguments = ("state", "board/7", "--reducer", "tasks", "--path", "/tasks/1/title")
    assert board(*arguments).out == '"Book a room"\n'
    assert json.loads(board(*arguments, "--json").out)["state"] == "Book a room"


def test_state_path_leads_nowhere_then_names_what_is_there(board: Run) -> None:
    """A wrong path is answered with the names that do stand there."""
    ran = board("state", "board/7", "--path", "/task")
    assert ran.code == 1
    assert "session" in ran.err


@pytest.mark.parametrize("point", ["4", "@4"])
def test_state_beyond_the_end_then_refused(board: Run, point: str) -> None:
    """A point that does not exist is an error, not the latest state."""
    ran = board("state", "board/7", "--at", point)
    assert ran.code == 1
    assert "ends at" in ran.err


def test_own_reducer_of_a_file_then_used(counting: Run) -> None:
    """--reducer file.py:name folds with the user's code."""
    found = json.loads(counting("state", "board/7", "--reducer", "counting.py:count", "--json").out)
    assert found["state"] == 2


def test_own_reducer_of_a_module_then_found_from_here(counting: Run) -> None:
    """--reducer module:name looks in the folder where the command runs."""
    ran = counting("state", "board/7", "--reducer", "counting:titles")
    assert ran.out.splitlines()[1:] == ["1  Book a room", "2  Order food"]


@pytest.mark.parametrize(
    ("reducer", "told"),
    [
        ("nobody", "use one of agent"),
        ("counting.py:nobody", "use one of count, titles"),
        ("counting.py", "use one of count, titles"),
        ("missing.py:x", "no file 'missing.py'"),
        ("missing_module:x", "no module 'missing_module'"),
        ("json:x", "it holds no Reducer"),
    ],
)
def test_no_such_reducer_then_usage_error(counting: Run, reducer: str, told: str) -> None:
    """A reducer that is not there is wrong usage, and what is there is named."""
    ran = counting("state", "board/7", "--reducer", reducer)
    assert ran.code == 2
    assert told in ran.err


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import nothing_of_this_name\n", "nothing_of_this_name"),
        ("def broken(:\n", "SyntaxError"),
        ("raise ValueError('hunter2')\n", "ValueError"),
    ],
)
def test_own_file_does_not_import_then_one_line(board: Run, source: str, told: str) -> None:
    """Code that fails at import is named with its line, without a traceback."""
    Path("mine.py").write_text(source)
    ran = board("state", "board/7", "--reducer", "mine.py:x")
    assert ran.code == 1
    assert told in ran.err
    assert "hunter2" not in ran.err
    assert ran.err.count("\n") == 1


def test_own_handler_fails_then_the_event_is_named(board: Run) -> None:
    """A handler's error is told with reducer and event, never with its message."""
    Path("mine.py").write_text(
        "from reducers import Reducer\nr = Reducer('r', initial=0)\n"
        "@r.on('task.changed')\ndef changed(state, event):\n    raise ValueError('hunter2')\n"
    )
    ran = board("state", "board/7", "--reducer", "mine.py:r")
    assert ran.code == 1
    assert "ValueError" in ran.err
    assert "version 2" in ran.err
    assert "hunter2" not in ran.err
    assert ran.err.count("\n") == 1


def test_diff_of_two_versions_then_before_and_after(board: Run) -> None:
    """A diff shows the path, - what was and + what is."""
    ran = board("diff", "board/7", "1", "2", "--reducer", "tasks")
    assert ran.out.splitlines() == [
        "--- board/7 version 1",
        "+++ board/7 version 2",
        "/tasks/1/status",
        '- "pending"',
        '+ "completed"',
        "1 replaced",
    ]


def test_diff_json_then_a_line_for_each_change(board: Run) -> None:
    """--json gives one object for each change, null told from absent."""
    (line,) = board("diff", "board/7", "1", "2", "--json").out.splitlines()
    assert json.loads(line) == {
        "op": "replace",
        "path": "/tasks/tasks/1/status",
        "before": "pending",
        "after": "completed",
    }


def test_diff_without_a_second_point_then_up_to_now(board: Run) -> None:
    """One point is compared with the end of the stream."""
    assert "+++ board/7 version 3" in board("diff", "board/7", "1").out


def test_diff_of_equal_states_then_said(board: Run) -> None:
    """No difference is an answer."""
    ran = board("diff", "board/7", "2", "2")
    assert ran.code == 0
    assert ran.out.splitlines()[-1] == "no difference"


@pytest.mark.parametrize("points", [("1", "3"), ("3", "1"), ("0",), ("board/8",)])
def test_patch_applied_then_the_second_state(board: Run, points: tuple[str, ...]) -> None:
    """--patch is an RFC 6902 patch that a foreign library applies."""
    board("append", "board/8", "task.added", '{"task_id": "9", "title": "Other"}')
    patch = json.loads(board("diff", "board/7", *points, "--patch").out)

    def state(*arguments: str) -> object:
        return json.loads(board("state", *arguments, "--json").out)["state"]

    if points == ("board/8",):
        before, after = state("board/7"), state("board/8")
    else:
        before = state("board/7", "--at", points[0])
        after = state("board/7", "--at", points[1] if len(points) == 2 else "3")
    assert jsonpatch.apply_patch(before, patch) == after


def test_diff_of_text_lines_then_only_the_changed_ones(run: Run) -> None:
    """A text of several lines is compared line by line."""
    for text in ("a\nb\nc", "a\nB\nc"):
        data = json.dumps({"memory_id": "m", "content": text})
        run("append", "s", "memory.remembered", data)
    out = run("diff", "s", "1", "2", "--reducer", "memory").out.splitlines()
    at = out.index("/entries/m/content")
    assert out[at + 1 : at + 3] == ["- b", "+ B"]


@pytest.mark.parametrize("arguments", [("board/7", "x", "2"), ("board/7", "1", "y")])
def test_diff_with_no_point_then_usage_error(board: Run, arguments: tuple[str, ...]) -> None:
    """Two arguments behind the stream are two points."""
    assert board("diff", *arguments).code == 2


def test_replay_then_each_step_with_its_changes(board: Run) -> None:
    """A replay shows every event and what it changed."""
    out = board("replay", "board/7", "--reducer", "tasks").out.splitlines()
    assert out[0] == "board/7  reducer tasks"
    assert [line.split()[0] for line in out if line.startswith("v")] == ["v1", "v2", "v3"]
    assert '      ~ /tasks/1/status  "pending" -> "completed"' in out


def test_replay_of_a_part_then_goes_on_from_the_state_before(board: Run) -> None:
    """--from and --to are inclusive, and the steps are those of the whole replay."""
    whole = board("replay", "board/7", "--json").out.splitlines()
    part = board("replay", "board/7", "--from", "2", "--to", "2", "--json").out.splitlines()
    assert part == whole[1:2]


def test_replay_with_bounds_that_cross_then_usage_error(board: Run) -> None:
    """--to before --from is wrong usage."""
    assert board("replay", "board/7", "--from", "3", "--to", "2").code == 2


def test_replay_from_beyond_the_end_then_refused(board: Run) -> None:
    """A first version that does not exist is an error."""
    assert board("replay", "board/7", "--from", "9").code == 1
