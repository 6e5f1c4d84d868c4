"""Thousands of malformed inputs: stored and identical, or refused with a typed error and no SQL.

Each holds a canary in its payload. No error, with all its causes, and no log line at any level may
show it, nor the password of the store's URL.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import random
import traceback
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from eventstore import (
    AppendCondition,
    EventStore,
    EventStoreError,
    IdempotencyMismatch,
    InvalidEvent,
    NewEvent,
    Query,
)
from eventstore.limits import APPEND_EVENTS_MAX, PAYLOAD_BYTES_MAX
from eventstore.snapshots import Snapshot

from . import inputs
from .faults import Fault, Outcome, Run
from .processes import new_store, run_inside

INPUTS = 10_000
AT_ONCE = 40
_CANARY = "canary-51c0-"
_asked: contextvars.ContextVar[list[str]] = contextvars.ContextVar("asked")


class _Watched:
    """An engine that notes what is asked of it, for each task apart."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._engine, name)
        if not callable(member):
            return member

        def noted(*args: Any, **kwargs: Any) -> Any:
            if (asked := _asked.get(None)) is not None:
                asked.append(name)
            return member(*args, **kwargs)

        return noted


class _Lines(logging.Handler):
    """Everything that is logged, as it would be printed."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text: list[str] = []
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a line, with the error that belongs to it."""
        self.text.append(self.format(record))


async def try_inputs(run: Run) -> Outcome:
    """All in a process of its own, a few dozen at a time."""
    url = await new_store(run)
    outcome = await run_inside(run, "malformed:trial", url, count=run.times(INPUTS))
    run.ground.drop(url)
    return outcome


async def trial(url: str, seed: int, count: int) -> tuple[int, list[str]]:
    """Tries `count` inputs."""
    lines = _Lines()
    root = logging.getLogger()
    root.addHandler(lines)
    root.setLevel(logging.DEBUG)
    logging.getLogger("eventstore").setLevel(logging.DEBUG)
    broken: list[str] = []
    password = urlsplit(url).password
    hidden = {password: "the password"} if password else {}
    room = asyncio.Semaphore(AT_ONCE)
    async with EventStore.open(url) as store:
        store._core.engine = _Watched(store._core.engine)

        async def one(number: int) -> None:
            async with room:
                chance = random.Random(f"{seed}/{number}")
                canary = f"{_CANARY}{chance.randrange(2**64):x}"
                _asked.set([])
                told = await _try_one(store, chance, canary, number, hidden)
                broken.extend(f"input {number}: {line}" for line in told)

        await asyncio.gather(*(one(number) for number in range(count)))
        broken += [f"verify: {damage}" for damage in (await store.verify()).damages]
    logged = "\n".join(lines.text)
    broken += [f"a log line shows {secret}" for secret in (_CANARY, *hidden) if secret in logged]
    return count, broken


async def _try_one(
    store: EventStore, chance: random.Random, canary: str, number: int, hidden: dict[str, str]
) -> list[str]:
    """Tries one input. `hidden` says what else, beside the canary, no error may show."""
    secrets = {canary: "what was in the payload", **hidden}
    question = _size if number % _SIZES_EVERY == 0 else chance.choice(_QUESTIONS)
    try:
        return await question(store, chance, canary, number)
    except EventStoreError as exc:
        told = "".join(traceback.format_exception(exc)) + repr(exc) + repr(exc.__dict__)
        wrong = [
            f"{question.__name__}: {type(exc).__name__} shows {what}"
            for secret, what in secrets.items()
            if secret in told
        ]
        if isinstance(exc, IdempotencyMismatch):
            pass  # another input had the same stream and key
        elif type(exc) is not InvalidEvent:
            wrong.append(f"{question.__name__}: {type(exc).__name__} instead of a refusal")
        elif _asked.get():
            wrong.append(f"{question.__name__}: refused only after asking {_asked.get()}")
        return wrong
    except Exception as exc:
        place = traceback.extract_tb(exc.__traceback__)[-1]
        where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
        return [f"{question.__name__}: {type(exc).__name__} at {where}, which is not the store's"]


