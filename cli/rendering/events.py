"""Events for people and for machines: one line each, one JSON object each."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from eventstore import RecordedEvent

from .screen import Part, Screen
from .summaries import summary

TYPE_STYLES = {
    "message": "green",
    "tool": "yellow",
    "memory": "magenta",
    "task": "blue",
    "approval": "cyan",
    "error": "red",
}
"""Colour of a type by the word before its dot."""

SUMMARY_WIDTH = 120
"""Characters of data on a line in a pipe; a terminal cuts at its edge."""


def show_time(moment: datetime | None) -> str:
    """A moment in UTC to the second, ``2026-03-01 10:00:00Z``; a dash for none."""
    return "-" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%SZ")


def iso_time(moment: datetime | None) -> str | None:
    """A moment in UTC to the microsecond, as ISO 8601 with a Z; None for none."""
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event_json(event: RecordedEvent) -> dict[str, Any]:
    """An event as the object that `--json` prints; the fields are those of `RecordedEvent`."""
    return {
        "position": event.position,
        "stream": event.stream,
        "version": event.version,
        "id": event.id,
        "type": event.type,
        "schema_version": event.schema_version,
        "data": event.untyped().data,
        "tags": event.tags,
        "actor": event.actor,
        "causation_id": event.causation_id,
        "correlation_id": event.correlation_id,
        "derived_from": event.derived_from,
        "context": event.context,
        "occurred_at": iso_time(event.occurred_at),
        "recorded_at": iso_time(event.recorded_at),
    }


def event_line(event: RecordedEvent, *, stream_width: int = 0) -> list[Part]:
    """Position, version, time, type, actor and a short form of the data. With `stream_width`
    also the stream, for a listing that holds several."""
    parts: list[Part] = [
        (f"{event.position:>6}", "yellow"),
        "  ",
        (f"{'v' + str(event.version):>5}", "cyan"),
        "  ",
        (show_time(event.recorded_at), "dim"),
        "  ",
    ]
    if stream_width:
        parts.append((f"{event.stream:<{stream_width}}  ", "bold"))
    parts.append((f"{event.type:<18}", type_style(event.type)))
    parts.append(f"  {event.actor or '-':<8}  ")
    parts.append(summary(event, SUMMARY_WIDTH))
    return parts


def step_title(event: RecordedEvent, width: int = SUMMARY_WIDTH) -> list[Part]:
    """Version, type, actor and a short form of the data: the head of one step of a replay."""
    actor = f" {event.actor}" if event.actor else ""
    return [
        (f"v{event.version}", "bold cyan"),
        "  ",
        (event.type, type_style(event.type)),
        (actor, "bold"),
        "  ",
        summary(event, width),
    ]


def print_event(screen: Screen, event: RecordedEvent, as_json: bool, stream_width: int) -> None:
    """Prints one event in the form that was asked for."""
    if as_json:
        screen.json(event_json(event))
    else:
        screen.line(*event_line(event, stream_width=stream_width))


def type_style(type_name: str) -> str:
    """The colour of an event type; a failure is red whatever it belongs to."""
    if type_name.endswith((".failed", ".denied")):
        return "red"
    return TYPE_STYLES.get(type_name.split(".", 1)[0], "")
