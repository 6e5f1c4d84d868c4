"""What somebody wishes for a key: that it is tried again, or built again from the log."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.events import RecordedEvent

from ..catalog import held_back
from . import letters
from .delivering import Delivery, Refused
from .letters import DeadLetter
from .pages import Applied, Poison

_AT_ONCE = 200
"""Dead letters that are delivered in one transaction."""


async def do_wishes(delivery: Delivery) -> None:
    """Does what is wished for keys of the partition, one after the other, and answers each wish:
    what fails waits for the next one. If cancelled, the wishes that are left stand."""
    build, partition = delivery.build, delivery.lease.partition
    for key in await letters.wished(build, partition):
        waiting = await letters.load(build, key=key)
        if any(each.position == letters.WHOLE_KEY and each.retry_asked for each in waiting):
            await _build_again(delivery, key)
        if any(each.retry_asked and each.dropped_reason is None for each in waiting):
            await _retry(delivery, key)
        seen = max(each.retry_asked or 0 for each in waiting)
        await delivery.move(delivery.saved, letters.answer(build, key, seen))
        delivery.applier.parked, delivery.applier.dropped = await held_back(build, partition)


async def _retry(delivery: Delivery, key: str) -> None:
    """Delivers the key's letters in order, until one fails."""
    while True:
        standing = [
            each
            for each in await letters.load(delivery.build, key=key, limit=_AT_ONCE)
            if each.dropped_reason is None and each.position != letters.WHOLE_KEY
        ]
        if not standing or not await _deliver(delivery, standing):
            return


async def _deliver(delivery: Delivery, standing: Sequence[DeadLetter]) -> bool:
    """Whether all went; what comes before the one that fails does."""
    events = [await _event(delivery, letter.position) for letter in standing]
    applier, build = delivery.applier, delivery.build
    await applier.prepare(events)
    try:
        applied = applier.apply(events, unpark=True)
    except Poison as poison:
        applier.undo(poison.so_far)
        before = standing[: poison.index]
        if before and not await _deliver(delivery, before):
            return False
        return await _fail(delivery, standing[poison.index], poison.reason)
    gone = [letters.deliver(build, each.key, each.position) for each in standing]
    try:
        await delivery.write(applied, delivery.saved, gone)
    except Refused as refused:
        applier.undo(applied)
        if len(standing) == 1:
            return await _fail(delivery, standing[0], refused.reason)
        for letter in standing:
            if not await _deliver(delivery, [letter]):
                return False
    return True


async def _fail(delivery: Delivery, letter: DeadLetter, reason: str) -> bool:
    again = letters.fail_again(delivery.build, letter.key, letter.position, reason)
    await delivery.move(delivery.saved, again)
    return False


async def _event(delivery: Delivery, position: int) -> RecordedEvent:
    page = await delivery.build.outbox.page(position - 1, position, (), 1)
    return page.events[0]


async def _build_again(delivery: Delivery, key: str) -> None:
    """Makes the key's rows from the log alone, up to where the checkpoint stands, and puts them in
    place of those that stand. Rows that no event of the key makes any more are not known here: a
    rebuild of the view takes those away."""
    build, applier = delivery.build, delivery.applier
    until = min(
        [
            each.position - 1
            for each in await letters.load(build, key=key)
            if each.dropped_reason is None and each.position != letters.WHOLE_KEY
        ],
        default=delivery.saved,
    )
    again = applier.afresh()
    done, at = Applied({}, [], {}), 0
    while at < until:
        page = await build.outbox.page(at, until, delivery.view.projection.queries())
        mine = [event for event in page.events if again.key_of(event) == key]
        try:
            _add(done, again.apply(mine))
        except Poison as poison:  # it went the last time: the code has changed since
            await _fail(delivery, _whole(key), poison.reason)
            return
        at = page.scanned_to
    applier.adopt(again, done)
    try:
        await delivery.write(done, delivery.saved)
    except Refused as refused:
        applier.undo(done)
        await _fail(delivery, _whole(key), refused.reason)


def _add(done: Applied, more: Applied) -> None:
    done.changes.update(more.changes)
    done.before.update(dict.fromkeys(more.before))
    done.events += more.events
    done.effects += more.effects
    done.recorded_us = max(done.recorded_us, more.recorded_us)


def _whole(key: str) -> DeadLetter:
    return DeadLetter(key, letters.WHOLE_KEY, 0, 0, 0, None, None, None)
