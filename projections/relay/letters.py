"""Dead letters: keys that wait because one of their events could not be applied."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import msgspec
import sqlalchemy as sa

from eventstore.outbox import Outbox, Statement

from ..catalog import ask, bulk, generations, insert_or_replace, own, statement, tables
from ..dialects import Compiled, compile
from ..errors import ProjectionError
from ..sinks import Build
from .pages import Letter, partition_of


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


WHOLE_KEY = 0
"""The position of a letter that stands for a wish: that the whole key is built again."""


async def load(
    build: Build, *, key: str | None = None, limit: int | None = None
) -> list[DeadLetter]:
    """The letters of a build, dropped ones and wishes too, by key and position."""
    d = tables(build.outbox.schema).letters
    names = ("key", "position", "partition", "parked_at", "attempts", "error", "dropped_reason")
    question = sa.select(*[d.c[name] for name in names], d.c.retry_asked).where(own(d, build))
    if key is not None:
        question = question.where(d.c.key == key)
    question = question.order_by(d.c.key, d.c.position).limit(limit)
    return [DeadLetter(*row) for row in await ask(build.outbox, question)]


async def is_dropped(build: Build, position: int) -> bool:
    """Whether somebody gave the event up, perhaps while another generation was serving."""
    d = tables(build.outbox.schema).letters
    question = sa.select(d.c.position).where(
        own(d, build), d.c.position == position, d.c.dropped_reason.is_not(None)
    )
    return bool(await ask(build.outbox, question.limit(1)))


async def wished(build: Build, partition: int) -> list[str]:
    """Keys of the partition that somebody wants something done for."""
    d = tables(build.outbox.schema).letters
    question = sa.select(d.c.key).where(
        own(d, build), d.c.partition == partition, d.c.retry_asked.is_not(None)
    )
    return [row[0] for row in await ask(build.outbox, question.distinct().order_by(d.c.key))]


async def all_wished(outbox: Outbox, views: Sequence[str]) -> list[tuple[str, int, int]]:
    """(view, generation, partition) where somebody wants something done: one question, by an
    index that holds wishes only."""
    made = _all_wished(outbox.schema, outbox.dialect, tuple(views))
    args = made.args({"of_tenant": await outbox.tenant_id()})
    return [(row[0], row[1], row[2]) for row in await outbox.query(made.sql, args)]


@cache
def _all_wished(schema: str | None, dialect: str, views: tuple[str, ...]) -> Compiled:
    """Made once: it is asked twice a second as long as a relay runs."""
    d = tables(schema).letters
    question = sa.select(d.c.name, d.c.generation, d.c.partition).where(
        d.c.retry_asked.is_not(None),
        d.c.tenant_id == sa.bindparam("of_tenant"),
        d.c.name.in_(views),
    )
    return compile(question.distinct(), dialect)


def answer(build: Build, key: str, until: int) -> list[Statement]:
    """Takes wishes back that were made by `until` (microseconds) and are done."""
    d = tables(build.outbox.schema).letters
    mine = sa.and_(own(d, build), d.c.key == key, d.c.retry_asked <= until)
    return [
        statement(build.outbox, sa.delete(d).where(mine, d.c.position == WHOLE_KEY)),
        statement(build.outbox, sa.update(d).where(mine).values(retry_asked=None)),
    ]


def park(build: Build, partition: int, letters: Sequence[Letter]) -> list[Statement]:
    """Puts events among the dead letters."""
    if not letters:
        return []
    outbox = build.outbox
    keys = ("tenant_id", "name", "generation", "key", "position")
    made = compile(
        insert_or_replace(
            tables(outbox.schema).letters,
            keys,
            outbox.dialect,
            # What somebody has given up stays so.
            unless=tables(outbox.schema).letters.c.dropped_reason.is_not(None),
        ),
        outbox.dialect,
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
    """Takes an event that was applied out of the dead letters, unless it was dropped meanwhile."""
    d = tables(build.outbox.schema).letters
    which = (own(d, build), d.c.key == key, d.c.position == position, d.c.dropped_reason.is_(None))
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


async def ask_retry(build: Build, key: str | None = None) -> int:
    """Asks the relay to try a key again (None: every key); how many events wait for it. If
    cancelled, it may be asked."""
    outbox = build.outbox
    d = tables(outbox.schema).letters
    which = sa.and_(own(d, build), d.c.dropped_reason.is_(None), d.c.position != WHOLE_KEY)
    if key is not None:
        which = sa.and_(which, d.c.key == key)
    waiting = await ask(outbox, sa.select(sa.func.count()).select_from(d).where(which))
    await outbox.change(
        [statement(outbox, sa.update(d).where(which).values(retry_asked=outbox.now()))]
    )
    return int(waiting[0][0])


async def ask_rebuild(build: Build, key: str, partitions: int) -> None:
    """Asks the relay to build the rows of one key again from the log. If cancelled, it may be
    asked."""
    outbox = build.outbox
    d = tables(outbox.schema).letters
    row = {
        "tenant_id": build.tenant_id,
        "name": build.view,
        "generation": build.generation,
        "key": key,
        "position": WHOLE_KEY,
        "partition": partition_of(key, partitions),
        "parked_at": outbox.now(),
        "attempts": 0,
        "error": None,
        "dropped_reason": None,
        "retry_asked": outbox.now(),
    }
    keys = ("tenant_id", "name", "generation", "key", "position")
    made = compile(insert_or_replace(d, keys, outbox.dialect), outbox.dialect)
    await outbox.change([bulk(made, [row])])


async def drop(build: Build, key: str, reason: str, position: int | None = None) -> int:
    """Gives up the event of a key that failed (or the one at `position`), and asks that the rest
    be tried; the position of the audit event. The reason is appended to the log first, as
    ``$view.dropped`` in the stream ``$views/NAME``. Every generation gives it up. Raises
    `ProjectionError` where nothing waits. If cancelled, the audit event may stand and the letter
    too: drop it again."""
    if not isinstance(reason, str) or not reason.strip():
        raise ProjectionError(f"view {build.view!r}: dropping an event needs a reason")
    waiting = [
        each
        for each in await load(build, key=key)
        if each.dropped_reason is None and each.position != WHOLE_KEY
    ]
    found = [each for each in waiting if position is None or each.position == position]
    if not found:
        raise ProjectionError(f"view {build.view!r}: no dead letter of key {key!r}")
    outbox, letter = build.outbox, found[0]
    said = {"view": build.view, "key": key, "position": letter.position, "reason": reason}
    audit = await outbox.tell(f"$views/{build.view}", "$view.dropped", said)
    d = tables(outbox.schema).letters
    mine = sa.and_(own(d, build), d.c.key == key, d.c.position != WHOLE_KEY)
    given_up = sa.update(d).where(mine, d.c.position == letter.position)
    # The wish stands on the dropped one too: the worker has to hear of it.
    asked = sa.update(d).where(
        mine, sa.or_(d.c.dropped_reason.is_(None), d.c.position == letter.position)
    )
    changes = [
        statement(outbox, given_up.values(dropped_reason=reason)),
        statement(outbox, asked.values(retry_asked=outbox.now())),
    ]
    for each in await generations(outbox, build.tenant_id, build.view):
        if each.generation != build.generation:
            other = each.build(outbox, build.view, build.tenant_id)
            partition = partition_of(key, each.partitions)
            changes.append(_drop_too(other, letter, partition, reason))
    await outbox.change(changes)
    return audit


def _drop_too(build: Build, letter: DeadLetter, partition: int, reason: str) -> Statement:
    """The same in another generation, which may not have come to the event yet."""
    outbox = build.outbox
    row = {
        "tenant_id": build.tenant_id,
        "name": build.view,
        "generation": build.generation,
        "key": letter.key,
        "position": letter.position,
        "partition": partition,
        "parked_at": letter.parked_us,
        "attempts": letter.attempts,
        "error": letter.error,
        "dropped_reason": reason,
        "retry_asked": outbox.now(),
    }
    keys = ("tenant_id", "name", "generation", "key", "position")
    made = insert_or_replace(tables(outbox.schema).letters, keys, outbox.dialect)
    return bulk(compile(made, outbox.dialect), [row])
