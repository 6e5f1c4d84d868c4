"""Where output goes: styled lines and tables on a terminal, plain text in a pipe, or JSON.

A line is made of parts: a plain string, or (string, style) with a style of rich. rich itself is
imported only where there is a terminal to draw on; it honours NO_COLOR, TERM and FORCE_COLOR.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
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

    def command(self, text: str) -> None:
        """Prints a command to paste, as one line however long it is: the terminal wraps it by
        itself, and what is copied from there has no line break in it."""
        if self._console is None:
            self.line("  ", text)
        else:
            self._console.print(_styled([f"  {text}"]), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], right: str = "") -> None:
        """Prints rows under their column names; columns named in `right` (with spaces between)
        hold numbers."""
        numbers = set(right.split())
        if self._console is None:
            self._plain_table(columns, [[visible(cell) for cell in row] for row in rows], numbers)
            return
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for column in columns:
            if column in numbers:
                table.add_column(column, justify="right", style="cyan", no_wrap=True)
            else:
                table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(_styled([cell]) for cell in row))
        self._console.print(table)

    def _plain_table(
        self, columns: Sequence[str], rows: list[list[str]], numbers: set[str]
    ) -> None:
        widths = [
            max(len(column), *(len(row[index]) for row in rows)) if rows else len(column)
            for index, column in enumerate(columns)
        ]
        for row in ([*columns], *rows):
            cells = [
                cell.rjust(width) if column in numbers else cell.ljust(width)
                for cell, width, column in zip(row, widths, columns, strict=True)
            ]
            self._stream.write("  ".join(cells).rstrip() + "\n")

    def json(self, value: Any) -> None:
        """Prints one JSON value on one line, in UTF-8 whatever the locale says."""
        encoded = msgspec.json.encode(value) + b"\n"
        buffer = getattr(self._stream, "buffer", None)
        if buffer is None:
            self._stream.write(encoded.decode())
            return
        self._stream.flush()
        buffer.write(encoded)

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