async def _append(store: EventStore, chance: random.Random, canary: str, number: int) -> list[str]:
    """One event with one or two fields that are odd."""
    event_id = f"id-{number}"
    fields: dict[str, Any] = {"stream": f"s/{number % 50}", "type": "note.added", "tags": ["t"]}
    fields |= {"actor": "ann", "causation_id": None, "derived_from": [], "context": None}
    fields |= {"occurred_at": None, "key": None, "data": {"n": number, "canary": canary}}
    for field in chance.sample(sorted(fields), chance.randrange(1, 3)):
        fields[field] = _odd_field(field, chance, canary)
    event = NewEvent(
        fields["type"],
        fields["data"],
        id=event_id,
        tags=fields["tags"],
        causation_id=fields["causation_id"],
        derived_from=fields["derived_from"],
        context=fields["context"],
        occurred_at=fields["occurred_at"],
    )
    result = await store.append(
        fields["stream"], event, actor=fields["actor"], idempotency_key=fields["key"]
    )
    return await _as_sent(store, result.events[0].id, fields)


def _odd_field(field: str, chance: random.Random, canary: str) -> Any:
    if field == "data":
        return inputs.value(chance, canary)
    if field == "context":
        return {"c": inputs.value(chance, canary)} if chance.random() < 0.8 else canary
    if field == "occurred_at":
        return inputs.moment(chance)
    if field in ("tags", "derived_from"):
        return chance.choice(
            (
                [inputs.name(chance) for _ in range(chance.randrange(4))],
                inputs.name(chance),
                [f"t{n}" for n in range(chance.choice((99, 100, 101, 1_001)))],
            )
        )
    return inputs.name(chance)


async def _as_sent(store: EventStore, event_id: str, fields: dict[str, Any]) -> list[str]:
    """What was stored is read again by its id, its stream and its key, and is the same."""
    stands = await store.event(event_id)
    if stands is None:
        return ["_append: told that it is written, and it is not there"]
    sent = {
        "stream": (stands.stream, fields["stream"]),
        "type": (stands.type, fields["type"]),
        "actor": (stands.actor, fields["actor"]),
        "causation_id": (stands.causation_id, fields["causation_id"]),
        "occurred_at": (stands.occurred_at, fields["occurred_at"]),
        "tags": (set(stands.tags), set(fields["tags"])),
        "derived_from": (set(stands.derived_from), set(fields["derived_from"])),
    }
    wrong = [
        f"_append: another {name} came back" for name, (is_, was) in sent.items() if is_ != was
    ]
    if not inputs.same(json.loads(stands.payload), fields["data"]):
        wrong.append("_append: another payload came back")
    if not inputs.same(json.loads(stands.context_json or "null"), fields["context"]):
        wrong.append("_append: another context came back")
    if await store.version(fields["stream"]) < stands.version:
        wrong.append("_append: its stream is not found by its name")
    if fields["key"] is not None and await store.lookup(fields["stream"], fields["key"]) is None:
        wrong.append("_append: its key is not found")
    return wrong


async def _size(store: EventStore, chance: random.Random, canary: str, number: int) -> list[str]:
    """Payloads and appends as large as they may be, and by one larger: stored whole, or refused."""
    beyond = chance.randrange(2)
    if chance.random() < 0.5:
        rest = len('{"canary":"","x":""}') + len(canary)
        sent: list[Any] = [{"canary": canary, "x": "x" * (PAYLOAD_BYTES_MAX - rest + beyond)}]
    else:
        sent = [{"canary": canary, "n": n} for n in range(APPEND_EVENTS_MAX + beyond)]
    stream, store = f"large/{number}", store.tenant("large")  # apart, where no other read meets it
    result = await store.append(stream, [NewEvent("note.added", data) for data in sent])
    if beyond:
        return ["_size: what is too large was taken"]
    stands = await store.read(stream).list()
    whole = result.version == len(sent) and [json.loads(event.payload) for event in stands] == sent
    return [] if whole else ["_size: another append came back"]


