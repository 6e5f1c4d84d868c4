"""What somebody wishes for a key: that it is tried again, or built again from the log.

Letters whose events belong to the key that they are parked as are applied in their order: all later
events of the key wait behind them. One that turns out to belong to another key (its own could not
be told when it was parked, or the code was mended) cannot be applied now, because later events of
that key may have been: the rows of that key are owed, and whoever feeds it makes them from the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from eventstore.calls import FORKED
from eventstore.engines.forked import fork_said
from eventstore.events import RecordedEvent
from eventstore.outbox import Statement
from eventstore.query import Query

from ..catalog import OWED, held_back
from ..inheriting import parts_of
from ..projection import key_name
from . import letters, remaking
from .delivering import Delivery, Refused
from .letters import DeadLetter
from .pages import Poison, reason_of

_AT_ONCE = 200
"""Dead letters that are delivered in one transaction."""

_KEYS_AT_ONCE = 100
"""Keys whose letters are delivered together, where nothing fails."""

SLICE_SECONDS = 0.1
"""How long wishes are done before the live feed has a turn: the promised lag."""


class _Sorted(msgspec.Struct):
    """Letters and what becomes of them: `own` events are applied, `others` are keys whose rows are
    owed. `failed` is the reason of the letter behind the last of `letters`."""

    letters: list[DeadLetter]
    own: list[RecordedEvent]
    others: set[str]
    failed: str | None = None
    only: dict[int, set[str]] = {}  # of forks, the keys whose letters these are


async def do_wishes(delivery: Delivery) -> bool:
    """Does what is wished for keys of the partition and answers each wish: what fails waits for the
    next one. Whether some are left, for which the time was too short. If cancelled, the wishes
    that are left stand."""
    clock = asyncio.get_running_loop().time
    build, partition = delivery.build, delivery.lease.partition
    until = clock() + SLICE_SECONDS
    with delivery.applier.names_kept():
        while True:
            keys = await letters.wished(build, partition, _KEYS_AT_ONCE)
            if not keys:
                return False
            if len(keys) == 1 or not await _do_together(delivery, keys):
                for key in keys:
                    await _do(delivery, key)
                    if clock() > until:
                        return True
            if clock() > until:
                return True


async def _do_together(delivery: Delivery, keys: Sequence[str]) -> bool:
    """Delivers the letters of many keys in one transaction; False, and nothing is done, where they
    are too many, something fails, or more is wished than that they are tried."""
    build = delivery.build
    standing = await letters.waiting(build, keys, _AT_ONCE + 1)
    if len(standing) > _AT_ONCE or await letters.wishes(build, keys):
        return False
    seen = await letters.asked(build, keys)
    in_order = sorted(standing, key=lambda each: each.position)
    found = await _sort(delivery, in_order)
    if found.failed is not None:
        return False
    answers = [made for key in seen for made in letters.answer(build, key, seen[key])]
    try:
        await _write(delivery, found, answers)
    except (Poison, Refused):
        return False
    for key in keys:
        delivery.applier.parked.pop(key, None)
    return True


async def _do(delivery: Delivery, key: str) -> None:
    """Does what is wished for one key."""
    build, applier = delivery.build, delivery.applier
    seen = (await letters.asked(build, [key])).get(key, 0)
    special = await letters.wishes(build, [key])
    more = await _leave_out(delivery, [each for each in special if each.dropped_reason])
    wished = {each.position: each for each in special}
    owed = wished.get(OWED)
    if owed is not None or letters.WHOLE_KEY in wished:
        _, applier.dropped = await held_back(build)
    if owed is not None:
        await remaking.make_good(delivery, key)
    elif letters.WHOLE_KEY in wished:
        await remaking.build_again(delivery, key)
    else:
        await retry(delivery, key)
    count = 0 if owed is None else owed.attempts
    await delivery.move(delivery.saved, [*more, *letters.answer(build, key, seen, count)])
    first = await letters.waiting(build, [key], 1)
    applier.parked.pop(key, None)
    if first:
        applier.park(key, first[0].position)


async def _leave_out(delivery: Delivery, dropped: Sequence[DeadLetter]) -> list[Statement]:
    """Passes over what was dropped from now on. An event that belongs to another key than it was
    dropped as may have been applied to that one."""
    applier, made = delivery.applier, []
    for letter in dropped:
        applier.dropped.setdefault(letter.position, set()).add(letter.key)
        event = await event_at(delivery, letter.position)
        if event.type == FORKED:
            continue
        wrong = await _keys_in_forks(delivery, event)
        belongs = applier.key_or_stream(event)
        if belongs not in (None, letter.key):
            wrong.add(belongs)
        made += [letters.owe(delivery.build, key, applier.partitions) for key in sorted(wrong)]
    return made


async def _keys_in_forks(delivery: Delivery, event: RecordedEvent) -> set[str]:
    """The keys for which forks have applied an event that they inherit, those of other partitions
    too: they may be further than this one."""
    outbox, projection = delivery.build.outbox, delivery.view.projection
    until = (await outbox.head()).position
    found, heirs, at = set(), {event.stream}, event.position
    while at < until:
        page = await outbox.page(at, until, [Query(types=(FORKED,))])
        at = page.scanned_to
        for forked in page.events:
            said = fork_said(forked)
            if said is None or said.parent not in heirs or said.version < event.version:
                continue  # it does not inherit the event
            heirs.add(forked.stream)
            for each in await outbox.inherited(forked, event.version - 1, 1):
                if each.event.position == event.position:
                    parts = parts_of(projection, [each], ())
                    found.update([key_name(part.key) for part in parts])
    return found


async def retry(delivery: Delivery, key: str) -> None:
    """Delivers the key's letters in order, until one fails. If cancelled, the rest waits."""
    while True:
        standing = await letters.waiting(delivery.build, [key], _AT_ONCE)
        if not standing or not await _deliver(delivery, standing):
            return


