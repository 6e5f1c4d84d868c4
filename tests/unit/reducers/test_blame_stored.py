"""Blame of stored streams: page by page, and on along causes into other streams."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import EventStore, InvalidEvent, NewEvent, Position, Version
from reducers import Reducer, ReducerError, blame, fork


def tree() -> Reducer[dict[str, Any]]:
    """A JSON object; `set` puts a value at a path of one or two names."""
    reducer: Reducer[dict[str, Any]] = Reducer("tree", {})

    @reducer.on("set")
    def put(state: dict[str, Any], event: Any) -> dict[str, Any]:
        first, *more = event["at"]
        value = event["value"]
        return {**state, first: {**state.get(first, {}), more[0]: value} if more else value}

    return reducer


async def test_stream_is_stored_then_blame_follows_causes_into_other_streams(
    store: EventStore,
) -> None:
    """Each blamed event is followed by what it came from, at any distance, each event once."""

    async def append(stream: str, data: Any, **names: Any) -> str:
        result = await store.append(stream, NewEvent("set", data, **names))
        return result.events[0].id

    fact = await append("memory/1", {"at": ["fact"], "value": "wrong"})
    looked = await append("session/2", {"at": ["looked"], "value": 1}, derived_from=[fact])
    first = await append("board/7", {"at": ["a"], "value": 1}, causation_id=fact)
    await append("board/7", {"at": ["b"], "value": 1})
    last = await append(
        "board/7",
        {"at": ["a"], "value": 2},
        causation_id=looked,
        derived_from=["unheard-of", first, fact],
    )
    found = await tree().blame(store, "board/7", "/a")
    assert [(each.event.id, each.depth, each.via) for each in found] == [
        (last, 0, None),
        (looked, 1, "causation_id"),
        (fact, 1, "derived_from"),
        (first, 0, None),
    ]
    newest = found[0]
    assert (newest.event.version, newest.path, newest.before, newest.after) == (3, "/a", 1, 2)
    assert (found[1].path, found[1].before, found[1].after, found[1].changes) == (
        "",
        None,
        None,
        [],
    )
    own = [each for each in found if each.depth == 0]
    assert own == blame(await store.read("board/7").list(), tree(), "/a")
    assert await tree().blame(store, "board/8", "/a") == []


async def test_causes_are_limited_then_those_that_were_left_out_are_told(
    store: EventStore,
) -> None:
    """No more ids are followed than were asked for, and the event that names more says so."""
    await store.append("m", [NewEvent("x", {}, id=f"cause-{n}") for n in range(3)])
    data = {"at": ["a"], "value": 1}
    await store.append("b", NewEvent("set", data, derived_from=[f"cause-{n}" for n in range(3)]))
    for limit, unfollowed in ((0, True), (2, True), (3, False)):
        found = await tree().blame(store, "b", "/a", causes_max=limit)
        assert len(found) == limit + 1
        assert [each.unfollowed for each in found] == [unfollowed, *[False] * limit]
    with pytest.raises(ReducerError, match="causes_max"):
        await tree().blame(store, "b", "/a", causes_max=-1)


async def test_causes_name_each_other_then_blame_ends(store: EventStore) -> None:
    """A ring of ids is gone round once."""
    data = {"at": ["a"], "value": 1}
    await store.append("b", NewEvent("set", data, id="one", causation_id="two"))
    await store.append("c", NewEvent("x", {}, id="two", causation_id="three"))
    await store.append("d", NewEvent("x", {}, id="three", derived_from=["one", "two"]))
    found = await tree().blame(store, "b", "/a")
    assert [(each.event.id, each.depth) for each in found] == [("one", 0), ("two", 1), ("three", 2)]


async def test_stream_is_longer_than_a_page_then_its_pages_are_blamed_as_one(
    store: EventStore,
) -> None:
    """A long stream is read page by page, forth and back."""
    events = [NewEvent("set", {"at": ["a", str(n % 900)], "value": n}) for n in range(2_500)]
    await store.append("long", events)
    assert [each.event.version for each in await tree().blame(store, "long", "/a/7")] == [
        1808,
        908,
        8,
    ]


async def test_stream_is_a_fork_then_what_it_inherited_is_told_as_its_own(
    store: EventStore,
) -> None:
    """Blamed or a cause, it stands in the fork; a cause that came later stands in the parent."""
    for number in range(3):
        event = NewEvent("set", {"at": [f"a{number}"], "value": 1}, id=f"e{number}")
        await store.append("parent", event)
    await fork(store, "parent", at=Version(2), into="fork")
    data = {"at": ["a0"], "value": 2}
    await store.append("fork", NewEvent("set", data, id="own", derived_from=["e1", "e2"]))
    found = await tree().blame(store, "fork", "/a0")
    assert [(each.event.id, each.event.stream, each.depth) for each in found] == [
        ("own", "fork", 0),
        ("e1", "fork", 1),
        ("e2", "parent", 1),
        ("e0", "fork", 0),
    ]


async def test_moment_is_named_then_the_state_of_that_moment_is_blamed(store: EventStore) -> None:
    """What came later is not looked at; causes are followed all the same."""
    for number in range(1, 4):
        data = {"at": ["a"], "value": number}
        event = NewEvent("set", data, id=f"e{number}", derived_from=[f"e{number + 1}"])
        await store.append("s", event)
    at_two = await tree().blame(store, "s", "/a", at=Version(2))
    assert [(each.event.id, each.depth) for each in at_two] == [("e2", 0), ("e3", 1), ("e1", 0)]
    assert await tree().blame(store, "s", "/a", at=Position(2)) == at_two
    assert await tree().blame(store, "s", "/a", at=Version(0)) == []
    with pytest.raises(InvalidEvent, match="at:"):
        await tree().blame(store, "s", "/a", at=2)  # type: ignore[arg-type]  # that is the test
