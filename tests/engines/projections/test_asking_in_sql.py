"""Queries over relational views: whose rows they see, and what their answers are good for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from eventstore import EventStore
from projections import KeyParked, ProjectionError, RelationalView, ViewStale

from .stage import Faults, add, counts_view, feed, notes_table, notes_view

NOTES, COUNTS = notes_view(), counts_view()
N, C = NOTES.table.c, COUNTS.table.c

Made = Callable[[], Any]


async def two_tenants(store: EventStore) -> RelationalView:
    """Two views of two tenants, and the notes of one of them."""
    await add(store, "s", "s", "mine")
    await add(store.tenant("acme"), "a", "a", "theirs")
    await feed(store, NOTES, COUNTS, all_tenants=True).run_once()
    return NOTES.bind(store)


UNKNOWN: dict[str, Made] = {
    "join": lambda: sa.select(N.text, C.n).join(COUNTS.table, sa.true()),
    "where": lambda: sa.select(N.text).where(C.n > 0),
    "exists": lambda: sa.select(N.text).where(sa.exists().where(C.n > 0)),
    "value": lambda: sa.select(sa.select(sa.func.max(C.n)).scalar_subquery().label("n")),
    "alias": lambda: sa.select(COUNTS.table.alias("z").c.n),
    "cte": lambda: sa.select(sa.select(C.n).cte("z").c.n),
    "lateral": lambda: sa.select(sa.select(C.n).lateral().c.n),
    "union": lambda: sa.union(sa.select(N.n), sa.select(C.n)),
    "order": lambda: sa.select(N.text).order_by(C.n),
    "light": lambda: sa.select(sa.table("counts", sa.column("n")).c.n),
    "schema": lambda: sa.select(sa.table("counts", sa.column("n"), schema="main").c.n),
    "count": lambda: sa.select(sa.func.count().label("n")).select_from(COUNTS.table),
    "generation": lambda: sa.select(sa.table("view_counts_1", sa.column("n")).c.n),
}


@pytest.mark.parametrize("made", UNKNOWN.values(), ids=UNKNOWN)
async def test_a_view_is_not_handed_along_then_a_query_over_its_table_is_refused(
    store: EventStore, made: Made
) -> None:
    """Its name is that of all tenants' rows, wherever in the SELECT it stands; the error names
    it."""
    mine = await two_tenants(store)
    with pytest.raises(ProjectionError, match="counts"):
        await mine.query(made())


TEXTS: dict[str, Made] = {
    "from": lambda: sa.select(sa.column("n")).select_from(sa.text("counts")),
    "where": lambda: sa.select(N.text).where(sa.text("1 IN (SELECT n FROM counts)")),
    "column": lambda: sa.select(N.id, sa.literal_column("(SELECT max(n) FROM counts)", sa.Text)),
    "whole": lambda: sa.text("SELECT n FROM counts").columns(sa.column("n")),
    "suffix": lambda: sa.select(N.n).suffix_with("UNION SELECT n FROM counts"),
    "prefix": lambda: sa.select(N.n).prefix_with("(SELECT max(n) FROM counts),"),
    "hint": lambda: sa.select(N.n).with_statement_hint("UNION SELECT n FROM counts"),
    "operator": lambda: sa.select(N.n.op("+ (SELECT max(n) FROM counts) +")(1).label("n")),
}


@pytest.mark.parametrize("made", TEXTS.values(), ids=TEXTS)
async def test_a_select_holds_text_of_sql_then_it_is_refused(store: EventStore, made: Made) -> None:
    """Nobody looks through it, and it may name any table."""
    mine = await two_tenants(store)
    with pytest.raises(ProjectionError, match="text of SQL"):
        await mine.query(made(), COUNTS)


async def test_a_select_writes_then_it_is_refused(store: EventStore) -> None:
    """Also inside of a CTE."""
    mine = await two_tenants(store)
    gone = sa.delete(NOTES.table).returning(N.n).cte("gone")
    with pytest.raises(ProjectionError, match="writes"):
        await mine.query(sa.select(gone.c.n))


SAME: dict[str, Made] = {
    "declared again": lambda: sa.select(notes_table().c.text),
    "declared again as an alias": lambda: sa.select(notes_table().alias("z").c.text),
    "light": lambda: sa.select(sa.table("notes", sa.column("text")).c.text),
    "counted": lambda: sa.select(N.text).where(
        sa.select(sa.func.count()).select_from(notes_table()).scalar_subquery() == 1
    ),
}


@pytest.mark.parametrize("made", SAME.values(), ids=SAME)
async def test_a_table_is_declared_a_second_time_then_its_name_counts(
    store: EventStore, made: Made
) -> None:
    """The query sees this tenant's rows alone."""
    mine = await two_tenants(store)
    assert await mine.query(made()) == [{"text": "mine"}]
    unknown = sa.table("notes", sa.column("odd"))
    with pytest.raises(ProjectionError, match=r"'notes'.*'odd'"):
        await mine.query(sa.select(unknown.c.odd))


