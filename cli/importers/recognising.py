"""Which kind of source a file is, told from its content; its name and place do not matter."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from . import adk, claude_code, memorybank, openai, tau2_bench
from .parsing import Broken, Json, Parsed, Refused, parse_record
from .splitting import Unreadable, first_byte, first_element, line_of, members

BOM: Final = b"\xef\xbb\xbf"
"""Some editors put it before UTF-8; it is no part of the first record."""

_LINES_LOOKED_AT = 200
"""Rows at the beginning of a file that may be unknown before one decides what it is."""

_HEAD_BYTES = 4 * 1024 * 1024
"""Bytes looked at for these rows."""


_LEVELS, _MEMBERS, _TEXT_BYTES = 3, 64, 200
"""How much of a document is looked at: levels, members of an object, bytes of a text. The names
and ids that tell the sources apart are well within."""


class Recognised(msgspec.Struct, frozen=True):
    """What a file is. `lines`: one record a line, or, with `documents`, one document a line.

    For Claude Code files: `rows` are the first ones, `session_id` the session that they name,
    `agent_id` the subagent whose file it is.
    """

    kind: str
    lines: bool
    documents: bool
    rows: tuple[Json, ...] = ()
    session_id: str | None = None
    agent_id: str | None = None

    @property
    def is_nameless(self) -> bool:
        """Whether it is a Claude Code file none of whose first rows names its session, yet."""
        return self.kind == claude_code.KIND and self.session_id is None


class NotRecognised(msgspec.Struct, frozen=True):
    """Why a file is none of the known sources; `line` where it is broken."""

    reason: str
    line: int | None = None


def recognise(path: Path) -> Recognised | NotRecognised:
    """What the file at `path` is. Raises `OSError` where it cannot be read."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES).removeprefix(BOM)
        if b"\x00" in head[:8192]:
            return NotRecognised("not a text file")
        start = first_byte(head)
        if not start:
            return NotRecognised("empty")
        if start not in b"{[":
            return _by_rows(list(_rows(head))) or NotRecognised("neither JSON nor JSON Lines")
        # The first line is needed whole: it tells a document over several lines from rows.
        head += file.readline()
        if isinstance(next(_rows(head), None), Broken):
            return _document_of(head + file.read())
    rows = list(_rows(head))
    if len(rows) == 1 and not _has_more(head):
        found = _by_value(rows[0], lines=False)
        return found or NotRecognised("JSON, but no session of a known source")
    return _by_rows(rows) or NotRecognised("JSON Lines, but no session of a known source")


def _rows(head: bytes) -> Iterator[Json | Broken]:
    """The values of the first lines; `Broken` for what is none, also for the one cut off."""
    for line in islice(BytesIO(head), _LINES_LOOKED_AT):
        if line.strip():
            parsed = parse_record(line)
            if isinstance(parsed, Refused):
                yield _sketch(line)
            else:
                yield parsed.value if isinstance(parsed, Parsed) else parsed


def _has_more(head: bytes) -> bool:
    return sum(1 for line in islice(BytesIO(head), _LINES_LOOKED_AT) if line.strip()) > 1


def _by_rows(rows: list[Json | Broken]) -> Recognised | None:
    for value in rows:
        if isinstance(value, Broken):
            continue
        if claude_code.is_row(value):
            return _claude(rows)
        if openai.is_message(value):
            return Recognised(openai.KIND, lines=True, documents=False)
        found = _by_value(value, lines=True)
        if found is not None:
            return found
    return None


def _claude(rows: list[Json | Broken]) -> Recognised:
    readable = tuple(row for row in rows if isinstance(row, dict))
    named = claude_code.first_named(readable)
    session_id, agent_id = named.get("sessionId"), named.get("agentId")
    if not isinstance(agent_id, str) or not agent_id:
        agent_id = None
    return Recognised(claude_code.KIND, True, False, readable, session_id, agent_id)


def _by_value(value: Json, *, lines: bool) -> Recognised | None:
    """What a whole document is, given its value (or, for large ones, a sketch of it)."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        if "traj" in value[0]:
            return Recognised(openai.TAU_BENCH, lines, True)
        if openai.is_message(value[0]):
            return Recognised(openai.KIND, lines, True)
    if not isinstance(value, dict):
        return None
    if "simulations" in value and isinstance(value["simulations"], list):
        return Recognised(tau2_bench.KIND, lines, True)
    if isinstance(value.get("traj"), list):
        return Recognised(openai.TAU_BENCH, lines, True)
    if isinstance(value.get("events"), list) and "id" in value:
        return Recognised(adk.KIND, lines, True)
    messages = value.get("messages")
    if isinstance(messages, list) and (not messages or openai.is_message(messages[0])):
        return Recognised(openai.KIND, lines, True)
    if not lines and claude_code.is_row(value):
        return _claude([value])
    if not lines and openai.is_message(value):
        return Recognised(openai.KIND, lines=True, documents=False)
    if memorybank.is_bank(value):
        return Recognised(memorybank.KIND, lines, True)
    return None


def _document_of(content: bytes) -> Recognised | NotRecognised:
    """What a document over several lines is, from a sketch of its outermost levels."""
    try:
        sketch = _sketch(content)
    except Unreadable as exc:
        found = _by_rows(list(_rows(content)))
        return found or NotRecognised(f"no JSON: {exc}", line_of(content, exc.offset))
    found = _by_value(sketch, lines=False)
    return found or NotRecognised("JSON, but no session of a known source")


def _sketch(content: bytes, depth: int = 0) -> Json:
    """The outermost levels of a value of any size: of each array the first element, and of what
    is deeper (or what the store would refuse) only which kind it is. Raises `Unreadable`."""
    start = first_byte(content)
    if start == b"[":
        first = first_element(content) if depth < _LEVELS else None
        return [] if first is None else [_sketch(first, depth + 1)]
    if start == b"{":
        fields = members(content)[:_MEMBERS] if depth < _LEVELS else []
        # Of an object in an object nothing is asked but that it is there, unless it comes first in
        # the document: there a memory bank has its first user.
        return {
            key: {} if first_byte(raw) == b"{" and (depth or index) else _sketch(raw, depth + 1)
            for index, (key, _, raw) in enumerate(fields)
        }
    parsed = parse_record(content) if len(content) < _TEXT_BYTES else None
    if isinstance(parsed, Parsed):
        return parsed.value
    return "" if start == b'"' else None
