"""What comes up in front of the stepper: the help, a line to type, the blame of a path."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from ..rendering.values import count

T = TypeVar("T")

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
    ("v", "view what is under the cursor whole"),
    ("F", "fork here"),
    ("up down, j k", "move the cursor"),
    ("enter, h", "open or more, close"),
    ("x", "the next change; the cursor follows them"),
    ("tab", "state, event, timeline in turn"),
    ("escape", "stop a search or a run"),
    ("q, ctrl+c", "leave"),
)
"""Keys and what they do, as the help shows them."""

EXPLAINED = (
    "Marks: + added, - removed, ~ replaced, * changed inside. A breakpoint or a"
    " watch given again is taken away. Expressions: usage.cost > 0.05,"
    " tasks.tasks['a'].status == 'done', len(conversation.messages) > 9."
)


class _Front(ModalScreen[T]):
    """Stands in front of the panels until it is answered."""

    def answer(self, result: T) -> None:
        """Goes away with this result, once: a key may be pressed again before it is gone."""
        if self.is_current:
            self.dismiss(result)


class Help(_Front[None]):
    """All keys, on one screen of 80 by 24."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "leave", "close", priority=True)
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

    def action_leave(self) -> None:
        """Goes back to the panels."""
        self.answer(None)


class Prompt(_Front[str]):
    """One line to type; nothing typed, or escape, is the empty text."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave")]

    def __init__(self, title: str, value: str = "") -> None:
        super().__init__()
        self._title = title
        self._value = value

    def compose(self) -> ComposeResult:
        """The line."""
        with Vertical(classes="line") as line:
            line.border_title = Text(self._title)
            yield Input(self._value, compact=True, select_on_focus=False)

    def on_mount(self) -> None:
        """Takes keys from now on: what was typed ahead is not lost."""
        self.set_focus(self.query_one(Input))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Hands over what was typed."""
        self.answer(event.value.strip())

    def action_leave(self) -> None:
        """Hands over nothing."""
        self.answer("")


class Blames(_Front[int]):
    """The events that gave a path its value, newest first, as they are found; choosing one goes
    to it. 0: none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,y", "leave", "leave", priority=True),
        Binding("j", "cursor(1)", "down", show=False),
        Binding("k", "cursor(-1)", "up", show=False),
    ]

    def __init__(self, path: str, found: list[tuple[int, Text]]) -> None:
        super().__init__()
        self._title = f"blame {path or '(the whole state)'}"
        self._found = found

    def compose(self) -> ComposeResult:
        """A line for each event."""
        with Vertical(classes="box") as box:
            box.border_title = Text(self._title)
            box.border_subtitle = "looking further back"
            yield OptionList(*(line for _, line in self._found))

    def add(self, found: list[tuple[int, Text]]) -> None:
        """Shows more, behind the others."""
        self._found += found
        self.query_one(OptionList).add_options(line for _, line in found)

    def end(self) -> None:
        """Shows that there are no more."""
        self.query_one(Vertical).border_subtitle = count(len(self._found), "event")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Goes to the event that was chosen."""
        self.answer(self._found[event.option_index][0])

    def action_cursor(self, by: int) -> None:
        """Moves down, or up."""
        options = self.query_one(OptionList)
        if by > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()

    def action_leave(self) -> None:
        """Goes nowhere."""
        self.answer(0)


class Whole(_Front[None]):
    """Some text that is longer than its place in a panel, to be scrolled through."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,v,enter", "leave", "close", priority=True),
        Binding("j", "scroll(1)", "down", show=False),
        Binding("k", "scroll(-1)", "up", show=False),
    ]

    def __init__(self, title: str, lines: list[Text]) -> None:
        super().__init__()
        self._title = title
        self._lines = lines

    def compose(self) -> ComposeResult:
        """The lines, as wide as the terminal."""
        with VerticalScroll(classes="whole") as box:
            box.border_title = Text(self._title)
            yield Static(Text("\n").join(self._lines))

    def action_scroll(self, by: int) -> None:
        """Scrolls a line down, or up."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def action_leave(self) -> None:
        """Goes back to the panels."""
        self.answer(None)
