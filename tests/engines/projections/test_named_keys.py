"""Keys of several kinds that look alike: each has its state, its row and its place among the dead
letters, live and rebuilt."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import EventStore, NewEvent, RecordedEvent
from projections import CacheView, Projection, Upsert
from projections.projection import Key
from projections.view import View
from reducers import Reducer

from .stage import Outside, feed, letters_of, rows_of

KEYS: list[Key] = [5, "5", '"5"', ("a", 1), '["a",1]', ("a", "1"), "a", "007", -5]


def key_of(event: RecordedEvent) -> Key:
    found = event.data["key"]
    made: Key = tuple(found) if isinstance(found, list) else found
    return made


async def test_keys_look_alike_then_each_has_its_own_state_and_a_rebuild_finds_no_difference(
    store: EventStore,
) -> None:
    """A fold of 5 has no event of "5" in it; what a failing event of one key holds back is that
    key."""
    count: Reducer[Any] = Reducer("alike", initial=[])
    failing: set[Key] = {"5"}

    @count.on("said")
    def said(state: Any, event: RecordedEvent) -> Any:
        if key_of(event) in failing:
            raise ValueError
        return [*state, event.version]

    projection = Projection("alike", key=key_of, fold=count)
    view = CacheView(projection, attempts=1, partitions=3).bind(store)
    wanted: dict[Key, list[int]] = {}
    for key in [*KEYS, *KEYS]:
        stored = list(key) if isinstance(key, tuple) else key
        result = await store.append("s", NewEvent("said", {"key": stored}))
        wanted.setdefault(key, []).append(result.version)
    await feed(store, view).run_once()
    parked = wanted.pop("5")
    assert await letters_of(view) == [('"5"', parked[0], True), ('"5"', parked[1], False)]
    assert await rows_of(view) == wanted
    assert {key: (await view.get(key)).value for key in wanted} == wanted
    assert await view.rows([*wanted, "5"]) == wanted
    failing.clear()
    async with feed(store, view) as relay:
        (report,) = await relay.rebuild("alike", compare=True)
    assert report.comparison is not None
    assert [each.key for each in report.comparison.differences] == ["5"]
    assert (await view.get("5")).value == parked


EMPTY: list[Key] = [0, "", (), 7]


async def say(store: EventStore, key: Key, text: str, stream: str = "s") -> int:
    """Appends what a key said; its position."""
    stored = list(key) if isinstance(key, tuple) else key
    return (await store.append(stream, NewEvent("said", {"key": stored, "text": text}))).position


def said_projection(fails: bool) -> Projection:
    """A map of what each key said last; "bad" fails where it is said so, and "whose" has no key
    that can be told."""

    def key(event: RecordedEvent) -> Key:
        if event.data["text"] == "whose":
            raise ValueError
        return key_of(event)

    made = Projection("said", key=key)

    @made.on("said")
    def said(event: RecordedEvent) -> Any:
        if fails and event.data["text"] == "bad":
            raise ValueError
        return Upsert(key_of(event), {"text": event.data["text"]})

    return made


@pytest.mark.parametrize("who", ["handler", "sink", "sink later"])
async def test_a_key_is_empty_or_zero_then_its_later_events_wait_as_those_of_others(
    store: EventStore, who: str
) -> None:
    """A key that is false in Python is parked as itself, whoever refused its event."""
    sink = Outside()
    if who != "handler":
        sink.refuses = lambda change: change.value == {"text": "bad"}
    attempts = 2 if who == "sink later" else 1
    view = View(said_projection(who == "handler"), sink, attempts=attempts).bind(store)
    keys = EMPTY if attempts == 1 else [""]
    parked: dict[Key, int] = {}
    for key in keys:
        await say(store, key, "first")
        parked[key] = await say(store, key, "bad")
    if who != "handler":  # of a page's changes of a row, a sink is given the last
        await feed(store, view).run_once()
    later = {key: await say(store, key, "later") for key in keys}
    await feed(store, view).run_once()
    names: dict[Key, str] = {0: "0", "": "", (): "[]", 7: "7"}
    wanted = {(names[key], parked[key], True) for key in keys}
    assert {*await letters_of(view)} == wanted | {(names[key], later[key], False) for key in keys}
    for key in keys:
        answer = await view.get(key)
        good_for = parked[key] - 1
        assert (answer.value, answer.position, answer.stale) == ({"text": "first"}, good_for, True)


@pytest.mark.parametrize("is_mapped", [True, False])
async def test_an_events_key_cannot_be_told_then_its_stream_is_parked_and_no_key_that_looks_like_it(
    store: EventStore, is_mapped: bool
) -> None:
    """The stream "5" is a text: the events of the int 5 do not wait behind it."""
    partitions = 1 if is_mapped else 2
    view = View(said_projection(False), Outside(), attempts=1, partitions=partitions).bind(store)
    lost = await say(store, 9, "whose", stream="5")
    last = await say(store, 5, "fine")
    await feed(store, view).run_once()
    assert await letters_of(view) == [('"5"', lost, True)]
    answer = await view.get(5)
    assert (answer.value, answer.position, answer.stale) == ({"text": "fine"}, last, False)
    for waits in ("5", 9):  # 9 is what the event that waits would have made
        answer = await view.get(waits)
        assert (answer.value, answer.position, answer.stale) == (None, lost - 1, True)
