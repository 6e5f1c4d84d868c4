"""The three panels of the stepper: each draws the lines it is given, and no more of them."""

from __future__ import annotations

from itertools import zip_longest

from rich.style import Style
from rich.text import Text
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget


class Panel(Widget, can_focus=True):
    """A bordered part of the screen. There is no widget for a line: what does not fit was never
    made, and a line that stays as it is is not drawn again, which is what a step costs most."""

    class Resized(Message):
        """A panel has another size, and needs lines for it."""

    def __init__(self, title: str, name: str) -> None:
        super().__init__(id=name)
        self.border_title = title
        self._lines: list[Text] = []
        self._base = Style.null()

    def on_resize(self) -> None:
        """Asks for lines."""
        self.post_message(self.Resized())

    def show(self, lines: list[Text]) -> None:
        """Takes the lines to draw, from the top."""
        before, self._lines = self._lines, lines
        width = self.content_size.width
        self._base = self.rich_style
        for index, (was, now) in enumerate(zip_longest(before, lines)):
            if was != now:
                self.refresh(Region(0, index, width, 1))

    def render_line(self, y: int) -> Strip:
        """The line of this number; blank below the last."""
        width, style = self.content_size.width, self._base
        if y >= len(self._lines):
            return Strip.blank(width, style)
        line, console = self._lines[y], self.app.console
        drawn = Strip(line.render(console))
        if not line.spans:  # then Rich leaves the style of the whole line out
            drawn = drawn.apply_style(console.get_style(line.style))
        return drawn.apply_style(style).adjust_cell_length(width, style)


class Scroll:
    """Which lines of many are on a screen of few."""

    def __init__(self) -> None:
        self._top = 0

    def follow(self, cursor: int, count: int, height: int) -> range:
        """The lines to show, so that the cursor is among them. Where it leaves them it comes into
        their middle: most moves then change two lines."""
        if not self._top <= cursor < self._top + height:
            self._top = cursor - height // 2
        self._top = max(0, min(self._top, count - height))
        return range(self._top, min(self._top + height, count))
