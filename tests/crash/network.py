"""The network cut between client and server: nothing is lost or written twice, all go on.

Appends, readings and subscriptions are under way each time. Packets are lost in a network of the
trial's own where this machine allows one, otherwise held back by a proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import Protocol

from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy

from . import namespace
from .faults import Fault, Outcome, Run
from .processes import new_store, run_inside
from .traffic import READERS, Traffic

CUT_SECONDS = 5.0
HANG_UPS = 40
FORGETFUL = "forgets that it has sent a batch before"
SKIPS = "takes a lost page for an empty one"


class _Network(Protocol):
    """What can be cut."""

    def hold(self) -> None: ...
    def mend(self) -> None: ...


async def cut_networks(run: Run) -> Outcome:
    """One cut of five seconds, then connections that are ended again and again at any moment."""
    url = await new_store(run)
    outcome = await run_inside(
        run,
        "network:trial",
        url,
        cut_seconds=CUT_SECONDS if run.scale >= 1 else 1.0,
        hang_ups=run.times(HANG_UPS),
        apart=not run.is_small,
    )
    run.ground.drop(url)
    return outcome


async def trial(
    url: str, seed: int, cut_seconds: float, hang_ups: int, apart: bool
) -> tuple[int, list[str], str]:
    """Both parts, in this process, each with stores of its own."""
    chance = random.Random(seed)
    is_apart = apart and namespace.enter()
    async with contextlib.AsyncExitStack() as stack:
        if is_apart:  # the server of the other network cannot be reached from here
            server = await asyncio.to_thread(PostgresServer)
            stack.push_async_callback(asyncio.to_thread, server.stop)
            await asyncio.to_thread(server.start)
            url = server.new_url()
        between = await stack.enter_async_context(Proxy(url))
        through = between.url
        network: _Network = namespace.Loopback() if is_apart else between
        first = Traffic(url if is_apart else through, "cut", seed)
        async with first:
            note = await _cut(first, network, cut_seconds)
        second = Traffic(through, "hung", seed)
        async with second:
            await second.goes_on("the beginning")
            for turn in range(hang_ups):
                await asyncio.sleep(chance.random() * 0.02)
                second.note_under_way()
                between.cut()
                await second.goes_on(f"hanging up {turn}")
            await second.end()
    how = "packets lost in a namespace" if is_apart else "held back by a proxy"
    return 1 + hang_ups, [*first.told, *second.told], f"{how}; {note}"


async def _cut(traffic: Traffic, network: _Network, seconds: float) -> str:
    """Cuts once, and says what was under way."""
    await traffic.goes_on("the beginning")
    await traffic.begin_appends()
    network.hold()
    await asyncio.sleep(seconds)
    traffic.note_under_way()  # those of before the cut, and those that were begun in it
    mended_ns = time.monotonic_ns()
    network.mend()
    await traffic.goes_on(f"{seconds:g} s without a network")
    await traffic.end()
    keyed = [one for one in traffic.under_way.values() if one.key is not None]
    reads = [1 for begun, ended in traffic.reads if begun < mended_ns < ended]
    if not keyed or len(keyed) == len(traffic.under_way) or len(reads) + traffic.errors < READERS:
        traffic.told.append("not everything was under way while the network was cut")
    return (
        f"under way: {len(traffic.under_way)} appends, {len(keyed)} with keys,"
        f" {len(reads)} readings, {len(traffic.seen)} subscriptions"
    )


FAULT = Fault(
    "network",
    "the network cut for 5 s, connections ended at any moment: written once, read whole, in order",
    cut_networks,
    {"postgres": (FORGETFUL, SKIPS)},
    prove_scale=0.5,
)
