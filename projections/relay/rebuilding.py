"""A view built again beside the generation that serves, which is then replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from eventstore.outbox import Outbox

from ..asking import reached
from ..catalog import BUILDING, COMPARING, SERVING, Generation, generations, held_back
from ..errors import ProjectionError
from ..sinks import Build
from ..view import View
from .comparing import Comparison, compare
from .generations import begin, give_up, is_fed, serving_of, set_state
from .switching import parked_anew, switch

_LOOK_SECONDS = 0.05
"""Between two looks at how far a build is: half of the promised lag."""


class Progress(msgspec.Struct, frozen=True):
    """How far a rebuild is: `position` of `head`, and how many events a second it came on since it
    was begun or taken up again."""

    view: str
    tenant: str
    generation: int
    position: int
    head: int
    events_per_second: float


class RebuildReport(msgspec.Struct, frozen=True):
    """What a rebuild came to, for one tenant. `comparison` is None where none was asked for.

    `parked_keys` wait in the dead letters of the new generation. Where `serves` is False,
    `parked_anew` of them are keys whose rows the old one serves: the new one is built and fed, and
    takes over by itself once their letters are retried or dropped.
    """

    view: str
    tenant: str
    generation: int
    serves: bool
    replaced: int | None
    parked_keys: int
    parked_anew: int
    positions: int
    seconds: float
    events_per_second: float
    comparison: Comparison | None


async def rebuild(
    view: View,
    outbox: Outbox,
    wanted: bool,
    progress: Callable[[Progress], None] | None,
    failed: Callable[[str, int], BaseException | None],
    accept_parked: bool = False,
) -> RebuildReport:
    """Waits until a new generation, which a relay feeds, is built, compares it where that is
    `wanted`, and lets it serve. One that was begun before and not finished is gone on with.
    `failed` says what keeps it from being fed. One with keys `parked_anew` serves only where that
    is accepted."""
    clock = asyncio.get_running_loop().time
    tenant_id = await outbox.tenant_id()
    found = await generations(outbox, tenant_id, view.name)
    old = serving_of(found)
    mine = await _unfinished(view, outbox, tenant_id, wanted)
    build = mine.build(outbox, view.name, tenant_id)
    began_at, first = clock(), (await reached(build))[0]
    while True:
        head = (await outbox.head()).position
        await _reach(build, outbox, head, progress, failed, (began_at, first))
        if wanted and old is not None:
            compared = await compare(view, old.build(outbox, view.name, tenant_id), build)
        else:
            compared = None
        if await switch(view, build, at_least=head, accept_parked=accept_parked):
            break
        state = await _state(build)
        if state == SERVING:  # another relay let it serve
            break
        is_alive = state in (BUILDING, COMPARING)  # else there is nothing more to reach
        if is_alive and not accept_parked and await _parked_anew(view, build):
            await set_state(build, COMPARING, BUILDING)  # it may serve by itself then
            break
    serves = await _state(build) == SERVING
    seconds = clock() - began_at
    positions = (await reached(build))[0] - first
    rate = positions / seconds if seconds > 0 else 0.0
    return RebuildReport(
        view=view.name,
        tenant=outbox.tenant,
        generation=build.generation,
        serves=serves,
        replaced=old.generation if serves and old is not None else None,
        parked_keys=len((await held_back(build))[0]),
        parked_anew=0 if serves else await _parked_anew(view, build),
        positions=positions,
        seconds=seconds,
        events_per_second=rate,
        comparison=compared,
    )


async def _parked_anew(view: View, build: Build) -> int:
    found = await generations(build.outbox, build.tenant_id, view.name)
    return await parked_anew(build, serving_of(found))


async def _unfinished(view: View, outbox: Outbox, tenant_id: int, wanted: bool) -> Generation:
    """The generation that is being built by this code; begun where there is none. One that shall
    be compared does not serve by itself. What other code has begun is given up."""
    state = COMPARING if wanted else BUILDING
    for _ in range(3):  # another process may begin or finish it at the same time
        found = await generations(outbox, tenant_id, view.name)
        serving = serving_of(found)
        if serving is not None and serving.version > view.projection.version:
            raise ProjectionError(
                f"view {view.name!r}: version {serving.version} serves, this code is version"
                f" {view.projection.version}"
            )
        for each in found:
            if each.state not in (BUILDING, COMPARING):
                continue
            build = each.build(outbox, view.name, tenant_id)
            if each.fingerprint != view.fingerprint():
                is_newer = each.version > view.projection.version
                if is_newer and await is_fed(view, build, each.partitions):
                    raise ProjectionError(
                        f"view {view.name!r}: generation {each.generation} is being built by newer"
                        f" code, of version {each.version}"
                    )
                await give_up(build, each.state)
                continue
            if each.state == state or await set_state(build, each.state, state):
                return each
        await begin(view, outbox, state)
    raise ProjectionError(f"view {view.name!r}: its generations change while they are looked at")


async def _reach(
    build: Build,
    outbox: Outbox,
    head: int,
    progress: Callable[[Progress], None] | None,
    failed: Callable[[str, int], BaseException | None],
    since: tuple[float, int],
) -> None:
    """Returns when the build has position `head`. Raises where it is not fed, or was given up, also
    after it came there."""
    clock = asyncio.get_running_loop().time
    while True:
        if await _state(build) not in (BUILDING, COMPARING, SERVING):
            raise ProjectionError(
                f"view {build.view!r}: generation {build.generation} was given up for other code"
            )
        position = (await reached(build))[0]
        seconds = clock() - since[0]
        rate = (position - since[1]) / seconds if seconds > 0 else 0.0
        if progress is not None:
            progress(Progress(build.view, outbox.tenant, build.generation, position, head, rate))
        if position >= head:
            return
        why = failed(build.view, build.generation)
        if why is not None:
            raise ProjectionError(
                f"view {build.view!r}: generation {build.generation} is not fed: {why}"
            ) from why
        await asyncio.sleep(_LOOK_SECONDS)


async def _state(build: Build) -> str | None:
    found = await generations(build.outbox, build.tenant_id, build.view)
    return next((each.state for each in found if each.generation == build.generation), None)
