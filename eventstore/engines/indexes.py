"""What is said of rows of the indexes of tags and causes that the events do not bear out.

A filtered read, a condition and `caused_by` trust these indexes, so that a row too many or too few
changes what they answer. Engines with tables find such rows, each by statements of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .port import Damage

TOLD_MAX = 20
"""Rows that are told of each kind, as many as SQLite's own checker tells: more help nobody."""


def missing_rows(index: str, rows: Sequence[tuple[Any, ...]]) -> list[Damage]:
    """Damages for events (position, stream, version, name) that an index does not know by a name
    that they bear. There may be one row more than are told."""
    return _told(index, "an event bears {name!r}, and the index of {index} lacks it", rows)


def surplus_rows(index: str, rows: Sequence[tuple[Any, ...]]) -> list[Damage]:
    """Damages for rows of an index (position, stream, version, name) whose event bears no such
    name. Stream and version are None where no event stands at that position."""
    return _told(index, "the index of {index} has {name!r}, which no event bears there", rows)


def _told(index: str, says: str, rows: Sequence[tuple[Any, ...]]) -> list[Damage]:
    damages = []
    for position, stream, version, name in rows[:TOLD_MAX]:
        place = f"position {position}"
        if stream is not None:
            stream = _printable(stream)
            place = f"stream {stream!r} version {version} ({place})"
        said = says.format(name=None if name is None else _printable(name), index=index)
        damages.append(Damage("index", f"{place}: {said}", position, stream, version))
    if len(rows) > TOLD_MAX:
        damages.append(Damage("index", f"the index of {index} has more rows like these"))
    return damages


def _printable(name: str) -> str:
    # Bytes that are no UTF-8 stand in a damaged name as surrogates, which cannot be printed.
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
