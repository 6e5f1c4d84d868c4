"""Changes between two states, as git shows them: the path, - what was, + what is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from reducers import Change, to_json

from .screen import Line, Part, Screen
from .values import count, short

OPERATION_STYLES = {"add": "green", "remove": "red", "replace": "yellow"}
BEFORE_STYLE, AFTER_STYLE = "red", "green"

VALUE_WIDTH = 400
"""Characters of one value: a message in full most of the time; --json has all of it."""

TEXT_LINES_SHOWN = 40
"""Lines of a changed text that are shown line by line."""


def change_json(change: Change) -> dict[str, Any]:
    """A change as the object that `--json` prints; `before` or `after` is left out where there
    was or is nothing, so that it is told from null."""
    found: dict[str, Any] = {"op": change.op, "path": change.path}
    if change.op != "add":
        found["before"] = to_json(change.before)
    if change.op != "remove":
        found["after"] = to_json(change.after)
    return found


def change_lines(change: Change, indent: str = "") -> Iterator[list[Part]]:
    """A change over several lines."""
    style = OPERATION_STYLES.get(change.op, "")
    yield [indent, (change.path or "(the whole state)", f"bold {style}")]
    if _is_text(change.before) and _is_text(change.after):
        yield from _text_lines(change.before, change.after, indent)
        return
    if change.op != "add":
        yield [indent, (f"- {_short(change.before, VALUE_WIDTH)}", BEFORE_STYLE)]
    if change.op != "remove":
        yield [indent, (f"+ {_short(change.after, VALUE_WIDTH)}", AFTER_STYLE)]


def change_line(change: Change, indent: str, width: int) -> Line:
    """A change on one line, for a replay: ``+ path  value``, ``~ path  before -> after``."""
    style = OPERATION_STYLES.get(change.op, "")
    sign = {"add": "+", "remove": "-"}.get(change.op, "~")
    room = max(width - len(indent) - len(change.path) - 6, 30)
    if change.op == "replace":
        text = f"{_short(change.before, room // 2)} -> {_short(change.after, room // 2)}"
    else:
        text = _short(change.before if change.op == "remove" else change.after, room)
    return [indent, (f"{sign} {change.path or '/'}", style), "  ", text]


def show_changes(screen: Screen, changes: Sequence[Change], indent: str, most: int) -> None:
    """Prints the first changes, each on one line, and how many more there are."""
    for change in changes[:most]:
        screen.line(*change_line(change, indent, screen.width))
    if len(changes) > most:
        more = count(len(changes) - most, "more change")
        screen.line(indent, (f"... {more} (--json shows them)", "dim"))


def summary_line(changes: Iterable[Change]) -> str:
    """``3 added, 1 removed, 2 replaced``, or that nothing changed."""
    numbers = {"add": 0, "remove": 0, "replace": 0}
    for change in changes:
        numbers[change.op] += 1
    words = {"add": "added", "remove": "removed", "replace": "replaced"}
    said = [f"{number:,} {words[op]}" for op, number in numbers.items() if number]
    return ", ".join(said) or "no difference"


def _short(value: Any, width: int) -> str:
    return short(to_json(value), width)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value


def _text_lines(before: str, after: str, indent: str) -> Iterator[list[Part]]:
    """Two texts of several lines, only the lines that differ."""
    shown = 0
    styles = {"-": BEFORE_STYLE, "+": AFTER_STYLE}
    for line in difflib.ndiff(before.splitlines(), after.splitlines()):
        if line[0] not in styles:
            continue
        if shown == TEXT_LINES_SHOWN:
            yield [indent, ("... (--json shows all of it)", "dim")]
            return
        shown += 1
        yield [indent, (line[:VALUE_WIDTH], styles[line[0]])]
