"""Lines, tables, outlines, summaries and the overview."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest

from cli.rendering.agent_state import overview
from cli.rendering.diffs import change_json, change_line, change_lines, summary_line
from cli.rendering.events import event_line, show_time
from cli.rendering.screen import Screen
from cli.rendering.summaries import summary
from cli.rendering.trees import outline
from cli.rendering.values import count, short
from eventstore import EventStore, NewEvent, RecordedEvent
from reducers import Change, fold
from reducers.agent import agent, vocabulary


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 60 columns that knows colour."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def text_of(lines: Any) -> list[str]:
    """Lines as they are without colour."""
    return [
        "".join(part if isinstance(part, str) else part[0] for part in line).rstrip()
        for line in lines
    ]


async def recorded(*events: NewEvent) -> list[RecordedEvent]:
    """The events as a store gives them back."""
    async with EventStore.open("memory://") as store:
        return list((await store.append("s", list(events), actor="ann")).events)


def test_terminal_then_colour(terminal: Terminal) -> None:
    """A person sees colour."""
    Screen(terminal).line(("red", "red"), " plain")
    assert terminal.getvalue() == "\x1b[31mred\x1b[0m plain\n"


def test_no_color_then_none(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR is honoured."""
    monkeypatch.setenv("NO_COLOR", "1")
    Screen(terminal).line(("red", "red"), " plain")
    assert terminal.getvalue() == "red plain\n"


def test_pipe_then_plain_and_uncut() -> None:
    """A pipe gets the whole line, without colour."""
    out = io.StringIO()
    Screen(out).line(("x" * 500, "red"))
    assert out.getvalue() == "x" * 500 + "\n"


def test_terminal_then_lines_are_cut_at_its_edge(terminal: Terminal) -> None:
    """A line of a listing never wraps."""
    Screen(terminal).line("x" * 500)
    assert terminal.getvalue().rstrip("\n") == "x" * 59 + "…"


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_unsafe_text_then_written_out_everywhere(kind: str, terminal: Terminal) -> None:
    """Lines and tables are safe on a terminal and in a pipe, and markup is text."""
    out = terminal if kind == "terminal" else io.StringIO()
    screen = Screen(out)
    screen.line("a\x1b[2Jb [bold]c[/bold]")
    screen.table(("name",), [("x\x1b]0;t\x07",)])
    assert "\\x1b[2J" in out.getvalue()
    assert "[bold]c[/bold]" in out.getvalue()
    assert "\\x1b]0;t\\x07" in out.getvalue()


def test_table_in_a_pipe_then_aligned_columns() -> None:
    """Columns are aligned with spaces, numbers to the right."""
    out = io.StringIO()
    Screen(out).table(("name", "events"), [("a", "5"), ("longer", "12,000")], right="events")
    assert out.getvalue().splitlines() == [
        "name    events",
        "a            5",
        "longer  12,000",
    ]


def test_table_on_a_terminal_then_every_cell(terminal: Terminal) -> None:
    """A terminal's table holds the same."""
    Screen(terminal).table(("name", "events"), [("a", "5")], right="events")
    assert "name" in terminal.getvalue()
    assert "5" in terminal.getvalue()


def test_empty_table_in_a_pipe_then_its_head() -> None:
    """A table without rows still says what it would hold."""
    out = io.StringIO()
    Screen(out).table(("a", "b"), [])
    assert out.getvalue() == "a  b\n"


def test_outline_then_members_by_line() -> None:
    """Nested members are indented, small ones stand on one line."""
    value = {"a": 1, "deep": {"inner": {"x": [1, 2]}, "t": "text"}, "none": None, "e": {}}
    assert text_of(outline(value, 80)) == [
        "a  1",
        "deep",
        "  inner",
        "    x  [1,2]",
        "  t  text",
        "none  null",
        "e  {}",
    ]


def test_outline_of_many_items_then_the_rest_is_counted() -> None:
    """What is left out is said, with the way to see it."""
    lines = text_of(outline(list(range(100)), 80))
    assert len(lines) == 21
    assert lines[-1].startswith("... 80 more items")


def test_outline_of_a_scalar_then_one_line() -> None:
    """A state may be a plain value."""
    assert text_of(outline(5, 80)) == ["5"]
    assert text_of(outline("1", 80)) == ["1"]
    assert text_of(outline(" ", 80)) == ['" "']


def test_short_value_then_cut_at_the_width() -> None:
    """A long value is cut, however long it is."""
    assert short({"a": "x" * 10_000_000}, 10) == '{"a":"xxx…'
    assert short("x" * 10_000_000, 5) == '"xxx…'
    assert count(1, "event") == "1 event"
    assert count(1_200, "event") == "1,200 events"


def test_change_json_then_absent_is_told_from_null() -> None:
    """`before` stands only where there was something."""
    assert change_json(Change("add", "/a", None, None)) == {
        "op": "add",
        "path": "/a",
        "after": None,
    }
    assert change_json(Change("remove", "/a", 1)) == {"op": "remove", "path": "/a", "before": 1}


