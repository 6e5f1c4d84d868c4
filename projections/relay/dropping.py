"""Giving an event up, with a reason: every generation of the view leaves it out.

A generation that has not come to the event passes it over. One that waits at it goes on behind it.
One that has applied it, because its code is another one or was mended, builds the event's key again
from the log without it. So what follows the log live is what a rebuild would make.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from eventstore.outbox import Statement

from ..catalog import RETIRED, STOPPED, ask, generations, own, tables
from ..errors import ProjectionError
from ..sinks import Build
from . import letters
from .generations import alone


class Failed(msgspec.Struct, frozen=True):
    """Where an event failed: a generation, and whether it is a dead letter there or what the view
    stopped at."""

    build: Build
    position: int
    is_letter: bool


async def find_failed(build: Build, key: str, position: int | None = None) -> Failed | None:
    """The event that a key is parked for (or the one at `position`), in this generation or else in
    another one that serves or is being built. If cancelled, nothing is left open."""
    others = [
        each
        for each in await generations(build.outbox, build.tenant_id, build.view)
        if each.state != RETIRED and each.generation != build.generation
    ]
    places = [build] + [each.build(build.outbox, build.view, build.tenant_id) for each in others]
    for place in places:
        for letter in await letters.waiting(place, [key]):
            if position is None or letter.position == position:
                return Failed(place, letter.position, True)
    for place in places:
        if position is not None and await _stopped_at(place, position):
            return Failed(place, position, False)
    return None


async def drop(build: Build, key: str, reason: str, position: int | None = None) -> int:
    """Gives up the event of a key that failed (or the one at `position`), and asks that the rest
    be tried; the position of the audit event.

    The reason is appended to the log first, as ``$view.dropped`` in the stream ``$views/NAME``.
    Every generation gives it up, in whichever it failed; it is looked for in this one first. An
    event at which the view stopped, which is no dead letter, is named by its position. Raises
    `ProjectionError` where nothing waits, and where the event was delivered in the meantime: then
    ``$view.kept``, with the same data, takes the audit event back, and nothing is dropped. If
    cancelled, the audit event may stand and the letter too: drop it again.
    """
    if not isinstance(reason, str) or not reason.strip():
        raise ProjectionError(f"view {build.view!r}: dropping an event needs a reason")
    found = await find_failed(build, key, position)
    if found is None:
        raise ProjectionError(f"view {build.view!r}: no dead letter of key {key!r}")
    outbox, build, position = build.outbox, found.build, found.position
    said = {"view": build.view, "key": key, "position": position, "reason": reason}
    audit = await outbox.tell(f"$views/{build.view}", "$view.dropped", said)
    mine = letters.give_up_waiting(build, key, position, reason) if found.is_letter else []
    done = {build.generation} if found.is_letter else set()
    while True:
        more, seen = await _in_others(build, key, position, reason, done)
        if not (mine or more):
            return audit
        if await outbox.change([*alone(build), *mine, *more]):
            done |= seen  # one that was begun at the same moment is looked for once more
        elif not await letters.is_dropped(build, key, position):
            await outbox.tell(f"$views/{build.view}", "$view.kept", said)
            raise ProjectionError(
                f"view {build.view!r}: the event at position {position} of key {key!r} was"
                " delivered meanwhile: it is not dropped"
            )
        mine = []  # dropped, by this call or by another one at the same time


async def _in_others(
    build: Build, key: str, position: int, reason: str, done: set[int]
) -> tuple[list[Statement], set[int]]:
    """The same for the generations that are not `done`, and their numbers."""
    outbox = build.outbox
    changes, seen = [], set()
    for each in await generations(outbox, build.tenant_id, build.view):
        if each.state == RETIRED or each.generation in done:
            continue
        other = each.build(outbox, build.view, build.tenant_id)
        changes.append(letters.give_up(other, key, position, each.partitions, reason))
        changes.append(letters.owe(other, key, each.partitions))
        seen.add(each.generation)
    return changes, seen


async def _stopped_at(build: Build, position: int) -> bool:
    """Whether the view stopped at the event."""
    p = tables(build.outbox.schema).progress
    stopped = sa.select(p.c.last_error).where(
        own(p, build), p.c.state == STOPPED, p.c.position < position
    )
    said = f" stopped at position {position}: "
    return any(said in (row[0] or "") for row in await ask(build.outbox, stopped))
