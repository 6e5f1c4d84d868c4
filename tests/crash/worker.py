"""What a process of this suite does, as it is told: one JSON list a line, ``[VERB, ARGUMENTS]``.

It says ``["answer", RESULT]`` at the end of a verb. On the way, verbs that write say of each
operation ``["begun", NAME, NS, STREAM, COUNT, KEY]``, then ``["ended", NAME, NS, VERSION,
POSITION]`` or ``["failed", NAME, NS, ERROR, WRITTEN]``: what is printed is what a caller knows.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import random
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

from eventstore import Conflict, EventStore, EventStoreError, NewEvent
from eventstore.outbox import Advance, Statement

from . import defects_postgres, defects_sqlite, defects_views  # noqa: F401 - they register themselves
from .defects import in_force, seed_defect
from .history import content
from .points import arm

_ROOM_SECONDS = 60.0
"""How long what a worker says may wait for the other side to read."""

Verb = Callable[..., Awaitable[Any]]
verbs: dict[str, Verb] = {}


def verb(function: Verb) -> Verb:
    """Makes a function something that a worker can be told by its name."""
    verbs[function.__name__] = function
    return function


class State:
    """What the process has open."""

    def __init__(self, url: str, engine: str, channel: socket.socket) -> None:
        self.url = url
        self.engine = engine
        self.channel = channel
        self.store: EventStore | None = None
        self.stopping = False

    @property
    def opened(self) -> EventStore:
        """The open store."""
        assert self.store is not None
        return self.store

    def say(self, *record: Any) -> None:
        """Says something, so that it is out of this process when this returns."""
        self.channel.sendall(json.dumps(record).encode() + b"\n")


@verb
async def open_store(state: State, **options: Any) -> int:
    """Opens the store and answers its head."""
    state.store = await EventStore.open(state.url, **options)
    return await state.store.head()


@verb
async def close_store(state: State) -> None:
    """Closes the store."""
    await state.opened.close()


async def operate(
    state: State, name: str, stream: str, count: int, key: str | None, **options: Any
) -> None:
    """One append, told before and after."""
    events = [NewEvent("note.added", content(name, n), tags=["crash"]) for n in range(count)]
    state.say("begun", name, time.monotonic_ns(), stream, count, key)
    try:
        result = await state.opened.append(stream, events, idempotency_key=key, **options)
    except EventStoreError as exc:
        state.say("failed", name, time.monotonic_ns(), type(exc).__name__, exc.written)
    else:
        state.say("ended", name, time.monotonic_ns(), result.version, result.position)


@verb
async def write(
    state: State,
    *,
    name: str,
    callers: int = 4,
    appends: int | None = None,
    sizes: tuple[int, ...] = (1, 2, 3, 5, 10),
    pause_seconds_max: float = 0.0,
    refused_share: float = 0.0,
    seed: int = 0,
) -> None:
    """Appends from several callers at once, `appends` each or until it is stopped or killed: to a
    stream of its own and to one of all processes, every second time under a key. A share of them
    expects what cannot be, and is refused."""

    async def call(caller: int) -> None:
        chance = random.Random(f"{seed}/{name}/{caller}")
        turn = 0
        while not state.stopping and (appends is None or turn < appends):
            stream = "shared" if chance.random() < 0.4 else f"own/{name}/{caller}"
            operation = f"{name}/{caller}/{turn}"
            key = operation if turn % 2 else None
            options: dict[str, Any] = {}
            if chance.random() < refused_share:
                options["expected"] = 1_000_000_000
            await operate(state, operation, stream, chance.choice(sizes), key, **options)
            turn += 1
            if pause_seconds_max:
                await asyncio.sleep(chance.random() * pause_seconds_max)

    await asyncio.gather(*(call(caller) for caller in range(callers)))


@verb
async def write_beside_a_view(state: State, *, name: str, appends: int) -> None:
    """Appends from one caller; before each a view moves on, whose commit may wait for no disk."""
    store = state.opened
    lease = await store.checkpoints.acquire("beside", "me", seconds=600)
    assert lease is not None
    table, at = Statement("CREATE TABLE IF NOT EXISTS beside (position INTEGER)"), 0
    for turn in range(appends):
        head = await store.head()
        row = Statement(f"INSERT INTO beside VALUES ({turn})")
        assert await store.outbox.change([table, row], [Advance(lease, at, head)])
        at = head
        await operate(state, f"{name}/{turn}", "own", 1, None)


@verb
async def win(state: State, *, name: str, stream: str, rounds: int) -> list[int]:
    """Tries, from version 0 on, to be the one who appends at the version that it knows; a loser
    takes the version that it is told. Answers the expected versions at which it won."""
    # Everything is at hand before the race begins, so that nobody has won before others come.
    await state.opened.append(f"ready/{name}", NewEvent("ready", {}))
    expected, won = 0, []
    while expected < rounds:
        event = NewEvent("note.added", {"by": name, "expected": expected})
        try:
            result = await state.opened.append(stream, event, expected=expected)
        except Conflict as exc:
            expected = exc.actual
        else:
            won.append(expected)
            expected = result.version
    return won


@verb
async def follow(state: State, *, last_type: str) -> list[tuple[int, str, int, str]]:
    """Subscribes from the beginning until an event of that type comes; answers (position, stream,
    version, id) of all that it was given, in the order in which it was."""
    seen = []
    async for event in state.opened.subscribe():
        seen.append((event.position, event.stream, event.version, event.id))
        if event.type == last_type:
            break
    return seen


@verb
async def consume(state: State, *, name: str, effects: str, dies_between: int) -> None:
    """Follows the log from its checkpoint and has an effect for each event: a line in a file. Its
    checkpoint moves behind the effect. It goes on for ever, or kills itself between the two steps
    of its event number `dies_between`."""
    checkpoint = await state.opened.checkpoints.load(name)
    descriptor = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    handled = 0
    async for event in state.opened.subscribe(after=checkpoint or 0):

        async def effect(position: int = event.position) -> None:
            os.write(descriptor, b"%d\n" % position)

        async def save(position: int = event.position) -> None:
            await state.opened.checkpoints.save(name, position)

        steps = [effect, save]
        if in_force("saves its checkpoint before the effect"):
            steps.reverse()
        await steps[0]()
        handled += 1
        if handled == dies_between:
            os.kill(os.getpid(), signal.SIGKILL)
        await steps[1]()
        state.say("consumed", event.position)


@verb
async def call(state: State, *, target: str, **arguments: Any) -> Any:
    """Awaits ``module:function`` with this store's URL and the arguments; answers its answer."""
    module, _, function = target.partition(":")
    return await getattr(importlib.import_module(module), function)(state.url, **arguments)