async def _deliver(delivery: Delivery, standing: Sequence[DeadLetter]) -> bool:
    """Whether all went; what comes before the one that fails does."""
    found = await _sort(delivery, standing)
    try:
        if found.letters:
            await _write(delivery, found, [])
    except Poison as poison:
        failed = found.own[poison.index].position
        before = [each for each in found.letters if each.position < failed]
        if before and not await _deliver(delivery, before):
            return False
        letter = next(each for each in found.letters if each.position == failed)
        return await _fail(delivery, letter, poison.reason)
    except Refused as refused:
        if len(standing) == 1:
            return await _fail(delivery, standing[0], refused.reason)
        for letter in standing:
            if not await _deliver(delivery, [letter]):
                return False
        return True
    if found.failed is None:
        return True
    return await _fail(delivery, standing[len(found.letters)], found.failed)


async def _sort(delivery: Delivery, standing: Sequence[DeadLetter]) -> _Sorted:
    """What becomes of the letters, up to the first whose key cannot be told."""
    applier, projection = delivery.applier, delivery.view.projection
    known: dict[int, RecordedEvent] = {}  # a fork stands there with many letters
    for letter in standing:
        if letter.position not in known:
            known[letter.position] = await event_at(delivery, letter.position)
    events = [known[letter.position] for letter in standing]
    await applier.prepare(events)
    found = _Sorted([], [], set())
    for letter, event in zip(standing, events, strict=True):
        if event.type == FORKED:
            await _sort_fork(delivery, found, letter, event)
            continue
        try:
            projection.key(event)
        except Exception as exc:
            found.failed = reason_of(exc)
            break
        belongs = applier.key_or_stream(event)
        if belongs is not None:
            if belongs == letter.key and not applier.has(belongs, letter.position):
                found.own.append(event)
            else:
                found.others.add(belongs)
        found.letters.append(letter)
    return found


async def _sort_fork(
    delivery: Delivery, found: _Sorted, letter: DeadLetter, event: RecordedEvent
) -> None:
    """A fork is parked as keys of what it inherits, and applied for those that are tried. As its
    stream it may be parked for events whose keys could not be told: those may be any of its keys'.
    """
    applier, key = delivery.applier, letter.key
    if key == key_name(event.stream) and not delivery.view.projection.is_by_stream:
        found.others.update(set(await applier.keys_of(event, everywhere=True)) - {key})
    if await applier.is_fork_of(event, key) and not applier.has(key, letter.position):
        if letter.position not in found.only:
            found.own.append(event)
        found.only.setdefault(letter.position, set()).add(key)
    else:
        found.others.add(key)
    found.letters.append(letter)


async def _write(delivery: Delivery, found: _Sorted, more: Sequence[Statement]) -> None:
    """Applies and writes what was sorted, and takes its letters out. Raises `Poison`, `Refused`:
    then nothing is done."""
    applier, build = delivery.applier, delivery.build
    applier.only = found.only
    try:
        applied = await applier.apply(found.own, unpark=True)
    except Poison as poison:
        applier.undo(poison.so_far)
        raise
    finally:
        applier.only = {}
    gone = [letters.deliver(build, each.key, each.position) for each in found.letters]
    owed = [letters.owe(build, key, applier.partitions) for key in sorted(found.others)]
    try:
        good = remaking.as_of(applied, delivery.saved)
        await delivery.write(good, delivery.saved, [*gone, *owed, *more])
    except Refused:
        applier.undo(applied)
        raise


async def _fail(delivery: Delivery, letter: DeadLetter, reason: str) -> bool:
    again = letters.fail_again(delivery.build, letter.key, letter.position, reason)
    await delivery.move(delivery.saved, again)
    return False


async def event_at(delivery: Delivery, position: int) -> RecordedEvent:
    """The event at a position. If cancelled, nothing is left open."""
    page = await delivery.build.outbox.page(position - 1, position, (), 1)
    return page.events[0]
