"""The rows of the stock views that gather several events: sessions, tool calls, memories, usage.

Each row is worked out from all the events that bear on it, in the log's order, by what
agent-events.md and import-mapping.md say they mean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import fsum
from typing import Any, NamedTuple

from .viewing import (
    Event,
    Row,
    Rows,
    at,
    audit,
    compact,
    data_of,
    identifier,
    messages,
    moment,
    object_of,
)
from .viewing import text as text_of

TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
COUNT_MAX = DOLLARS_MAX = 10**12
"""What is beyond is no count and no amount."""


class View(NamedTuple):
    """A stock view: the columns of its key, and how its rows come out of a log's events."""

    keys: tuple[str, ...]
    rows: Callable[[Sequence[Event]], Rows]


# --- tool calls


def tool_calls(events: Sequence[Event]) -> Rows:
    """A row for each call of a stream that anything was heard of."""
    return {key: row for key, (row, _) in _calls(events).items()}


def _calls(events: Sequence[Event]) -> dict[tuple[str, str], tuple[Row, int]]:
    gathered: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        if event["type"] in ("tool.requested", "tool.completed", "tool.failed"):
            call_id = identifier(data_of(event).get("tool_call_id"))
            if call_id is None and event["type"] == "tool.requested":
                call_id = event["id"]
            if call_id is not None:
                gathered[event["stream"], call_id].append(event)
    return {key: _call(key, heard) for key, heard in gathered.items()}


def _call(key: tuple[str, str], heard: Sequence[Event]) -> tuple[Row, int]:
    """A call's row, and how often it turned into a failed one."""
    empty = ("name", "arguments", "requestor", "message_id", "requested_at")
    row: Row = {"stream": key[0], "call_id": key[1], **dict.fromkeys(empty)}
    row |= {"position": heard[0]["position"], "attempts": 0, **_ending("pending")}
    failures = 0
    for event in heard:
        data = data_of(event)
        if event["type"] == "tool.requested":
            if row["attempts"] == 0 or row["status"] != "pending":
                row["attempts"] += 1
                if row["attempts"] > 1:
                    row |= _ending("pending")
            row["name"] = text_of(data.get("tool_name")) or row["name"]
            row["arguments"] = data.get("tool_call_arguments")
            row["requestor"] = text_of(data.get("requestor"))
            row["message_id"] = identifier(data.get("message_id"))
            row["requested_at"] = at(event)
        else:
            status = event["type"].removeprefix("tool.")
            failures += status == "failed" and row["status"] != "failed"
            row["name"] = row["name"] or text_of(data.get("tool_name"))
            row |= _ending(status, event)
    return row, failures


def _ending(status: str, event: Event | None = None) -> Row:
    """The columns that a result fills, and a further request empties."""
    data = {} if event is None else data_of(event)
    result = data.get("tool_call_result")
    said = text_of(data.get("message"))
    failed = status == "failed"
    return {
        "status": status,
        "result": result,
        "result_text": result if result is None or isinstance(result, str) else compact(result),
        "error_type": text_of(data.get("error_type")) if failed else None,
        "error_message": (text_of(result) if said is None else said) if failed else None,
        "ended_at": None if event is None else at(event),
    }


# --- sessions


def sessions(events: Sequence[Event]) -> Rows:
    """A row for each stream in which a session begins or ends, or something is said."""
    calls: dict[str, list[tuple[Row, int]]] = defaultdict(list)
    for (stream, _), call in _calls(events).items():
        calls[stream].append(call)
    rows: Rows = {}
    for stream, own in _by_stream(events).items():
        told = [event["type"] for event in own]
        if {"session.started", "session.ended", "message.added"}.isdisjoint(told):
            continue
        occurred = [when for event in own if (when := moment(event["occurred_at"])) is not None]
        asked = [row for row, _ in calls[stream] if row["attempts"]]
        failures = sum(failures for _, failures in calls[stream])
        said = [data_of(event) for event in own if event["type"] == "message.added"]
        rows[(stream,)] = {
            **_stated(own),
            "stream": stream,
            "messages": len(said),
            "turns": sum(data.get("role") == "user" for data in said),
            "tool_calls": len(asked),
            "pending_calls": sum(row["status"] == "pending" for row in asked),
            "errors": failures + told.count("error.raised"),
            "first_occurred_at": min(occurred, default=None),
            "last_occurred_at": max(occurred, default=None),
            "first_recorded_at": moment(own[0]["recorded_at"]),
            "last_recorded_at": moment(own[-1]["recorded_at"]),
            "version": own[-1]["version"],
            "position": own[-1]["position"],
        }
    return rows


def _stated(own: Sequence[Event]) -> Row:
    """What a session says of itself: of each field the last statement."""
    starts = [data_of(event) for event in own if event["type"] == "session.started"]
    turning = [event for event in own if event["type"] in ("session.started", "session.ended")]
    ended = bool(turning) and turning[-1]["type"] == "session.ended"
    sources = [data["source"] for data in starts if isinstance(data.get("source"), dict)]
    row: Row = {
        name: next((d[name] for d in reversed(starts) if isinstance(d.get(name), str)), None)
        for name in ("conversation_id", "title", "agent_name", "provider_name")
    }
    row["source_kind"] = text_of(sources[-1].get("kind")) if sources else None
    row["status"] = "ended" if ended else "open"
    row["end_reason"] = text_of(data_of(turning[-1]).get("reason")) if ended else None
    return row


