"""Dead letters: keys that wait because one of their events could not be applied."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from eventstore.outbox import Outbox, Statement

from ..catalog import ask, bulk, insert_or_replace, own, statement, tables
from ..dialects import compile
from ..errors import ProjectionError
from ..sinks import Build
from .pages import Letter


class DeadLetter(msgspec.Struct, frozen=True):
    """A parked event. `error` is None for one that waits behind its key's first; `dropped_reason`
    says why somebody gave it up. Times in microseconds."""

    key: str
    position: int
    partition: int
    parked_us: int
    attempts: int
    error: str | None
    dropped_reason: str | None
    retry_asked: int | None


async def load(build: Build, *, key: str | None = None) -> list[DeadLetter]:
    """The dead letters of a build, dropped ones too, by key and position."""
    d = tables(build.outbox.schema).letters
    names = ("key", "position", "partition", "parked_at", "attempts", "error", "dropped_reason")
    question = sa.select(*[d.c[name] for name in names], d.c.retry_asked).where(own(d, build))
    if key is not None:
        question = question.where(d.c.key == key)
    rows = await ask(build.outbox, question.order_by(d.c.key, d.c.position))
    return [DeadLetter(*row) for row in rows]


def park(build: Build, partition: int, letters: Sequence[Letter]) -> list[Statement]:
    """Puts events among the dead letters."""
    if not letters:
        return []
    outbox = build.outbox
    keys = ("tenant_id", "name", "generation", "key", "position")
    made = compile(
        insert_or_replace(tables(outbox.schema).letters, keys, outbox.dialect), outbox.dialect
    )
    rows = [
        {
            "tenant_id": build.tenant_id,
            "name": build.view,
            "generation": build.generation,
            "key": letter.key,
            "position": letter.position,
            "partition": partition,
            "parked_at": outbox.now(),
            "attempts": letter.attempts,
            "error": letter.error,
            "dropped_reason": None,
            "retry_asked": None,
        }
        for letter in letters
    ]
    return [bulk(made, rows)]


def deliver(build: Build, key: str, position: int) -> Statement:
    """Takes an event that was applied out of the dead letters."""
    d = tables(build.outbox.schema).letters
    which = (own(d, build), d.c.key == key, d.c.position == position)
    return statement(build.outbox, sa.delete(d).where(*which), expect=1)


def fail_again(build: Build, key: str, position: int, error: str) -> list[Statement]:
    """Notes that a retry failed; nobody's wish is left open."""
    d = tables(build.outbox.schema).letters
    mine = sa.and_(own(d, build), d.c.key == key)
    return [
        statement(build.outbox, sa.update(d).where(mine).values(retry_asked=None)),
        statement(
            build.outbox,
            sa.update(d)
            .where(mine, d.c.position == position)
            .values(error=error, attempts=d.c.attempts + 1),
        ),
    ]


async def ask_retry(outbox: Outbox, build: Build, key: str | None) -> int:
    """Asks the relay to try a key again (None: every key); how many events wait for it."""
    d = tables(outbox.schema).letters
    which = sa.and_(own(d, build), d.c.dropped_reason.is_(None))
    if key is not None:
        which = sa.and_(which, d.c.key == key)
    waiting = await ask(outbox, sa.select(sa.func.count()).select_from(d).where(which))
    await outbox.change(
        [statement(outbox, sa.update(d).where(which).values(retry_asked=outbox.now()))]
    )
    return int(waiting[0][0])


async def drop(
    outbox: Outbox, build: Build, key: str, reason: str, position: int | None = None
) -> int:
    """Gives up the event of a key that failed (or the one at `position`), and asks that the rest
    be tried; the position of the audit event. The reason is appended to the log first, as
    ``$view.dropped`` in the stream ``$views/NAME``. Raises `ProjectionError` where nothing waits.
    If cancelled, the audit event may stand and the letter too: drop it again."""
    if not isinstance(reason, str) or not reason.strip():
        raise ProjectionError(f"view {build.view!r}: dropping an event needs a reason")
    waiting = [each for each in await load(build, key=key) if each.dropped_reason is None]
    found = [each for each in waiting if position is None or each.position == position]
    if not found:
        raise ProjectionError(f"view {build.view!r}: no dead letter of key {key!r}")
    at = found[0].position
    said = {"view": build.view, "key": key, "position": at, "reason": reason}
    audit = await outbox.tell(f"$views/{build.view}", "$view.dropped", said)
    d = tables(outbox.schema).letters
    mine = sa.and_(own(d, build), d.c.key == key)
    await outbox.change(
        [
            statement(
                outbox,
                sa.update(d).where(mine, d.c.position == at).values(dropped_reason=reason),
            ),
            statement(
                outbox,
                sa.update(d)
                .where(mine, d.c.dropped_reason.is_(None))
                .values(retry_asked=outbox.now()),
            ),
        ]
    )
    return audit
