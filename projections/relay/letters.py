"""Dead letters: keys that wait because one of their events could not be applied, and what somebody
wishes for a key. Giving an event up is `dropping`'s."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
import sqlalchemy as sa

from eventstore.outbox import Outbox, Statement

from ..catalog import OWED, ask, bulk, insert_into, insert_or_replace, own, statement, tables
from ..dialects import Compiled, compile
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
"""The position of a letter that stands for a wish: that the whole key is built again, where that
goes; else its rows stay as they are. One at `OWED` stands for the same: there what fails is parked,
as a rebuild of the view would park it."""

_KEYS = ("tenant_id", "name", "generation", "key", "position")


async def load(
    build: Build, *, key: str | None = None, limit: int | None = None
) -> list[DeadLetter]:
    """The letters of a build, dropped ones and wishes too, by key and position."""
    d = tables(build.outbox.schema).letters
    return await _load(build, sa.true() if key is None else d.c.key == key, limit)


async def waiting(build: Build, keys: Sequence[str], limit: int | None = None) -> list[DeadLetter]:
    """What stands of these keys, neither dropped nor a wish, by key and position."""
    d = tables(build.outbox.schema).letters
    stands = sa.and_(d.c.key.in_(keys), d.c.dropped_reason.is_(None), d.c.position > WHOLE_KEY)
    return await _load(build, stands, limit)


async def wishes(build: Build, keys: Sequence[str]) -> list[DeadLetter]:
    """What is wished for these keys beside that their letters are tried: the whole key, or that
    an event that was just dropped is left out."""
    d = tables(build.outbox.schema).letters
    special = sa.or_(d.c.position <= WHOLE_KEY, d.c.dropped_reason.is_not(None))
    return await _load(build, sa.and_(d.c.key.in_(keys), d.c.retry_asked.is_not(None), special))


async def asked(build: Build, keys: Sequence[str]) -> dict[str, int]:
    """When the last wish for each of these keys was made, in microseconds; those that have one."""
    d = tables(build.outbox.schema).letters
    question = sa.select(d.c.key, sa.func.max(d.c.retry_asked)).where(
        own(d, build), d.c.key.in_(keys), d.c.retry_asked.is_not(None)
    )
    return {row[0]: row[1] for row in await ask(build.outbox, question.group_by(d.c.key))}


async def is_owing(build: Build, partition: int) -> bool:
    """Whether rows of a partition are known to be wrong, and not made good yet."""
    d = tables(build.outbox.schema).letters
    question = sa.select(d.c.key).where(own(d, build), d.c.position == OWED)
    return bool(await ask(build.outbox, question.where(d.c.partition == partition).limit(1)))


async def is_asked(build: Build, key: str | None = None) -> bool:
    """Whether a wish for the key (None: for any) is not answered yet."""
    d = tables(build.outbox.schema).letters
    question = sa.select(d.c.position).where(own(d, build), d.c.retry_asked.is_not(None))
    if key is not None:
        question = question.where(d.c.key == key)
    return bool(await ask(build.outbox, question.limit(1)))


async def _load(build: Build, which: Any, limit: int | None = None) -> list[DeadLetter]:
    d = tables(build.outbox.schema).letters
    names = ("key", "position", "partition", "parked_at", "attempts", "error", "dropped_reason")
    question = sa.select(*[d.c[name] for name in names], d.c.retry_asked)
    question = question.where(own(d, build), which).order_by(d.c.key, d.c.position).limit(limit)
    return [DeadLetter(*row) for row in await ask(build.outbox, question)]


async def is_dropped(build: Build, key: str, position: int) -> bool:
    """Whether somebody gave the event up as this key's."""
    d = tables(build.outbox.schema).letters
    this = sa.and_(d.c.key == key, d.c.position == position)
    question = sa.select(d.c.position).where(own(d, build), this, d.c.dropped_reason.is_not(None))
    return bool(await ask(build.outbox, question.limit(1)))


async def wished(build: Build, partition: int, limit: int) -> list[str]:
    """The first keys of the partition that somebody wants something done for."""
    d = tables(build.outbox.schema).letters
    question = sa.select(d.c.key).where(
        own(d, build), d.c.partition == partition, d.c.retry_asked.is_not(None)
    )
    question = question.distinct().order_by(d.c.key).limit(limit)
    return [row[0] for row in await ask(build.outbox, question)]


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


def answer(build: Build, key: str, until: int, owed: int = 0) -> list[Statement]:
    """Takes wishes back that were made by `until` (microseconds) and are done. What is `owed`, as
    many times as it was seen to be, was made good: it is counted, because it must not be lost to
    a clock that stands still."""
    d = tables(build.outbox.schema).letters
    mine = sa.and_(own(d, build), d.c.key == key, d.c.retry_asked <= until)
    paid = sa.and_(own(d, build), d.c.key == key, d.c.position == OWED, d.c.attempts <= owed)
    return [
        statement(build.outbox, sa.delete(d).where(mine, d.c.position == WHOLE_KEY)),
        statement(build.outbox, sa.delete(d).where(paid)),
        statement(
            build.outbox, sa.update(d).where(mine, d.c.position > OWED).values(retry_asked=None)
        ),
    ]


