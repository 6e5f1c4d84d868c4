"""Pages on their way: what is read ahead, what a fold takes at once, and rows that go together."""

from __future__ import annotations

import sqlalchemy as sa

from eventstore import EventStore, NewEvent, RecordedEvent
from projections import Projection, RelationalView, Upsert
from projections.relay import Relay, reading
from projections.status import status

from .stage import counts_view, notes_view

_PAGE = 10


def _added(number: int, text: str = "a") -> NewEvent:
    return NewEvent("note.added", {"id": f"n{number:04}", "text": text})


async def test_a_fold_is_far_behind_then_each_key_is_written_once(store: EventStore) -> None:
    """Of many pages only the last state of a key is sent to the sink."""
    for number in range(60):
        await store.append(f"s{number % 3}", _added(number))
    view = counts_view()
    await Relay(store, [view], page_events=_PAGE).run_once()
    (found,) = await status(store, [view])
    assert (found.events, found.writes, found.lag_events) == (60, 3, 0)
    rows = await view.bind(store).rows([f"s{number}" for number in range(3)])
    assert {key: row["n"] for key, row in rows.items()} == {"s0": 20, "s1": 20, "s2": 20}


async def test_an_event_fails_in_a_long_run_then_its_neighbours_of_all_pages_stand(
    store: EventStore,
) -> None:
    """What comes before and after it on other pages of the run is written, and it is parked."""
    for number in range(60):
        text = 5 if number == 34 else "a"  # the fold asks for the length of a text
        await store.append(f"s{number % 3}", NewEvent("note.added", {"id": "n", "text": text}))
    view = counts_view(attempts=1)
    await Relay(store, [view], page_events=_PAGE).run_once()
    rows = await view.bind(store).rows(["s0", "s1", "s2"])
    assert {key: row["n"] for key, row in rows.items()} == {"s0": 20, "s1": 11, "s2": 20}
    (found,) = await status(store, [view])
    assert (found.parked_keys, found.parked_events) == (1, 9)


async def test_many_keys_then_a_run_ends_before_it_is_long(store: EventStore) -> None:
    """A run takes no further page once it has more keys than may be written at once."""
    for number in range(60):
        await store.append(f"s{number}", _added(number))
    pages = reading.Pages(store.outbox, [], _PAGE)
    try:
        seen = await pages.take_run(0, 60, lambda event: event.stream)
        assert seen.scanned_to == 60
        limit, reading.RUN_KEYS_MAX = reading.RUN_KEYS_MAX, 15
        try:
            seen = await pages.take_run(0, 60, lambda event: event.stream)
        finally:
            reading.RUN_KEYS_MAX = limit
        assert [event.position for event in seen.events] == list(range(1, 21))
    finally:
        await pages.close()


async def test_a_page_is_taken_then_the_next_one_is_the_one_behind_it(store: EventStore) -> None:
    """Pages follow each other without a hole, whatever was read ahead, also after a step back."""
    await store.append("s", [_added(number) for number in range(35)])
    pages = reading.Pages(store.outbox, [], _PAGE)
    try:
        first = await pages.take(0, 35)
        second = await pages.take(first.scanned_to, 35)
        again = await pages.take(first.scanned_to, 35)
        last = await pages.take(30, 35)
    finally:
        await pages.close()
    found = [[event.position for event in page.events] for page in (first, second, again, last)]
    assert found == [[*range(1, 11)], [*range(11, 21)], [*range(11, 21)], [*range(31, 36)]]


async def test_more_rows_than_go_together_then_each_is_what_it_was(store: EventStore) -> None:
    """Rows of a page stand as they were made: with and without all columns, the key in the middle,
    deleted or not, whether they went to the database together or alone."""
    table = sa.Table(
        "mixed",
        sa.MetaData(),
        sa.Column("text", sa.Text),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("flag", sa.Boolean),
        sa.Column("n", sa.Integer),
    )
    projection = Projection("mixed")

    @projection.on("note.added")
    def added(event: RecordedEvent) -> Upsert:
        number = int(event.data["id"][1:])
        row = {"text": event.data["text"], "flag": number % 2 == 0, "n": number}
        return Upsert(event.data["id"], row if number % 3 else {"n": number})

    view = RelationalView(projection, table)
    await store.append("s", [_added(number, f"text {number}") for number in range(127)])
    await Relay(store, [view]).run_once()
    rows = await view.bind(store).query(sa.select(table).order_by(table.c.n))
    assert rows == [
        {
            "text": f"text {number}" if number % 3 else None,
            "id": f"n{number:04}",
            "flag": (number % 2 == 0) if number % 3 else None,
            "n": number,
        }
        for number in range(127)
    ]


async def test_one_of_many_rows_is_refused_then_the_others_stand(store: EventStore) -> None:
    """A row that the database does not take is parked with its key; those beside it are written."""
    view = notes_view(attempts=1)
    for number in range(120):
        text = None if number == 77 else "a"  # the column takes no NULL
        await store.append(f"s{number}", NewEvent("note.added", {"id": f"n{number}", "text": text}))
    await Relay(store, [view]).run_once()
    rows = await view.bind(store).rows([f"n{number}" for number in range(120)])
    assert rows.keys() == {f"n{number}" for number in range(120)} - {"n77"}
    (found,) = await status(store, [view])
    assert (found.parked_keys, found.writes) == (1, 119)
