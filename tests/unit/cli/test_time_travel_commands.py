"""``eventstore blame``, ``bisect``, ``fork``, ``lineage``, and ``replay --html``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.commands import shadow as shadowing
from cli.html import page
from eventstore.registry import isolated_registry

from .conftest import Ran, Run

STATUS = "/tasks/1/status"


def lines(ran: Ran) -> list[Any]:
    """The JSON Lines that a command printed; it must have ended well."""
    assert (ran.code, ran.err) == (0, "")
    return [json.loads(line) for line in ran.out.splitlines()]


def test_path_blamed_then_its_events_newest_first(board: Run) -> None:
    """Who wants to know where a value is from sees who gave it, and who gave the one before."""
    found = lines(board("blame", "board/7", STATUS, "--reducer", "tasks", "--json"))
    assert [(each["version"], each["before"], each["after"]) for each in found] == [
        (2, "pending", "completed"),
        (1, None, "pending"),
    ]
    assert found[0]["changes"] == [
        {"op": "replace", "path": STATUS, "before": "pending", "after": "completed"}
    ]
    told = board("blame", "board/7", STATUS, "--reducer", "tasks").out.splitlines()
    assert told[0] == f"board/7  {STATUS}"
    assert told[1].startswith("v2  task.changed")


@pytest.mark.parametrize("at", ["1", "@1"])
def test_path_blamed_at_a_point_then_as_it_was_then(board: Run, at: str) -> None:
    """What came later has no part in it."""
    found = lines(board("blame", "board/7", STATUS, "--reducer", "tasks", "--at", at, "--json"))
    assert [each["version"] for each in found] == [1]


def test_event_of_another_stream_caused_it_then_named_below(board: Run) -> None:
    """Why a state is wrong may stand elsewhere: the way there is shown, unless it is not wanted."""
    cause = lines(board("log", "board/7", "--limit", "1", "--json"))[0]["id"]
    changed = '{"task_id": "9", "title": "Sing"}'
    board("append", "board/8", "task.added", changed, "--causation", cause)
    command = ("blame", "board/8", "/tasks/9", "--reducer", "tasks")
    found = lines(board(*command, "--json"))
    assert [(each["stream"], each["depth"]) for each in found] == [("board/8", 0), ("board/7", 1)]
    assert found[1]["via"] == "causation_id"
    assert "<- caused by board/7 v1  task.added" in board(*command).out
    (alone,) = lines(board(*command, "--no-causes", "--json"))
    assert "unfollowed" not in alone
    assert "than were followed" not in board(*command, "--no-causes").out


def test_nothing_at_the_path_then_refused_with_what_is_there(board: Run) -> None:
    """A typing error is no value without a history."""
    ran = board("blame", "board/7", "/tasks/nix", "--reducer", "tasks")
    assert (ran.code, ran.out) == (1, "")
    assert "/tasks holds 1, 2" in ran.err
    assert board("blame", "board/7", "tasks").code == 2


def test_value_stands_from_the_beginning_then_said(board: Run) -> None:
    """No event is blamed for what the reducer began with."""
    ran = board("blame", "board/7", "/tool_calls/failures")
    assert ran.code == 0
    assert "no event changed it" in ran.out


def test_expression_bisected_then_the_first_event_after_which_it_holds(board: Run) -> None:
    """The one event, with what it changed."""
    command = ("bisect", "board/7", "len(tasks) == 2", "--reducer", "tasks")
    (found,) = lines(board(*command, "--json"))
    assert (found["version"], found["holds"]) == (3, True)
    assert "/tasks/2" in [change["path"] for change in found["changes"]]
    assert "holds    v3  task.added" in board(*command).out
    assert lines(board(*command, "--monotone", "--json")) == [found]


def test_every_flip_bisected_then_both_directions(board: Run) -> None:
    """--every shows where it begins to hold and where it no longer does."""
    asked = 'tasks["1"].status == "pending"'
    found = lines(board("bisect", "board/7", asked, "--reducer", "tasks", "--every", "--json"))
    assert [(each["version"], each["holds"]) for each in found] == [(1, True), (2, False)]


def test_expression_never_holds_then_said_with_what_no_state_had(board: Run) -> None:
    """A name that never was there is most often a typing error."""
    ran = board("bisect", "board/7", "tasks.nix.status == 1", "--reducer", "tasks")
    assert ran.code == 0
    assert "it holds after no event" in ran.out
    assert "tasks.nix" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    "expression", ["", "1 +", "tsaks.x", "__import__('os')", "tasks.__class__.x > tasks < 1"]
)
def test_expression_is_none_then_wrong_usage(board: Run, expression: str) -> None:
    """One line, whether it does not read or asks for what no state can have."""
    ran = board("bisect", "board/7", expression)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1


def test_stream_forked_then_it_goes_on_by_itself(board: Run) -> None:
    """The fork has what came before the point, and what is appended to it is its own."""
    (made,) = lines(board("fork", "board/7", "--at", "2", "--into", "board/7b", "--json"))
    assert (made["parent"], made["parent_version"], made["version"]) == ("board/7", 2, 3)
    board("append", "board/7b", "task.added", '{"task_id": "3", "title": "Sing"}')
    types = [each["type"] for each in lines(board("log", "board/7b", "--json"))]
    assert types == ["task.added", "task.changed", "$stream.forked", "task.added"]
    tasks = lines(board("state", "board/7b", "--reducer", "tasks", "--json"))[0]["state"]["tasks"]
    assert set(tasks) == {"1", "3"}
    assert (
        "board/7c  begins as board/7 version 3"
        in board("fork", "board/7", "--into", "board/7c").out
    )


def test_name_of_a_fork_is_taken_then_refused(board: Run) -> None:
    """Nothing is written over; the same key again is the same fork."""
    ran = board("fork", "board/7", "--into", "board/7")
    assert ran.code == 1
    assert "choose another name with --into" in ran.err
    again = ("fork", "board/7", "--into", "b", "--key", "k", "--json")
    assert [lines(board(*again))[0]["duplicate"] for _ in range(2)] == [False, True]
    assert board("fork", "board/7", "--into", "c", "--at", "9").code == 1
    assert board("fork", "board/7").code == 2


@pytest.mark.parametrize("at", ["0", "@0", "2020-01-01T00:00:00Z"])
def test_point_lies_before_the_stream_then_where_it_begins(board: Run, at: str) -> None:
    """A fork of nothing is refused in words that a person reads."""
    ran = board("fork", "board/7", "--into", "b", "--at", at)
    assert (ran.code, ran.out) == (1, "")
    assert "board/7 begins with version 1 at position 1, recorded 20" in ran.err
    assert "datetime" not in ran.err


@pytest.mark.parametrize(
    "command",
    [("state",), ("fork", "--into", "b"), ("diff", "1"), ("diff", "again"), ("blame", STATUS)],
    ids=" ".join,
)
def test_kind_of_time_is_none_then_wrong_usage_with_and_without_a_time(
    board: Run, command: tuple[str, ...]
) -> None:
    """A typing error in --by is told, whatever is asked."""
    name, *rest = command
    ran = board(name, "board/7", *rest, "--by", "occured")
    assert (ran.code, ran.out) == (2, "")
    assert "use recorded or occurred" in ran.err


def test_lineage_asked_then_all_that_was_derived_from_it(board: Run) -> None:
    """By id or by position, over all streams, with the steps between."""
    first = lines(board("log", "board/7", "--limit", "1", "--json"))[0]["id"]
    board("append", "board/8", "task.added", '{"task_id": "8"}', "--causation", first)
    second = lines(board("log", "board/8", "--json"))[0]["id"]
    board("append", "board/9", "task.added", '{"task_id": "9"}', "--causation", second)
    found = lines(board("lineage", "@1", "--json"))
    assert [(each["stream"], each["depth"], each["of"]) for each in found] == [
        ("board/8", 1, first),
        ("board/9", 2, second),
    ]
    assert lines(board("lineage", first, "--json")) == found
    assert "    -> caused board/9 v1  task.added" in board("lineage", "@1").out
    streams = lines(board("lineage", "@1", "--tainted", "--json"))
    assert [(each["stream"], each["sound_version"]) for each in streams] == [
        ("board/7", 0),
        ("board/8", 0),
        ("board/9", 0),
    ]
    assert "a correction expects version 3" in board("lineage", "@1", "--tainted").out


@pytest.mark.parametrize(("event", "code"), [("nix", 1), ("@99", 1), ("@0", 1), ("", 2)])
def test_event_is_not_there_then_one_line(board: Run, event: str, code: int) -> None:
    """An id that nothing has is told from an event of which nothing came."""
    ran = board("lineage", event)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.count("\n") == 1


def test_streams_compared_then_the_first_event_that_differs(board: Run) -> None:
    """Where two sessions part is one event of each; that a fork is one is none of them."""
    board("fork", "board/7", "--at", "2", "--into", "again")
    board("append", "again", "task.added", '{"task_id": "2", "title": "Order drinks"}')
    board("append", "again", "task.removed", '{"task_id": "1"}')
    (found,) = lines(board("diff", "board/7", "again", "--events", "--json"))
    assert found["common"] == 2
    assert (found["a"]["version"], found["b"]["version"]) == (3, 4)
    assert found["changes"] == [
        {"op": "replace", "path": "/title", "before": "Order food", "after": "Order drinks"}
    ]
    told = board("diff", "board/7", "again", "--reducer", "tasks").out
    assert "first divergence, behind 2 events alike\n- v3  task.added" in told
    assert "/tasks/1\n- " in told
    assert "/tasks/1" not in board("diff", "board/7", "again", "--events").out


def test_streams_are_alike_or_one_goes_on_then_said(board: Run) -> None:
    """No event stands where a stream has ended, and null is the answer where none differs."""
    board("fork", "board/7", "--into", "same")
    assert lines(board("diff", "board/7", "same", "--events", "--json")) == [None]
    assert "the same events" in board("diff", "board/7", "same").out
    board("append", "same", "task.removed", '{"task_id": "1"}')
    assert "- no event\n+ v5  task.removed" in board("diff", "board/7", "same").out
    assert board("diff", "board/7", "1", "--events").code == 2
    ignoring = ("--events", "--json", "--ignore", "task.removed")
    assert lines(board("diff", "board/7", "same", *ignoring)) == [None]
    assert board("diff", "board/7", "1", "2", "--ignore", "task.removed").code == 2


@pytest.mark.parametrize("form", ["--json", "--patch"])
def test_types_ignored_where_only_changes_are_told_then_refused(board: Run, form: str) -> None:
    """They would change nothing of the answer: what to add is said."""
    board("fork", "board/7", "--into", "same")
    ran = board("diff", "board/7", "same", form, "--ignore", "task.removed")
    assert (ran.code, ran.out) == (2, "")
    assert "add --events" in ran.err


def test_streams_compared_by_source_time_then_no_event_beyond_it(board: Run) -> None:
    """Late events come between: both forms name the same parting, none behind the moment."""
    for stream, title in (("one", "Sing"), ("two", "Dance")):
        for number, day in enumerate((1, 9, 2)):
            data = json.dumps({"task_id": str(number), "title": title if day == 9 else "Book"})
            board("append", stream, "task.added", data, "--occurred", f"2026-01-0{day}T00:00:00Z")
    points = [f"{stream}@2026-01-05T00:00:00Z" for stream in ("one", "two")]
    told = board("diff", *points, "--by", "occurred")
    assert (told.code, told.err) == (0, "")
    assert "the same events" in told.out
    assert lines(board("diff", *points, "--by", "occurred", "--events", "--json")) == [None]


def test_streams_compared_at_points_then_as_they_were_then(board: Run) -> None:
    """Each side stands at its own version, position or time; what came later has no part in it."""
    board("fork", "board/7", "--at", "2", "--into", "again")
    board("append", "again", "task.added", '{"task_id": "2", "title": "Order drinks"}')
    (found,) = lines(board("diff", "board/7@1", "again@2", "--events", "--json"))
    assert (found["common"], found["a"], found["b"]["version"]) == (1, None, 2)
    assert lines(board("diff", "board/7@@2", "again@3", "--events", "--json")) == [None]
    (changed,) = lines(board("diff", "board/7@1", "again@3", "--reducer", "tasks", "--json"))
    assert (changed["before"], changed["after"]) == ("pending", "completed")
    told = board("diff", "board/7@2020-01-01T00:00:00Z", "again").out
    assert told.startswith("--- board/7 version 0 (before its first event)\n+++ again version 4\n")


def test_name_of_a_stream_holds_a_point_then_the_stream_is_meant(board: Run) -> None:
    """A name that is taken goes before a point behind the name of another."""
    board("append", "board/7@1", "note.added")
    board("append", "ann@work", "note.added")
    told = board("diff", "board/7@1", "ann@work@1").out
    assert told.startswith("--- board/7@1 version 1\n+++ ann@work version 1\nthe same events\n")


@pytest.mark.parametrize(
    ("named", "code"),
    [("board/7@9", 1), ("board/7@@99", 1), ("nix@1", 1), ("board/7@2026-01-01", 2), ("@1@2", 1)],
)
def test_point_behind_a_name_is_not_there_then_one_line(board: Run, named: str, code: int) -> None:
    """As any other point that is none, lies beyond the end, or has no zone."""
    ran = board("diff", "board/7", named)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.count("\n") == 1


REDUCERS = """
from reducers import Reducer

