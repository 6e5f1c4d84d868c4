"""JSON values for people: short on one line, or whole and indented."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from .safe import one_line

_SCANNED_CHARACTERS = 4_000
"""What is encoded of a long text before it is cut: a line never shows more."""


def short(value: Any, width: int) -> str:
    """`value` as JSON on one line of at most `width` characters; a text keeps its quotes."""
    if isinstance(value, str) and len(value) > _SCANNED_CHARACTERS:
        value = value[:_SCANNED_CHARACTERS]
    return one_line(msgspec.json.encode(value).decode(), width)


def indented(value: Any) -> str:
    """`value` as JSON over several lines, whole, keys as they come."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def count(number: int, noun: str) -> str:
    """``1 event``, ``2 events``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
