"""Reads of a view that is late, or of which keys wait: what they go through, and what they say."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import sqlalchemy as sa

from eventstore import EventStore, NewEvent
from eventstore.outbox import LogPage, Outbox
from projections import KeyParked, ViewStale, asking, reckoning
from projections.asking import serving
from projections.relay import letters
from projections.view import View
from projections.waiting import waits_since

from .stage import Faults, add, counts_view, feed, letters_of, notes_view


class Pages:
    """What reads of the log's pages came to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limits: list[int] = []
        self.events = 0
        page, mine = Outbox.page, self

        async def watched(
            self: Outbox,
            after: int,
            until: int,
            queries: Any = (),
            limit: int = 1_000,
            *digest: Any,
        ) -> LogPage:
            found = await page(self, after, until, queries, limit, *digest)
            mine.limits.append(limit)
            mine.events += len(found.events)
            return found

        monkeypatch.setattr(Outbox, "page", watched)


async def late_by(store: EventStore, view: View, number: int) -> int:
    """A view that has one event of stream "s", and lacks so many of "other" and then one of "s";
    the head."""
    await add(store, "s", "k", "a")
    await feed(store, view).run_once()
    events = [NewEvent("note.added", {"id": f"o{n}", "text": "other"}) for n in range(number)]
    if events:
        await store.append("other", events)
    return await add(store, "s", "k", "bcd")


