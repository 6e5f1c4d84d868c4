"""The stock `agent` state on one screen: what a person asks first about a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reducers.agent import AgentState, summary

from .safe import one_line
from .screen import Line, Part
from .summaries import CALL, RESULT, parts_text
from .values import count, short

ROWS_SHOWN = 8
"""Rows of each part: the newest ones, so that all parts fit on a screen."""

STATUS_STYLES = {
    "completed": "green",
    "granted": "green",
    "pending": "yellow",
    "in_progress": "yellow",
    "failed": "red",
    "denied": "red",
}


def overview(state: AgentState, width: int) -> Iterator[Line]:
    """The lines of the overview; parts that are empty are left out."""
    yield from _head(state)
    yield from _messages(state, width)
    yield from _tasks(state, width)
    yield from _memory(state, width)
    yield from _tool_calls(state, width)
    yield from _approvals(state, width)
    yield from _errors(state, width)
    yield from _shared(state, width)


def _head(state: AgentState) -> Iterator[Line]:
    facts = summary(state)
    session = state.session
    agent = f"  agent {session.agent_name}" if session.agent_name else ""
    ended = f"  ended{': ' + session.end_reason if session.end_reason else ''}"
    yield [(facts.title, "bold"), agent, ended if facts.ended else ""]
    numbers = [
        count(facts.turns, "turn"),
        count(facts.messages, "message"),
        count(facts.tool_calls, "tool call"),
    ]
    if facts.pending:
        numbers.append(f"{facts.pending:,} pending")
    numbers.append(count(facts.errors, "error"))
    if facts.tokens:
        numbers.append(f"{facts.input_tokens:,} tokens in, {facts.output_tokens:,} out")
    if facts.cost:
        numbers.append(f"${facts.cost:.4f}")
    yield [", ".join(numbers)]
    if session.outcome:
        yield [("outcome  ", "bold"), short(session.outcome, 80)]


def _section(title: str, shown: int, number: int) -> Line:
    newest = f", the last {shown}" if shown < number else ""
    return [(f"{title} ({number:,}{newest})", "bold underline")]


def _messages(state: AgentState, width: int) -> Iterator[Line]:
    messages = state.conversation.messages
    if not len(messages):
        return
    first = max(len(messages) - ROWS_SHOWN, 0)
    told = _told(state, width)
    yield []
    yield _section("messages", len(messages) - first, len(messages))
    for index in range(first, len(messages)):
        message = messages[index]
        text = message.text.strip() or parts_text(message.parts, width, told).strip() or "[empty]"
        yield [
            (f"  {message.role or '-':<10}", "green" if message.role == "user" else ""),
            one_line(text, width - 12),
        ]


def _told(state: AgentState, width: int) -> dict[tuple[str, str], str]:
    """The words of the tool calls that the newest messages name by id."""
    told: dict[tuple[str, str], str] = {}
    messages = state.conversation.messages
    for index in range(max(len(messages) - ROWS_SHOWN, 0), len(messages)):
        for part in messages[index].parts:
            call_id = str(part.get("id"))
            call = state.tool_calls.calls.get(call_id)
            if call is not None:
                told[CALL, call_id] = f"{call.name or '?'} {short(call.arguments, width)}"
                ended = _answer(call, width)
                if ended:
                    told[RESULT, call_id] = f"-> {ended}"
    return told


def _answer(call: Any, width: int) -> str:
    """How a tool call ended: its error, or its result; empty while it is pending."""
    told: Any = call.result
    if call.error is not None:
        told = call.error.message or call.error.type or call.result
    return "" if told is None else _plain(told, width)


def _tasks(state: AgentState, width: int) -> Iterator[Line]:
    tasks = state.tasks.in_order
    if not tasks:
        return
    yield []
    yield _section("tasks", min(len(tasks), ROWS_SHOWN), len(tasks))
    for task_id, task in tasks[-ROWS_SHOWN:]:
        yield [f"  {task_id:<10}", _status(task.status), one_line(task.title, width - 26)]


def _memory(state: AgentState, width: int) -> Iterator[Line]:
    entries = sorted(state.memory.entries.items())
    if not entries:
        return
    yield []
    yield _section("memory", min(len(entries), ROWS_SHOWN), len(entries))
    for memory_id, entry in entries[-ROWS_SHOWN:]:
        corrected = "  (corrected)" if entry.corrections else ""
        yield [f"  {memory_id:<10}  ", _plain(entry.content, width - 28), (corrected, "yellow")]


def _tool_calls(state: AgentState, width: int) -> Iterator[Line]:
    calls = state.tool_calls.in_order
    if not calls:
        return
    yield []
    yield _section("tool calls", min(len(calls), ROWS_SHOWN), len(calls))
    for _, call in calls[-ROWS_SHOWN:]:
        text = f"{call.name or '?'} {short(call.arguments, width // 2)}"
        answer = _answer(call, width // 2)
        told = f"{text} -> {answer}" if answer else text
        yield ["  ", _status(call.status), one_line(told, width - 16)]


def _approvals(state: AgentState, width: int) -> Iterator[Line]:
    approvals = state.approvals.in_order
    if not approvals:
        return
    yield []
    yield _section("approvals", min(len(approvals), ROWS_SHOWN), len(approvals))
    for _, approval in approvals[-ROWS_SHOWN:]:
        by = f"  ({approval.decided_by})" if approval.decided_by else ""
        yield ["  ", _status(approval.status), _plain(approval.subject, width - 30), (by, "dim")]


def _errors(state: AgentState, width: int) -> Iterator[Line]:
    errors = state.errors.errors
    if not len(errors):
        return
    first = max(len(errors) - ROWS_SHOWN, 0)
    yield []
    yield _section("errors", len(errors) - first, len(errors))
    for index in range(first, len(errors)):
        error = errors[index]
        yield [
            "  ",
            (error.type or "error", "red"),
            "  ",
            one_line(error.message or "", width - 20),
        ]


def _shared(state: AgentState, width: int) -> Iterator[Line]:
    shared = sorted(state.session.shared.items())
    if not shared:
        return
    yield []
    yield _section("shared state", min(len(shared), ROWS_SHOWN), len(shared))
    for key, value in shared[-ROWS_SHOWN:]:
        yield [f"  {one_line(key, 30)}  ", _plain(value, width - 34)]


def _status(status: str) -> Part:
    return (f"{one_line(status, 12):<12}  ", STATUS_STYLES.get(status, ""))


def _plain(value: Any, width: int) -> str:
    return one_line(value, width) if isinstance(value, str) else short(value, width)
