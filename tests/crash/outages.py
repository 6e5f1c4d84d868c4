"""What a relay needs goes away and comes back: the server of its log, or the Redis of a view.

The relay is a process of its own, which says something only when a view is not fed any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from statistics import median

from eventstore import EventStore, EventStoreError, NewEvent
from projections import CacheView, Relay
from projections.asking import reached, serving
from projections.errors import SinkEmptied, SinkUnavailable
from projections.view import View
from tests.servers.redis import RedisServer
from tests.waiting import until

from .faults import Fault, Outcome, Run
from .feeding import counting, counts_view, tell_log, views
from .grounds import PostgresGround
from .processes import Worker, new_store
from .relays import Counts, counted, folded, hold, in_file

KILLS = 20
DOWN_SECONDS = 30.0
STREAMS = 7

COMES_SECONDS_MAX = 60.0
"""A relay waits for 5 s at most before it asks again; a server recovers, and a machine is busy."""

BUSY_SECONDS = 1.0
"""How long the relay's store waits for a server by itself: then the relay has to."""

SLOWER_MAX = 1.1
"""What a sink that is down may make of the time of an append: the issue's bound."""

RATIO_ATTEMPTS, RATIO_ROUNDS, RATIO_APPENDS = 5, 4, 40
"""The least of a few attempts counts: another program may spoil one, never all of them."""


async def feed(url: str, *, file: str, told: str, redis: str | None) -> dict[str, str]:
    """What the relay's process does: it feeds until a view is not fed any more, and says which."""
    tell_log(told)
    async with EventStore.open(url, busy_timeout_seconds=BUSY_SECONDS) as store:
        made = views(Path(file), lambda place: None)
        if redis is not None:
            made = [counts_view(), cached_view(redis)]
        async with Relay(store, made) as relay:
            while not relay.failed:  # noqa: ASYNC110 - it tells nobody by itself
                await asyncio.sleep(0.05)
            return {name: str(error) for name, error in relay.failed.items()}


def cached_view(url: str) -> CacheView:
    """The counts in Redis."""
    return CacheView(counting("cached"), url)


class Fed:
    """One log that a relay in another process feeds views from."""

    def __init__(self, run: Run, store: EventStore, worker: Worker, told: Path) -> None:
        self.run, self.store, self._told = run, store, told
        self._record = asyncio.create_task(worker.record(3_600))
        self.refused = 0

    async def append(self) -> int:
        """A note; its position. While the server is away it may be refused."""
        chance = self.run.chance
        note = NewEvent("note.added", {"n": chance.randrange(100)})
        return (await self.store.append(f"s{chance.randrange(STREAMS)}", note)).position

    async def append_on(self) -> None:
        """Appends until it is cancelled."""
        while True:
            try:
                await self.append()
            except EventStoreError:
                self.refused += 1
            await asyncio.sleep(0.01)

    async def comes(self, condition: Callable[[], Awaitable[bool]]) -> bool:
        """Whether it comes about in time, and while all views are fed."""

        async def so_or_over() -> bool:
            return self._record.done() or await condition()

        with contextlib.suppress(TimeoutError):
            await until(so_or_over, COMES_SECONDS_MAX)
            return not self._record.done()
        return False

    async def has(self, view: View, position: int) -> bool:
        """Whether the view has that position."""
        return (await reached((await serving(view))[0]))[0] >= position

    async def follows(self, outcome: Outcome, after: str, *made: View) -> bool:
        """Whether each of the views comes to have what is appended now."""
        position = await self.append()
        for view in made:
            came = await self.comes(lambda view=view: self.has(view, position))  # type: ignore[misc]
            outcome.held(came, f"after {after} {view.name} did not go on by itself: {self.said()}")
            if not came:
                return False
        return True

    def said(self) -> str:
        """What the relay said when it ended, or what it logged."""
        if self._record.done() and not self._record.cancelled():
            return str(self._record.result())
        return self._told.read_text()[-500:] if self._told.exists() else "nothing"

    def log(self) -> str:
        """All that the relay logged."""
        return self._told.read_text() if self._told.exists() else ""

    async def close(self) -> None:
        """Listens no more."""
        self._record.cancel()
        await asyncio.gather(self._record, return_exceptions=True)


@contextlib.asynccontextmanager
async def _fed(run: Run, folder: Path, redis: str | None = None) -> AsyncIterator[Fed]:
    url, told = await new_store(run), folder / "told"
    async with EventStore.open(url) as store, Worker(run, url) as worker:
        arguments = {"file": str(folder / "outside.db"), "told": str(told), "redis": redis}
        await worker.tell("call", target="tests.crash.outages:feed", **arguments)
        fed = Fed(run, store, worker, told)
        try:
            yield fed
        finally:
            await fed.close()
    run.ground.drop(url)


async def lose_servers(run: Run) -> Outcome:
    """By turns the server is killed and stays away until the relay has noticed, is restarted, and
    loses one process that serves a client; appends go on all the time."""
    assert isinstance(run.ground, PostgresGround)
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with _fed(run, folder) as fed:
            made = [view.bind(fed.store) for view in views(folder / "outside.db", lambda _: None)]
            await _are_built(fed, made)
            appending = asyncio.create_task(fed.append_on())
            for turn in range(max(run.times(KILLS), 3)):
                what = await _lose(run.ground, fed, turn)
                if not await fed.follows(outcome, what, *made):
                    break
            appending.cancel()
            await asyncio.gather(appending, return_exceptions=True)
            if not outcome.violations and await fed.follows(outcome, "all", *made):
                wanted = (await folded(fed.store))[0]
                hold(outcome, "the view in the store", await counted(made[0]), wanted)
                hold(outcome, "the view outside", in_file(folder / "outside.db"), wanted)
            outcome.note = f"{await fed.store.head()} events, {fed.refused} appends refused"
            for view in made:
                await view.close()
    return outcome