async def serve(state: State) -> None:
    """Does what is told, until the other side goes away. `stop` ends a verb that goes on."""
    reader, _ = await asyncio.open_connection(sock=state.channel.dup())
    running: asyncio.Task[None] | None = None

    async def do(name: str, arguments: dict[str, Any]) -> None:
        try:
            state.say("answer", await verbs[name](state, **arguments))
        except Exception as exc:
            state.say("broke", f"{name}: {type(exc).__name__}: {exc}")

    while line := await reader.readline():
        name, arguments = json.loads(line)
        if name == "stop":
            state.stopping = True
            continue
        state.stopping = False
        running = asyncio.create_task(do(name, arguments))
        running.add_done_callback(lambda task: task.exception())
    if running is not None:
        running.cancel()


def main(
    channel: socket.socket,
    url: str,
    engine: str,
    point: tuple[str, int] | None,
    defect: str | None,
) -> None:
    """The process: seeds its defect, arms its failpoint, and serves."""
    logging.getLogger("eventstore").setLevel(logging.ERROR)  # SQLite's age is not of interest here
    # The loop reads from the same socket without blocking: what is said waits for room by itself.
    channel.settimeout(_ROOM_SECONDS)
    if defect is not None:
        seed_defect(engine, defect)
    if point is not None:
        arm(engine, *point)
    asyncio.run(serve(State(url, engine, channel)))