# --- memories


def memories(events: Sequence[Event]) -> Rows:
    """A row for each memory of a stream that is not forgotten."""
    gathered: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        if event["type"] in ("memory.remembered", "memory.corrected", "memory.forgotten"):
            memory_id = identifier(data_of(event).get("memory_id"))
            if memory_id is None and event["type"] == "memory.remembered":
                memory_id = event["id"]
            if memory_id is not None:
                gathered[event["stream"], memory_id].append(event)
    found = {key: _memory(key, told) for key, told in gathered.items()}
    return {key: row for key, row in found.items() if row is not None}


def _memory(key: tuple[str, str], told: Sequence[Event]) -> Row | None:
    ends = [n for n, event in enumerate(told) if event["type"] == "memory.forgotten"]
    life = told[ends[-1] + 1 :] if ends else told
    if ends:  # only being remembered anew brings it back; corrections before that came too late
        begins = [n for n, event in enumerate(life) if event["type"] == "memory.remembered"]
        life = life[begins[0] :] if begins else []
    if not life:
        return None
    statements = [n for n, event in enumerate(life) if event["type"] == "memory.remembered"]
    stated = data_of(life[statements[-1]]) if statements else {}
    attributes = object_of(stated.get("attributes"))
    users = [user for n in (0, *statements) if (user := _user(life[n])) is not None]
    last, data = life[-1], data_of(life[-1])
    content = data.get("content")
    corrected = last["type"] == "memory.corrected"
    return {
        "stream": key[0],
        "memory_id": key[1],
        "user": users[-1] if users else None,
        "text": content if isinstance(content, str) else compact(content),
        "content": content,
        "type": text_of(attributes.get("type")),
        "attributes": attributes,
        "corrections": sum(event["type"] == "memory.corrected" for event in life[1:]),
        "reason": text_of(data.get("reason")) if corrected else None,
        "source_event_id": last["id"],
        "position": last["position"],
        "created_at": at(life[0]),
        "changed_at": at(last),
    }


def _user(event: Event) -> str | None:
    """Whose memory an event makes: by its attributes, or else by its tag."""
    data = data_of(event)
    named = object_of(data.get("attributes")).get("user")
    if event["type"] == "memory.remembered" and isinstance(named, str) and named:
        return named
    tagged = (tag.removeprefix("user:") for tag in event["tags"] if tag.startswith("user:"))
    return next((user for user in tagged if user), None)


# --- usage


def usage(events: Sequence[Event]) -> Rows:
    """A row for each stream in which a model answered: its tokens and dollars, in all and by
    model, each response once."""
    rows: Rows = {}
    for stream, own in _by_stream(events).items():
        answers: dict[str, Row] = {}
        for event in own:
            if event["type"] == "model.called":
                known = identifier(data_of(event).get("response_id"))
                # An event's id is no response's: it stands alone.
                name = f"response {known}" if known is not None else f"event {event['id']}"
                answers.setdefault(name, {"model": "unknown"}).update(_figures(data_of(event)))
        if answers:
            models: dict[str, list[Row]] = defaultdict(list)
            for answer in answers.values():
                models[answer["model"]].append(answer)
            by_model = {model: _sums(of_it) for model, of_it in models.items()}
            rows[(stream,)] = {"stream": stream, **_sums(answers.values()), "by_model": by_model}
    return rows


def _figures(data: Mapping[str, Any]) -> Row:
    """What an event states of its response."""
    tokens = object_of(data.get("usage"))
    found: Row = {}
    for name in TOKENS:
        figure = tokens.get(name)
        if isinstance(figure, float) and figure.is_integer():
            figure = int(figure)
        if type(figure) is int and 0 <= figure <= COUNT_MAX:
            found[name] = figure
    cost = data.get("cost")
    if isinstance(cost, int | float) and not isinstance(cost, bool) and abs(cost) <= DOLLARS_MAX:
        found["cost"] = float(cost)
    model = text_of(data.get("response_model")) or text_of(data.get("request_model"))
    return {**found, "model": model} if model else found


def _sums(answers: Iterable[Row]) -> Row:
    given = list(answers)
    sums: Row = {name: sum(one.get(name, 0) for one in given) for name in TOKENS}
    return {"calls": len(given), **sums, "cost": fsum(one.get("cost", 0.0) for one in given)}


def _by_stream(events: Iterable[Event]) -> dict[str, list[Event]]:
    gathered: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        gathered[event["stream"]].append(event)
    return gathered


VIEWS = {
    "sessions": View(("stream",), sessions),
    "messages": View(("stream", "id"), messages),
    "tool_calls": View(("stream", "call_id"), tool_calls),
    "memories": View(("stream", "memory_id"), memories),
    "usage": View(("stream",), usage),
    "audit": View(("position",), audit),
}
"""The stock views by name."""
