"""The relay: keeps a worker at each partition of each view, for one tenant or for all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from eventstore import EventStore, EventStoreError
from eventstore.ids import UuidSevens
from eventstore.limits import LEASE_SECONDS_MAX, PAGE_ROWS_MAX

from ..catalog import BUILDING, Generation
from ..errors import ProjectionError
from ..sinks import Build
from ..view import View
from . import generations
from .worker import Settings, Stopped, Worker

_log = logging.getLogger("eventstore")

LOOK_SECONDS = 0.5
"""How often new tenants and generations are looked for, and a switch is tried."""

_Place = tuple[str, str, int, int]


class Relay:
    """Feeds views from the log of a store, in the background of the caller's event loop.

    ::

        async with Relay(store, [notes, sessions]) as relay:
            ...

    `views` are fed for the store's tenant, or for every tenant with `all_tenants`. Any number of
    relays may run, in any number of processes and machines: a lease for each partition says who
    feeds it, for `lease_seconds` beyond the last sign of life. `page_events` is how many events
    are applied and written at once. A view that fails harms no other. Raises `ProjectionError`
    for two views of one name.
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
        if not 0 < lease_seconds <= LEASE_SECONDS_MAX:
            raise ProjectionError(f"relay: lease_seconds are 0 to {LEASE_SECONDS_MAX:g}")
        if not 1 <= page_events <= PAGE_ROWS_MAX:
            raise ProjectionError(f"relay: page_events from 1 to {PAGE_ROWS_MAX}")
        self._store = store
        self.views = {view.name: view.bind(store) for view in views}
        self._all_tenants = all_tenants
        name = holder or f"{socket.gethostname()[:60]}-{os.getpid()}-{UuidSevens()()[-8:]}"
        self._settings = Settings(name, lease_seconds, page_events, failpoint)
        self._workers: dict[_Place, tuple[Worker, asyncio.Task[None]]] = {}
        self._builds: dict[tuple[str, str, int], tuple[Build, Generation]] = {}
        self._told: set[tuple[str, str]] = set()
        self._managing: asyncio.Task[None] | None = None
        self._failed: dict[str, BaseException] = {}

    def view(self, name: str) -> View:
        """The view of this name, bound to the relay's store. Raises `ProjectionError`."""
        if name not in self.views:
            raise ProjectionError(f"relay: no view {name!r}")
        return self.views[name]

    @property
    def failed(self) -> dict[str, BaseException]:
        """Views whose worker ended, by name, and why: stopped, or a log that is damaged or was
        restored."""
        return dict(self._failed)

    async def start(self) -> None:
        """Makes the generations that are missing, and begins to feed them. If cancelled, close
        it."""
        await self._look()
        self._managing = asyncio.create_task(self._manage())

    async def close(self) -> None:
        """Ends all workers and gives their leases back. If cancelled, the leases run out."""
        tasks = [task for _, task in self._workers.values()]
        if self._managing is not None:
            tasks.append(self._managing)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._workers.clear()
        self._managing = None

    async def run(self) -> None:
        """Feeds until it is cancelled or every view failed; then raises what the last one did.
        Nothing is left open."""
        await self.start()
        try:
            while self._managing is not None and not self._managing.done():
                await asyncio.wait([self._managing], timeout=LOOK_SECONDS)
                if self._failed and len(self._failed) == len(self.views):
                    raise next(reversed(self._failed.values()))
            if self._managing is not None:
                await self._managing
        finally:
            await self.close()

    async def run_once(self) -> None:
        """Feeds every view up to the head seen, lets what is built serve, and returns. Raises
        what a view stopped with, once the others are done. If cancelled, nothing is left open."""
        await self._find_builds()
        workers = [self._new_worker(*place) for place in self._places()]
        done = await asyncio.gather(
            *[worker.run(once=True) for worker in workers], return_exceptions=True
        )
        await self._switch_built()
        for each in done:
            if isinstance(each, BaseException):
                raise each

    async def caught_up(self) -> None:
        """Waits until every view that has not failed was at the head once. If cancelled, nothing
        is left open."""
        for worker, task in list(self._workers.values()):
            waiting = asyncio.ensure_future(worker.caught_up.wait())
            try:
                await asyncio.wait([waiting, task], return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()

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
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._switch_built()
                await self._look()
            except (ProjectionError, OSError) as exc:
                _log.warning("relay: %s", exc)
            except EventStoreError as exc:
                _log.warning("relay: %s", type(exc).__name__)
                if type(exc).__name__ == "StoreClosed":
                    return

    async def _look(self) -> None:
        """Begins to feed what is not fed yet, and lets go of what is no longer to be fed."""
        await self._find_builds()
        wanted = {place[:4]: place for place in map(_named, self._places())}
        for key in [key for key in self._workers if key not in wanted]:
            _, task = self._workers.pop(key)
            task.cancel()
        for key, place in wanted.items():
            if key not in self._workers:
                worker = self._new_worker(*place[4])
                task = asyncio.create_task(self._feed(worker))
                self._workers[key] = worker, task

    async def _feed(self, worker: Worker) -> None:
        name = worker.view.name
        try:
            await worker.run()
        except Stopped as exc:
            _log.error("%s", exc)
            self._failed[name] = exc
        except EventStoreError as exc:
            self._failed[name] = exc
            if type(exc).__name__ != "StoreClosed":
                _log.error("view %s: ended by %s: %s", name, type(exc).__name__, exc)
        except Exception as exc:
            self._failed[name] = exc
            _log.error("view %s: its worker failed with a %s", name, type(exc).__name__)

    async def _find_builds(self) -> None:
        found = {}
        for tenant in await self._tenants():
            store = self._store.tenant(tenant)
            for view in self.views.values():
                for build, generation in await generations.ensure(view, store.outbox):
                    found[tenant, view.name, generation.generation] = build, generation
                    self._tell_changed(tenant, view, generation)
        self._builds = found

    async def _tenants(self) -> list[str]:
        if not self._all_tenants:
            return [self._store.tenant_name]
        return await self._store.tenants()

    def _tell_changed(self, tenant: str, view: View, generation: Generation) -> None:
        place = (tenant, view.name)
        if place not in self._told and generations.told_changed(view, generation):
            self._told.add(place)
            _log.warning(
                "view %s: its code changed without a new version; rows of before are as the old"
                " code made them: raise version, or rebuild it",
                view.name,
            )

    def _places(self) -> list[tuple[str, Build, Generation, int]]:
        return [
            (tenant, build, generation, partition)
            for (tenant, _, _), (build, generation) in self._builds.items()
            for partition in range(generation.partitions)
        ]

    def _new_worker(
        self, tenant: str, build: Build, generation: Generation, partition: int
    ) -> Worker:
        store = self._store.tenant(tenant)
        view = self.views[build.view].bind(store)
        return Worker(view, store, build, partition, generation.partitions, self._settings)

    async def _switch_built(self) -> None:
        for (tenant, name, number), (build, generation) in list(self._builds.items()):
            if generation.state != BUILDING:
                continue
            workers = [
                worker
                for key, (worker, _) in self._workers.items()
                if key[:3] == (tenant, name, number)
            ]
            if all(worker.caught_up.is_set() for worker in workers):
                with contextlib.suppress(EventStoreError):
                    if await generations.switch(self.views[name], build, generation.partitions):
                        _log.info("view %s: generation %d serves", name, number)


def _named(
    place: tuple[str, Build, Generation, int],
) -> tuple[str, str, int, int, tuple[str, Build, Generation, int]]:
    tenant, build, generation, partition = place
    return tenant, build.view, generation.generation, partition, place
