"""What commands share that run a relay, or wait for what another one does."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from eventstore import EventStore

from .rendering.safe import one_line
from .views import has_code

if TYPE_CHECKING:
    from projections.catalog import Generation
    from projections.relay.letters import DeadLetter
    from projections.sinks import Build
    from projections.view import View

ANSWER_LOOK_SECONDS = 0.05
"""Between two looks at whether a relay has done what it was asked for."""

LINE_CHARACTERS_MAX = 1_000
"""A warning is read by a person, or kept in a log: longer ones are cut."""


class Extent(msgspec.Struct, frozen=True):
    """How far views are: `places` has a dict for each generation that is fed. `done` and `total`
    are positions, of all of them together."""

    places: list[dict[str, Any]]

    @property
    def done(self) -> int:
        """Positions that were looked at."""
        return sum([each["position"] for each in self.places])

    @property
    def total(self) -> int:
        """Positions there are, and were looked at or have to be."""
        return sum([max(each["head"], each["position"]) for each in self.places])

    @property
    def behind(self) -> int:
        """What is left of them."""
        return self.total - self.done

    @property
    def parked(self) -> int:
        """Keys that wait in the dead letters."""
        return sum([each["parked_keys"] for each in self.places])


async def extent(store: EventStore, views: Sequence[str], all_tenants: bool) -> Extent:
    """How far these views are now. If cancelled, nothing is left open."""
    from projections.asking import reached
    from projections.catalog import RETIRED, generations, held_back

    places = []
    for tenant in await store.tenants() if all_tenants else [store.tenant_name]:
        outbox = store.tenant(tenant).outbox
        tenant_id, head = await outbox.tenant_id(), (await outbox.head()).position
        for view in views:
            for each in await generations(outbox, tenant_id, view):
                if each.state == RETIRED:
                    continue
                build = each.build(outbox, view, tenant_id)
                places.append(
                    {
                        "view": view,
                        "tenant": tenant,
                        "generation": each.generation,
                        "state": each.state,
                        "position": (await reached(build))[0],
                        "head": head,
                        "parked_keys": len((await held_back(build))[0]),
                    }
                )
    return Extent(places)


@contextmanager
def saying_warnings() -> Iterator[None]:
    """What a relay logs inside the block is told on stderr, a line each, as errors are."""
    told, ours = _Lines(logging.WARNING), logging.getLogger("eventstore")
    ours.addHandler(told)
    try:
        yield
    finally:
        ours.removeHandler(told)


class _Lines(logging.Handler):
    """Warnings as lines on stderr, wherever that is by then."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        line = one_line(f"eventstore: {record.getMessage()}", LINE_CHARACTERS_MAX)
        print(line, file=sys.stderr, flush=True)


@asynccontextmanager
async def someone_feeds(
    store: EventStore, view: View, generations: Sequence[Generation]
) -> AsyncIterator[dict[int, str]]:
    """Who feeds these generations inside the block, by number: whoever does already, or a relay of
    this command's own. Those are left out that nobody feeds and whose code is not at hand. If
    cancelled, the relay ends."""
    from projections import Relay

    holders = [(each, await feeder_of(store, view, each)) for each in generations]
    fed = {each.generation: holder for each, holder in holders if holder is not None}
    mine = {
        each.generation: "this command"
        for each, holder in holders
        if holder is None and has_code(view) and view.fits(each.version, each.fingerprint)
    }
    if not mine:
        yield fed
        return
    async with Relay(store, [view]):
        yield fed | mine


async def feeder_of(store: EventStore, view: View, generation: Generation) -> str | None:
    """Who holds a lease on a partition of the view now. If cancelled, nothing is left open."""
    from projections.asking import checkpoint_name

    for partition in range(generation.partitions):
        holder = await store.checkpoints.held_by(
            checkpoint_name(view.name), generation=generation.generation, partition=partition
        )
        if holder is not None:
            return holder
    return None


async def until_answered(builds: Sequence[Build], key: str | None, seconds: float) -> bool:
    """Whether relays did within `seconds` what was wished for a key (None: for all) in these
    builds. If cancelled, the wishes stand."""
    from projections.relay.letters import is_asked

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            # What is awaited may lie in another process.
            for build in builds:
                while await is_asked(build, key):  # noqa: ASYNC110
                    await asyncio.sleep(ANSWER_LOOK_SECONDS)
            return True
    return False


async def waiting_letters(build: Build, key: str | None) -> list[DeadLetter]:
    """The events of a key (None: of all) that wait, in order. If cancelled, nothing is left
    open."""
    from projections.relay.letters import WHOLE_KEY, load

    return [
        each
        for each in await load(build, key=key)
        if each.dropped_reason is None and each.position > WHOLE_KEY
    ]
