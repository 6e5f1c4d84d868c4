"""What is appended and folded: events of 400 bytes, typed ones with two reducers, and callers."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Sequence

import msgspec
from immutables import Map

from eventstore import EventStore, NewEvent, RecordedEvent, event_type
from reducers import Reducer

PAYLOAD_BYTES = 400
TOPICS = 100
"""Entries of the state that the snapshot row loads."""
TAGS = 1_000
"""Different tags of the events that bear one: users of a busy service."""

_seeded = random.Random(20)
_WORDS = ["state", "agent", "reads", "order", "seven", "shows", "later", "tools", "reply", "plans"]


@event_type("bench.noted")
class Noted(msgspec.Struct, frozen=True):
    """A typed event of about the payload size."""

    topic: str
    role: str
    text: str


class Totals(msgspec.Struct, frozen=True):
    """A small state that every event changes."""

    count: int = 0
    characters: int = 0
    last: str = ""


class Topics(msgspec.Struct, frozen=True):
    """A state of `TOPICS` entries, whatever the length of the stream."""

    count: int = 0
    by_topic: Map[str, str] = Map()


totals = Reducer("bench.totals", Totals(), snapshot_every=None)
topics_whole = Reducer("bench.topics-whole", Topics(), snapshot_every=None)
topics_kept = Reducer("bench.topics-kept", Topics())


def add_noted(state: Totals, data: Noted) -> Totals:
    """The fold of `totals`, on the bare event: the neighbours' replays run it as well."""
    return Totals(state.count + 1, state.characters + len(data.text), data.topic)


@totals.on(Noted)
def _add_to_totals(state: Totals, event: RecordedEvent) -> Totals:
    return add_noted(state, event.data)


@topics_whole.on(Noted)
@topics_kept.on(Noted)
def _set_topic(state: Topics, event: RecordedEvent) -> Topics:
    noted = event.data
    return Topics(state.count + 1, state.by_topic.set(noted.topic, noted.text[:40]))


def _text(size: int) -> str:
    text = " ".join(_seeded.choice(_WORDS) for _ in range(size // 6 + 1))
    return text[: size - 1] + "."


def _message(number: int) -> dict[str, str]:
    data = {"content": "", "message_id": f"m{number:06}", "role": "user"}
    missing = PAYLOAD_BYTES - len(msgspec.json.encode(data))
    return {**data, "content": _text(missing)}


MESSAGES = [_message(number) for number in range(1_024)]
PLAIN = [NewEvent("message.added", data) for data in MESSAGES]
TAGGED = [
    NewEvent("message.added", MESSAGES[n % 1_024], tags=[f"user:{n % TAGS:04}"])
    for n in range(1_024 * 8)
]
TYPED = [Noted(f"topic-{n % TOPICS}", "user", _text(350)) for n in range(TOPICS * 10)]


def plain_events(count: int) -> list[NewEvent]:
    """So many untagged events, prepared before anything is timed."""
    return [PLAIN[number % len(PLAIN)] for number in range(count)]


def tagged_events(count: int) -> list[NewEvent]:
    """So many events with one of `TAGS` tags each."""
    return [TAGGED[number % len(TAGGED)] for number in range(count)]


def random_keys(count: int) -> list[str]:
    """Idempotency keys as callers make them: random, without any order."""
    return [str(uuid.uuid4()) for _ in range(count)]


class Callers:
    """Tasks that append one event each, again and again, as soon as the last one is answered."""

    def __init__(
        self,
        streams: Sequence[str],
        appends: int,
        events: Sequence[NewEvent],
        keys: Sequence[str] | None = None,
    ) -> None:
        self._streams = streams
        self._appends = appends
        self._events = events
        self._keys = keys

    async def run(self, store: EventStore) -> None:
        """All callers at once, each on its own stream of `streams`."""
        await asyncio.gather(*(self._call(store, n) for n in range(len(self._streams))))

    async def _call(self, store: EventStore, caller: int) -> None:
        append, stream, keys = store.append, self._streams[caller], self._keys
        place = caller * self._appends
        for number in range(place, place + self._appends):
            event = self._events[number]
            if keys is None:
                await append(stream, [event])
            else:
                await append(stream, [event], idempotency_key=keys[number])


async def fill_stream(store: EventStore, stream: str, events: Sequence[object]) -> None:
    """Appends many events to one stream, a thousand at a time."""
    for start in range(0, len(events), 1_000):
        await store.append(stream, events[start : start + 1_000])


def typed_events(count: int) -> list[Noted]:
    """So many typed events, over all topics in turn."""
    return [TYPED[number % len(TYPED)] for number in range(count)]
