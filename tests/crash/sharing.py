"""Two relays, each in a process of its own, share the partitions of a view; one is killed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import sqlalchemy as sa

from eventstore import EventStore, Lease, NewEvent
from projections import RelationalView, Relay
from projections.asking import checkpoint_name, reached, serving
from tests.waiting import PATIENCE_SECONDS, until

from .defects import NOBODY
from .faults import Fault, Outcome, Run
from .feeding import counting
from .processes import Worker, new_store
from .relays import counted, folded, hold

KILLS = 10
PARTITIONS = 4
CHECKPOINT = checkpoint_name("shared")
LEASE_SECONDS, OTHER_LEASE_SECONDS = 4.0, 1.2
"""Of the one that is killed, and of the other. Who wants a lease asks for it four times in one of
its own, and once a second at least."""

TAKEN_SECONDS_MAX = LEASE_SECONDS + 10.0
"""The lease, the next question for it, and what a busy machine may add."""

STREAMS, EVENTS = 24, 120
ATTEMPTS_MAX = 5
"""How often two relays are begun for one trial: now and then the first has all partitions."""


def shared_view() -> RelationalView:
    """The counts of each stream, in four partitions."""
    table = sa.Table(
        "shared",
        sa.MetaData(),
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("n", sa.Integer),
        sa.Column("sum", sa.Integer),
    )
    return RelationalView(counting("shared"), table, partitions=PARTITIONS)


async def feed(url: str, *, holder: str, lease_seconds: float) -> None:
    """What each of the processes does, until it is killed. A lease of its own tells when it has
    begun to ask."""
    async with (
        EventStore.open(url) as store,
        Relay(store, [shared_view()], holder=holder, lease_seconds=lease_seconds),
    ):
        await store.checkpoints.acquire(holder, holder, seconds=600)
        await asyncio.Event().wait()


async def share(run: Run) -> Outcome:
    """One log; each time two relays share its view, and one of them is killed while it feeds."""
    outcome, url = Outcome(), await new_store(run)
    times, waits = run.times(KILLS), []
    async with EventStore.open(url) as store:
        view = shared_view().bind(store)
        await Relay(store, [view]).run_once()
        for number in range(ATTEMPTS_MAX * times):
            names = f"one/{number}", f"two/{number}"
            async with Worker(run, url) as one, Worker(run, url) as two:
                if await _shared(store, (one, two), names):
                    waits.append(await _kill_one(run, store, view, one, names[1], outcome))
            if len(waits) == times or outcome.violations:
                break
        outcome.held(waits, "two relays never came to share the view")
    outcome.note = f"taken over after {max(waits, default=0):.1f} s, lease {LEASE_SECONDS:g} s"
    run.ground.drop(url)
    return outcome


async def _shared(store: EventStore, two: tuple[Worker, Worker], names: tuple[str, str]) -> bool:
    """Lets the first have two partitions, and both ask for the others, of which the second, which
    asks oftener, comes by one at least; False where it did not."""
    kept = [await _take(store, partition) for partition in (2, 3)]
    target = "tests.crash.sharing:feed"
    await two[0].tell("call", target=target, holder=names[0], lease_seconds=LEASE_SECONDS)
    await until(lambda: _holds(store, names[0], count=2))
    await two[1].tell("call", target=target, holder=names[1], lease_seconds=OTHER_LEASE_SECONDS)
    await until(lambda: _asks(store, names[1]))
    for lease in kept:
        await store.checkpoints.release(lease)
    await until(lambda: _holds(store, *names))
    return set(await _holders(store)) == set(names)


async def _kill_one(
    run: Run,
    store: EventStore,
    view: RelationalView,
    one: Worker,
    other: str,
    outcome: Outcome,
) -> float:
    """Kills one of two that feed, and gives how long it took until the other one had all."""
    await _append(run, store)
    await one.kill()
    killed = time.monotonic()
    position = await _append(run, store)
    taken = await _comes(lambda: _holds(store, other))
    seconds = time.monotonic() - killed
    outcome.held(taken, f"{other} did not take over within {TAKEN_SECONDS_MAX:g} s")
    if taken:
        fed = await _comes(lambda: _has(view, position), PATIENCE_SECONDS)
        outcome.held(fed, f"{other} holds all, and does not feed")
        hold(outcome, "the view", await counted(view), (await folded(store))[0])
    return seconds


async def _append(run: Run, store: EventStore) -> int:
    """Notes in many streams; the last position."""
    notes = [
        store.append(f"s{n % STREAMS}", NewEvent("note.added", {"n": run.chance.randrange(100)}))
        for n in range(EVENTS)
    ]
    return max([result.position for result in await asyncio.gather(*notes)])


async def _take(store: EventStore, partition: int) -> Lease:
    """The lease of a partition, as soon as nobody holds it."""
    found: list[Lease] = []

    async def take() -> bool:
        lease = await store.checkpoints.acquire(
            CHECKPOINT, NOBODY, seconds=600, partition=partition
        )
        found.extend([] if lease is None else [lease])
        return bool(found)

    await until(take)
    return found[0]


async def _asks(store: EventStore, name: str) -> bool:
    return await store.checkpoints.held_by(name) is not None


async def _holders(store: EventStore) -> Counter[str | None]:
    """How many partitions are held, by each holder."""
    return Counter(
        [await store.checkpoints.held_by(CHECKPOINT, partition=n) for n in range(PARTITIONS)]
    )


async def _holds(store: EventStore, *names: str, count: int = PARTITIONS) -> bool:
    """Whether these hold so many partitions together."""
    holders = await _holders(store)
    return sum([holders[name] for name in names]) == count


async def _has(view: RelationalView, position: int) -> bool:
    return (await reached((await serving(view))[0]))[0] >= position


async def _comes(
    condition: Callable[[], Awaitable[bool]], seconds: float = TAKEN_SECONDS_MAX
) -> bool:
    """Whether it comes about in time."""
    try:
        await until(condition, seconds)
    except TimeoutError:
        return False
    return True


FAULT = Fault(
    "relay_share",
    "one of two relays of a view killed: the other takes its partitions when the lease has run out",
    share,
    dict.fromkeys(("sqlite", "postgres"), ("leaves partitions of a dead relay alone",)),
)
