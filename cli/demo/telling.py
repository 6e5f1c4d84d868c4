"""Showing the demo: everything printed here was read back through the public API.

Headings say what kind of thing follows; names, versions, texts and numbers come from the store.
"""

from __future__ import annotations

import shlex

from eventstore import EventStore, Version
from reducers import diff, replay
from reducers.agent import agent

from ..program import program_call
from ..rendering.agent_state import overview
from ..rendering.diffs import change_line, change_lines, summary_line
from ..rendering.events import step_title
from ..rendering.screen import Line, Screen
from ..rendering.values import count
from .acting import Asked, Moment, Refused, Repeated, mailbox_of

REPLAYED_TYPES = ("tool.", "memory.", "approval.")
"""Which steps the replay shows: the log above had all of them."""


WORDS_SHOWN = 400
"""Characters of an event's words: people talk here, and are shown in full."""


class Telling:
    """Shows a session while it happens, and then what became of it."""

    def __init__(self, screen: Screen, store: EventStore, stream: str) -> None:
        self._screen = screen
        self._store = store
        self._stream = stream
        self._shown = 0
        self._conflicts: list[Refused] = []

    def heading(self, title: str, detail: str = "") -> None:
        """A line that says what follows."""
        self._screen.line()
        self._screen.line((title, "bold cyan"), (f"  {detail}" if detail else "", "dim"))

    async def moment(self, moment: Moment) -> None:
        """Shows what the API gave back, then the events that the log has since."""
        if isinstance(moment, Refused):
            await self._new_events()
            self._conflicts.append(moment)
            self._conflict(moment)
            return
        if isinstance(moment, Asked):
            self._asked(moment)
        elif isinstance(moment, Repeated):
            same = "nothing is written twice" if moment.result.duplicate else "written"
            self._note(
                f"append again under {moment.key!r}: {same}, version {moment.result.version}"
            )
        await self._new_events()

    async def _new_events(self) -> None:
        async for event in self._store.read(self._stream, after=self._shown):
            self._shown = event.version
            self._screen.text("  ", *step_title(event, WORDS_SHOWN))

    def _conflict(self, moment: Refused) -> None:
        conflict = moment.conflict
        self._screen.text(
            ("  conflict  ", "bold red"),
            f"{moment.actor} expected version {conflict.expected}, found {conflict.actual};"
            f" not written: {conflict.next_step}. Missed:",
        )
        for event in conflict.events:
            self._screen.text("            ", *step_title(event, WORDS_SHOWN))

    def _asked(self, moment: Asked) -> None:
        found = "nothing, so it is to be done"
        if moment.result is not None:
            found = f"version {moment.result.version}, so it is done and not done again"
        self._note(f"lookup {moment.key!r} before attempt {moment.attempt}: {found}")

    def _note(self, text: str) -> None:
        self._screen.text(("  key       ", "bold yellow"), text)

    async def afterwards(self) -> None:
        """What became of it: mails, state, diff and replay."""
        mailbox = mailbox_of(self._stream.removeprefix("session/"))
        self.heading("the world outside", mailbox)
        mails = await self._store.read(mailbox).list()
        self._screen.text(f"  {count(len(mails), 'mail')} sent")
        for event in mails:
            self._screen.text("  ", *step_title(event, WORDS_SHOWN))
        await self._state()
        for refused in self._conflicts:
            await self._diff(refused)
        await self._replay()

    async def _state(self) -> None:
        loaded = await agent.load(self._store, self._stream)
        self.heading("state", f"{self._stream} at version {loaded.version}")
        for line in overview(loaded.state, self._screen.width - 2):
            self._screen.line(*self._indented(line))

    async def _diff(self, refused: Refused) -> None:
        """From what both saw to what both wrote: nothing of either is lost."""
        conflict = refused.conflict
        seen = conflict.actual - len(conflict.events)
        before = await agent.load(self._store, self._stream, at=Version(seen))
        after = await agent.load(self._store, self._stream, at=Version(conflict.actual + 1))
        self.heading("diff", f"{self._stream} version {before.version} to {after.version}")
        changes = diff(before.state, after.state)
        for change in changes:
            for line in change_lines(change, "  "):
                self._screen.text(*line)
        self._screen.line((f"  {summary_line(changes)}", "dim"))

    async def _replay(self) -> None:
        events = await self._store.read(self._stream).list()
        self.heading("replay", f"{self._stream}, tools, memory and approvals")
        for step in replay(events, agent):
            if not step.event.type.startswith(REPLAYED_TYPES):
                continue
            self._screen.text("  ", *step_title(step.event, WORDS_SHOWN))
            for change in step.changes:
                self._screen.line(*change_line(change, "        ", self._screen.width))

    def commands(self, path: str, tenant: str | None) -> list[str]:
        """Three commands that go on from here, on the file that stays."""
        store = f"--store {shlex.quote(path)}"
        if tenant is not None:
            store += f" --tenant {shlex.quote(tenant)}"
        stream, call = shlex.quote(self._stream), program_call()
        point = self._conflicts[0].conflict.actual if self._conflicts else 1
        return [
            f"{call} log {stream} {store}",
            f"{call} diff {stream} {point} {self._shown} {store}",
            f"{call} state {stream} --at {point} {store}",
        ]

    @staticmethod
    def _indented(line: Line) -> Line:
        return ["  ", *line] if line else line
