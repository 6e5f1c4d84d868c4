"""What views are measured with: the six views, the events that feed them, a load that does not wait
for its answers, and the processes that feed the views and watch them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from eventstore import EventStore, NewEvent, RecordedEvent
from projections import CacheView, Projection, RelationalView, Relay
from projections.asking import reached, serving
from projections.stock import memories, stock_views
from projections.stock.audit import entry as audit_entry
from projections.stock.audit import table as audit_table
from projections.stock.memory_index import memory_index
from projections.view import View
from reducers import Reducer
from reducers.agent import vocabulary

from .workload import MESSAGES

SIX = ("sessions", "messages", "tool_calls", "memories", "audit", "session_state")
"""The views that follow: five tables and a cache."""

_KEPT = 10
"""Memories that the context of a session shows: what a prompt has room for."""

LOOK_SECONDS = 0.002
"""How often the watcher looks: it adds at most this to a lag."""

_FILLED_SECONDS_MAX = 120.0
"""After which views that do not come to the end of a log are given up."""


def six_views(cache_url: str | None = None) -> list[View]:
    """Six stock views, of which the cache may be in Redis."""
    views = stock_views(cache_url=cache_url, with_vectors=False)
    return [views[name] for name in SIX]


_hot: Reducer[dict[str, Any]] = Reducer("bench.hot", {"memories": 0, "last": None})
_context: Reducer[list[str]] = Reducer("bench.context", [])
_context_table = sa.Table(
    "context",
    sa.MetaData(),
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)


@_hot.on(vocabulary.MEMORY_REMEMBERED)
def _count(state: dict[str, Any], event: RecordedEvent) -> dict[str, Any]:
    return {"memories": state["memories"] + 1, "last": event.data["content"]}


@_context.on(vocabulary.MEMORY_REMEMBERED)
def _show(state: list[str], event: RecordedEvent) -> list[str]:
    return [*state, event.data["content"]][-_KEPT:]


def five_stores() -> list[View]:
    """What follows when something is remembered: the log is the sixth."""
    return [
        RelationalView(Projection("trail", map=audit_entry), audit_table),
        memories,
        CacheView(Projection("hot", fold=_hot)),
        memory_index(),
        RelationalView(
            Projection("context", fold=_context, row=lambda _, texts: {"text": "\n".join(texts)}),
            _context_table,
        ),
    ]


def memory_events(caller: int, count: int) -> list[NewEvent]:
    """So many different things to remember, of about 400 bytes."""
    return [
        vocabulary.memory_remembered(
            memory_id=f"m{caller}-{number}",
            content=f"{caller} {number} {MESSAGES[(caller * count + number) % 1_024]['content']}",
            attributes={"user": f"user-{caller % 15}"},
        )
        for number in range(count)
    ]


def agent_events(count: int) -> list[NewEvent]:
    """So many events as agents' sessions have them, of about 400 bytes: a question, a call, its
    result, an answer, something to remember, and again."""
    return [_agent_event(number) for number in range(count)]


def _agent_event(number: int) -> NewEvent:
    content, turn = MESSAGES[number % len(MESSAGES)]["content"], number // 5
    call = f"call-{turn}"
    match number % 5:
        case 0:
            return vocabulary.message_added(role="user", content=content)
        case 1:
            return vocabulary.tool_requested(
                tool_call_id=call, tool_name="search", tool_call_arguments={"query": content}
            )
        case 2:
            return vocabulary.tool_completed(tool_call_id=call, tool_call_result=content)
        case 3:
            return vocabulary.message_added(role="assistant", content=content)
    return vocabulary.memory_remembered(
        memory_id=f"m{turn}", content=content, attributes={"user": f"user-{turn % 15}"}
    )


class Sent(msgspec.Struct):
    """Appends of one load: when each was sent and answered, in ns, and the position it got."""

    sent_ns: list[int] = []
    answered_ns: list[int] = []
    positions: list[int] = []

    def milliseconds(self) -> list[float]:
        """How long each append took."""
        pairs = zip(self.sent_ns, self.answered_ns, strict=True)
        return [(answered - sent) / 1e6 for sent, answered in pairs]


async def offer(
    store: EventStore, streams: Sequence[str], events: Sequence[NewEvent], rate: int
) -> Sent:
    """Appends the events one by one at so many a second, whether or not those before have been
    answered."""
    sent, running = Sent(), set[asyncio.Task[None]]()
    loop = asyncio.get_running_loop()

    async def append(number: int, event: NewEvent) -> None:
        began = time.monotonic_ns()
        # Five events in a row are a turn of one session.
        result = await store.append(streams[number // 5 % len(streams)], [event])
        sent.answered_ns.append(time.monotonic_ns())
        sent.sent_ns.append(began)
        sent.positions.append(result.position)

    first = loop.time()
    for number, event in enumerate(events):
        early = first + number / rate - loop.time()
        if early > 0:
            await asyncio.sleep(early)
        task = loop.create_task(append(number, event))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    return sent


async def filled(views: Sequence[View], store: EventStore, position: int) -> None:
    """Waits until all views have it, whoever feeds them."""
    async with asyncio.timeout(_FILLED_SECONDS_MAX):
        for view in views:
            build, _ = await serving(view.bind(store))
            while True:
                if (await reached(build))[0] >= position:
                    break
                await asyncio.sleep(0.01)


def written_bytes() -> tuple[int, int]:
    """(calls, bytes) that this process has written to files, as the kernel counts them."""
    lines = Path("/proc/self/io").read_text().splitlines()
    told = dict(line.split(": ") for line in lines)
    return int(told["syscw"]), int(told["wchar"])


async def relay(url: str, views: Sequence[View]) -> None:
    """A child's part: feeds the views until it is told to end, then says what it wrote."""
    async with EventStore.open(url) as store, Relay(store, views) as running:
        await running.caught_up()
        before = written_bytes()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        after = written_bytes()
        if running.failed:
            raise RuntimeError(f"not fed any more: {', '.join(running.failed)}")
    print(json.dumps([after[0] - before[0], after[1] - before[1]]), flush=True)


def watch(path: str, last: int) -> None:
    """A child's part: looks how far the slowest of the six views is, as a reader of the file sees
    it, until it is at `last`; says when it saw which position."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    question = (
        "SELECT min(position) FROM view_progress"
        " WHERE name IN (SELECT value FROM json_each(?)) AND tenant_id = 1"
    )
    args = (json.dumps(SIX),)
    (position,) = connection.execute(question, args).fetchone()
    seen: list[tuple[int, int]] = [(time.monotonic_ns(), position)]
    print("ready", flush=True)
    deadline = time.monotonic() + _FILLED_SECONDS_MAX
    while seen[-1][1] < last:
        time.sleep(LOOK_SECONDS)
        (position,) = connection.execute(question, args).fetchone()
        if position > seen[-1][1]:
            seen.append((time.monotonic_ns(), position))
        if time.monotonic() > deadline:
            raise RuntimeError(f"the views are at {position} of {last}")
    print(json.dumps(seen), flush=True)
