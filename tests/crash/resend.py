"""A batch that is sent again: whichever of the two comes first, the other one writes nothing.

What the suite's other lines meet by chance is made to happen here, each order by itself: the first
sending commits and its answer is lost; it is on its way through the server, holding the head,
while the second one waits behind it, and then commits or is undone; it reaches the server only
after the second one was answered; it never does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from eventstore import EventStore, EventStoreError, Expected, NewEvent
from tests.servers.proxy import Proxy
from tests.waiting import until

from .faults import Fault, Outcome, Run
from .gates import GATES, build_gates, closed_gate
from .history import Operations, content
from .processes import new_store, run_inside

ROUNDS = 4
FORGETFUL = "forgets that it has sent a batch before"
UNTOLD = "does not strike out what it has sent before"
TRIAL_SECONDS = 20.0
"""A trial takes a tenth of a second; one that hangs is told by its name."""

LATE = "the first one comes after the second one's answer"
_LOSSES = {
    "the first one never comes": "request",
    "the first one's answer is lost": "answer",
    LATE: "late",
}
_HELD = {
    f"the second one waits for the first, which {end} {gate}": (gate, end == "is undone")
    for gate in GATES
    for end in ("stood", "is undone")
}
_ORDERS = (*_LOSSES, *_HELD)
"""What becomes of the first sending."""

_FORMS = ("plain", "under a key", "at a version", "refused")
_REFUSALS = ("Conflict",)
_BEHIND = """
SELECT count(*) FROM pg_stat_activity
 WHERE wait_event_type = 'Lock' AND wait_event <> 'advisory' AND query LIKE '%append_batch%'
   AND datname = current_database()
"""


async def send_again(run: Run) -> Outcome:
    """Every order with every form of a call, beside others in the same batch."""
    url = await new_store(run)
    outcome = await run_inside(run, "resend:trial", url, rounds=run.times(ROUNDS))
    outcome.note = f"{len(_ORDERS)} orders of the two sendings"
    run.ground.drop(url)
    return outcome


async def trial(url: str, seed: int, rounds: int) -> tuple[int, list[str]]:
    """One store after the other on one log, each behind a proxy of its own."""
    del seed
    await build_gates(url)
    operations, trials = Operations(), 0
    async with EventStore.open(url) as other:
        await other.append("other", NewEvent("note.added", content("begin", 0)))
        for turn in range(rounds):
            for order in _ORDERS:
                one = _Trial(url, turn, order, operations, other)
                try:
                    async with asyncio.timeout(TRIAL_SECONDS):
                        await one.run()
                except TimeoutError:
                    return trials, [*one.broken, f"{one.name}: somebody waits for ever"]
                trials += 1
                if one.broken:
                    return trials, one.broken
        broken = operations.broken(await other.read_all().list(), foreign=True, refusals=_REFUSALS)
        broken += [f"verify: {damage}" for damage in (await other.verify()).damages]
    return trials, broken


class _Trial:
    """One batch of three calls that is sent twice."""

    def __init__(
        self, url: str, turn: int, order: str, operations: Operations, other: EventStore
    ) -> None:
        self._form = _FORMS[turn % len(_FORMS)]
        self.name = f"{turn} {order} {self._form}"
        self.broken: list[str] = []
        self._url, self._order = url, order
        self._operations, self._other = operations, other

    async def run(self) -> None:
        """Sends, does what the order says with the first sending, and looks at what stands."""
        async with Proxy(self._url) as proxy, EventStore.open(proxy.url) as store:
            await store.append("begin", NewEvent("note.added", {}))  # what it prepares is prepared
            if self._order in _LOSSES:
                proxy.lose = (_LOSSES[self._order], self.name.encode())
                await self._append(store)
                if proxy.lose is not None:
                    self.broken.append(f"{self.name}: nothing was lost, nothing was tried")
                if self._order == LATE:
                    # What was refused might be accepted now, behind the answer.
                    await self._other.append(f"refused/{self.name}", NewEvent("note.added", {}))
                    await proxy.deliver()
            else:
                gate, is_undone = _HELD[self._order]
                await self._overtaken(store, proxy, gate, is_undone)
            await self._look(store)

    async def _overtaken(self, store: EventStore, proxy: Proxy, gate: str, is_undone: bool) -> None:
        """The first sending stands at a place in its transaction; its client is cut off, and
        sends again."""
        async with self._watcher() as watcher:
            async with closed_gate(self._url, gate) as closed:
                appending = asyncio.create_task(self._append(store))
                first = await closed.someone()
                proxy.cut()
                behind: list[int] = []

                async def look() -> None:
                    while not behind:
                        if await watcher.fetchval(_BEHIND):
                            behind.append(first)

                looking = asyncio.create_task(look())
                await until(looking.done)
                if is_undone:
                    await watcher.fetchval("SELECT pg_terminate_backend($1, 5000)", first)
            await appending

    @asynccontextmanager
    async def _watcher(self) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(self._url)
        try:
            yield connection
        finally:
            await connection.close()

    async def _append(self, store: EventStore) -> None:
        """The calls of the batch, at once."""
        await asyncio.gather(*(self._call(store, n) for n in range(3)))

    def _arguments(self, n: int) -> tuple[str, list[NewEvent], dict[str, Any]]:
        name = f"{self.name}/{n}"
        events = [NewEvent("note.added", content(name, at)) for at in range(1 + n)]
        # A batch that comes late would be refused for the ids of the one that stands, as a whole:
        # there all are refused.
        if n == 1 and not (self._form == "refused" and self._order == LATE):
            return f"beside/{self.name}", events, {}
        if self._form == "refused":
            return f"refused/{self.name}", events, {"expected": Expected.STREAM_EXISTS}
        if self._form == "under a key":
            return "shared", events, {"idempotency_key": name}
        if self._form == "at a version":
            # Two at one version: the second one is refused, in every order.
            return f"own/{self.name}", events, {"expected": Expected.NO_STREAM}
        return "shared", events, {}

    async def _call(self, store: EventStore, n: int) -> None:
        stream, events, options = self._arguments(n)
        name, now = f"{self.name}/{n}", time.monotonic_ns
        key = options.get("idempotency_key")
        self._operations.take(["begun", name, now(), stream, len(events), key])
        try:
            result = await store.append(stream, events, **options)
        except EventStoreError as exc:
            self._operations.take(["failed", name, now(), type(exc).__name__, exc.written])
            if type(exc).__name__ not in _REFUSALS:
                self.broken.append(f"{name}: {type(exc).__name__}: {exc}")
        else:
            self._operations.take(["ended", name, now(), result.version, result.position])

    async def _look(self, store: EventStore) -> None:
        """Each call of the batch as it was answered, and under its key the same answer again."""
        for n in range(3):
            stream, events, options = self._arguments(n)
            told = self._operations.by_name[f"{self.name}/{n}"]
            standing = [
                event.position
                async for event in store.read(stream)
                if event.data.get("operation") == told.name
            ]
            due = list(range(told.position - told.count + 1, told.position + 1))
            if standing != (due if told.acknowledged else []):
                answer = told.refused or f"told {told.position}"
                self.broken.append(f"{told.name}: {answer}, stands at {standing}")
            if "idempotency_key" in options:
                again = await store.append(stream, events, **options)
                if (again.duplicate, again.position) != (True, told.position):
                    self.broken.append(f"{told.name}: its key was not honoured")


FAULT = Fault(
    "resend",
    "a batch sent twice, in every order of the two: written once, and as it was answered",
    send_again,
    {"postgres": (FORGETFUL, UNTOLD)},
    prove_scale=1.0,
)
