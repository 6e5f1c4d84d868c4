"""The workers of a relay, one at each partition that is fed: begun, begun again, let go of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial

import msgspec

from eventstore import Corrupt, EventStore, LogDiverged, StoreClosed
from eventstore.outbox import Outbox

from ..catalog import Generation
from ..sinks import Build
from ..view import View
from . import letters
from .commits import Commits
from .delivering import Settings, Stopped
from .heads import Heads
from .making import AGAIN_SECONDS, AGAIN_SECONDS_MAX, told
from .sharing import SharedPages
from .worker import Worker

_log = logging.getLogger("eventstore")

Place = tuple[str, str, int, int]
"""Tenant, view, generation and partition."""

Builds = Mapping[tuple[str, str, int], tuple[Build, Generation]]
"""Generations to feed, by tenant, view and number."""


class _Fed(msgspec.Struct, frozen=True):
    """A partition that is fed here."""

    worker: Worker
    task: asyncio.Task[None]


class Feeding:
    """`failed` says which partitions are not fed now, and why."""

    def __init__(self, store: EventStore, views: Mapping[str, View], settings: Settings) -> None:
        self._store, self._views, self._settings = store, views, settings
        self._commits, self._heads, self._pages = Commits(), Heads(), SharedPages()
        self._fed: dict[Place, _Fed] = {}
        self.failed: dict[Place, BaseException] = {}

    def keep(self, builds: Builds) -> None:
        """Begins to feed what is not fed yet, and lets go of what is no longer to be fed."""
        wanted = _places(builds)
        for key in [key for key in self._fed if key not in wanted]:
            self._fed.pop(key).task.cancel()
            self.failed.pop(key, None)
        for key, (build, generation) in wanted.items():
            if key in self._fed:
                self._fed[key].worker.heed(build)
            else:
                worker = self._new_worker(key, build, generation)
                self._fed[key] = _Fed(worker, asyncio.create_task(self._feed(worker, key)))

    async def feed_once(self, builds: Builds) -> list[BaseException | None]:
        """Feeds all of it up to the head seen; what each worker raised. If cancelled, nothing is
        left open."""
        places = _places(builds)
        workers = [self._new_worker(key, *named) for key, named in places.items()]
        done: list[BaseException | None] = []
        try:
            while workers:
                done += await asyncio.gather(
                    *[worker.run(once=True) for worker in workers], return_exceptions=True
                )
                if any(done):
                    break
                # A partition may have found that what it did is another one's to go on with.
                owing = [key for key in places if await letters.is_owing(places[key][0], key[3])]
                workers = [self._new_worker(key, *places[key]) for key in owing]
        finally:
            await self._heads.close()
            await self._pages.close()
        return done

    def workers(self) -> dict[Place, Worker]:
        """Those that were begun and not let go of."""
        return {key: each.worker for key, each in self._fed.items()}

    def is_fed(self, place: Place) -> bool:
        """Whether the partition is being fed now."""
        fed = self._fed.get(place)
        return fed is not None and not fed.task.done() and place not in self.failed

    def has_ended(self) -> bool:
        """Whether no worker is at work any more, nor will be."""
        return all(each.task.done() for each in self._fed.values())

    def why_not_fed(self, tenant: str, view: str, generation: int) -> BaseException | None:
        """What keeps a generation from being fed."""
        for place, error in self.failed.items():
            if place[:3] == (tenant, view, generation):
                return error
        return None

    async def hear_wishes(self, outbox: Outbox) -> None:
        """Tells a tenant's workers that somebody wants something done for one of their keys. If
        cancelled, they hear it the next time."""
        for place in await letters.all_wished(outbox, list(self._views)):
            fed = self._fed.get((outbox.tenant, *place))
            if fed is not None:
                fed.worker.wish()

    async def close(self) -> None:
        """Ends all workers, which give their leases back. If cancelled, the leases run out."""
        tasks = [each.task for each in self._fed.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._heads.close()
        await self._pages.close()
        await self._commits.close()
        self._fed.clear()

    def _new_worker(self, place: Place, build: Build, generation: Generation) -> Worker:
        store = self._store.tenant(place[0])
        return Worker(
            self._views[build.view].bind(store),
            store,
            build,
            place[3],
            generation.partitions,
            self._settings,
            self._commits,
            self._heads,
            self._pages,
        )

    async def _feed(self, worker: Worker, place: Place) -> None:
        """Lets a worker work. One that ended by what may pass is begun again, later and later."""
        loop, pause, name = asyncio.get_running_loop(), AGAIN_SECONDS, worker.view.name
        worker.begun = partial(self._forget_failure, place)
        while True:
            begun_at = loop.time()
            try:
                await worker.run()
                return
            except (StoreClosed, Stopped, Corrupt, LogDiverged) as exc:
                self.failed[place] = exc
                if not isinstance(exc, StoreClosed):
                    _log.error("view %s: it is not fed any more: %s", name, exc)
                return
            except Exception as exc:
                self.failed[place] = exc
                if loop.time() - begun_at > AGAIN_SECONDS_MAX:
                    pause = AGAIN_SECONDS
                _log.error(
                    "view %s: its worker ended, and is begun again in %g s: %s",
                    name,
                    pause,
                    told(exc),
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, AGAIN_SECONDS_MAX)

    def _forget_failure(self, place: Place) -> None:
        self.failed.pop(place, None)


def _places(builds: Builds) -> dict[Place, tuple[Build, Generation]]:
    return {
        (*key, partition): (build, generation)
        for key, (build, generation) in builds.items()
        for partition in range(generation.partitions)
    }
