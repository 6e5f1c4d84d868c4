"""Events for people and for machines: one line each, one JSON object each."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from eventstore import RecordedEvent

from .screen import Part, Screen
from .summaries import Told, summary

TYPE_STYLES = {
    "message": "green",
    "tool": "yellow",
    "memory": "magenta",
    "task": "blue",
    "approval": "cyan",
    "error": "red",
}
"""Colour of a type by the word before its dot."""

WIDE_COLUMNS = 140
"""Columns of a terminal from which on a line holds a stream's name and still says something."""

STREAM_WIDTH = 28
"""Columns for stream names in a log of many streams; a longer name widens them for those after."""

STREAM_WIDTH_MAX = 72
"""As far as they widen: a session's id with that of a subagent."""

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


def place_json(event: RecordedEvent) -> dict[str, Any]:
    """Which event it is, without what it holds: what `--json` prints before what it is about."""
    return {
        "stream": event.stream,
        "version": event.version,
        "position": event.position,
        "id": event.id,
        "type": event.type,
        "actor": event.actor,
        "recorded_at": iso_time(event.recorded_at),
    }


def event_line(
    event: RecordedEvent,
    *,
    stream_width: int = 0,
    width: int = SUMMARY_WIDTH,
    told: Told | None = None,
) -> list[Part]:
    """Position, version, time, type, actor and a short form of the data, of `width` characters.
    With `stream_width` also the stream, for a listing that holds several."""
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
    parts.append(summary(event, width, told))
    return parts


def narrow_line(event: RecordedEvent, width: int, told: Told | None = None) -> list[Part]:
    """As `event_line`, for a terminal of few columns: without stream and day, which a heading
    above it names, and without a column for actors."""
    parts: list[Part] = [
        (f"{event.position:>6}", "yellow"),
        "  ",
        (f"{'v' + str(event.version):>5}", "cyan"),
        (event.recorded_at.strftime("  %H:%M:%SZ  "), "dim"),
        (f"{event.type:<18}  ", type_style(event.type)),
    ]
    if event.actor:
        parts += [(event.actor, "bold"), "  "]
    return [*parts, summary(event, width, told)]


def oneline(event: RecordedEvent, *, names_stream: bool, width: int) -> list[Part]:
    """Position, stream where several are listed, version, type and a short form of the data, with
    a blank between, as ``git log --oneline`` does it."""
    stream: list[Part] = [(event.stream, "bold"), " "] if names_stream else []
    return [
        (str(event.position), "yellow"),
        " ",
        *stream,
        (f"v{event.version}", "cyan"),
        " ",
        (event.type, type_style(event.type)),
        " ",
        summary(event, width),
    ]


def step_title(
    event: RecordedEvent, width: int = SUMMARY_WIDTH, *, names_stream: bool = False
) -> list[Part]:
    """Version, type, actor and a short form of the data: the head of one step of a replay."""
    actor = f" {event.actor}" if event.actor else ""
    stream: list[Part] = [(event.stream, "bold"), " "] if names_stream else []
    return [
        *stream,
        (f"v{event.version}", "bold cyan"),
        "  ",
        (event.type, type_style(event.type)),
        (actor, "bold"),
        "  ",
        summary(event, width),
    ]


class Listing:
    """Events under each other, a line each. Positions, versions and names of streams are whole
    whatever the width: in a pipe and on a wide terminal the stream stands in each line, on a
    narrow one above the lines that are its own."""

    def __init__(self, screen: Screen, *, names_streams: bool) -> None:
        self._screen = screen
        self._stream_width = STREAM_WIDTH if names_streams else 0
        self._heading = ("", "")

    def show(self, event: RecordedEvent, told: Told | None = None) -> None:
        """Prints one event."""
        screen = self._screen
        if screen.is_terminal and screen.width < WIDE_COLUMNS:
            heading = (event.stream, event.recorded_at.strftime("%Y-%m-%d"))
            if heading != self._heading:
                self._heading = heading
                screen.whole((heading[0], "bold cyan"), (f"  {heading[1]}", "dim"))
            screen.line(*narrow_line(event, screen.width, told))
            return
        if self._stream_width:
            longest = max(self._stream_width, len(event.stream))
            self._stream_width = min(longest, STREAM_WIDTH_MAX)
        line = event_line(event, stream_width=self._stream_width, told=told)
        if self._stream_width and len(event.stream) > STREAM_WIDTH_MAX:
            screen.whole(*line)
        else:
            screen.line(*line)


def type_style(type_name: str) -> str:
    """The colour of an event type; a failure is red whatever it belongs to."""
    if type_name.endswith((".failed", ".denied")):
        return "red"
    return TYPE_STYLES.get(type_name.split(".", 1)[0], "")
