"""The generations that a relay feeds: found, begun where there is none, dropped where they are old.

What has to wait for something outside (a sink that is asked for a place, or to give one up) is done
beside everything else and tried again by itself, so that a view which fails harms no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from eventstore import Corrupt, EventStoreError, LogDiverged, StoreClosed
from eventstore.outbox import Outbox

from ..catalog import Generation
from ..errors import ProjectionError, SinkUnavailable
from ..sinks import Build
from ..view import View
from . import generations
from .delivering import Stopped
from .pages import reason_of

_log = logging.getLogger("eventstore")

AGAIN_SECONDS, AGAIN_SECONDS_MAX = 1.0, 30.0
"""Before something that failed is tried again; it doubles. A view that comes back is fed half a
minute later at the latest, and one that does not costs a question in that time."""

_BEGIN, _DROP = "begin", "drop"

_Job = tuple[str, str, str]
_Made = list[tuple[Build, Generation]]


class TenantPlace(msgspec.Struct, frozen=True):
    """A tenant whose views are fed."""

    tenant: str
    tenant_id: int
    outbox: Outbox


class _Rest(msgspec.Struct, frozen=True):
    """A job that failed, and is not tried again before `until` on the loop's clock."""

    until: float
    seconds: float


class Making:
    """`builds` are the generations to feed, by tenant, view and number. `failed` says which are
    not there, and why; a generation of 0 stands for all of the view's."""

    def __init__(self, views: Mapping[str, View]) -> None:
        self._views = views
        self.builds: dict[tuple[str, str, int], tuple[Build, Generation]] = {}
        self.failed: dict[tuple[str, str, int], Exception] = {}
        self._tasks: dict[_Job, asyncio.Task[Any]] = {}
        self._rests: dict[_Job, _Rest] = {}
        self._told: set[tuple[str, str]] = set()

    async def look(
        self, outbox: Outbox, tenants: Sequence[TenantPlace], patience_seconds: float | None
    ) -> None:
        """Finds what is to be fed now, and begins what is missing: that is waited for so long
        (None: until it is done or failed), and found by the next look otherwise. Raises what the
        log itself fails with. If cancelled, what was begun goes on until `close`."""
        stands = await generations.of_views(outbox, list(self._views))
        for place in tenants:
            for view in self._views.values():
                found = stands.get((place.tenant_id, view.name), [])
                here = (view, place.outbox, place.tenant_id, found)
                if generations.to_feed(view, found) is None:
                    self._try((_BEGIN, place.tenant, view.name), partial(generations.ensure, *here))
                if generations.to_drop(place.outbox, found):
                    drop = partial(generations.drop_retired, *here)
                    self._try((_DROP, place.tenant, view.name), drop)
                elif generations.to_give_up(view, place.outbox, found):
                    drop = partial(generations.drop_abandoned, *here)
                    self._try((_DROP, place.tenant, view.name), drop)
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=patience_seconds)
        begun = self._collect()
        builds = {}
        for place in tenants:
            for view in self._views.values():
                found = stands.get((place.tenant_id, view.name), [])
                made = begun.get((_BEGIN, place.tenant, view.name))
                if made is None:
                    made = self._made(view, place, found)
                for build, generation in made:
                    builds[place.tenant, view.name, generation.generation] = build, generation
                    self._tell_changed(place.tenant, view, generation)
        self.builds = builds

    def forget_failures(self) -> None:
        """Lets everything be tried at once, as if it had not failed."""
        self.failed.clear()
        self._rests.clear()

    async def close(self) -> None:
        """Ends what is under way. Cancelled, it has asked for it."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _made(self, view: View, place: TenantPlace, found: Sequence[Generation]) -> _Made:
        """What stands of a view that nothing was begun of."""
        here = (place.tenant, view.name)
        mine = generations.to_feed(view, found)
        if mine is None:
            error = self.failed.get((*here, 0))
            if error is not None and is_final(error):
                return []
            # It could not be looked at: what was fed goes on.
            return [each for key, each in self.builds.items() if key[:2] == here]
        self.failed.pop((*here, 0), None)
        self._note_unlike(here, view, found)
        return [(each.build(place.outbox, view.name, place.tenant_id), each) for each in mine]

    def _note_unlike(self, here: tuple[str, str], view: View, found: Sequence[Generation]) -> None:
        unlike = {each.generation: each for each in generations.unlike(view, found)}
        for key in [key for key in self.failed if key[:2] == here and key[2] not in (0, *unlike)]:
            del self.failed[key]
        for number in unlike:
            if (*here, number) not in self.failed:
                error = self.failed[*here, number] = ProjectionError(
                    f"view {view.name!r}: its code changed without a new version: generation"
                    f" {number} was made for other columns, types or keys; raise version, or"
                    " rebuild the view"
                )
                _log.error("%s", error)

    def _try(self, job: _Job, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        loop = asyncio.get_running_loop()
        rest = self._rests.get(job)
        if job not in self._tasks and (rest is None or rest.until <= loop.time()):
            self._tasks[job] = loop.create_task(work())

    def _collect(self) -> dict[_Job, Any]:
        """What the jobs that are done came to. Raises `StoreClosed`."""
        done = {}
        for job, task in list(self._tasks.items()):
            if not task.done():
                continue
            del self._tasks[job]
            try:
                done[job] = task.result()
            except StoreClosed:
                raise
            except Exception as exc:
                self._rest(job, exc)
            else:
                self._rests.pop(job, None)
                if job[0] == _BEGIN:
                    self.failed.pop((*job[1:], 0), None)
        return done

    def _rest(self, job: _Job, error: Exception) -> None:
        before = self._rests.get(job)
        pause = AGAIN_SECONDS if before is None else min(2 * before.seconds, AGAIN_SECONDS_MAX)
        self._rests[job] = _Rest(asyncio.get_running_loop().time() + pause, pause)
        kind, tenant, name = job
        said = told(error)
        if kind == _DROP:
            _log.warning("view %s: an old generation is not dropped yet: %s", name, said)
            return
        if said != told(self.failed.get((tenant, name, 0))):
            _log.error("view %s: it is not fed yet: %s", name, said)
        self.failed[tenant, name, 0] = error

    def _tell_changed(self, tenant: str, view: View, generation: Generation) -> None:
        place = (tenant, view.name)
        if place in self._told:
            return
        self._told.add(place)
        if generation.fingerprint != view.fingerprint():
            _log.warning(
                "view %s: its code changed without a new version; rows of before are as the old"
                " code made them: raise version, or rebuild it",
                view.name,
            )


def told(error: BaseException | None) -> str:
    """What may be said of an error: other people's may hold a payload or a password."""
    if error is None:
        return ""
    return (
        str(error)
        if isinstance(error, (EventStoreError, Stopped, ImportError))
        else reason_of(error)
    )


def is_final(error: BaseException) -> bool:
    """Whether an error stays until somebody mends something."""
    if isinstance(error, (Stopped, Corrupt, LogDiverged, StoreClosed, ImportError)):
        return True
    return isinstance(error, ProjectionError) and not isinstance(error, SinkUnavailable)
