"""Where output goes: styled lines and tables on a terminal, plain text in a pipe, or JSON.

A line is made of parts: a plain string, or (string, style) with a style of rich. rich itself is
imported only where there is a terminal to draw on; it honours NO_COLOR, TERM and FORCE_COLOR.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import msgspec

from .safe import visible

if TYPE_CHECKING:
    from rich.console import Console

Part = str | tuple[str, str]
Line = Sequence[Part]

PLAIN_WIDTH = 100
"""Columns of text in a pipe, where nobody says how wide the reader is."""


class Screen:
    """Standard output (or another text stream) of one command."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._console: Console | None = None
        if self._stream.isatty() or os.environ.get("FORCE_COLOR"):
            from rich.console import Console

            self._console = Console(file=self._stream, highlight=False, markup=False, emoji=False)

    @property
    def is_terminal(self) -> bool:
        """Whether a person is looking: colour, tables and cut lines are for them."""
        return self._console is not None

    @property
    def width(self) -> int:
        """Columns that a line may fill."""
        return PLAIN_WIDTH if self._console is None else self._console.width

    def line(self, *parts: Part) -> None:
        """Prints one line. On a terminal it is cut at the right edge, never wrapped."""
        if self._console is None:
            text = "".join(part if isinstance(part, str) else part[0] for part in parts)
            self._stream.write(visible(text).rstrip() + "\n")
            return
        self._console.print(_styled(parts), no_wrap=True, overflow="ellipsis", crop=True)

    def text(self, *parts: Part) -> None:
        """Prints text whole: on a terminal it is wrapped where it is too long."""
        if self._console is None:
            self.line(*parts)
        else:
            self._console.print(_styled(parts), overflow="fold")

    def whole(self, *parts: Part) -> None:
        """Prints one line whole, however long it is: the terminal wraps it by itself, and what is
        copied from there has no line break in it. For commands to paste, and names."""
        if self._console is None:
            self.line(*parts)
        else:
            self._console.print(_styled(parts), soft_wrap=True)

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        right: str = "",
        *,
        give_way: str = "",
        below: str = "",
    ) -> None:
        """Prints rows under their column names, cells whole. Names of columns are given with
        spaces between: those in `right` hold numbers. Where a terminal is too narrow, those in
        `give_way` are left out, the first one first, and then the column `below` stands under its
        row on a line of its own."""
        cells = [[visible(cell) for cell in row] for row in rows]
        shown, lines = list(range(len(columns))), [list(columns), *cells]
        under: int | None = None
        if self._console is not None:
            for name in give_way.split():
                if _table_width(lines, shown) > self.width:
                    shown.remove(columns.index(name))
            if below and _table_width(lines, shown) > self.width:
                under = columns.index(below)
                shown.remove(under)
        numbers = {columns.index(name) for name in right.split()}
        widths = self._column_widths(lines, shown)
        for number, row in enumerate(lines):
            parts: list[Part] = []
            for index in shown:
                style = "bold" if not number else "cyan" if index in numbers else ""
                parts.append((_padded(row[index], widths[index], index in numbers), style))
                parts.append("  ")
            self.whole(*_without_end(parts))
            if under is not None and number:
                self.whole("  ", (row[under], "bold"))

    def _column_widths(self, lines: list[list[str]], shown: list[int]) -> dict[int, int]:
        """Each column's width: its longest cell; but a first column that leaves the others no
        room on a terminal gets what they leave, and its longer cells push them on."""
        widths = {index: _widest(lines, index) for index in shown}
        if self._console is not None:
            rest = _table_width(lines, shown[1:]) + 2
            widths[shown[0]] = min(widths[shown[0]], max(self.width - rest, 0))
        return widths

    def json(self, value: Any) -> None:
        """Prints one JSON value on one line, in UTF-8 whatever the locale says."""
        encoded = msgspec.json.encode(value) + b"\n"
        buffer = getattr(self._stream, "buffer", None)
        if buffer is None:
            self._stream.write(encoded.decode())
            return
        self._stream.flush()
        buffer.write(encoded)

    @contextmanager
    def redrawn(self) -> Iterator[Callable[[Callable[[Screen], None]], None]]:
        """Inside the block, what a function prints on the screen that it is given takes the place
        of what was drawn before; in a pipe it comes below."""
        if self._console is None:
            yield lambda draw: draw(self)
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        shown = Live(console=self._console, auto_refresh=False, vertical_overflow="visible")
        with shown:

            def redraw(draw: Callable[[Screen], None]) -> None:
                drawn = io.StringIO()
                within = Screen(drawn)
                within._console = Console(
                    file=drawn,
                    width=self.width,
                    force_terminal=True,
                    highlight=False,
                    markup=False,
                    emoji=False,
                )
                draw(within)
                shown.update(Text.from_ansi(drawn.getvalue().rstrip("\n")), refresh=True)

            yield redraw

    def flush(self) -> None:
        """Hands over what was printed: a reader of a live stream waits for it."""
        self._stream.flush()


def _styled(parts: Iterable[Part]) -> Any:
    from rich.text import Text

    line = Text()
    for part in parts:
        text, style = (part, "") if isinstance(part, str) else part
        line.append(visible(text), style)
    return line


def _cells(text: str) -> int:
    """Columns that a text takes: of some scripts two for a character."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _padded(text: str, width: int, is_number: bool) -> str:
    padding = " " * (width - _cells(text))
    return padding + text if is_number else text + padding


def _widest(lines: list[list[str]], index: int) -> int:
    return max(_cells(row[index]) for row in lines)


def _table_width(lines: list[list[str]], shown: list[int]) -> int:
    return sum(_widest(lines, index) + 2 for index in shown) - 2


def _without_end(parts: list[Part]) -> list[Part]:
    """A table's row without the blanks at its end, which would be copied with it."""
    while parts and not (parts[-1] if isinstance(parts[-1], str) else parts[-1][0]).strip():
        parts.pop()
    if parts and not isinstance(parts[-1], str):
        parts[-1] = (parts[-1][0].rstrip(), parts[-1][1])
    return parts