async def test_a_query_is_answered_then_it_says_what_it_is_good_for(store: EventStore) -> None:
    """The position and the time that all of its views have reached; it waits for more."""
    first = await add(store, "s", "s", "a")
    await feed(store, NOTES, COUNTS).run_once()
    second = await add(store, "s", "s", "bb")
    await feed(store, NOTES).run_once()
    mine = NOTES.bind(store)
    event = (await store.read_all().list())[0]
    alone = await mine.query(sa.select(N.text))
    both = await mine.query(sa.select(N.text, C.sum).join(COUNTS.table, sa.true()), COUNTS)
    assert (alone, alone.position, alone.stale) == ([{"text": "bb"}], second, False)
    assert (both, both.position, both.recorded_at) == (
        [{"text": "bb", "sum": 1}],
        first,
        event.recorded_at,
    )
    with pytest.raises(ViewStale):
        await mine.query(sa.select(C.n), COUNTS, at_least=second, timeout_seconds=0.01)
    with pytest.raises(ProjectionError, match="at_least"):
        await mine.query(sa.select(N.n), at_least=-1)
    async with feed(store, NOTES, COUNTS):
        both = await mine.query(sa.select(C.sum), COUNTS, at_least=second)
    assert (both, both.position) == ([{"sum": 3}], second)


async def test_rows_are_asked_for_then_they_say_what_they_are_good_for(store: EventStore) -> None:
    """As a single one does, and they wait for what was written."""
    faults = Faults()
    view = notes_view(faults=faults, attempts=1).bind(store)
    first = await add(store, "s", "s", "a")
    async with feed(store, view):
        found = await view.rows(["s", "t"], at_least=first)
        assert (list(found), found.position, found.stale) == (["s"], first, False)
        assert found.recorded_at is not None
        faults.left["bad"] = None
        second = await add(store, "t", "t", "bad")
        with pytest.raises(KeyParked):
            await view.rows(["s"], at_least=second)


@pytest.mark.parametrize("late", ["warn", "raise", "fold"])
async def test_a_view_is_beyond_its_budget_then_queries_and_rows_tell(
    store: EventStore, caplog: pytest.LogCaptureFixture, late: Any
) -> None:
    """By a warning and a mark, or by an error where many rows cannot be folded."""
    view = notes_view(fresh_seconds=1e-6, when_late=late).bind(store)
    await add(store, "s", "s", "a")
    await feed(store, view).run_once()
    await add(store, "s", "s", "b")
    asked = sa.select(view.table.c.text)
    if late != "warn":
        for call in (view.query(asked), view.rows(["s"])):
            with pytest.raises(ViewStale, match="behind"):
                await call
        return
    with caplog.at_level(logging.WARNING, "eventstore"):
        assert (await view.query(asked)).stale
        assert (await view.rows(["s"])).stale
    assert len([each for each in caplog.messages if "behind" in each]) == 2
