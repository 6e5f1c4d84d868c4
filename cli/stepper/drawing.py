"""The stepper's lines as styled text: the timeline, the state, the event."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from rich.cells import cell_len, chop_cells
from rich.text import Text

from eventstore import RecordedEvent
from reducers import to_json
from reducers.blaming import Blamed
from reducers.json_form import MISSING, items, members

from ..rendering.events import show_time, type_style
from ..rendering.safe import one_line, visible
from ..rendering.summaries import summary
from ..rendering.values import count, short
from .tree import INSIDE, Row, size, told

MARK_STYLES = {"+": "green", "-": "red", "~": "yellow", INSIDE: "yellow"}

ARROW = " -> "

BEFORE_WIDTH = 6
"""Columns from which on something can be read of a value before it was replaced."""

BOTH_WIDTH = 30
"""Columns from which on the values before and after share them, where both are long."""

SELECTED = "reverse"

LABEL_WIDTH = 8
"""Columns of the names of an event's own fields: "version" and a blank."""

PAYLOAD_BYTES_SHOWN = 256 * 1024
"""Larger payloads are not decoded for the screen, which shows the beginning of their JSON."""

PAYLOAD_LINES_MAX = 500
"""Lines of one event: some screens full."""

TEXT_CHARACTERS_SHOWN = 8_000
"""Of one text in a payload: more than the lines above hold at 80 columns is never wrapped."""

INDENT = "  "

INDENTED_SHARE = 3
"""Deep members are indented by at most this part of the width, so that they can still be read."""


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
    line.append(_indent(row.depth, width))
    if row.hidden:
        line.append(row.name, "dim")
        return _cut(line, width, is_selected)
    line.append(arrow, "dim")
    line.append(visible(row.name), f"bold {MARK_STYLES.get(row.mark, '')}")
    line.append("  ")
    room = max(width - line.cell_len, 8)
    if row.before is not MISSING:
        # What it is now goes first where there is no room for both.
        now = cell_len(told(row.value, room))
        left = max(room - len(ARROW) - now, 0 if room < BOTH_WIDTH else (room - len(ARROW)) // 2)
        before = told(row.before, left) if left >= BEFORE_WIDTH else ""
        arrow = ARROW if before else ARROW[1:]
        line.append(before, "red").append(arrow, "dim")
        room = max(room - cell_len(before) - len(arrow), 4)
    style = "red" if row.mark == "-" else "green" if row.mark in ("+", "~") else ""
    line.append(told(row.value, room), style)
    return _cut(line, width, is_selected)


def event_lines(event: RecordedEvent, width: int) -> list[Text]:
    """All of an event, wrapped to the width: what it is, by whom and when, and its payload."""
    lines = [_cut(Text(visible(event.type), f"bold {type_style(event.type)}"), width)]
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
            # Wrapped and not cut: an id is there to be copied.
            for number, part in enumerate(wrapped(value, width - LABEL_WIDTH)):
                label = "" if number else name
                lines.append(Text.assemble((f"{label:<{LABEL_WIDTH}}", "dim"), part))
    lines.append(Text())
    if len(event.payload) > PAYLOAD_BYTES_SHOWN:
        text = event.payload[:TEXT_CHARACTERS_SHOWN].decode(errors="replace")
        lines.append(_cut(Text(f"{len(event.payload):,} bytes begin so:", "dim"), width))
        return lines + [Text(line) for line in wrapped(text, width)]
    return lines + _bounded(_outline(event.untyped().data, width, 0), "eventstore log --json")


def value_lines(row: Row, width: int) -> list[Text]:
    """The value of a row whole, wrapped to the width; where it was replaced, what was before."""
    elsewhere = "eventstore state --path"
    now = _bounded(_outline(row.value, width, 0), elsewhere)
    if row.before is MISSING:
        return now
    before = _bounded(_outline(row.before, width, 0), elsewhere)
    for lines, style in ((before, "red"), (now, "green")):
        for line in lines:
            line.stylize(style)
    return [Text("before", "dim"), *before, Text(), Text("after", "dim"), *now]


def blame_line(blamed: Blamed) -> Text:
    """Version, type, and what the event made of what, on one line."""
    value = f"{told(blamed.before, 24)} -> {told(blamed.after, 40)}"
    line = Text(f"v{blamed.event.version:<6} ", "bold cyan")
    return line.append(f"{visible(blamed.event.type)}  {value}")


def shown_path(path: str, width: int) -> str:
    """A pointer on one line; of a long one its end, which tells more."""
    text = one_line(path, len(path) + width)
    if cell_len(text) <= width:
        return text
    while text and cell_len(text) >= width:
        text = text[1:] if cell_len(text) < 2 * width else text[-2 * width :]
    return f"…{text}"


def _bounded(lines: Iterator[Text], elsewhere: str) -> list[Text]:
    found = list(islice(lines, PAYLOAD_LINES_MAX))
    if len(found) == PAYLOAD_LINES_MAX:
        found.append(Text(f"... ({elsewhere} shows all of it)", "dim"))
    return found


def _indent(depth: int, width: int) -> str:
    return INDENT * min(depth, width // INDENTED_SHARE // len(INDENT))


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
    indent = _indent(depth, width)
    named = _named(value)
    if named:
        for name, item in named:
            head = Text.assemble(indent, (visible(str(name)), "bold"))
            inline = _inline(item, width - head.cell_len - 2)
            if inline is not None:
                yield _cut(head.append("  ").append(inline), width)
            else:
                yield _cut(head, width)
                yield from _outline(item, width, depth + 1)
        return
    text = value if isinstance(value, str) else short(to_json(value), TEXT_CHARACTERS_SHOWN)
    for line in wrapped(text, width - len(indent)):
        yield Text(indent + line)
    more = len(text) - TEXT_CHARACTERS_SHOWN
    if more > 0:
        yield _cut(Text(f"{indent}... {more:,} more characters", "dim"), width)


def _named(value: Any) -> Iterable[tuple[str, Any]]:
    """What stands in a container by its names or indices; nothing of anything else."""
    there = members(value)
    if there is not None:
        return there.items()
    return [(str(number), item) for number, item in enumerate(items(value) or ())]


def _inline(item: Any, room: int) -> str | None:
    """A value that fits behind its name; None for one that takes lines of its own."""
    if isinstance(item, str):
        fits = len(item) <= room and "\n" not in item and cell_len(visible(item)) <= room
        return visible(item) if fits else None
    if size(item) is None:
        return short(to_json(item), max(room, 8))
    if _left_of(room, item) < 0:
        return None
    text = short(to_json(item), room + 1)
    return text if len(text) <= room else None


def _left_of(room: int, value: Any) -> int:
    """How much of a line is left behind a value, at least; below nothing, where it goes beyond.
    No more of a value is looked at than the line could show."""
    room -= len(value) if isinstance(value, str) else 1
    if room < (size(value) or 0):
        return -1
    for _, item in _named(value):
        room = _left_of(room, item)
        if room < 0:
            break
    return room


def amounts(version: int, last: int) -> str:
    """``12 of 1,204 events``."""
    return f"{version:,} of {count(last, 'event')}"


def _cut(line: Text, width: int, is_selected: bool = False) -> Text:
    line.truncate(max(width, 1), overflow="ellipsis", pad=is_selected)
    if is_selected:
        line.stylize(SELECTED)
    return line
