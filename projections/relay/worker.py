"""A worker: feeds one partition of one build of a view, as long as it holds the lease.

It reads pages and hands them to a `Delivery`. What passes (a busy store, a lease that another one
took, a sink that was emptied) makes it begin anew where the checkpoint stands; what does not pass
ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from eventstore import Corrupt, EventStore, EventStoreError, Lease, LeaseLost, LogDiverged
from eventstore.outbox import Head

from ..asking import checkpoint_name
from ..catalog import RETIRED, RUNNING, STOPPED, WAITING, generations, held_back
from ..errors import ProjectionError, SinkEmptied
from ..sinks import Build
from ..view import View
from .commits import Commits
from .delivering import PASSING, Delivery, Settings, Stopped, until_it_answers
from .generations import alone
from .heads import Heads
from .pages import Applier, reason_of
from .progress import note_state, place_of, reincarnate
from .reading import Pages
from .replaying import do_wishes
from .sharing import SharedPages

_log = logging.getLogger("eventstore")

EMPTY_MOVE_SECONDS = 0.25
"""How long a checkpoint may lie behind where no event was the view's: a commit for nothing. A read
that waits for a position looks by itself whether an event of the view lies before it."""

CHECK_SECONDS = 1.0
"""How often a view that has nothing to do asks its sink whether it still has what it was given."""

_PAUSE_SECONDS, _PAUSE_SECONDS_MAX = 0.1, 5.0
"""Before a worker begins anew after something that passes; it doubles."""

_CANCEL_SECONDS = 5.0
"""How long a cancelled worker waits for an answer that may hold a lease, to give it back."""


class Worker:
    """See the module. Cancelled, it leaves nothing half-way: the lease is given back, or runs
    out."""

    def __init__(
        self,
        view: View,
        store: EventStore,
        build: Build,
        partition: int,
        partitions: int,
        settings: Settings,
        commits: Commits,
        heads: Heads,
        shared: SharedPages,
    ) -> None:
        self.view, self.build, self.partition = view, build, partition
        self._store, self._outbox = store, build.outbox
        self._partitions = partitions
        self._settings, self._commits, self._heads = settings, commits, heads
        self._shared = shared
        self._queries = view.projection.queries()
        self._wished = asyncio.Event()
        self._is_doubted = False
        self._has_told = False
        self.begun: Callable[[], None] = _nothing
        """Called each time it has a lease and begins to feed."""

    def heed(self, build: Build) -> None:
        """Tells it how its build was seen to stand: where another partition's worker has seen that
        the sink was emptied, it has to be filled by this one too."""
        if build.incarnation != self.build.incarnation:
            self._is_doubted = True
            self._wished.set()

    def wish(self) -> None:
        """Tells it that somebody wants a key tried, dropped or built again."""
        self._wished.set()

    async def run(self, *, once: bool = False) -> None:
        """Feeds the partition until it is cancelled or its generation is gone; `once`: until it
        is at the head seen, whoever feeds it. Raises `Stopped`, `Corrupt`, `LogDiverged`,
        `StoreClosed`, and `ProjectionError` for code that does not fit what is kept."""
        pause, until = _PAUSE_SECONDS, None
        while True:
            try:
                if once and until is None:
                    until = (await self._outbox.head()).position
                if await self._feed_under_lease(until):
                    return
                pause = _PAUSE_SECONDS
            except PASSING as exc:
                if await self._is_gone():
                    return
                said = f"{type(exc).__name__}, trying again"
                _log.warning("view %s: %s", self.view.name, said)
                await self._tell(WAITING, said)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _PAUSE_SECONDS_MAX)
            except (Stopped, LogDiverged, Corrupt, ProjectionError) as exc:
                if isinstance(exc, Corrupt) and await self._is_gone():
                    return
                await self._tell(STOPPED, str(exc))
                raise
            except EventStoreError:
                raise  # such as StoreClosed: nobody can be told
            except Exception as exc:
                await self._tell(STOPPED, reason_of(exc))
                raise

    async def _feed_under_lease(self, until: int | None) -> bool:
        """Whether it is done: at `until`, or its generation is gone."""
        lease = await self._acquire(until)
        if lease is None:
            return True
        renewing = asyncio.create_task(self._keep(lease))
        try:
            delivery = await self._begin(lease)
            self.begun()
            await self._feed(delivery, until)
            return True
        except LeaseLost:
            _log.info("view %s: partition %d goes on elsewhere", self.view.name, self.partition)
            return await self._is_gone()
        except SinkEmptied as exc:
            _log.warning("view %s: %s: it is filled again", self.view.name, exc)
            self.build = await reincarnate(self.build)
            return False
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with contextlib.suppress(EventStoreError):
                await self._store.checkpoints.release(lease)

    async def _acquire(self, until: int | None) -> Lease | None:
        """The lease; None where nothing is left to be done, because another one who holds it has
        brought the partition to `until`."""
        settings = self._settings
        while True:
            taking = asyncio.ensure_future(
                self._store.checkpoints.acquire(
                    checkpoint_name(self.view.name),
                    settings.holder,
                    seconds=settings.lease_seconds,
                    generation=self.build.generation,
                    partition=self.partition,
                )
            )
            try:
                lease = await asyncio.shield(taking)
            except asyncio.CancelledError:
                await self._give_back(taking)
                raise
            if lease is not None:
                return lease
            if until is not None and await self._is_fed_to(until):
                return None
            await asyncio.sleep(min(settings.lease_seconds / 4, 1.0))

    async def _is_fed_to(self, until: int) -> bool:
        """Whether the partition has everything up to `until`, or is gone. One whose sink is being
        filled again has nothing yet, wherever its checkpoint is."""
        place = await place_of(self.build, self.partition)
        if place is None:
            return True
        return place.position >= until and place.incarnation == place.build.incarnation

    async def _give_back(self, taking: asyncio.Future[Lease | None]) -> None:
        """What is being taken is nobody's: cancelled, it would be held until it runs out."""
        done, _ = await asyncio.wait([taking], timeout=_CANCEL_SECONDS)
        if not done:
            taking.cancel()
            return
        with contextlib.suppress(EventStoreError):
            lease = taking.result()
            if lease is not None:
                await self._store.checkpoints.release(lease)

    async def _keep(self, lease: Lease) -> None:
        """Renews the lease; when it is lost, the next write is refused, and that ends the work."""
        while True:
            await asyncio.sleep(self._settings.lease_seconds / 3)
            with contextlib.suppress(*PASSING):  # the next renewal may succeed in time
                await self._store.checkpoints.renew(lease, seconds=self._settings.lease_seconds)

    async def _begin(self, lease: Lease) -> Delivery:
        # Raises LogDiverged where the log was restored to before the checkpoint.
        await self._store.checkpoints.load(
            lease.name, generation=lease.generation, partition=lease.partition
        )
        place = await place_of(self.build, self.partition)
        if place is None:
            raise LeaseLost(f"view {self.view.name!r}: generation {lease.generation} is gone")
        self.build, self._is_doubted = place.build, False
        applier = Applier(self.view.projection, self.build, self.partition, self._partitions)
        delivery = Delivery(self.view, self.build, lease, applier, self._settings, self._commits)
        applier.parked, applier.dropped = await held_back(self.build, self.partition)
        await self._check_sink(delivery, place.incarnation)
        if place.incarnation != self.build.incarnation:
            await delivery.move(0)  # its sink was emptied since it was last written to
        elif place.position != lease.position:
            # A checkpoint left behind by a generation of the same number, which was dropped.
            await delivery.move(place.position)
        self._wished.set()  # what was wished while nobody fed it
        if self._has_told:
            await self._tell(RUNNING, None)
            self._has_told = False
        return delivery

    async def _check_sink(self, delivery: Delivery, written_as: str | None) -> None:
        """Makes the sink's place again where it was emptied."""
        if written_as != self.build.incarnation:
            async for attempt in until_it_answers():
                with attempt:
                    made = await self.view.sink.create(self.build)
                    await self._outbox.change([*alone(self.build), *made])
            return
        if delivery.position:
            await self._ask_sink()

    async def _ask_sink(self) -> None:
        """Raises `SinkEmptied` where a sink that can tell has lost what was written to it."""
        check = getattr(self.view.sink, "check", None)
        if check is None:
            return
        async for attempt in until_it_answers():
            with attempt:
                await check(self.build)

    async def _feed(self, delivery: Delivery, until: int | None) -> None:
        pages = Pages(self._outbox, self._queries, self._settings.page_events, self._shared)
        try:
            await self._feed_from(pages, delivery, until)
        finally:
            await pages.close()

    async def _feed_from(self, pages: Pages, delivery: Delivery, until: int | None) -> None:
        head = await self._outbox.head()
        while True:
            if self._wished.is_set():
                self._wished.clear()
                if self._is_doubted:
                    await self._look_at_incarnation()
                if await do_wishes(delivery):
                    self._wished.set()  # the rest is done when the feed has had its turn
            if delivery.position < head.position:
                await self._take_page(pages, delivery, head)
            elif until is not None and delivery.position >= until and not self._wished.is_set():
                await delivery.move(delivery.position)
                return
            else:
                head = await self._next_head(delivery)

    async def _look_at_incarnation(self) -> None:
        """Raises `SinkEmptied` where the sink is being filled as another incarnation. What made
        one doubt may be older than what this worker began with, and is not to be acted on."""
        self._is_doubted = False
        place = await place_of(self.build, self.partition)
        if place is None:
            raise LeaseLost(f"view {self.view.name!r}: its generation is gone")
        if place.build.incarnation != self.build.incarnation:
            raise SinkEmptied(f"view {self.view.name!r}: its sink was emptied")

    async def _take_page(self, pages: Pages, delivery: Delivery, head: Head) -> None:
        with self._commits.working():
            if self.view.projection.is_fold:
                key_of = delivery.applier.key_of
                page = await pages.take_run(delivery.position, head.position, key_of, head.hash)
            else:
                page = await pages.take(delivery.position, head.position, head.hash)
            if page.events:
                await delivery.take(page.events, page.scanned_to, head)
                return
        delivery.position = page.scanned_to
        if asyncio.get_running_loop().time() - delivery.saved_at > EMPTY_MOVE_SECONDS:
            await delivery.move(delivery.position, head=head)

    async def _next_head(self, delivery: Delivery) -> Head:
        """Waits for an append, for somebody's wish, or until the checkpoint lies behind for too
        long."""
        waits = [
            asyncio.ensure_future(self._heads.beyond(self._outbox, delivery.position)),
            asyncio.ensure_future(self._wished.wait()),
        ]
        patience = EMPTY_MOVE_SECONDS if delivery.position != delivery.saved else CHECK_SECONDS
        try:
            await asyncio.wait(waits, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if waits[0].done():
                return waits[0].result()  # type: ignore[return-value]  # the first is the head
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if self._wished.is_set():
            return await self._outbox.head()
        if delivery.position != delivery.saved:
            await delivery.move(delivery.position)
        elif delivery.position:
            await self._ask_sink()
        return await self._outbox.head()

    async def _is_gone(self) -> bool:
        """Whether the generation is no longer to be fed."""
        try:
            found = await generations(self._outbox, self.build.tenant_id, self.view.name)
        except EventStoreError:
            return False
        mine = [each for each in found if each.generation == self.build.generation]
        return not mine or mine[0].state == RETIRED

    async def _tell(self, state: str, error: str | None) -> None:
        self._has_told = True
        with contextlib.suppress(EventStoreError):
            await self._outbox.change([note_state(self.build, self.partition, state, error)])


def _nothing() -> None:
    """What a worker calls where nobody wants to hear of it."""
