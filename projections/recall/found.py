"""What a search answers, and what it may be limited to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from eventstore.points import to_microseconds

from ..errors import ProjectionError
from ..projection import Key


class Found(msgspec.Struct, frozen=True):
    """A row that was found, as it stands in the view. `score` is what the answers are ordered by:
    the cosine with what was asked for (-1 to 1), or in a hybrid search how far up the row stands
    by meaning and by words together (1: first by both). `value` is what the projection gave;
    `position` is that of the event that made the row."""

    key: Key
    score: float
    text: str
    value: dict[str, Any]
    position: int


class Recalled(list[Found]):
    """The rows that a search found, the best first, and what the answer is good for: everything up
    to `position` was looked through, which was recorded at `recorded_at` (None for an empty log).
    `stale` says that the view was further behind than its freshness budget."""

    def __init__(
        self, found: list[Found], position: int, recorded_at: datetime | None, stale: bool
    ) -> None:
        super().__init__(found)
        self.position = position
        self.recorded_at = recorded_at
        self.stale = stale


class Filters(msgspec.Struct, frozen=True):
    """What rows must be to be found; None: anything. Times in microseconds, `until_us` is the
    first one that is too late."""

    user: str | None = None
    type: str | None = None
    since_us: int | None = None
    until_us: int | None = None

    @property
    def is_any(self) -> bool:
        """Whether every row will do."""
        return self == _ANY

    def conditions(self, quote: str = "r.") -> tuple[str, list[Any]]:
        """SQL to be appended to a WHERE, and its arguments in order."""
        parts = [
            (f'{quote}"user" = ?', self.user),
            (f'{quote}"type" = ?', self.type),
            (f'{quote}"time" >= ?', self.since_us),
            (f'{quote}"time" < ?', self.until_us),
        ]
        said = [(sql, value) for sql, value in parts if value is not None]
        return "".join([f" AND {sql}" for sql, _ in said]), [value for _, value in said]


_ANY = Filters()


def filters(
    view: str,
    user: object,
    type: object,
    since: datetime | None,
    until: datetime | None,
) -> Filters:
    """The filters of a search. Raises `ProjectionError` for what is none."""
    return Filters(
        _text_or_none(view, "user", user),
        _text_or_none(view, "type", type),
        _time_or_none(view, "since", since),
        _time_or_none(view, "until", until),
    )


def _text_or_none(view: str, name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ProjectionError(f"view {view!r}: {name} is a text or None")


def _time_or_none(view: str, name: str, moment: object) -> int | None:
    if moment is None:
        return None
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        return to_microseconds(moment, name)
    raise ProjectionError(f"view {view!r}: {name} is an aware datetime or None")
