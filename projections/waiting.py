"""Whether a row waits: an event of its key stands among the dead letters, so that the row is good
for the log up to that event and no further; or the row is owed, and good for nothing until it is
made from the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from eventstore.calls import FORKED
from eventstore.events import RecordedEvent

from .catalog import OWED, ask, own, tables
from .inheriting import effects_of, page_of, parts_of
from .projection import Key, key_name
from .sinks import Build
from .view import View

_LOOKED_AT = 200
"""Letters that are asked whether they are a row's; of a row that nobody can tell the key of, more
are taken to be."""

_KEYS_ASKED_MAX = 500
"""Keys in one question: databases bound the values of a statement."""


class Waiting(msgspec.Struct, frozen=True):
    """A key that is parked since a position. One whose rows are owed waits from the first position
    on: its letter does not say which event they lack."""

    key: str
    position: int


async def waits_since(view: View, build: Build, key: Key, at_least: int | None) -> Waiting | None:
    """The parked key that the row of `key` belongs to, as far as it can be told; None where it
    belongs to none. If cancelled, nothing is left open.

    A fold's row is named as its key. A map's row may be of any key: the event that made it says of
    which, or the event that is waited for. Where there is neither, a parked event that would touch
    the row is looked for, and one that fails before it says so is taken to be the row's.
    """
    mine = await _first(build, key_name(key))
    if mine is not None or view.projection.is_fold:
        return mine
    standing = await _standing(build)
    if not standing:
        return None
    found = await view.sink.find(build, [key])
    for position in [*[row.position for row in found], at_least or 0]:
        event = await _event(build, position)
        owner = None if event is None else (await _owner(view, build, event, key))[0]
        if owner is not None:
            return await _first(build, owner)
    told: tuple[int, RecordedEvent | None, tuple[str | None, bool]] = 0, None, (None, True)
    for owner, position in standing[:_LOOKED_AT]:
        if position != told[0]:  # a fork stands there with many letters, and is asked once
            event = await _event(build, position)
            said = (None, True) if event is None else await _owner(view, build, event, key)
            told = position, event, said
        if _is_of(owner, told[1], *told[2]):
            return await _first(build, owner)
    return _waiting(*standing[_LOOKED_AT]) if len(standing) > _LOOKED_AT else None


async def first_waiting(build: Build, keys: Sequence[str] | None = None) -> Waiting | None:
    """The key that has been parked longest, among these names of keys where they are given; None
    where none is. If cancelled, nothing is left open."""
    if keys is None:
        return _oldest(await _standing(build, 1))
    d, stands = _letters(build)
    found: list[tuple[str, int]] = []
    for start in range(0, len(keys), _KEYS_ASKED_MAX):
        part = d.c.key.in_(keys[start : start + _KEYS_ASKED_MAX])
        question = sa.select(d.c.key, d.c.position).where(stands, part).order_by(d.c.position)
        found += [(row[0], row[1]) for row in await ask(build.outbox, question.limit(1))]
    return _oldest(found)


async def time_of(build: Build, position: int) -> int:
    """When the event at a position was recorded; 0 before the first. If cancelled, nothing is left
    open."""
    event = await _event(build, position)
    return 0 if event is None else event.recorded_us


async def _owner(
    view: View, build: Build, event: RecordedEvent, key: Key
) -> tuple[str | None, bool]:
    """As which key the event, or what a fork inherits by it, makes or deletes the row, None where
    it does not; and whether its code fails, so that it cannot be told."""
    after = event.version - 1 if event.type != FORKED else 0
    is_unknown = False
    while page := await page_of(build.outbox, event, after):
        after = page[-1].event.version
        for part in parts_of(view.projection, page, ()):
            try:
                if any(effect.key == key for effect in effects_of(view.projection, part.each)):
                    return key_name(part.key), is_unknown
            except Exception:
                is_unknown = True
    return None, is_unknown


def _is_of(owner: str, event: RecordedEvent | None, name: str | None, is_unknown: bool) -> bool:
    """Whether the letter of `owner` may be the row's, which its event makes as the key `name`. A
    fork waits as each of its keys by itself; as its stream, for keys that could not be told."""
    if event is None or name is None:
        return is_unknown
    return event.type != FORKED or owner in (name, key_name(event.stream))


async def _event(build: Build, position: int) -> RecordedEvent | None:
    if position < 1:
        return None
    page = await build.outbox.page(position - 1, position, (), 1)
    return page.events[0] if page.events else None


async def _first(build: Build, key: str) -> Waiting | None:
    d, stands = _letters(build)
    question = sa.select(sa.func.min(d.c.position)).where(stands, d.c.key == key)
    first = (await ask(build.outbox, question))[0][0]
    return None if first is None else _waiting(key, first)


def _oldest(found: Sequence[tuple[str, int]]) -> Waiting | None:
    first = min(found, key=lambda each: each[1], default=None)
    return None if first is None else _waiting(*first)


def _waiting(key: str, position: int) -> Waiting:
    return Waiting(key, 1 if position == OWED else position)


async def _standing(build: Build, limit: int = _LOOKED_AT + 1) -> list[tuple[str, int]]:
    """(key, position) of what waits, the oldest first; before them what is `OWED`."""
    d, stands = _letters(build)
    question = sa.select(d.c.key, d.c.position).where(stands).order_by(d.c.position)
    rows = await ask(build.outbox, question.limit(limit))
    return [(row[0], row[1]) for row in rows]


def _letters(build: Build) -> tuple[sa.Table, Any]:
    d = tables(build.outbox.schema).letters
    stands = sa.or_(d.c.position > 0, d.c.position == OWED)
    return d, sa.and_(own(d, build), d.c.dropped_reason.is_(None), stands)
