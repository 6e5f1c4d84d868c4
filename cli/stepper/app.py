"""The stepper on a terminal: keys become moves of the session, and the panels are drawn anew.

What a key asks for is short, and done before the next key is taken; jumps, searches, runs and
blames may be long: they are jobs, one at a time, that the next move or escape cancels.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Static
from textual.worker import WorkType

from eventstore import (
    Conflict,
    Corrupt,
    LogDiverged,
    RecordedEvent,
    Version,
)
from reducers import fork

from ..exits import explain
from ..expressions import Expression
from ..moments import parse_point
from ..rendering.events import show_time
from ..rendering.safe import visible
from .drawing import (
    amounts,
    blame_line,
    event_lines,
    shown_path,
    timeline_line,
    tree_line,
    value_lines,
)
from .panels import Panel, Scroll
from .screens import Blames, Help, Prompt, Whole
from .session import Session
from .tree import StateTree, told

STEP_FAR = 10
"""Events that ] and [ go at once."""

BLAMED_SHOWN = 200
"""Events listed of a blame, the newest: more than anybody reads through."""

BLAMED_PATH_WIDTH = 44
"""Columns of a path above its blame, on a box of 76."""

WHOLE_BORDER = 5
"""Columns that border, padding and scroll bar take from a value that is shown whole."""

WATCHED_SHOWN = 4
"""Watches and breakpoints that are shown; they stand below the panels, which need the room."""

HINT = "f forward  b back  g jump  / search  B break  c run  y why  ? keys  q quit"


class Stepper(App[None]):
    """The application. `failure` is the error that ended it, for the command to raise."""

    CSS_PATH = "stepper.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        # Before the panels' own, and so one key after the other: what is typed behind a key that
        # brings up a line goes into that line.
        Binding(keys, action, action, priority=True)
        for keys, action in (
            ("f,space,right", "step(1)"),
            ("b,left", "step(-1)"),
            ("right_square_bracket", f"step({STEP_FAR})"),
            ("left_square_bracket", f"step(-{STEP_FAR})"),
            ("home", "first"),
            ("end", "last"),
            ("g", "jump"),
            ("slash", "search"),
            ("n", "again(False)"),
            ("N", "again(True)"),
            ("B", "break"),
            ("c", "run(False)"),
            ("C", "run(True)"),
            ("w", "watch"),
            ("y", "why"),
            ("v", "view"),
            ("F", "fork"),
            ("down,j", "cursor(1)"),
            ("up,k", "cursor(-1)"),
            ("pagedown", "cursor(10)"),
            ("pageup", "cursor(-10)"),
            ("enter", "open"),
            ("h", "close"),
            ("x", "change"),
            ("escape", "stop"),
            ("question_mark", "help"),
            ("q,ctrl+c", "leave"),
        )
    ]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.failure: Exception | None = None
        self._tree = StateTree()
        self._timeline_scroll, self._tree_scroll = Scroll(), Scroll()
        self._event_top = 0
        self._searched = ""
        self._label = ""
        self._path = ""
        self._is_long = False

    def compose(self) -> ComposeResult:
        """A line about the place, the panels, watches, and a line of what is going on."""
        yield Static(id="place")
        with Horizontal():
            yield Panel("events", "timeline")
            yield Panel("state", "state")
            yield Panel("event", "event")
        yield Static(id="watches")
        yield Static(id="status")

    async def on_mount(self) -> None:
        """Draws the event that the session was opened at."""
        self.query_one("#state").focus()
        await self._take_step()

    async def on_panel_resized(self) -> None:
        """Draws for the new size."""
        await self._draw()

    # What keys do.

    async def action_step(self, by: int) -> None:
        """Goes some events forward or back."""
        await self._move(self.session.version + by)

    async def action_first(self) -> None:
        """Goes to the first event."""
        await self._move(1)

    def action_last(self) -> None:
        """Goes to the last event, also one that came since."""
        self._begin("folding", lambda: self._go(2**62))

    async def action_jump(self) -> None:
        """Asks where to."""
        await self._ask(
            "jump to a version, @position, or a time such as 2026-03-01T10:00Z", self._jump
        )

    async def action_search(self) -> None:
        """Asks what for."""
        await self._ask("search in types, actors, tags and payloads", self._search)

    def action_again(self, backwards: bool) -> None:
        """Searches on, or back."""
        if self._searched:
            self._begin("searching", lambda: self._seek(backwards))

    async def action_break(self) -> None:
        """Asks for an expression."""
        await self._ask("break when, for example usage.cost > 0.05", self._break)

    def action_run(self, backwards: bool) -> None:
        """Runs on, or back, to the next stop."""
        if self.session.breakpoints or self.session.watches:
            self._begin("running", lambda: self._run_on(backwards))
        else:
            self._say("nothing to stop at: B sets a breakpoint, w watches a path", "yellow")

    async def action_watch(self) -> None:
        """Watches the path under the cursor, or no longer."""
        row = self._tree.selected
        if row is None or row.hidden:
            return
        _toggle(self.session.watches, row.path)
        await self._draw()

    def action_why(self) -> None:
        """Blames the path under the cursor."""
        row = self._tree.selected
        if row is not None and not row.hidden:
            path = row.path
            self._begin("blaming", lambda: self._blame(path))

    async def action_view(self) -> None:
        """Shows the value under the cursor whole, and what it was before this event."""
        row = self._tree.selected
        if row is not None and not row.hidden:
            width = self.size.width - WHOLE_BORDER
            lines = value_lines(row, width)
            await self.push_screen(Whole(shown_path(row.path, width), lines))

    async def action_fork(self) -> None:
        """Asks for the new stream's name."""
        session = self.session
        name = f"{session.stream}-v{session.version}"
        await self._ask(f"fork at version {session.version} into", self._fork, name)

    async def action_cursor(self, by: int) -> None:
        """Moves in the panel that has the focus: the events, the state, the event's lines."""
        place = self.focused.id if self.focused is not None else "state"
        if place == "timeline":
            await self._move(self.session.version + by)
            return
        if place == "event":
            self._event_top += by
        else:
            self._tree.move(by)
        await self._draw()

    async def action_open(self) -> None:
        """Opens what is under the cursor."""
        self._tree.open()
        await self._draw()

    async def action_close(self) -> None:
        """Closes it, or what it stands in."""
        self._tree.close()
        await self._draw()

    async def action_change(self) -> None:
        """Goes to the next change in the state."""
        self._tree.next_change()
        await self._draw()

    def action_stop(self) -> None:
        """Cancels a job."""
        if self._cancel():
            self._say("stopped", "yellow")

    def action_leave(self) -> None:
        """Ends the program."""
        self.exit()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key may do it: what stands in front of the panels has keys of its own."""
        return len(self.screen_stack) == 1 or action == "quit"

    async def action_help(self) -> None:
        """Shows the keys."""
        await self.push_screen(Help())

    # Moves and jobs.

    async def _move(self, version: int) -> None:
        self._cancel()
        await self._guarded(lambda: self._go(version))

    async def _go(self, version: int) -> None:
        await self.session.go(version, self._progress)
        await self._take_step()

    async def _jump(self, text: str) -> None:
        await self._go(await self.session.find(parse_point(text)))

    async def _search(self, text: str) -> None:
        self._searched = text
        await self._seek(False)

    async def _seek(self, backwards: bool) -> None:
        found = await self.session.search(
            self._searched, backwards=backwards, progress=self._progress
        )
        if found is None:
            where = "before" if backwards else "after"
            self._say(f"{self._searched!r} is in no event {where} this one", "yellow")
            return
        await self._go(found)
        self._say(f"{self._searched!r}  n: next, N: the one before")

    async def _break(self, text: str) -> None:
        text = text.removeprefix("when:").strip()
        found = next((each for each in self.session.breakpoints if each.text == text), None)
        if found is None:
            expression = Expression(text)
            if self.session.step is not None:
                expression(self.session.step.after)  # a field that can never come is told now
            self.session.breakpoints.append(expression)
        else:
            self.session.breakpoints.remove(found)
        await self._draw()

    async def _run_on(self, backwards: bool) -> None:
        found = await self.session.run(backwards=backwards, progress=self._progress)
        if found is None:
            names = ", ".join(
                name for each in self.session.breakpoints for name in each.never_found
            )
            never = f"; no state had {names}" if names else ""
            where = "before" if backwards else "after"
            self._say(f"no stop {where} this event{never}", "yellow")
            return
        await self._go(found[0])
        self._say(found[1], "green")

    async def _blame(self, path: str) -> None:
        front: Blames | None = None
        async for found in self.session.blame(path, BLAMED_SHOWN, self._progress):
            lines = [(each.event.version, blame_line(each)) for each in found]
            if front is None:
                front = Blames(shown_path(path, BLAMED_PATH_WIDTH), lines)
                await self.push_screen(front, self._chosen)
            elif front.is_current:
                front.add(lines)
            else:
                return  # who has seen enough needs no more
        if front is None:
            self._say(f"no event changed {path}: it is as it was at the start", "yellow")
        else:
            front.end()
            self._say(HINT, "dim")

    async def _chosen(self, version: int | None) -> None:
        self._cancel()
        self._say(HINT, "dim")
        if version:
            self._begin("folding", lambda: self._go(version))

    async def _fork(self, into: str) -> None:
        session = self.session
        try:
            result = await fork(
                session.store,
                session.stream,
                at=Version(session.version),
                into=into,
            )
        except Conflict:
            self._say(f"there is a stream {into!r} already: choose another name", "red")
            return
        self._say(f"{into} begins as this stream up to version {result.version - 1}", "green")

    async def _ask(
        self, title: str, answered: Callable[[str], Awaitable[None]], value: str = ""
    ) -> None:
        def take(text: str | None) -> None:
            if text:
                self._begin("working", lambda: answered(text))

        self._cancel()
        await self.push_screen(Prompt(title, value), take)

    def _begin(self, label: str, job: Callable[[], Awaitable[None]]) -> None:
        """Starts a job in the place of the one that runs."""
        self._cancel()
        self._label = label

        # The function and not its coroutine: a job may be cancelled before it begins.
        work: WorkType[None] = partial(self._guarded, job)
        self.run_worker(work, group="job", exclusive=True)

    def _cancel(self) -> bool:
        return bool(self.workers.cancel_group(self, "job"))

    async def _guarded(self, job: Callable[[], Awaitable[None]]) -> None:
        """Runs it; its errors stand in the status line, damage of the log ends the program."""
        try:
            await job()
        except (Corrupt, LogDiverged) as error:
            self.failure = error
            self.exit()
        except Exception as error:
            # Also what a reducer of the user's own raises; of that only kind and place are told.
            self._say(explain(error)[1].removeprefix("eventstore: "), "red")

    def _handle_exception(self, error: Exception) -> None:
        self.failure = self.failure or error
        super()._handle_exception(error)

    def _fatal_error(self) -> None:
        # Textual would print a traceback with the values of its variables: payloads are among them.
        self._close_messages_no_wait()

    # What is shown.

    def _progress(self, done: int, total: int) -> None:
        self._say(f"{self._label} {done:,} of {total:,}  (esc stops)", "cyan")

    def _say(self, text: str, style: str = "") -> None:
        """Tells something in the line at the bottom; in more lines where it needs them."""
        shown = Text(visible(text), style)
        is_long = shown.cell_len > self.size.width - 2
        # To lay the screen out takes longer than to step: only where the line's height changes.
        self.query_one("#status", Static).update(shown, layout=is_long or self._is_long)
        self._is_long = is_long

    async def _take_step(self) -> None:
        """Shows the step that the session has gone to."""
        step = self.session.step
        if step is not None:
            self._event_top = 0
            self._tree.show(step.after, step.changes)
            self._say(HINT, "dim")
            await self._draw()

    async def _draw(self) -> None:
        """Draws everything anew, of what is in memory and the pages that the timeline needs."""
        session = self.session
        if session.step is None:
            return
        size = self._panel("timeline").content_size
        if not size.height:
            return  # not laid out yet: it is drawn when it is
        shown = self._timeline_scroll.follow(session.version - 1, session.last, size.height)
        events = await session.events(shown.start + 1, shown.stop)
        digits = len(str(session.last))
        self._panel("timeline").show(
            [
                timeline_line(event, size.width, digits, event.version == session.version)
                for event in events
            ]
        )
        self._draw_state()
        self._draw_event(session.step.event)
        self._draw_place(session.step.event)

    def _draw_state(self) -> None:
        panel, tree = self._panel("state"), self._tree
        size = panel.content_size
        shown = self._tree_scroll.follow(tree.cursor, len(tree.rows), size.height)
        panel.show([tree_line(tree.rows[each], size.width, each == tree.cursor) for each in shown])
        path = tree.selected.path if tree.selected is not None else ""
        path = shown_path(path, max(size.width - 4, 1))
        if self._path != path:  # it draws the whole panel anew
            self._path = path
            panel.border_subtitle = Text(path)

    def _draw_event(self, event: RecordedEvent) -> None:
        panel = self._panel("event")
        lines = event_lines(event, panel.content_size.width)
        height = panel.content_size.height
        self._event_top = max(0, min(self._event_top, len(lines) - height))
        shown = lines[self._event_top : self._event_top + height]
        left = len(lines) - self._event_top - height
        if left > 0 and shown:
            shown[-1] = Text(f"... {left + 1:,} more lines", "dim")
        panel.show(shown)

    def _draw_place(self, event: RecordedEvent) -> None:
        session = self.session
        place = Text(visible(session.stream), "bold cyan")
        place.append(f"  reducer {visible(session.reducer.name)}", "dim")
        place.append(f"  {amounts(session.version, session.last)}", "bold")
        place.append(f"  {show_time(event.recorded_at)}", "dim")
        self.query_one("#place", Static).update(place)
        lines = [Text(f"when {each.text}", "magenta") for each in session.breakpoints]
        for path in session.watches:
            line = Text(f"watch {visible(path)}  ", "magenta")
            lines.append(line.append(told(session.look(path), self.size.width), ""))
        more = len(lines) - WATCHED_SHOWN
        if more > 0:
            lines = [*lines[: WATCHED_SHOWN - 1], Text(f"... {more + 1} more", "dim")]
        watches = self.query_one("#watches", Static)
        watches.display = bool(lines)
        watches.update(Text("\n", no_wrap=True, overflow="ellipsis").join(lines))

    def _panel(self, name: str) -> Panel:
        return self.query_one(f"#{name}", Panel)


def _toggle(paths: list[str], path: str) -> None:
    if path in paths:
        paths.remove(path)
    else:
        paths.append(path)
