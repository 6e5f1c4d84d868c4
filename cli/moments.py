"""Reading points of a history off the command line: a version, ``@position``, or an ISO time."""

from __future__ import annotations

import re
from datetime import datetime

from eventstore import EventStore, Occurred, Position, Version

from .exits import Stop, wrong_usage

Point = Version | Position | datetime | Occurred

_VERSION = re.compile(r"[0-9]{1,18}")
_POSITION = re.compile(r"@[0-9]{1,18}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?")


def is_point(text: str) -> bool:
    """Whether `text` reads as a point; anything else is the name of a stream."""
    return any(form.fullmatch(text) for form in (_VERSION, _POSITION, _TIME))


def parse_point(text: str, *, occurred: bool = False) -> Point:
    """The point that `text` names: ``12``, ``@900``, ``2026-03-01T10:00:00Z``.

    With `occurred` a time is the source's own, otherwise the time of recording. Raises `Stop`
    (exit code 2) for anything else, also for a time without a zone.
    """
    if _VERSION.fullmatch(text):
        return Version(text)
    if _POSITION.fullmatch(text):
        return Position(text[1:])
    if _TIME.fullmatch(text):
        moment = parse_time(text)
        return Occurred(moment) if occurred else moment
    raise wrong_usage(
        f"{text!r} is no point in a stream", "give a version (12), @position, or an ISO time"
    )


def parse_time(text: str) -> datetime:
    """The aware datetime of an ISO 8601 text. Raises `Stop` (exit code 2)."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise wrong_usage(
            f"{text!r} is no ISO time", "write it like 2026-03-01T10:00:00Z"
        ) from None
    if moment.tzinfo is None:
        day_only = _DAY.fullmatch(text) is not None
        example = f"{text}T00:00:00Z" if day_only else f"{text}Z"
        raise wrong_usage(f"the time {text!r} has no zone", f"add one, for example {example}")
    return moment


async def check_point(store: EventStore, stream: str, point: Point | None) -> None:
    """Refuses a version or position beyond the end, where a typing error would show as the
    latest state. Raises `Stop` (exit code 1). If cancelled, nothing is left open."""
    if isinstance(point, Version):
        last = await store.version(stream)
        if point > last:
            raise Stop(
                f"stream {stream!r} ends at version {last}, there is no version {int(point)}",
                next_step=f"see eventstore log {stream}",
            )
    elif isinstance(point, Position):
        head = await store.head()
        if point > head:
            raise Stop(
                f"the log ends at position {head}, there is no position {int(point)}",
                next_step="see eventstore log",
            )


async def beginning(store: EventStore, stream: str) -> str:
    """Where a stream begins, for who asked for a point before that: in words, with the times that
    there are. If cancelled, nothing is left open."""
    (first,) = await store.read(stream, limit=1).list()
    occurred = "" if first.occurred_at is None else f", occurred {_shown(first.occurred_at)}"
    return (
        f"{stream} begins with version 1 at position {first.position},"
        f" recorded {_shown(first.recorded_at)}{occurred}"
    )


def _shown(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