async def test_a_log_is_far_ahead_then_the_lag_is_known_by_its_next_event(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How late a view is takes one event, however many it lacks, and a page at most to find it."""
    view = notes_view(fresh_seconds=1e-6).bind(store)
    await late_by(store, view, 300)
    pages = Pages(monkeypatch)
    assert (await view.get("k")).stale
    assert (pages.limits, pages.events) == ([1], 1)
    await feed(store, view).run_once()
    await store.append("other", [NewEvent("other.thing", {}) for _ in range(2_500)])
    await add(store, "s", "k", "z")
    pages = Pages(monkeypatch)
    assert (await view.get("k")).stale
    assert pages.limits in ([1], [1, 1_000])  # SQL finds it by its type, whatever is before it
    assert pages.events == 2 - len(pages.limits)


async def test_a_row_is_made_of_its_stream_alone_then_a_late_read_reads_no_other(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold by streams is brought up to date by the events of one, however far the log is."""
    monkeypatch.setattr(reckoning, "FOLDED_EVENTS_MAX", 3)
    view = counts_view(fresh_seconds=1e-6, when_late="fold").bind(store)
    head = await late_by(store, view, 20)
    await store.append("s", NewEvent("other.thing", {}))
    await store.append("empty", NewEvent("other.thing", {}))
    pages = Pages(monkeypatch)
    answer = await view.get("s")
    assert (answer.value, answer.position) == ({"stream": "s", "n": 2, "sum": 4}, head + 2)
    assert pages.events == 1  # that of the lag
    for nothing in ("nosuch", "empty", "", "x" * 300):
        assert (await view.get(nothing)).value is None
    with pytest.raises(ViewStale, match="at most 3 events"):
        await view.get("other")


async def test_a_log_is_far_ahead_with_other_events_then_a_late_read_folds_its_own(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is what the view wants to see."""
    monkeypatch.setattr(reckoning, "FOLDED_EVENTS_MAX", 1)
    view = notes_view(fresh_seconds=1e-6, when_late="fold").bind(store)
    await late_by(store, view, 0)
    await store.append("other", [NewEvent("other.thing", {}) for _ in range(1_100)])
    assert (await view.get("k")).value["text"] == "bcd"


@pytest.mark.parametrize("bound", ["FOLDED_EVENTS_MAX", "FOLDED_SECONDS_MAX"])
@pytest.mark.parametrize("made", [notes_view, counts_view], ids=["map", "fold"])
async def test_a_view_is_too_far_behind_then_a_late_read_raises_instead_of_folding_the_log(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, bound: str, made: Any
) -> None:
    """No read goes through a log without end: the error says how far one goes, and what to do."""
    view = made(fresh_seconds=1e-6, when_late="fold").bind(store)
    head = await late_by(store, view, 1_100)
    key = "k" if made is notes_view else "other"
    assert (await view.get(key)).position == head
    monkeypatch.setattr(reckoning, bound, 1_000 if bound == "FOLDED_EVENTS_MAX" else -1.0)
    with pytest.raises(ViewStale, match=r"too far behind.*at_least.*'warn'") as late:
        await view.get(key)
    assert (late.value.position, late.value.wanted) == (1, head)
    answer = await view.get(key, late="warn")
    assert (answer.position, answer.stale) == (1, True)


async def test_a_key_is_parked_then_queries_and_rows_say_what_they_are_good_for(
    store: EventStore,
) -> None:
    """Everything up to their position is in them: it is the one before the first event that waits,
    also where more was waited for; other keys of a fold are not held back."""
    faults = Faults()
    notes, counts = notes_view(faults=faults, attempts=1), counts_view(faults=faults, attempts=1)
    notes, counts = notes.bind(store), counts.bind(store)
    faults.left["bad"] = None
    first = await add(store, "t", "t", "a")
    await add(store, "s", "s", "bad")
    last = await add(store, "t", "t", "bc")
    await feed(store, notes, counts).run_once()
    asked = sa.select(notes.table.c.text)
    found = [
        await notes.query(asked),
        await notes.query(asked, at_least=last),
        await counts.query(sa.select(counts.table.c.n, notes.table.c.id), notes),
        await notes.rows(["t"]),
        await notes.rows(["t"], at_least=last),
        await counts.rows(["s"]),
    ]
    when = (await store.read("t", limit=1).list())[0].recorded_at
    for each in found:
        assert (each.position, each.recorded_at, each.stale) == (first, when, True)
    assert found[0] == [{"text": "bc"}]
    other = await counts.rows(["t", "u"], at_least=last)
    assert (other["t"]["n"], other.position, other.stale) == (2, last, False)
    with pytest.raises(KeyParked) as parked:
        await counts.rows(["t", "s"], at_least=last)
    assert (parked.value.key, parked.value.position) == ("s", first + 1)
    faults.left.clear()
    await letters.ask_retry((await serving(notes))[0])
    await feed(store, notes).run_once()
    whole = await notes.query(asked)
    assert (whole.position, whole.stale) == (last, False)


@pytest.mark.parametrize("late", ["warn", "raise", "fold"])
async def test_a_parked_key_waits_beyond_the_budget_then_queries_tell(
    store: EventStore, caplog: pytest.LogCaptureFixture, late: Any
) -> None:
    """By a warning, or by an error where the view was declared to raise, or to fold: many rows are
    not folded, and a row of a parked key cannot be brought further than its first event there."""
    faults = Faults()
    faults.left["bad"] = None
    view = notes_view(faults=faults, attempts=1, fresh_seconds=1e-6, when_late=late).bind(store)
    await add(store, "s", "s", "bad")
    await feed(store, view).run_once()
    asked = sa.select(view.table.c.text)
    if late != "warn":
        with pytest.raises(ViewStale, match="dead letters"):
            await view.query(asked)
        with pytest.raises(ViewStale, match="dead letters"):
            await view.rows(["s"])
        return
    with caplog.at_level(logging.WARNING, "eventstore"):
        found = await view.query(asked)
    assert (found, found.position, found.recorded_at, found.stale) == ([], 0, None, True)
    assert any("waits in the dead letters since position 1" in each for each in caplog.messages)


@pytest.mark.parametrize("made", [notes_view, counts_view], ids=["map", "fold"])
async def test_a_key_is_parked_while_a_late_read_begins_then_it_is_not_said_to_be_whole(
    store: EventStore, monkeypatch: pytest.MonkeyPatch, made: Any
) -> None:
    """What waits is left out of a late read, so the row is good for what comes before it only."""
    faults = Faults()
    view = made(faults=faults, attempts=1, fresh_seconds=1e-6, when_late="fold").bind(store)
    await add(store, "s", "s", "a")
    await feed(store, view).run_once()
    before = await add(store, "s", "s", "bc")
    faults.left["bad"] = None
    waits = await add(store, "s", "s", "bad")
    head = await add(store, "t", "t", "sound")

    async def parked_meanwhile(*asked: Any) -> Any:
        found = await waits_since(*asked)
        monkeypatch.setattr(asking, "waits_since", waits_since)
        await feed(store, view).run_once()
        return found

    monkeypatch.setattr(asking, "waits_since", parked_meanwhile)
    answer = await view.get("s")
    assert (answer.position, answer.stale) == (before, True)
    assert answer.value["n"] == 2
    assert await letters_of(view) == [("s", waits, True)]
    monkeypatch.setattr(asking, "reached", from_the_beginning)
    for key, good_for in [("s", before), ("t", head)]:
        answer = await view.get(key)
        assert (answer.value is None, answer.position, answer.stale) == (
            False,
            good_for,
            good_for == before,
        )


async def from_the_beginning(build: Any) -> tuple[int, int]:
    """As of a view one of whose partitions has not begun."""
    return 0, 0


async def test_a_row_may_be_one_that_a_waiting_event_would_make_then_a_late_read_says_so(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map's row is of the key whose event made it, or else of any that does not say."""
    faults = Faults()
    view = notes_view(faults=faults, attempts=1, fresh_seconds=1e-6, when_late="fold").bind(store)
    faults.left["bad"] = None
    await add(store, "t", "t", "sound")
    before = await add(store, "v", "v", "sound")
    await add(store, "s", "s", "bad")
    await add(store, "s", "t", "behind")
    head = await add(store, "u", "u", "sound")
    await feed(store, view).run_once()
    monkeypatch.setattr(asking, "reached", from_the_beginning)
    found = {key: await view.get(key) for key in "stuvx"}
    good_for = {key: (each.position, each.stale) for key, each in found.items()}
    waits = (before, True)
    assert good_for == {"s": waits, "t": waits, "u": (head, False), "v": (head, False), "x": waits}
    assert found["t"].value["text"] == "sound"
