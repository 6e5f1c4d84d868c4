"""The state as an outline that unfolds: rows for what is open, marks for what an event changed.

Only what is open is looked at, and of a long container only its beginning, its end and what
changed, so that a row costs the same in a state of any size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from immutables import Map
from msgspec import Struct

from reducers import Change, to_json
from reducers.json_form import MISSING, items, members
from reducers.pointers import child, join, split

from ..rendering.safe import one_line
from ..rendering.values import short

SHOWN_FIRST, SHOWN_LAST = 20, 3
"""Members shown of the beginning and the end of a container; what lies between is one row."""

SHOWN_MORE = 100
"""Members that a row "... more" unfolds at a time."""

CHANGES_MARKED = 200
"""Changes of one event whose place is marked and unfolded; of more, nobody sees which."""

SORTED_MAX = 1_000
"""Members that are sorted, in a millisecond or two; of more, some are shown as they come."""

OPENED_MAX = 12
"""Members of an added container that is opened by itself: what it holds is what changed."""

OPENED_DEPTH = 3
"""Levels of an added container that are opened by themselves: down to a message's text."""

ROWS_MAX = 2_000
"""Rows of an outline: nobody scrolls through more."""

MARKS = {"add": "+", "remove": "-", "replace": "~"}
INSIDE = "*"
"""Marks what holds a change."""


class Row(Struct, frozen=True):
    """One line: the member `name` at `path`. `mark` tells what the event did to it; `is_open` is
    None for what cannot be opened; `hidden` counts the members that stand for "... more"."""

    path: str
    depth: int
    name: str
    value: Any
    mark: str = ""
    is_open: bool | None = None
    before: Any = MISSING
    hidden: int = 0


