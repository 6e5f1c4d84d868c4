"""Finding a stream by a part of its name."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cli.exits import ExitCode, Stop
from cli.naming import complete_names, find_stream
from eventstore import EventStore, NewEvent

STREAMS = (
    "board/7",
    "board/70",
    "session/258c-1",
    "session/258c-1/agent/a1",
    "session/258c-1/agent/a2",
    "session/abc1",
    "session/abc2",
    "session/board",
)


@pytest.fixture
async def store() -> AsyncIterator[EventStore]:
    """A store with the streams above."""
    async with EventStore.open("memory://") as opened:
        for name in STREAMS:
            await opened.append(name, [NewEvent("t", {})])
        yield opened


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("board/7", "board/7"),
        ("board/70", "board/70"),
        ("session/abc1", "session/abc1"),
        ("abc2", "session/abc2"),
        ("258c", "session/258c-1"),
        ("session/258", "session/258c-1"),
        ("258c-1/agent/a2", "session/258c-1/agent/a2"),
        ("board", "session/board"),
    ],
)
async def test_unique_beginning_then_found(store: EventStore, typed: str, found: str) -> None:
    """An exact name goes first, a session is found by its id, and stands for its subagents."""
    assert await find_stream(store, typed) == found


@pytest.mark.parametrize(
    ("typed", "candidates"),
    [("abc", ["session/abc1", "session/abc2"]), ("boa", ["board/7", "board/70"])],
)
async def test_ambiguous_beginning_then_candidates_listed(
    store: EventStore, typed: str, candidates: list[str]
) -> None:
    """Two streams that are meant equally are wrong usage, and both are named."""
    with pytest.raises(Stop) as stopped:
        await find_stream(store, typed)
    assert stopped.value.code == ExitCode.USAGE
    assert all(name in stopped.value.message for name in candidates)


async def test_no_such_beginning_then_refused(store: EventStore) -> None:
    """The store says no when nothing begins so."""
    with pytest.raises(Stop, match="no stream begins with 'zzz'") as stopped:
        await find_stream(store, "zzz")
    assert stopped.value.code == ExitCode.REFUSED


async def test_many_candidates_then_only_some_named(store: EventStore) -> None:
    """The line stays readable, and says that there are more."""
    for number in range(50):
        await store.append(f"many/{number:02}", [NewEvent("t", {})])
    with pytest.raises(Stop) as stopped:
        await find_stream(store, "many/")
    assert stopped.value.message.endswith("many/07, ...")


def test_completion_without_a_store_then_nothing_offered() -> None:
    """A shell that completes is never shown an error."""
    assert list(complete_names("sqlite:////nowhere/at/all.db", None, "b")) == []