async def _are_built(fed: Fed, made: list[View]) -> None:
    async def are_there() -> bool:
        with contextlib.suppress(EventStoreError):
            return all([await serving(view) for view in made])
        return False

    await until(are_there, COMES_SECONDS_MAX)


async def _lose(ground: PostgresGround, fed: Fed, turn: int) -> str:
    """Does it, and says what was done."""
    server = ground.server
    if turn % 3 == 0:
        noticed = fed.log().count("trying again")
        await asyncio.to_thread(server.kill)
        await fed.comes(lambda: _says_more(fed, noticed))
        await asyncio.to_thread(server.start)
        return "a kill"
    if turn % 3 == 1:
        await asyncio.to_thread(server.restart)
        return "a restart"
    rows = server.execute(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
        " AND pid <> pg_backend_pid() AND datname <> 'postgres'"
    )
    os.kill(int(rows[0][0]), signal.SIGKILL)
    return "the death of a session"


async def _says_more(fed: Fed, noticed: int) -> bool:
    return fed.log().count("trying again") > noticed


async def lose_redis(run: Run) -> Outcome:
    """Redis is killed, does nothing, and comes back empty; each time for a while, in which a view
    beside it follows and appends take as long as ever."""
    outcome, seconds = Outcome(), max(1.0, DOWN_SECONDS * run.scale)
    with tempfile.TemporaryDirectory() as name, RedisServer() as server:
        async with _fed(run, Path(name), server.url()) as fed:
            sibling, cached = counts_view().bind(fed.store), cached_view(server.url())
            made = [sibling, cached.bind(fed.store)]
            await _are_built(fed, made)
            if await fed.follows(outcome, "the start", *made):
                await _go_without(outcome, fed, server, made, seconds)
            await cached.close()
    return outcome


async def _go_without(
    outcome: Outcome, fed: Fed, server: RedisServer, made: list[View], seconds: float
) -> None:
    sibling, cached = made
    await asyncio.to_thread(server.kill)
    await _meanwhile(outcome, fed, sibling, "killed", seconds)
    await asyncio.to_thread(server.start)
    if not await _is_whole(outcome, fed, made, "Redis was killed"):
        return
    with server.pause():
        await _meanwhile(outcome, fed, sibling, "paused", seconds)
    if not await _is_whole(outcome, fed, made, "Redis was paused"):
        return
    await asyncio.to_thread(server.restart, empty=True)
    came = await fed.comes(lambda: _is_filled(fed, cached))
    outcome.held(came, f"a Redis that came back empty was not filled: {fed.said()}")
    if await _is_whole(outcome, fed, made, "Redis was emptied"):
        ratio = await _slower(fed, server)
        outcome.note = f"down for {seconds:g} s; appends took {ratio:.2f} of their time"
        outcome.held(ratio <= SLOWER_MAX, f"appends took {ratio:.2f} of their time without Redis")
        await _is_whole(outcome, fed, made, "all")


async def _meanwhile(outcome: Outcome, fed: Fed, sibling: View, how: str, seconds: float) -> None:
    """Appends, each of which the sibling has to have, for so long."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and not outcome.violations:
        await fed.follows(outcome, f"Redis was {how}", sibling)


async def _is_whole(outcome: Outcome, fed: Fed, made: list[View], after: str) -> bool:
    """Whether both views come to be the fold of the log."""
    if not await fed.follows(outcome, after, *made):
        return False
    wanted = (await folded(fed.store))[0]
    hold(outcome, f"after {after} the sibling", await counted(made[0]), wanted)
    came = await fed.comes(lambda: _is_filled(fed, made[1]))
    outcome.held(came, f"after {after} the view in Redis is not the fold of the log")
    return not outcome.violations


async def _is_filled(fed: Fed, cached: View) -> bool:
    wanted = (await folded(fed.store))[0]
    try:
        found: Counts = {
            str(key): (row["n"], row["sum"])
            for key, row in (await cached.rows(list(wanted))).items()
        }
    except (SinkEmptied, SinkUnavailable):
        return False
    return found == wanted


async def _slower(fed: Fed, server: RedisServer) -> float:
    """How much longer an append takes while Redis is down, of medians of turns with and without
    it."""
    least = float("inf")
    for _ in range(RATIO_ATTEMPTS):
        there: list[float] = []
        away: list[float] = []
        for _ in range(RATIO_ROUNDS):
            there += [await _timed(fed) for _ in range(RATIO_APPENDS)]
            await asyncio.to_thread(server.kill)
            away += [await _timed(fed) for _ in range(RATIO_APPENDS)]
            await asyncio.to_thread(server.start)
        least = min(least, median(away) / median(there))
        if least <= SLOWER_MAX:
            break
    return least


async def _timed(fed: Fed) -> float:
    begun = time.perf_counter()
    await fed.append()
    return time.perf_counter() - begun


SERVER_FAULT = Fault(
    "relay_server",
    "the log's server killed and restarted under a relay: it goes on by itself, no worker ends",
    lose_servers,
    {"postgres": ("ends where the log does not answer",)},
    alone=True,
)

SINK_FAULT = Fault(
    "relay_sink",
    "Redis down, silent, emptied under a relay: it is whole again, nobody else is harmed",
    lose_redis,
    dict.fromkeys(("sqlite", "postgres"), ("asks a sink once",)),
    prove_scale=0.03,
)
