"""A JSON value as an outline: one line for each member, indented, long things cut with a count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .screen import Part
from .values import count, short

ITEMS_SHOWN = 20
"""Members shown of one object or array: a screen's worth. `--path` and `--json` show the rest."""

DEPTH_SHOWN = 6
"""Levels that are unfolded; below that a value stands on one line."""

INDENT = "  "


def outline(value: Any, width: int, depth: int = 0) -> Iterator[list[Part]]:
    """The lines of an outline of `value`; `width` is the room for one line."""
    indent = INDENT * depth
    room = max(width - len(indent), 20)
    if isinstance(value, dict) and value and depth < DEPTH_SHOWN:
        members = [(str(key), item) for key, item in value.items()]
        yield from _members(members, indent, room, width, depth)
        yield from _rest(len(members), "member", indent)
    elif isinstance(value, list) and value and depth < DEPTH_SHOWN:
        members = [(str(index), item) for index, item in enumerate(value)]
        yield from _members(members, indent, room, width, depth)
        yield from _rest(len(members), "item", indent)
    else:
        yield [indent, (scalar(value, room), _style(value))]


def _members(
    members: list[tuple[str, Any]], indent: str, room: int, width: int, depth: int
) -> Iterator[list[Part]]:
    for name, item in members[:ITEMS_SHOWN]:
        if _is_unfolded(item, room - len(name) - 2, depth):
            yield [indent, (name, "bold")]
            yield from outline(item, width, depth + 1)
        else:
            text = scalar(item, max(room - len(name) - 2, 20))
            yield [indent, (name, "bold"), "  ", (text, _style(item))]


def _is_unfolded(item: Any, room: int, depth: int) -> bool:
    """Small objects and arrays stand on one line, as do those that lie too deep."""
    if not isinstance(item, (dict, list)) or not item or depth + 1 >= DEPTH_SHOWN:
        return False
    if any(isinstance(each, (dict, list)) and each for each in _each(item)):
        return True
    return len(item) > ITEMS_SHOWN or len(short(item, room + 1)) > room


def _each(item: Any) -> Any:
    return item.values() if isinstance(item, dict) else item


def _rest(number: int, noun: str, indent: str) -> Iterator[list[Part]]:
    if number > ITEMS_SHOWN:
        more = count(number - ITEMS_SHOWN, f"more {noun}")
        yield [indent, (f"... {more} (--path or --json shows them)", "dim")]


def scalar(value: Any, width: int) -> str:
    """A value on one line: a text without quotes where none are needed."""
    text = short(value, width)
    if isinstance(value, str) and text == f'"{value}"' and value == value.strip() != "":
        return value
    return text


def _style(value: Any) -> str:
    if value is None or value in ({}, []):
        return "dim"
    if isinstance(value, bool):
        return "magenta"
    return "cyan" if isinstance(value, (int, float)) else ""
