"""The three panels of the stepper: each draws the lines it is given, and no more of them."""

from __future__ import annotations

from rich.text import Text
from textual.widget import Widget


class Panel(Widget, can_focus=True):
    """A bordered part of the screen. There is no widget for a line: what does not fit was never
    made."""

    def __init__(self, title: str, name: str) -> None:
        super().__init__(id=name)
        self.border_title = title
        self._lines: list[Text] = []

    def show(self, lines: list[Text]) -> None:
        """Takes the lines to draw, from the top."""
        self._lines = lines
        self.refresh()

    def render(self) -> Text:
        """All of them as one text."""
        return Text("\n", no_wrap=True, overflow="ellipsis").join(self._lines)


class Scroll:
    """Which lines of many are on a screen of few."""

    def __init__(self) -> None:
        self.top = 0

    def follow(self, cursor: int, count: int, height: int) -> range:
        """The lines to show, so that the cursor is among them, with some around it."""
        around = min(3, max(0, (height - 1) // 2))
        self.top = min(self.top, cursor - around)
        self.top = max(self.top, cursor + around - height + 1)
        self.top = max(0, min(self.top, count - height))
        return range(self.top, min(self.top + height, count))