class StateTree:
    """Which parts of a state are open, where the cursor is, and the rows to show."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.cursor = 0
        self._follows = True
        self._state: Any = None
        self._opened: dict[str, bool] = {}
        self._more: dict[str, int] = {}
        self._marks: dict[str, str] = {}
        self._touched: dict[str, list[str]] = {}
        self._removed: dict[str, list[Change]] = {}
        self._before: dict[str, Any] = {}

    @property
    def selected(self) -> Row | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.rows else None

    def show(self, state: Any, changes: Iterable[Change]) -> None:
        """Takes another state, and what led to it. The cursor goes to the first change, so that
        it is seen; once its user has put it somewhere, it stays at that path as long as that is
        there."""
        at = self.selected.path if self.selected is not None else None
        self._state = state
        self._mark(changes)
        self._lay_out()
        places = [index for index, row in enumerate(self.rows) if row.path == at]
        changed = self._changed()
        ways = (changed, places) if self._follows else (places, changed)
        self.cursor = next((way[0] for way in ways if way), 0)

    def move(self, by: int) -> None:
        """Moves the cursor, as far as there are rows."""
        self.cursor = max(0, min(self.cursor + by, len(self.rows) - 1))
        self._follows = False

    def next_change(self) -> None:
        """Moves the cursor to the next row that the event changed, from the last to the first;
        from then on it goes to the changes again."""
        marked = self._changed()
        self._follows = True
        if marked:
            self.cursor = next((index for index in marked if index > self.cursor), marked[0])

    def open(self) -> None:
        """Opens what is under the cursor, or shows more of it."""
        row = self.selected
        if row is None:
            return
        self._follows = False
        if row.hidden:
            self._more[row.path] = self._more.get(row.path, SHOWN_FIRST) + SHOWN_MORE
        elif row.is_open is False:
            self._opened[row.path] = True
        self._lay_out()

    def close(self) -> None:
        """Closes what is under the cursor; where that is not open, what it stands in."""
        row = self.selected
        if row is None:
            return
        self._follows = False
        path = row.path
        if not row.is_open:
            path = row.path if row.hidden else row.path.rpartition("/")[0]
        if path:
            self._opened[path] = False
            self._lay_out()
            self.cursor = next((i for i, row in enumerate(self.rows) if row.path == path), 0)

    def _changed(self) -> list[int]:
        """The rows that the event changed, those that only hold a change left out."""
        return [index for index, row in enumerate(self.rows) if row.mark in MARKS.values()]

    def _mark(self, changes: Iterable[Change]) -> None:
        self._marks, self._touched, self._removed, self._before = {}, {}, {}, {}
        for number, change in enumerate(changes):
            if number == CHANGES_MARKED:
                break
            names = split(change.path)
            parent = join(names[:-1])
            if change.op == "remove":
                self._removed.setdefault(parent, []).append(change)
            else:
                self._marks[change.path] = MARKS[change.op]
            if change.op == "replace":
                self._before[change.path] = change.before
            for depth in range(len(names) - (change.op == "remove")):
                self._touched.setdefault(join(names[:depth]), []).append(names[depth])
            for depth in range(1, len(names)):
                self._marks.setdefault(join(names[:depth]), INSIDE)

    def _lay_out(self) -> None:
        self.rows = []
        for row in self._walk(self._state, "", 0, 0):
            self.rows.append(row)
            if len(self.rows) == ROWS_MAX:
                break
        self.cursor = max(0, min(self.cursor, len(self.rows) - 1))

    def _walk(self, value: Any, path: str, depth: int, added: int) -> Iterator[Row]:
        """The rows of a container; `added` levels of it belong to what was added above."""
        if size(value) is None:
            before = self._before.get(path, MISSING)
            yield Row(path, depth, "(state)", value, self._marks.get(path, ""), None, before)
            return
        for name, item, hidden in self._members(value, path):
            if hidden:
                yield Row(path, depth, f"... {hidden:,} more", None, hidden=hidden)
                continue
            at = path + join([name])
            mark = self._marks.get(at, "")
            levels = OPENED_DEPTH if mark == MARKS["add"] else added
            is_open = self._is_open(at, mark, size(item) or 0, levels > 0)
            yield Row(at, depth, name, item, mark, is_open, self._before.get(at, MISSING))
            if is_open:
                yield from self._walk(item, at, depth + 1, max(levels - 1, 0))
        for change in self._removed.get(path, ()):
            name = split(change.path)[-1]
            yield Row(change.path, depth, name, change.before, MARKS["remove"])

    def _is_open(self, path: str, mark: str, count: int, is_added: bool) -> bool | None:
        """Whether it is: as the user left it, else where it shows what changed."""
        if not count:
            return None
        shows = mark == INSIDE or (is_added and count <= OPENED_MAX)
        return self._opened.get(path, shows)

    def _members(self, value: Any, path: str) -> Iterator[tuple[str, Any, int]]:
        """Name, value and 0 of each member that is shown; a number for those that are left out."""
        first = self._more.get(path, SHOWN_FIRST)
        touched = set(self._touched.get(path, ()))
        listed = items(value)
        if listed is None:
            yield from _named(value, first, touched)
            return
        sequence: Any = listed
        count = len(sequence)
        shown = {*range(min(first, count)), *range(max(count - SHOWN_LAST, 0), count)}
        shown |= {int(name) for name in touched if name.isdigit() and int(name) < count}
        at = 0
        for index in sorted(shown):
            if index > at:
                yield "", None, index - at
            yield str(index), sequence[index], 0
            at = index + 1


def _named(value: Any, first: int, touched: set[str]) -> Iterator[tuple[str, Any, int]]:
    names = _names(value, first)
    count = size(value) or 0
    if isinstance(value, (dict, Map)):
        names = sorted({*names, *(name for name in touched if child(value, name) is not MISSING)})
    for name in names:
        yield name, child(value, name), 0
    if count > len(names):
        yield "", None, count - len(names)


def _names(value: Any, first: int) -> list[str]:
    """The first names of an object: a class's fields in their order, a map's by name. A large
    map shows those that it comes to first: to sort it takes longer than a step may."""
    if not isinstance(value, (dict, Map)):
        return list(members(value) or {})
    names = list(value if len(value) <= SORTED_MAX else islice(value, first))
    if not all(isinstance(name, str) for name in names):
        names = list(members(value) or {})
    return sorted(names)[:first]


def size(value: Any) -> int | None:
    """How many members or items there are; None for what has none."""
    if isinstance(value, (dict, Map)):
        return len(value)
    there: Any = items(value)
    if there is None:
        there = members(value)
    return None if there is None else len(there)


def told(value: Any, width: int) -> str:
    """A value on one line: a container by its size, because it may be as large as it likes."""
    if value is MISSING:
        return "(nothing)"
    count = size(value)
    if count is None:
        return short(value if isinstance(value, str) else to_json(value), width)
    return one_line(f"[{count:,}]" if items(value) is not None else f"{{{count:,}}}", width)
