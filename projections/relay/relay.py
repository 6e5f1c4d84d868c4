"""The relay: keeps views fed, for one tenant or for all, and lets what is built serve."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from eventstore import EventStore, EventStoreError, StoreClosed
from eventstore.ids import UuidSevens
from eventstore.limits import LEASE_SECONDS_MAX, PAGE_ROWS_MAX
from eventstore.outbox import Outbox

from ..asking import reached, serving
from ..catalog import BUILDING, generations
from ..errors import ProjectionError
from ..projection import Key, key_name
from ..relational.view import RelationalView
from ..sinks import Build
from ..view import View
from . import letters
from .delivering import Settings
from .feeding import Feeding
from .generations import serving_of
from .making import Making, TenantPlace, is_final
from .rebuilding import Progress, RebuildReport, rebuild
from .switching import parked_anew, switch

_log = logging.getLogger("eventstore")

LOOK_SECONDS = 0.5
"""How often new tenants and generations are looked for, and a switch is tried."""

_TENANTS_HEARD = 20
"""Tenants whose wishes are looked for at once: about 10 ms."""

_WAIT_SECONDS = 0.01
"""Between two looks at a view that is waited for: a tenth of the promised lag."""


class Relay:
    """Feeds views from the log of a store, in the background of the caller's event loop.

    ::

        async with Relay(store, [notes, sessions]) as relay:
            ...

    `views` are fed for the store's tenant, or for every tenant with `all_tenants`. Any number of
    relays may run, in any number of processes and machines: a lease for each partition says who
    feeds it, for `lease_seconds` beyond the last sign of life. `page_events` is how many events
    are applied and written at once. A view that fails harms no other. Raises `ProjectionError`
    for two views of one name or of one table's name.
    """

    def __init__(
        self,
        store: EventStore,
        views: Sequence[View],
        *,
        all_tenants: bool = False,
        holder: str | None = None,
        lease_seconds: float = 15.0,
        page_events: int = PAGE_ROWS_MAX,
        failpoint: Callable[[str], Any] | None = None,
    ) -> None:
        names = [view.name for view in views]
        if len(set(names)) < len(names):
            raise ProjectionError("relay: two views have one name")
        tables = [view.table.name for view in views if isinstance(view, RelationalView)]
        for name in tables:
            if tables.count(name) > 1:
                raise ProjectionError(f"relay: two views have one table name, {name!r}")
        if not 0 < lease_seconds <= LEASE_SECONDS_MAX:
            raise ProjectionError(f"relay: lease_seconds are 0 to {LEASE_SECONDS_MAX:g}")
        if not 1 <= page_events <= PAGE_ROWS_MAX:
            raise ProjectionError(f"relay: page_events from 1 to {PAGE_ROWS_MAX}")
        self._store = store
        self.views = {view.name: view.bind(store) for view in views}
        self._all_tenants = all_tenants
        name = holder or f"{socket.gethostname()[:60]}-{os.getpid()}-{UuidSevens()()[-8:]}"
        settings = Settings(name, lease_seconds, page_events, failpoint)
        self._feeding = Feeding(store, self.views, settings)
        self._outboxes: dict[str, tuple[Outbox, int]] = {}
        self._making = Making(self.views)
        self._managing: asyncio.Task[None] | None = None
        self._rebuilding: set[str] = set()
        self._told: set[tuple[str, str, int]] = set()

    def view(self, name: str) -> View:
        """The view of this name, bound to the relay's store. Raises `ProjectionError`."""
        if name not in self.views:
            raise ProjectionError(f"relay: no view {name!r}")
        return self.views[name]

    @property
    def failed(self) -> dict[str, BaseException]:
        """Views that are not fed now, by name, and why: stopped, a log that is damaged or was
        restored, code older than what serves, a sink that fails. With several tenants, the last of
        them. What may pass is tried again by itself, and is not in it any more once it has."""
        failed: dict[str, BaseException] = {
            place[1]: error for place, error in self._making.failed.items()
        }
        failed.update({place[1]: error for place, error in self._feeding.failed.items()})
        return failed

    async def start(self) -> None:
        """Makes the generations that are missing, and begins to feed them. If cancelled, close
        it."""
        await self._look(None)
        self._managing = asyncio.create_task(self._manage())

    async def close(self) -> None:
        """Ends all workers and gives their leases back. If cancelled, the leases run out."""
        if self._managing is not None:
            self._managing.cancel()
            await asyncio.gather(self._managing, return_exceptions=True)
        await self._feeding.close()
        await self._making.close()
        self._managing = None

    async def run(self) -> None:
        """Feeds until it is cancelled or no view is fed any more, nor tried again; then raises why
        the last one is not. Nothing is left open."""
        await self.start()
        try:
            while self._managing is not None and not self._managing.done():
                await asyncio.wait([self._managing], timeout=LOOK_SECONDS)
                failed = [*self._making.failed.values(), *self._feeding.failed.values()]
                if failed and self._feeding.has_ended() and all(map(is_final, failed)):
                    raise failed[-1]
            if self._managing is not None:
                await self._managing
        finally:
            await self.close()

    async def run_once(self) -> None:
        """Feeds every view up to the head seen, lets what is built serve, and returns. Raises
        what a view stopped with, once the others are done. If cancelled, nothing is left open."""
        self._making.forget_failures()
        try:
            await self._find_builds(None)
        finally:
            await self._making.close()
        heads = {tenant: await self._head(tenant) for tenant, _, _ in self._making.builds}
        done = await self._feeding.feed_once(self._making.builds)
        await self._switch_built(heads)
        for each in (*done, *self._making.failed.values()):
            if isinstance(each, BaseException):
                raise each

    async def caught_up(self, *, timeout_seconds: float | None = None) -> None:
        """Waits until every view that is fed has what stands in the log now, for as long as a
        sink is away, or `timeout_seconds` at most (None: without end); then raises `TimeoutError`,
        and feeding goes on. If cancelled, nothing is left open."""
        async with asyncio.timeout(timeout_seconds):
            await self._caught_up()

    async def _caught_up(self) -> None:
        heads: dict[str, int] = {}
        for (tenant, name, number), (build, _) in list(self._making.builds.items()):
            if tenant not in heads:
                heads[tenant] = await self._head(tenant)
            mine = [key for key in self._feeding.workers() if key[:3] == (tenant, name, number)]
            while (await reached(build))[0] < heads[tenant]:
                if not any(map(self._feeding.is_fed, mine)):
                    break
                await asyncio.sleep(_WAIT_SECONDS)

    async def rebuild(
        self,
        name: str,
        *,
        compare: bool = False,
        accept_parked: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> list[RebuildReport]:
        """Builds a view again from the log, beside the generation that serves readers meanwhile,
        and lets it take over in one switch; a report for each tenant that is fed here.

        One that was begun before, by a process that ended, is gone on with. With `compare` it is
        held against the serving one row by row first. `progress` is told how far it is, about 20
        times a second. Where keys are parked in it that the serving one has rows of, it does not
        take over until their letters are retried or dropped, and the report says so (`serves`,
        `parked_anew`), unless `accept_parked`. The relay has to be started.

        Raises `ProjectionError` where it is not, or the new generation cannot be fed. If
        cancelled, what is built stands, and is gone on with by the next call (or by the relay
        itself, where nothing was to be compared).
        """
        view = self.view(name)
        if self._managing is None:
            raise ProjectionError("relay: start it before a view is rebuilt")
        self._rebuilding.add(name)
        try:
            return [
                await self._rebuild(view, tenant, compare, accept_parked, progress)
                for tenant in await self._tenants()
            ]
        finally:
            self._rebuilding.discard(name)

    async def _rebuild(
        self,
        view: View,
        tenant: str,
        compare: bool,
        accept_parked: bool,
        progress: Callable[[Progress], None] | None,
    ) -> RebuildReport:
        def why_not_fed(name: str, generation: int) -> BaseException | None:
            why = self._feeding.why_not_fed(tenant, name, generation)
            return why or self._making.failed.get((tenant, name, 0))

        outbox, _ = await self._place(tenant)
        return await rebuild(view, outbox, compare, progress, why_not_fed, accept_parked)

    async def rebuild_key(self, name: str, key: Key) -> None:
        """Asks whoever feeds the view to build the rows of one key again from the log, in the
        serving generation; a row that no event of the key makes any more stays. `key` is the one
        that orders events, which need not be a row's; of one that no event has, that is kept as
        the wish's error. Raises `ViewNotBuilt`. If cancelled, it may be asked."""
        build, generation = await serving(self.view(name))
        await letters.ask_rebuild(build, key_name(key), generation.partitions)

    async def __aenter__(self) -> Relay:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _manage(self) -> None:
        heads: dict[str, int] = {}
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                # A build that has what stood in the log at the last look has caught up.
                await self._switch_built(heads)
                await self._look(LOOK_SECONDS)
                await self._pass_on_wishes()
                builds = self._making.builds.items()
                building = [key[0] for key, (_, each) in builds if each.state == BUILDING]
                heads = {tenant: await self._head(tenant) for tenant in building}
            except StoreClosed:
                return
            except EventStoreError as exc:
                _log.warning("relay: %s", type(exc).__name__)
            except Exception as exc:  # such as a sink that raises what it should not
                _log.error("relay: its look at the views failed with a %s", type(exc).__name__)

    async def _look(self, patience_seconds: float | None) -> None:
        """Begins to feed what is not fed yet, and lets go of what is no longer to be fed."""
        await self._find_builds(patience_seconds)
        self._feeding.keep(self._making.builds)

    async def _find_builds(self, patience_seconds: float | None) -> None:
        places = []
        for tenant in await self._tenants():
            outbox, tenant_id = await self._place(tenant)
            places.append(TenantPlace(tenant, tenant_id, outbox))
        await self._making.look(self._store.outbox, places, patience_seconds)

    async def _tenants(self) -> list[str]:
        if not self._all_tenants:
            return [self._store.tenant_name]
        return await self._store.tenants()

    async def _place(self, tenant: str) -> tuple[Outbox, int]:
        if tenant not in self._outboxes:
            outbox = self._store.tenant(tenant).outbox
            self._outboxes[tenant] = outbox, await outbox.tenant_id()
        return self._outboxes[tenant]

    async def _head(self, tenant: str) -> int:
        return (await (await self._place(tenant))[0].head()).position

    async def _pass_on_wishes(self) -> None:
        """Tells workers that somebody wants something done for one of their keys. Of many tenants
        some are looked at each time, in turn."""
        for _ in range(min(len(self._outboxes), _TENANTS_HEARD)):
            tenant = next(iter(self._outboxes))
            outbox, _id = self._outboxes[tenant] = self._outboxes.pop(tenant)
            await self._feeding.hear_wishes(outbox)

    async def _switch_built(self, heads: dict[str, int]) -> None:
        """Lets serve what has come to `heads`, by tenant; what is being rebuilt by a call is that
        call's."""
        for place, (build, generation) in list(self._making.builds.items()):
            tenant, name, number = place
            if generation.state != BUILDING or tenant not in heads or name in self._rebuilding:
                continue
            if await switch(self.views[name], build, at_least=heads[tenant]):
                _log.info("view %s: generation %d serves", name, number)
            elif place not in self._told and (await reached(build))[0] >= heads[tenant]:
                await self._tell_parked(place, build)

    async def _tell_parked(self, place: tuple[str, str, int], build: Build) -> None:
        """Says once why a generation that is built does not take over."""
        old = serving_of(await generations(build.outbox, build.tenant_id, build.view))
        keys = await parked_anew(build, old)
        if not keys or old is None:
            return
        self._told.add(place)
        _log.warning(
            "view %s: generation %d is built and does not take over: parked keys (%d) have rows in"
            " generation %d, which serves on; retry or drop them, or rebuild the view and accept"
            " that they are parked",
            build.view,
            build.generation,
            keys,
            old.generation,
        )