old = Reducer("old", initial={"added": 0})
new = Reducer("new", initial={"added": 0})
broken = Reducer("broken", initial={"added": 0})


@old.on("task.added")
def added(state, event):
    return {"added": state["added"] + 1}


@new.on("task.added")
@new.on("task.changed")
def counted(state, event):
    return {"added": state["added"] + 1}


@broken.on("task.changed")
def fails(state, event):
    raise ValueError(event.data["status"])
"""


def test_reducers_compared_then_streams_and_paths_that_differ(board: Run) -> None:
    """Before a new reducer is shipped, it is known which sessions it would show otherwise."""
    Path("mine.py").write_text(REDUCERS)
    board("append", "other", "task.added", '{"task_id": "1"}')
    (found,) = lines(board("shadow", "mine.py:old", "mine.py:new", "--json"))
    assert (found["stream"], found["version"], found["paths"]) == ("board/7", 3, ["/added"])
    ran = board("shadow", "mine.py:old", "mine.py:new", "--exit-code")
    assert ran.code == 1
    assert "      ~ /added\n1 state differs of 2 streams, 4 events" in ran.out
    ran = board("shadow", "mine.py:old", "mine.py:new", "--prefix", "other", "--exit-code")
    assert (ran.code, ran.out) == (0, "no state differs of 1 stream, 1 event\n")
    told = board("shadow", "mine.py:old", "mine.py:broken", "--prefix", "board").out
    assert "new: ValueError" in told
    assert "completed" not in told


EVENTS = """
from msgspec import Struct

