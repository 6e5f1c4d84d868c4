"""What comes up in front of the stepper: the help, a line to type, the blame of a path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

KEYS = (
    ("f, space, right", "forward one event"),
    ("b, left", "back one event"),
    ("] [", "ten events forward, back"),
    ("home end", "first event, last event"),
    ("g", "jump: a version, @position, or a time"),
    ("/ n N", "search; the next one, the one before"),
    ("B", "break when an expression comes true"),
    ("c C", "run on, run back, to a stop"),
    ("w", "watch the path under the cursor"),
    ("y", "why: blame the path under the cursor"),
    ("F", "fork here"),
    ("up down, j k", "move the cursor"),
    ("enter, h", "open or more, close"),
    ("x", "the next change of this event"),
    ("tab", "state, event, timeline in turn"),
    ("escape", "stop a search or a run"),
    ("q", "leave"),
)
"""Keys and what they do, as the help shows them."""

EXPLAINED = (
    "Marks: + added, - removed, ~ replaced, * changed inside. A breakpoint or a watch that is"
    " given again is taken away. Expressions: usage.cost > 0.05, tasks.tasks['a'].status =="
    " 'completed', len(conversation.messages) > 9."
)


class Help(ModalScreen[None]):
    """All keys, on one screen of 80 by 24."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "close")
    ]

    def compose(self) -> ComposeResult:
        """The table of `KEYS`."""
        text = Text()
        for keys, what in KEYS:
            text.append(f"{keys:<17}", "bold").append(f"{what}\n")
        text.append(EXPLAINED, "dim")
        with VerticalScroll(classes="box") as box:
            box.border_title = "keys"
            yield Static(text)


class Prompt(ModalScreen[str]):
    """One line to type; nothing typed, or escape, is the empty text."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave")]

    def __init__(self, title: str, value: str = "") -> None:
        super().__init__()
        self._title = title
        self._value = value

    def compose(self) -> ComposeResult:
        """The line."""
        with Vertical(classes="line") as line:
            line.border_title = self._title
            yield Input(self._value, compact=True, select_on_focus=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Hands over what was typed."""
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        """Hands over nothing."""
        self.dismiss("")


class Blames(ModalScreen[int]):
    """The events that gave a path its value, newest first; choosing one goes to it. 0: none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,y", "leave", "leave"),
        Binding("j", "cursor(1)", "down", show=False),
        Binding("k", "cursor(-1)", "up", show=False),
    ]

    def __init__(self, title: str, found: Iterable[tuple[int, Text]]) -> None:
        super().__init__()
        self._title = title
        self._found = list(found)

    def compose(self) -> ComposeResult:
        """A line for each event."""
        with Vertical(classes="box") as box:
            box.border_title = self._title
            yield OptionList(*(line for _, line in self._found))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Goes to the event that was chosen."""
        self.dismiss(self._found[event.option_index][0])

    def action_cursor(self, by: int) -> None:
        """Moves down, or up."""
        options = self.query_one(OptionList)
        if by > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()

    def action_leave(self) -> None:
        """Goes nowhere."""
        self.dismiss(0)
