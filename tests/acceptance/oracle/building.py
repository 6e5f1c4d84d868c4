"""Builds a session's course record by record, for the modules that read the sources.

Owns what is the same in all sources: calls are numbered as they are asked for, an answer belongs
to the call it names, money is added exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .stating import Called, Course, Remembered, Said, Spent, Stated, exact


class Building:
    """The state so far; `record` ends a record."""

    def __init__(self) -> None:
        self._now = Stated()
        self._after: list[Stated] = []
        self._ids: list[str | None] = []
        self._costs: list[float] = []
        self.shared: dict[str, Any] = {}

    @property
    def next_call(self) -> int:
        """The number that the next call gets."""
        return len(self._now.calls) + 1

    def says(self, said: Said) -> None:
        """Somebody says something."""
        self._now = self._now._replace(messages=(*self._now.messages, said))

    def asks(self, id: str | None, name: str, arguments: Any, requestor: str) -> None:
        """A tool call. An id that an earlier one has names that one; this one has none."""
        own = None if id in self._ids else id
        call = Called(own, name, exact(arguments), requestor)
        self._now = self._now._replace(calls=(*self._now.calls, call))
        self._ids.append(id)

    def waiting(self, id: str | None, name: str | None = None) -> int:
        """The number of the call that an answer is for: the oldest one without an answer that has
        this id, or this name where sources give no ids. There must be one."""
        for number in self._now.pending:
            if self._ids[number - 1] == id and name in (None, self._now.calls[number - 1].name):
                return number
        raise LookupError(f"nobody asked for the answer to {id!r} {name!r}")

    def answers(self, number: int, outcome: Any, failed: bool = False) -> None:
        """A call comes back. In these sources what a failed one gives is the text of its error."""
        calls = list(self._now.calls)
        calls[number - 1] = calls[number - 1]._replace(
            status="failed" if failed else "completed",
            outcome=exact(outcome),
            error=outcome if failed else None,
        )
        self._now = self._now._replace(calls=tuple(calls))

    def spends(self, usage: Sequence[int], cost: float = 0.0) -> None:
        """One more answer of a model, with its tokens in the order of `Spent`."""
        self._costs.append(cost)
        counts = [a + b for a, b in zip(self._now.spent[1:5], usage, strict=True)]
        total = Spent(self._now.spent.answers + 1, *counts, math.fsum(self._costs))
        self._now = self._now._replace(spent=total)

    def spent(self, spent: Spent) -> None:
        """Everything that was spent so far, where a source states it anew."""
        self._now = self._now._replace(spent=spent)

    def shares(self, delta: dict[str, Any]) -> None:
        """The session's shared state: each key gets its value, whole."""
        self.shared = {**self.shared, **delta}
        self._now = self._now._replace(shared=exact(self.shared))

    def remembers(self, memory: Remembered) -> None:
        """Something is remembered beyond the session."""
        self._now = self._now._replace(memories=(*self._now.memories, memory))

    def record(self) -> None:
        """A record of the source ends here."""
        self._after.append(self._now)

    def course(self, kind: str, key: tuple[object, ...], **end: Any) -> Course:
        """All of it; `end` is what the session's end makes of the state."""
        return Course(kind, key, Stated(), tuple(self._after), self._now._replace(**end))