from eventstore import event_type
from reducers import Reducer


@event_type("{name}.noted")
class Noted(Struct, frozen=True):
    text: str


class Board(Struct, frozen=True):
    noted: int = 0


mine = Reducer("board", initial=Board())


@mine.on("task.added")
def added(state, event):
    return Board(state.noted + {step})
"""


@pytest.mark.parametrize("alone", [True, False], ids=["here", "in processes"])
def test_many_events_compared_then_in_processes_of_their_own(
    board: Run, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    """The same is found and refused, whoever folds, for the names that a person types; a file is
    named alone where it holds one reducer, and two files of one name are two."""
    if not alone:
        monkeypatch.setattr(shadowing, "ALONE_EVENTS", 0)
    Path("mine.py").write_text(REDUCERS)
    for place, step in (("old", 1), ("new", 2)):
        Path(place).mkdir()
        Path(place, "b.py").write_text(EVENTS.format(name=f"{place}{alone}", step=step))
    (found,) = lines(board("shadow", "mine.py:old", "mine.py:new", "--json"))
    assert found["paths"] == ["/added"]
    with isolated_registry():
        (found,) = lines(board("shadow", "old/b.py", "new/b.py:mine", "--json"))
        assert found["paths"] == ["/noted"]
    for wrong, code in (("nix", 2), ("nix.py", 2), ("mine.py", 2), ("mine.py:x", 2), ("a b:c", 2)):
        ran = board("shadow", "tasks", wrong)
        assert (ran.code, ran.out) == (code, ""), wrong
        assert ran.err.count("\n") == 1


def test_code_to_compare_does_not_import_then_its_line_is_told(board: Run) -> None:
    """What it raises may hold anything, and is not told."""
    Path("bad.py").write_text("x = 1\nraise ValueError('a secret')\n")
    ran = board("shadow", "tasks", "bad.py:a")
    assert (ran.code, ran.out) == (1, "")
    assert "'bad.py' does not import: ValueError, line 2 of" in ran.err
    assert "secret" not in ran.err
    Path("bad.py").write_text("from reducers import Reducer\n\na = Reducer('a', initial=0)\n")
    assert board("shadow", "bad.py", "bad.py:a").code == 0
    assert "NEW path/to/file.py" in board("shadow", "tasks", "nix.py:a").err


def test_a_handler_of_the_code_is_refused_then_its_line_and_the_reason_are_told(
    board: Run,
) -> None:
    """What registration says of it is what helps, for a file and for a module."""
    Path("clocked.py").write_text(
        "import time\nfrom reducers import Reducer\nmine = Reducer('mine', 0)\n"
        "mine.on('task.added')(lambda state, event: time.time())\n"
    )
    ran = board("state", "board/offsite", "--reducer", "clocked.py")
    assert (ran.code, ran.out) == (1, "")
    assert "time.time() reads the clock" in ran.err
    assert "clocked.py, line 4" in ran.err


def test_log_oneline_then_short_lines(board: Run) -> None:
    """As much as fits beside each other, for who looks for an event."""
    assert board("log", "board/7", "--oneline", "--limit", "1").out == (
        "1 v1 task.added 1: Book a room\n"
    )
    assert board("log", "--oneline", "--limit", "1").out.startswith("1 board/7 v1 task.added")


def test_page_written_then_told_and_whole(board: Run) -> None:
    """One file is written, nothing beside it; steps before --from are no steps of it."""
    ran = board("replay", "board/7", "--from", "2", "--html", "board.html", "--json")
    (told,) = lines(ran)
    written = Path("board.html").read_text()
    assert told == {
        "stream": "board/7",
        "file": "board.html",
        "steps": 2,
        "bytes": len(written.encode()),
    }
    assert written.startswith("<!doctype html>")
    assert "Book a room" in written  # in the state before
    assert [path.name for path in Path().iterdir() if "html" in path.name] == ["board.html"]


def test_page_too_large_then_refused_and_the_old_one_stays(
    board: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that no browser opens is not written; how to write a part of it is told."""
    assert board("replay", "board/7", "--to", "1", "--html", "board.html").code == 0
    before = Path("board.html").read_bytes()
    # Room for what is around the steps, and for a part of them.
    monkeypatch.setattr(page, "PAGE_BYTES_MAX", len(before) + 200)
    ran = board("replay", "board/7", "--html", "board.html")
    assert (ran.code, ran.out) == (1, "")
    assert "--from 1 --to 1" in ran.err
    monkeypatch.setattr(page, "PAGE_BYTES_MAX", 1_000)
    assert "use a --reducer of less state" in board("replay", "board/7", "--html", "b.html").err
    assert Path("board.html").read_bytes() == before
    assert [path.name for path in Path().iterdir() if "html" in path.name] == ["board.html"]


def test_page_has_no_place_then_one_line(board: Run) -> None:
    """A folder is no file, and neither is one in a folder that is not there."""
    Path("pages").mkdir()
    assert board("replay", "board/7", "--html", "pages").code == 2
    ran = board("replay", "board/7", "--html", "nowhere/page.html")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
