"""Defects that are seeded into an engine, so that the oracles of this suite are seen to turn red.

Each is a mistake that a store of this kind is known to make. They are put in from outside, into
the one process that is to be wrong (and, on PostgreSQL, into the database that it makes); the
engines have no switch for them. `defects_sqlite.py` and `defects_postgres.py` hold those of one
engine, this module those of what both stand on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from hashlib import sha256

from eventstore import InvalidEvent, calls
from eventstore.engines import rows

LEAD_SECONDS = 0.02
"""How far an answer that comes too early is ahead of its commit."""

NOBODY = "nobody"
"""Who holds a lease in place of a relay that is still to come."""

OURS = [
    "saves its checkpoint before the effect",
    "syncs less than FULL",
    "answers before the server's log is on the disk",
]
"""Mistakes of who uses the store, which it cannot prevent and the oracle must see."""

_defects: dict[tuple[str, str], Callable[[], None]] = {}
_seeded: set[str] = set()


def seed_defect(engine: str, name: str) -> None:
    """Makes this process wrong in that way."""
    _seeded.add(name)
    if (engine, name) in _defects:
        _defects[engine, name]()
    else:
        OURS.index(name)  # an unknown one would prove nothing


def in_force(name: str) -> bool:
    """Whether a defect of `OURS` was seeded: those are in what this suite itself does."""
    return name in _seeded


def defect(engine: str, name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Registers a defect of an engine."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        _defects[engine, name] = function
        return function

    return register


@defect("postgres", "accepts any name")
@defect("sqlite", "accepts any name")
def _accepts_any_name() -> None:
    check_name = calls.check_name

    def lenient(kind: str, value: object) -> str:
        return value if isinstance(value, str) else check_name(kind, value)

    calls.check_name = lenient


def _shown(data: object) -> str:
    try:
        return repr(data)
    except RecursionError:  # which another oracle would take for the defect
        return "something deep"


@defect("postgres", "shows the payload in an error")
@defect("sqlite", "shows the payload in an error")
def _shows_the_payload() -> None:
    encode = calls._encode_data

    def talkative(name: str, data: object, index: int) -> object:
        try:
            return encode(name, data, index)
        except InvalidEvent as exc:
            raise InvalidEvent(f"{exc}: {_shown(data)}") from exc

    calls._encode_data = talkative  # type: ignore[assignment]


@defect("postgres", "shows the payload in a log line")
@defect("sqlite", "shows the payload in a log line")
def _logs_the_payload() -> None:
    encode = calls._encode_data

    def talkative(name: str, data: object, index: int) -> object:
        logging.getLogger("eventstore").debug("event %d: %s", index, _shown(data))
        return encode(name, data, index)

    calls._encode_data = talkative  # type: ignore[assignment]


@defect("postgres", "serves what does not match its hash")
@defect("sqlite", "serves what does not match its hash")
def _serves_damage() -> None:
    class Agrees(bytes):
        def __ne__(self, other: object) -> bool:
            return False

    class Digest:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def digest(self) -> bytes:
            return Agrees(sha256(self._data).digest())

    rows.sha256 = Digest  # type: ignore[assignment]