def park(build: Build, partition: int, letters: Sequence[Letter]) -> list[Statement]:
    """Puts events among the dead letters. One that stands there already keeps its reason, what
    was wished for it, and that it was dropped, unless it failed anew."""
    failed = [_row(build, partition, each) for each in letters if each.error is not None]
    behind = [_row(build, partition, each) for each in letters if each.error is None]
    schema, dialect = build.outbox.schema, build.outbox.dialect
    made = []
    if failed:
        made.append(bulk(_park(schema, dialect, True), failed))
    if behind:
        made.append(bulk(_park(schema, dialect, False), behind))
    return made


@cache
def _park(schema: str | None, dialect: str, failed: bool) -> Compiled:
    d = tables(schema).letters
    insert = insert_into(d, dialect)
    if not failed:
        return compile(insert.on_conflict_do_nothing(index_elements=list(_KEYS)), dialect)
    new = {name: insert.excluded[name] for name in ("attempts", "error")}
    # What somebody has given up stays so.
    update = insert.on_conflict_do_update(
        index_elements=list(_KEYS), set_=new, where=d.c.dropped_reason.is_(None)
    )
    return compile(update, dialect)


def _row(build: Build, partition: int, letter: Letter, **more: Any) -> dict[str, Any]:
    return {
        "tenant_id": build.tenant_id,
        "name": build.view,
        "generation": build.generation,
        "key": letter.key,
        "position": letter.position,
        "partition": partition,
        "parked_at": build.outbox.now(),
        "attempts": letter.attempts,
        "error": letter.error,
        "dropped_reason": None,
        "retry_asked": None,
        **more,
    }


def owe(build: Build, key: str, partitions: int) -> Statement:
    """Says that the key's rows are not what they must be, to whoever feeds its partition."""
    outbox = build.outbox
    d = tables(outbox.schema).letters
    insert = insert_into(d, outbox.dialect)
    made = insert.on_conflict_do_update(
        index_elements=list(_KEYS),
        set_={"attempts": d.c.attempts + 1, "retry_asked": insert.excluded.retry_asked},
    )
    letter = Letter(key, OWED, None, 1)
    row = _row(build, partition_of(key, partitions), letter, retry_asked=outbox.now())
    return bulk(compile(made, outbox.dialect), [row])


def give_up(build: Build, key: str, position: int, partitions: int, reason: str) -> Statement:
    """Marks an event as dropped, wherever the build is; somebody has to hear of it."""
    outbox = build.outbox
    d = tables(outbox.schema).letters
    insert = insert_into(d, outbox.dialect)
    new = {name: insert.excluded[name] for name in ("dropped_reason", "retry_asked")}
    made = insert.on_conflict_do_update(index_elements=list(_KEYS), set_=new)
    said = {"dropped_reason": reason, "retry_asked": outbox.now()}
    row = _row(build, partition_of(key, partitions), Letter(key, position), **said)
    return bulk(compile(made, outbox.dialect), [row])


def give_up_waiting(build: Build, key: str, position: int, reason: str) -> list[Statement]:
    """The same for one that waits, and that the rest of its key be tried. Expects that it still
    waits."""
    outbox = build.outbox
    d = tables(outbox.schema).letters
    mine = sa.and_(own(d, build), d.c.key == key, d.c.dropped_reason.is_(None))
    gone = sa.update(d).where(mine, d.c.position == position)
    return [
        statement(outbox, sa.update(d).where(mine).values(retry_asked=outbox.now())),
        statement(outbox, gone.values(dropped_reason=reason), expect=1),
    ]


def take_out(build: Build, key: str, until: int) -> Statement:
    """Takes what waits of a key out of the dead letters, up to a position: the key was built again
    from the log."""
    d = tables(build.outbox.schema).letters
    stands = sa.and_(d.c.dropped_reason.is_(None), d.c.position.between(1, until))
    return statement(build.outbox, sa.delete(d).where(own(d, build), d.c.key == key, stands))


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
        statement(
            build.outbox, sa.update(d).where(mine, d.c.position > OWED).values(retry_asked=None)
        ),
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
    which = sa.and_(own(d, build), d.c.dropped_reason.is_(None), d.c.position > WHOLE_KEY)
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
    letter = Letter(key, WHOLE_KEY)
    row = _row(build, partition_of(key, partitions), letter, retry_asked=outbox.now())
    made = compile(insert_or_replace(d, _KEYS, outbox.dialect), outbox.dialect)
    await outbox.change([bulk(made, [row])])
