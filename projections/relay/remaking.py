"""The rows of one key made again from the log, as a rebuild of the view would make them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from eventstore.calls import FORKED
from eventstore.events import RecordedEvent

from ..catalog import held_back
from ..projection import Key, key_name
from ..sinks import Build, Change
from . import letters
from .delivering import Delivery, Refused
from .pages import Applied, Applier, Letter, Poison

NO_EVENT = "no event of the log has this key"
"""Why the rows of a key cannot be made again: it may be a row's, and not the one that events are
ordered by."""


class _Made(msgspec.Struct):
    """A key as the log makes it, up to the event that fails. `later` are the positions behind that
    one; `touched` the rows that events which were left out would have made."""

    done: Applied
    waiting: set[int]
    """Positions of the key's letters."""
    failed: tuple[int, str] | None = None
    later: list[int] = []
    touched: set[Key] = set()
    owed: set[str] = set()
    """Other keys that letters of this one turned out to have: they were parked as their stream
    while their key could not be told."""
    found: int = 0
    """How many events of the log are the key's."""


async def build_again(delivery: Delivery, key: str) -> None:
    """What somebody asked for: where an event fails that went before, the code has changed since,
    and the rows stay as they are. Letters of the key are tried. Rows that no event of the key
    makes any more are not known here: a rebuild of the view takes those away. If cancelled, it is
    done or not."""
    first = await letters.waiting(delivery.build, [key], 1)
    made = await _from_the_log(delivery, key)
    if not made.found:
        await _fail(delivery, key, NO_EVENT)
        return
    if made.failed is not None and not (first and first[0].position <= made.failed[0]):
        await _fail(delivery, key, made.failed[1])
        return
    try:
        await _put(delivery, key, made, first[0].attempts if first else 0)
    except Refused as refused:
        await _fail(delivery, key, refused.reason)


async def make_good(delivery: Delivery, key: str) -> None:
    """What is owed: the rows that stand are wrong, and what fails is parked. If cancelled, it is
    done or not."""
    first = await letters.waiting(delivery.build, [key], 1)
    made = await _from_the_log(delivery, key)
    try:
        await _put(delivery, key, made, first[0].attempts if first else 0)
    except Refused as refused:
        await _park_all(delivery, key, refused.reason)


def as_of(applied: Applied, position: int) -> Applied:
    """The same with rows that are good for a position: what is written again must not be older than
    what stands, or a sink outside the store would not take it."""
    for key, change in applied.changes.items():
        applied.changes[key] = msgspec.structs.replace(change, position=position)
    return applied


async def _from_the_log(delivery: Delivery, key: str) -> _Made:
    build, applier = delivery.build, delivery.applier
    again = applier.afresh()
    _, again.dropped = await held_back(build)
    made, at, until = await _begin(build, again, key), 0, delivery.saved
    while at < until:
        page = await build.outbox.page(at, until, delivery.view.projection.queries())
        mine = await _of_key(delivery, again, made, key, page.events)
        made.found += len(mine)
        await _take(delivery, again, made, mine, key)
        at = page.scanned_to
    if not (made.done.events or made.touched):
        made.done.before = {}  # nothing in the log is of this key
    applier.adopt(again, made.done)
    return made


async def _begin(build: Build, again: Applier, key: str) -> _Made:
    standing = await letters.waiting(build, [key])
    return _Made(again.begin(key), {letter.position for letter in standing})


async def _of_key(
    delivery: Delivery, again: Applier, made: _Made, key: str, events: Sequence[RecordedEvent]
) -> list[RecordedEvent]:
    """Those that belong to the key; forks among them are applied for it alone. What waits as this
    key and belongs to others is noted."""
    if delivery.view.projection.is_by_stream:  # others' forks need not be looked into
        events = [e for e in events if e.type != FORKED or key_name(e.stream) == key]
    mine = [event for event in events if key in await again.keys_of(event)]
    for event in events:
        # A fork is parked as each of its keys, and as its stream for those that cannot be told.
        is_told = event.type == FORKED and key != key_name(event.stream)
        if event.position in made.waiting and not is_told:
            made.owed.update(await again.keys_of(event, everywhere=True))
    made.owed.discard(key)
    again.only = {event.position: (key,) for event in mine if event.type == FORKED}
    return mine