async def _expect(store: EventStore, chance: random.Random, canary: str, number: int) -> list[str]:
    """Expectations and conditions that are none. One that is one may refuse, and then says so."""
    expected = chance.choice((*inputs.COUNTS, canary, object()))
    event = NewEvent("note.added", {"canary": canary})
    try:
        if chance.random() < 0.5:
            await store.append(f"e/{number % 9}", event, expected=expected)
        else:
            query = Query(types=(inputs.name(chance),), tags=(inputs.name(chance),))
            after = chance.choice(inputs.COUNTS)
            condition = AppendCondition(query, after)
            await store.append(f"e/{number % 9}", event, condition=condition)
    except InvalidEvent:
        raise
    except EventStoreError as exc:
        told = "".join(traceback.format_exception(exc))
        return [f"_expect: {type(exc).__name__} shows the payload"] if canary in told else []
    return []


async def _read(store: EventStore, chance: random.Random, canary: str, number: int) -> list[str]:
    """Filters and bounds of reads. What is found must be of the kind that was asked for."""
    after, limit = chance.choice(inputs.COUNTS), chance.choice((0, 1, 2, *inputs.COUNTS))
    kind = number % 3
    if kind == 0:
        stream = inputs.name(chance)
        found = await store.read(stream, after=after, limit=min_of(limit)).list()
        return [] if all(event.stream == stream for event in found) else ["_read: another stream"]
    names = [inputs.name(chance) for _ in range(chance.randrange(3))]
    query = Query(types=tuple(names)) if kind == 1 else Query(tags=tuple(names))
    found = await store.read_all(after=0, query=query, limit=min_of(limit)).list()
    if all(query.matches(event.type, event.tags) for event in found):
        return []
    return ["_read: found what does not match"]


def min_of(limit: Any) -> Any:
    """A limit as it is, but never so large that a read takes all there is."""
    return 20 if limit is None or (type(limit) is int and limit > 20) else limit


async def _ask(store: EventStore, chance: random.Random, canary: str, number: int) -> list[str]:
    """Every other question that takes a name or a number."""
    name, count = inputs.name(chance), chance.choice(inputs.COUNTS)
    kept = Snapshot(1, 1, canary.encode(), b"h" * 32)

    async def streams() -> object:
        return [info async for info in store.streams(name) if not info.name.startswith(name)]

    asks: tuple[Callable[[], Awaitable[Any]], ...] = (
        lambda: store.event(name),
        lambda: store.version(name),
        lambda: store.lookup(name, "key"),
        lambda: store.lookup("s/1", name),
        lambda: store.checkpoints.load(name),
        lambda: store.checkpoints.load("reader", generation=count),
        lambda: store.checkpoints.save(name, 0),
        lambda: store.checkpoints.tenants_behind(name),
        lambda: store.checkpoints.tenants_behind("reader", limit=count),
        lambda: store.snapshots.find(name, "r", "f"),
        lambda: store.snapshots.list(name),
        lambda: store.snapshots.save(name, "r", "f", kept),
        lambda: store.tenant(name).head(),
        streams,
    )
    await chance.choice(asks)()
    return []


_QUESTIONS = (_append, _append, _append, _append, _expect, _read, _ask)
_SIZES_EVERY = 1_000
"""The large ones take a fifth of a second of a core each."""

_DEFECTS = (
    "accepts any name",
    "shows the payload in an error",
    "shows the payload in a log line",
)
_OF_PASSWORDS = ("shows the password in a log line", "shows the password in an error")

FAULT = Fault(
    "malformed",
    "malformed inputs: stored and identical, or a typed error before any SQL; nothing is shown",
    try_inputs,
    {"sqlite": _DEFECTS, "postgres": (*_DEFECTS, *_OF_PASSWORDS)},
    prove_scale=0.05,
)
