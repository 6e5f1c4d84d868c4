"""The stepper's lines as styled text: the timeline, the state, the event."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from rich.cells import cell_len, chop_cells
from rich.text import Text

from eventstore import RecordedEvent
from reducers.json_form import MISSING

from ..rendering.events import show_time, type_style
from ..rendering.safe import visible
from ..rendering.summaries import summary
from ..rendering.values import count, short
from .tree import INSIDE, Row, told

MARK_STYLES = {"+": "green", "-": "red", "~": "yellow", INSIDE: "yellow"}

SELECTED = "reverse"

PAYLOAD_BYTES_SHOWN = 256 * 1024
"""Larger payloads are not decoded for the screen, which shows the beginning of their JSON."""

PAYLOAD_LINES_MAX = 500
"""Lines of one event: some screens full."""

TEXT_CHARACTERS_SHOWN = 8_000
"""Of one text in a payload: more than the lines above hold at 80 columns is never wrapped."""

INDENT = "  "


def timeline_line(event: RecordedEvent, width: int, digits: int, is_current: bool) -> Text:
    """Version, type and a short form of the data, on one line."""
    line = Text(f"{'>' if is_current else ' '}{event.version:>{digits}} ", "bold cyan")
    line.append(visible(event.type), type_style(event.type))
    room = width - line.cell_len - 1
    if room > 3:
        line.append(f" {summary(event, room)}", "dim")
    return _cut(line, width, is_current)


def tree_line(row: Row, width: int, is_selected: bool) -> Text:
    """Mark, name and value of one row; what it was before, where it was replaced."""
    arrow = {True: "v ", False: "> ", None: "  "}[row.is_open]
    line = Text(f"{row.mark or ' '} ", MARK_STYLES.get(row.mark, ""))
    line.append(INDENT * row.depth)
    if row.hidden:
        line.append(row.name, "dim")
        return _cut(line, width, is_selected)
    line.append(arrow, "dim")
    line.append(visible(row.name), f"bold {MARK_STYLES.get(row.mark, '')}")
    line.append("  ")
    room = max(width - line.cell_len, 8)
    if row.before is not MISSING:
        before = told(row.before, max((room - 4) // 2, 4))
        line.append(before, "red").append(" -> ", "dim")
        room = max(room - cell_len(before) - 4, 4)
    style = "red" if row.mark == "-" else "green" if row.mark in ("+", "~") else ""
    line.append(told(row.value, room), style)
    return _cut(line, width, is_selected)


def event_lines(event: RecordedEvent, width: int) -> list[Text]:
    """All of an event, wrapped to the width: what it is, by whom and when, and its payload."""
    lines = [Text(visible(event.type), f"bold {type_style(event.type)}")]
    for name, value in (
        ("version", f"{event.version}  @{event.position}"),
        ("time", show_time(event.recorded_at)),
        ("at", show_time(event.occurred_at) if event.occurred_us is not None else None),
        ("actor", event.actor),
        ("tags", ", ".join(event.tags)),
        ("id", event.id),
        ("cause", event.causation_id),
        ("from", ", ".join(event.derived_from)),
        ("run", event.correlation_id),
    ):
        if value:
            lines.append(_cut(Text.assemble((f"{name:<8}", "dim"), visible(value)), width))
    lines.append(Text())
    if len(event.payload) > PAYLOAD_BYTES_SHOWN:
        text = event.payload[:TEXT_CHARACTERS_SHOWN].decode(errors="replace")
        lines.append(Text(f"{len(event.payload):,} bytes, which begin", "dim"))
        return lines + [Text(line) for line in wrapped(text, width)]
    for line in _outline(event.untyped().data, width, 0):
        lines.append(line)
        if len(lines) == PAYLOAD_LINES_MAX:
            lines.append(Text("... (eventstore log --json shows all of it)", "dim"))
            break
    return lines


def wrapped(text: str, width: int) -> list[str]:
    """A text in lines of at most `width` columns, broken at spaces where it can be."""
    width = max(width, 4)
    found: list[str] = []
    for line in visible(text[:TEXT_CHARACTERS_SHOWN]).expandtabs(2).splitlines():
        if line.isascii():
            found += textwrap.wrap(line, width, drop_whitespace=False) or [""]
        else:
            found += chop_cells(line, width) or [""]
    return [line.rstrip() for line in found]


def _outline(value: Any, width: int, depth: int) -> Iterator[Text]:
    """A JSON value, a line for each member, texts whole."""
    indent = INDENT * depth
    if isinstance(value, (dict, list)) and value:
        named = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in named:
            head = Text.assemble(indent, (visible(str(name)), "bold"))
            inline = _inline(item, width - head.cell_len - 2)
            if inline is not None:
                yield _cut(head.append("  ").append(inline), width)
            else:
                yield _cut(head, width)
                yield from _outline(item, width, depth + 1)
        return
    text = value if isinstance(value, str) else short(value, TEXT_CHARACTERS_SHOWN)
    for line in wrapped(text, width - len(indent)):
        yield Text(indent + line)


def _inline(item: Any, room: int) -> str | None:
    """A value that fits behind its name; None for one that takes lines of its own."""
    if isinstance(item, str):
        fits = len(item) <= room and "\n" not in item and cell_len(visible(item)) <= room
        return visible(item) if fits else None
    if isinstance(item, (dict, list)):
        if len(item) > room:
            return None
        text = short(item, room + 1)
        return text if len(text) <= room else None
    return short(item, max(room, 8))


def amounts(version: int, last: int) -> str:
    """``12 of 1,204 events``."""
    return f"{version:,} of {count(last, 'event')}"


def _cut(line: Text, width: int, is_selected: bool = False) -> Text:
    line.truncate(max(width, 1), overflow="ellipsis", pad=is_selected)
    if is_selected:
        line.stylize(SELECTED)
    return line