async def _take(
    delivery: Delivery, again: Applier, made: _Made, events: list[RecordedEvent], key: str
) -> None:
    """Applies events as far as they go, and notes the others."""
    ready = [event for event in events if not _is_dropped(again, event, key)]
    left = [event for event in events if _is_dropped(again, event, key)]
    if made.failed is None:
        ready = await _apply(again, made, ready)
        if ready:
            left.append(ready.pop(0))  # the one that failed
    made.later += [event.position for event in ready]
    # Of a fork that was applied an event that it inherits may have been given up.
    for event in (*left, *ready, *[event for event in events if event.type == FORKED]):
        made.touched |= await _rows_of(delivery, again, event, key)


async def _apply(again: Applier, made: _Made, events: list[RecordedEvent]) -> list[RecordedEvent]:
    """The events from the one that fails on, which is noted; all before it are applied."""
    until = len(events)
    while True:
        try:
            _add(made.done, await again.apply(events[:until]))
            return events[until:]
        except Poison as poison:
            again.undo(poison.so_far)
            until = poison.index
            made.failed = events[until].position, poison.reason


async def _rows_of(delivery: Delivery, again: Applier, event: RecordedEvent, text: str) -> set[Key]:
    """The rows that an event which is left out would have touched, as far as it can be told."""
    projection = delivery.view.projection
    if event.type == FORKED:
        return await again.rows_of(event, text)
    try:
        if not projection.is_fold:
            return {effect.key for effect in projection.effects(event)}
        key = projection.key(event)
    except Exception:
        return set()
    return set() if key is None else {key}


def _is_dropped(again: Applier, event: RecordedEvent, key: str) -> bool:
    """Whether somebody gave the event up: a fork's for this key."""
    keys = again.dropped.get(event.position)
    return keys is not None and (event.type != FORKED or key in keys)


async def _put(delivery: Delivery, key: str, made: _Made, attempts: int) -> None:
    """Writes what was made in place of what stands, and parks the rest. Raises `Refused`."""
    done, build = as_of(made.done, delivery.saved), delivery.build
    for row in made.touched:
        if row not in done.changes:
            done.changes[row] = _no_row(delivery, row)
    if made.failed is not None:
        done.letters = [Letter(key, made.failed[0], made.failed[1], attempts + 1)]
        done.letters += [Letter(key, position) for position in sorted(made.later)]
    more = [letters.take_out(build, key, delivery.saved)]
    more += [letters.owe(build, each, delivery.applier.partitions) for each in sorted(made.owed)]
    try:
        await delivery.write(done, delivery.saved, more)
    except Refused:
        delivery.applier.undo(done)
        raise


async def _park_all(delivery: Delivery, key: str, reason: str) -> None:
    """A sink that refuses what a key comes to does not say for which event: all of them are parked,
    without a row, and then tried in their order."""
    from .replaying import retry

    build, applier = delivery.build, delivery.applier
    again = applier.afresh()
    _, again.dropped = await held_back(build)
    made, at = await _begin(build, again, key), 0
    while at < delivery.saved:
        page = await build.outbox.page(at, delivery.saved, delivery.view.projection.queries())
        for event in await _of_key(delivery, again, made, key, page.events):
            made.touched |= await _rows_of(delivery, again, event, key)
            if not _is_dropped(again, event, key):
                made.later.append(event.position)
        at = page.scanned_to
    applier.adopt(again, made.done)
    if made.later:
        made.failed = made.later.pop(0), reason
    await _put(delivery, key, made, 0)
    await retry(delivery, key)


def _no_row(delivery: Delivery, key: Key) -> Change:
    return Change(key, None, delivery.saved, 0, delivery.lease.partition)


def _add(done: Applied, more: Applied) -> None:
    done.changes.update(more.changes)
    done.before.update(dict.fromkeys(more.before))
    done.events += more.events
    done.effects += more.effects
    done.recorded_us = max(done.recorded_us, more.recorded_us)


async def _fail(delivery: Delivery, key: str, reason: str) -> None:
    again = letters.fail_again(delivery.build, key, letters.WHOLE_KEY, reason)
    await delivery.move(delivery.saved, again)
