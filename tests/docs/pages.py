"""Pages of the documentation, taken apart: their code blocks, and what a block says it prints.

What a block's language means is decided here and run by `running`. The conventions:

- ``python`` blocks of a page are run in order and share their names. `await` may stand at the top
  level, as in ``python -m asyncio``.
- a ``text`` block right behind a ``python`` block is what that block prints, all of it. ``...``
  stands for anything, a UUID for any UUID (also where it is cut), a time for any, and so does a
  number of nine decimals or more, which is a duration.
- ``console`` blocks hold commands behind ``$``, each followed by what it prints; a line that ends
  with a backslash goes on in the next one.
- a block with ``title="name"`` behind its language is a file of that name in the page's folder.
- ``json`` and ``jsonl`` blocks parse; any other ``text`` block is a picture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

LANGUAGES = ("python", "text", "console", "json", "jsonl", "sql")
"""A block in any other language would be one that nobody checks. SQL is run by
`tests/engines/postgres/test_rights.py`."""

_FENCE = re.compile(r"^( *)```(\w*)(?: title=\"([\w./-]+)\")? *$")


@dataclass(frozen=True)
class Block:
    """A fenced block: `line` is that of its first line of content, counted from 1."""

    language: str
    title: str | None
    body: str
    line: int
    printed: str | None = None
    """What a ``python`` block prints, where the page says so."""


@dataclass(frozen=True)
class Command:
    """A line of a ``console`` block, and the output that stands below it."""

    text: str
    output: str
    line: int


def all_pages() -> list[Path]:
    """Everything that users read, the README first."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(page: Path) -> str:
    """A page's name for tests: its path in the project."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """A page's blocks in order; what a block prints is joined to it."""
    found: list[Block] = []
    lines = page.read_text().splitlines()
    index, before = 0, 0
    while index < len(lines):
        fence = _FENCE.match(lines[index])
        if fence is None:
            assert not lines[index].lstrip().startswith("```"), f"{page}:{index + 1}: odd fence"
            index += 1
            continue
        end = lines.index(f"{fence[1]}```", index + 1)
        body = "\n".join(line.removeprefix(fence[1]) for line in lines[index + 1 : end])
        block = Block(fence[2], fence[3], body, index + 2)
        directly = bool(found) and not any(lines[before:index])
        if block.language == "text" and directly and found[-1].language == "python":
            last = found.pop()
            block = Block(last.language, last.title, last.body, last.line, body)
        found.append(block)
        index = before = end + 1
    return found


def commands_of(block: Block) -> list[Command]:
    """The commands of a ``console`` block with their outputs."""
    found: list[Command] = []
    lines = block.body.splitlines()
    index = 0
    while index < len(lines):
        start = index
        assert lines[index].startswith("$ "), f"line {block.line + index}: output of no command"
        text = lines[index][2:]
        while text.endswith("\\"):
            index += 1
            text = f"{text[:-1]} {lines[index].strip()}"
        index += 1
        output = []
        while index < len(lines) and not lines[index].startswith("$ "):
            output.append(lines[index])
            index += 1
        found.append(Command(text, "\n".join(output), block.line + start))
    return found


_ANY = re.compile(
    r"\.\.\.|[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{1,4}(?:-[0-9a-f]{1,12})?"
    r"|\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?|\d+\.\d{9,}"
)


def matches(expected: str, printed: str) -> bool:
    """Whether what was printed is what the page shows."""
    shown, pattern, end = _trimmed(expected), "", 0
    for found in _ANY.finditer(shown):
        pattern += re.escape(shown[end : found.start()]) + _any_like(found[0])
        end = found.end()
    pattern += re.escape(shown[end:])
    return re.fullmatch(pattern, _trimmed(printed), re.DOTALL) is not None


def _any_like(text: str) -> str:
    if text == "...":
        return ".*?"
    if re.fullmatch(r"\d+\.\d{9,}", text):
        return r"\d+\.\d+(?:e-\d+)?"
    return re.sub(r"[0-9a-f]+", "[0-9a-f]+", text)


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