def test_change_then_path_before_and_after() -> None:
    """A change is shown as git shows one."""
    change = Change("replace", "/a", {"b": 1}, [2])
    assert text_of(change_lines(change)) == ["/a", '- {"b":1}', "+ [2]"]
    assert text_of([change_line(change, "  ", 80)]) == ['  ~ /a  {"b":1} -> [2]']
    assert summary_line([change, Change("add", "/b", None, 1)]) == "1 added, 1 replaced"
    assert summary_line([]) == "no difference"


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (vocabulary.message_added(role="user", content="hi\nthere"), "user: hi there"),
        (
            vocabulary.message_added(
                role="assistant", parts=[vocabulary.text_part("a"), {"type": "blob"}]
            ),
            "assistant: a [blob]",
        ),
        (
            vocabulary.model_called(response_model="m", usage={"input_tokens": 3}),
            "m 3 in, 0 out",
        ),
        (
            vocabulary.tool_requested(
                tool_call_id="1", tool_name="f", tool_call_arguments={"x": 1}
            ),
            'f {"x":1}',
        ),
        (vocabulary.tool_completed(tool_call_id="1", tool_call_result="ok"), "1 -> ok"),
        (
            vocabulary.tool_failed(tool_call_id="1", tool_name="f", error_type="E", message="m"),
            "f failed: E: m",
        ),
        (vocabulary.memory_remembered(memory_id="m", content="c"), "m: c"),
        (vocabulary.task_added(task_id="t", title="T", status="done"), "t: T, done"),
        (vocabulary.task_removed(task_id="t"), "t"),
        (vocabulary.approval_requested(approval_id="a", subject={"n": 1}), 'a: {"n":1}'),
        (vocabulary.session_started(title="T"), "T"),
        (vocabulary.session_ended(reason="r", outcome={"reward": 1}), 'r, {"reward":1}'),
        (vocabulary.context_changed(delta={"k": "v"}), "k=v"),
        (vocabulary.error_raised(error_type="E", message="m"), "E: m"),
        (vocabulary.source_recorded(kind="row", record=[1]), "row [1]"),
        (vocabulary.import_raw(record=b"x", reason="too large"), "kept as bytes: too large"),
        (NewEvent("own.type", {"a": "x", "b": [1]}), "a=x b=[1]"),
        (NewEvent("own.type", [1, 2]), "[1,2]"),
        (NewEvent("message.added", "odd"), '"odd"'),
        (NewEvent("message.added", {"role": 5, "parts": 7}), "?:"),
        (NewEvent("model.called", {"usage": "odd", "response_model": 3}), "3"),
        (NewEvent("tool.requested", {}), "? null"),
        (NewEvent("task.changed", {"task_id": [], "title": None}), "?: None"),
    ],
)
async def test_event_then_its_words(event: NewEvent, told: str) -> None:
    """Stock types are told by their meaning, others by their data, odd ones as they are."""
    (stored,) = await recorded(event)
    assert summary(stored, 80) == told


async def test_event_line_then_all_that_a_listing_shows() -> None:
    """Position, version, time, type, actor and words stand in this order."""
    (stored,) = await recorded(NewEvent("a.b", {"k": 1}))
    (line,) = text_of([event_line(stored)])
    assert line.split()[:2] == ["1", "v1"]
    assert line.split()[-3:] == ["a.b", "ann", "k=1"]
    assert show_time(datetime(2026, 3, 1, 9, 5, 7, tzinfo=UTC)) == "2026-03-01 09:05:07Z"
    assert show_time(None) == "-"


async def test_overview_then_every_part_of_the_session() -> None:
    """All parts of a session that hold something are shown."""
    events = await recorded(
        vocabulary.session_started(title="T", agent_name="atlas"),
        *(vocabulary.message_added(role="user", content=f"message {n}") for n in range(12)),
        vocabulary.message_added(role="assistant", parts=[{"type": "blob"}]),
        vocabulary.model_called(usage={"input_tokens": 1_000, "output_tokens": 5}, cost=0.25),
        vocabulary.task_added(task_id="t1", title="Do it", status="in_progress"),
        vocabulary.memory_remembered(memory_id="m1", content="old"),
        vocabulary.memory_corrected(memory_id="m1", content="new"),
        vocabulary.tool_requested(tool_call_id="c1", tool_name="f", tool_call_arguments={"x": 1}),
        vocabulary.tool_failed(tool_call_id="c1", error_type="E", message="dead"),
        vocabulary.tool_requested(tool_call_id="c2", tool_name="g"),
        vocabulary.approval_requested(approval_id="a", subject="pay"),
        vocabulary.approval_granted(approval_id="a"),
        vocabulary.error_raised(error_type="Oops", message="broke"),
        vocabulary.context_changed(delta={"city": "Lisbon"}),
        vocabulary.session_ended(reason="done", outcome={"reward": 1.0}),
    )
    shown = "\n".join(text_of(overview(fold(events, agent), 80)))
    assert "T  agent atlas  ended: done" in shown
    assert "12 turns, 13 messages, 2 tool calls, 1 pending, 2 errors" in shown
    assert "1,000 tokens in, 5 out, $0.2500" in shown
    assert "messages (13, the last 8)" in shown
    assert "message 4" not in shown
    assert "[blob]" in shown
    assert "in_progress   Do it" in shown
    assert "new  (corrected)" in shown
    assert 'failed        f {"x":1} -> dead' in shown
    assert "pending       g null" in shown
    assert "granted       pay  (ann)" in shown
    assert "Oops  broke" in shown
    assert "city  Lisbon" in shown
    assert 'outcome  {"reward":1.0}' in shown


@pytest.mark.parametrize("kind", [["x"], {}, None, 3])
async def test_a_message_has_a_part_of_an_odd_kind_then_it_is_shown_as_it_is(kind: Any) -> None:
    """Data of stock types may have been written by anybody: what is no kind is no error."""
    async with EventStore.open("memory://") as store:
        part = {"type": kind, "id": "a"}
        message = NewEvent("message.added", {"role": "user", "parts": [part, part]})
        (stored,) = (await store.append("s", message)).events
        assert summary(stored, 80) == f"user: [{kind}] [{kind}]"
