"""Folds by key: the states that a relay keeps at hand while it feeds a fold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from eventstore.events import RecordedEvent
from reducers import fold

from .errors import ProjectionError
from .projection import Key, Projection, key_name

STATES_MAX = 50_000
"""States at hand: beyond it the oldest half is let go, and read again when needed."""

KNOWN_MAX = 4_096
"""Large states of which it is known that they come back: each holds on to its last one, of which
`STATES_MAX` has most at hand as well."""


class Folder:
    """The states of keys (by their text), each with the position of its last event."""

    def __init__(self, projection: Projection) -> None:
        reducer = projection.reducer
        if reducer is None:
            raise AssertionError("a map has no states")
        self._projection = projection
        self._reducer = reducer
        self._codec = reducer.codec()
        self._states: dict[str, tuple[int, Any]] = {}
        self._known: dict[str, Any] = {}  # of large states: what their codec knows of them

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those whose state is not at hand."""
        return [key for key in dict.fromkeys(keys) if key not in self._states]

    def take(self, kept: Mapping[str, tuple[int, bytes]], absent: Iterable[str] = ()) -> None:
        """Puts stored states at hand, and the first state of keys that have none."""
        for key in absent:
            if key not in kept:
                self._states[key] = 0, self._reducer.initial
        for key, (position, encoded) in kept.items():
            try:
                self._states[key] = position, self._codec.decode(encoded)
            except Exception as exc:
                raise ProjectionError(
                    f"projection {self._projection.name!r}: the state kept for key {key!r} does not"
                    " fit the code: raise version, or rebuild it"
                ) from exc

    def apply(self, key: str, event: RecordedEvent) -> None:
        """Takes an event into the state of the key (its text), unless it has it. Raises what the
        reducer raises; the state is then what it was."""
        position, state = self._states.get(key) or (0, self._reducer.initial)
        if event.position > position:
            self._states[key] = event.position, fold((event,), self._reducer, state)

    def inherit(self, key: str, event: RecordedEvent, position: int) -> None:
        """Takes an event that a fork inherits into the state of the key, whatever that has: the
        fork stands at `position`, far behind the event. Raises as `apply`."""
        _, state = self._states.get(key) or (0, self._reducer.initial)
        self._states[key] = position, fold((event,), self._reducer, state)

    def row(self, key: Key) -> Any:
        """The key's value as it stands, None where there is no row. Raises what the projection's
        `row` raises."""
        _, state = self._states.get(key_name(key)) or (0, self._reducer.initial)
        return self._projection.row(key, state)

    def encoded(self, keys: Iterable[str]) -> list[tuple[str, int, bytes]]:
        """(key, position, bytes) of states, as they are kept."""
        found = []
        for key in keys:
            position, state = self._states[key]
            encoded, known = self._codec.encode_after(state, self._known.pop(key, None))
            if known is not None:
                if len(self._known) >= KNOWN_MAX:
                    self._known.clear()
                self._known[key] = known
            found.append((key, position, encoded))
        return found

    def begin(self, key: str) -> None:
        """Puts the first state of a key at hand, whatever is kept of it."""
        self._states[key] = 0, self._reducer.initial

    def restore(self, states: Mapping[str, tuple[int, Any] | None]) -> None:
        """Goes back to what `peek` gave: a page that was not written did not happen."""
        for key, state in states.items():
            if state is None:
                self._states.pop(key, None)
            else:
                self._states[key] = state

    def peek(self, key: str) -> tuple[int, Any] | None:
        """The key's state as it stands, to go back to."""
        return self._states.get(key)

    def let_go(self) -> None:
        """Bounds what is at hand, between two pages."""
        if len(self._states) > STATES_MAX:
            for key in list(self._states)[: len(self._states) // 2]:
                del self._states[key]
