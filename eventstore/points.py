"""Points of a history: which version to expect, and at which moment a state is asked for."""

from __future__ import annotations

import enum
from datetime import UTC, datetime

from .errors import InvalidEvent


class Expected(enum.Enum):
    """What an append takes for granted about its stream; an int means exactly that version."""

    ANY = "any version"
    NO_STREAM = "no stream"
    STREAM_EXISTS = "an existing stream"

    def __str__(self) -> str:
        return self.value


class Version(int):
    """A version of a stream, counted from 1; 0 is before its first event."""

    def __repr__(self) -> str:
        return f"Version({int(self)})"


class Position(int):
    """A position in the tenant's log, counted from 1; 0 is before its first event."""

    def __repr__(self) -> str:
        return f"Position({int(self)})"


class Occurred:
    """A moment of the source's own time (`occurred_at`), aware and inclusive."""

    __slots__ = ("at",)

    def __init__(self, at: datetime) -> None:
        to_microseconds(at, "Occurred")
        self.at = at

    def __repr__(self) -> str:
        return f"Occurred({self.at.isoformat()})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Occurred) and other.at == self.at

    def __hash__(self) -> int:
        return hash(("Occurred", self.at))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_MIN = -62_135_596_800_000_000
_MICROSECONDS_MAX = 253_402_300_799_999_999
"""Years 1 to 9999 in UTC: what a datetime can give back. A time zone can lie beyond them."""


def to_microseconds(moment: datetime, where: str) -> int:
    """Microseconds since 1970 in UTC. Raises `InvalidEvent` for a naive datetime."""
    if not isinstance(moment, datetime):
        raise InvalidEvent(f"{where}: a datetime, not {type(moment).__name__}")
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise InvalidEvent(f"{where}: naive datetime; give it a time zone")
    delta = moment - _EPOCH
    microseconds = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    if not _MICROSECONDS_MIN <= microseconds <= _MICROSECONDS_MAX:
        raise InvalidEvent(f"{where}: lies outside the years 1 to 9999 in UTC")
    return microseconds


def from_microseconds(microseconds: int) -> datetime:
    """The aware datetime, in UTC, of microseconds since 1970."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def check_expected(expected: object, where: str) -> Expected | int:
    """`expected` as the judge takes it. Raises `InvalidEvent` for anything else."""
    if isinstance(expected, Expected):
        return expected
    if isinstance(expected, Position):
        raise InvalidEvent(
            f"{where}: expected is a version of the stream, not {expected!r}, which counts in the"
            " whole log; AppendResult and Loaded have both"
        )
    if isinstance(expected, int) and not isinstance(expected, bool) and expected >= 0:
        return int(expected)
    raise InvalidEvent(f"{where}: expected is an Expected or a version from 0 on")
