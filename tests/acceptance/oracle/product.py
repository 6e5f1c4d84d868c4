"""The product's side of the comparison: streams, events and states, through the public API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager

from eventstore import EventStore, RecordedEvent
from reducers import fold, replay
from reducers.agent import agent

from .conftest import Imported
from .seeing import Seeing
from .sources import courses, folder
from .stating import Course, Stated
from .walking import marks_of, problems

Key = tuple[object, ...]


@asynccontextmanager
async def opened(imported: Imported, kind: str) -> AsyncIterator[EventStore]:
    """The store that holds the imported sessions of a kind."""
    async with EventStore.open(imported(folder(kind)).url) as store:
        yield store


async def streams_by_key(store: EventStore) -> dict[Key, str]:
    """The streams of all sessions, by what the source calls them: session and agent are in the
    stream's name, task and trial (tau-bench has no ids) are what the session says of itself."""
    found: dict[Key, str] = {}
    async for info in store.streams(prefix="session/"):
        (started,) = await store.read(info.name, limit=1).list()
        told = started.data["attributes"]
        key: Key = tuple(info.name.removeprefix("session/").split("/agent/"))
        if "trial" in told:
            key = (told["task_id"], told["trial"])
        assert key not in found
        found[key] = info.name
    return found


def ten(kind: str) -> list[Course]:
    """The ten sessions of a kind (all, where there are fewer) with the most in them that can go
    wrong: failed calls, calls whose ids repeat, then the number of calls."""

    def trouble(course: Course) -> tuple[int, int]:
        calls = course.tail.calls
        return course.tail.failed + sum(call.id is None for call in calls), len(calls)

    return sorted(courses(kind), key=trouble, reverse=True)[:10]


def folded(events: Sequence[RecordedEvent]) -> Iterator[Stated]:
    """The states of version 0 and of every version behind it, by folding one event at a time."""
    seeing = Seeing()
    state = fold([], agent)
    yield seeing.stated(state)
    for event in events:
        state = fold([event], agent, state)
        yield seeing.stated(state)


def replayed(events: Sequence[RecordedEvent]) -> Iterator[Stated]:
    """The same states, as `replay` shows them."""
    seeing = Seeing()
    yield seeing.stated(fold([], agent))
    for step in replay(events, agent):
        yield seeing.stated(step.after)


def faults(
    course: Course, events: Sequence[RecordedEvent], seen: Iterable[Stated] | None = None
) -> list[str]:
    """All problems of a stream against its course."""
    states = folded(events) if seen is None else seen
    return [f"{course.name}: {one}" for one in problems(course, marks_of(events), states)]
