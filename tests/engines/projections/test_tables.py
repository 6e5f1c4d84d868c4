"""Relational views: types, keys, constraints, queries, and what SQL users see."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from eventstore import EventStore, NewEvent, RecordedEvent
from eventstore.outbox import Statement
from projections import Delete, Projection, ProjectionError, RelationalView, Upsert
from projections.status import status
from tests.waiting import until

from .stage import (
    add,
    counts_view,
    feed,
    letters_of,
    notes_in,
    notes_projection,
    notes_table,
    notes_view,
    rows_of,
)

WHEN = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)


def things(name: str = "things", **options: Any) -> RelationalView:
    """A view with a column of each type, under a key of two columns."""
    table = sa.Table(
        name,
        sa.MetaData(),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("flag", sa.Boolean),
        sa.Column("json", sa.JSON),
        sa.Column("amount", sa.Numeric(12, 2)),
        sa.Column("share", sa.Float),
        sa.Column("bytes", sa.LargeBinary),
        sa.Column("big", sa.BigInteger),
        sa.Column("told_at", sa.DateTime(timezone=True)),
        sa.Column("day", sa.Date),
    )
    made = Projection(name)

    @made.on("thing.told")
    def told(event: RecordedEvent) -> Upsert:
        n = event.data["n"]
        return Upsert(
            (event.stream, n),
            {
                "flag": n % 2 == 0,
                "json": {"n": [n, "ä", None]},
                "amount": Decimal(n) / 4,
                "share": n / 3,
                "bytes": bytes([n, 0, 255]),
                "big": 2**62 + n,
                "told_at": WHEN + timedelta(days=n),
                "day": WHEN.date(),
            },
        )

    @made.on("thing.gone")
    def gone(event: RecordedEvent) -> Delete:
        return Delete((event.stream, event.data["n"]))

    return RelationalView(made, table, **options)


async def test_values_have_types_then_they_come_back_as_they_were(store: EventStore) -> None:
    """Booleans, JSON, decimals, bytes, moments: in rows, in queries, and in what is folded."""
    view = things(fresh_seconds=1e-6).bind(store)
    await store.append("a", [NewEvent("thing.told", {"n": n}) for n in range(3)])
    await feed(store, view).run_once()
    row = (await view.get(("a", 2))).value
    wanted = {
        "kind": "a",
        "number": 2,
        "flag": True,
        "json": {"n": [2, "ä", None]},
        "amount": Decimal("0.50"),
        "share": pytest.approx(2 / 3),
        "bytes": b"\x02\x00\xff",
        "big": 2**62 + 2,
        "day": WHEN.date(),
    }
    assert {key: row[key] for key in wanted} == wanted
    told_at = row["told_at"].replace(tzinfo=UTC)  # SQLite keeps no zone
    assert told_at == WHEN + timedelta(days=2)
    await store.append("a", NewEvent("thing.told", {"n": 5}))
    folded = await view.get(("a", 5), late="fold")
    await feed(store, view).run_once()
    assert (await view.get(("a", 5))).value == folded.value
    found = await view.query(
        sa.select(view.table.c.number, view.table.c.json).where(
            view.table.c.told_at > WHEN + timedelta(hours=1),
            view.table.c.flag == sa.true(),
            view.table.c.kind.in_(["a", "b"]),
        )
    )
    assert found == [{"number": 2, "json": {"n": [2, "ä", None]}}]


def grown(*columns: sa.Column[Any], version: int = 1) -> RelationalView:
    """A view of texts, with more columns than it had."""
    table = sa.Table(
        "texts",
        sa.MetaData(),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("text", sa.Text),
    )
    for column in columns:
        table.append_column(column)
    made = Projection("texts", version=version)

    @made.on("note.added")
    def added(event: RecordedEvent) -> Upsert:
        more = {column.name: len(event.data["text"]) for column in columns}
        return Upsert(event.data["id"], {"text": event.data["text"], **more})

    return RelationalView(made, table)


async def test_a_column_is_added_without_a_version_then_it_is_told_and_a_rebuild_mends_it(
    store: EventStore,
) -> None:
    """The store is not called damaged for it: the view is told to be of other code."""
    await add(store, "s", "k", "abc")
    await feed(store, grown()).run_once()
    await add(store, "s", "k2", "de")
    view, counts = grown(sa.Column("n", sa.Integer)).bind(store), counts_view().bind(store)
    with pytest.raises(ProjectionError, match=r"changed without a new version.* raise version"):
        await feed(store, view, counts).run_once()
    (told,) = await status(store, [view])
    assert (told.code_changed, told.feeding, told.position) == (True, "stopped", 1)
    assert "without a new version" in (told.last_error or "")
    with pytest.raises(ProjectionError, match="has no column 'n'"):
        await view.get("k")
    async with feed(store, view, counts) as relay:
        assert set(relay.failed) == {"texts"}
        await relay.rebuild("texts")
        await until(lambda: not relay.failed)
    assert await rows_of(view) == {
        "k": {"id": "k", "text": "abc", "n": 3},
        "k2": {"id": "k2", "text": "de", "n": 2},
    }
    (told,) = [each for each in await status(store, [view]) if each.state == "serving"]
    assert (told.code_changed, told.feeding) == (False, "running")


@pytest.mark.parametrize(
    "changed",
    [
        lambda: sa.Column("n", sa.Text),
        lambda: sa.Column("n", sa.Integer, nullable=False),
        lambda: sa.Column("n", sa.Integer, unique=True),
        lambda: sa.Column("n", sa.Integer, primary_key=True),
        lambda: sa.Column("m", sa.Integer),
    ],
    ids=["type", "null", "unique", "key", "name"],
)
def test_a_table_changes_then_its_rows_have_no_place_in_the_old_one(
    changed: Callable[[], sa.Column[Any]],
) -> None:
    """Columns, types and keys are in the fingerprint; an index is not, because rows fit anyway."""
    before = grown(sa.Column("n", sa.Integer))
    after = grown(changed())
    assert not after.takes(before.fingerprint())
    assert after.fingerprint() != before.fingerprint()
    indexed = grown(sa.Column("n", sa.Integer, index=True))
    assert indexed.fingerprint() == before.fingerprint()
    assert grown(sa.Column("n", sa.Integer)).takes("of a store from before there were shapes")


async def test_names_of_views_begin_alike_then_their_indexes_are_no_tables(
    store: EventStore,
) -> None:
    """The second index of `x` is not the first table of `x_1`."""
    views = []
    for name in ("x", "x_1"):
        table = sa.Table(
            f"of_{name}",
            sa.MetaData(),
            sa.Column("id", sa.Text, primary_key=True),
            sa.Column("text", sa.Text, index=True),
            sa.Column("n", sa.Integer, index=True),
        )
        views.append(RelationalView(notes_projection(name), table).bind(store))
    await add(store, "s", "k", "a")
    await feed(store, *views).run_once()
    for view in views:
        assert (await rows_of(view)).keys() == {"k"}


def test_two_views_have_one_table_name_then_they_are_refused(store: EventStore) -> None:
    """One would be shown under the name, and the other not."""
    one = RelationalView(notes_projection("one"), notes_table("same"))
    two = RelationalView(notes_projection("two"), notes_table("same"))
    with pytest.raises(ProjectionError, match="one table name, 'same'"):
        feed(store, one, two)


@pytest.mark.parametrize("name", ["view_x_1", "cache_writes", "recall_places"])
def test_a_table_is_named_as_sinks_name_theirs_then_it_is_refused(name: str) -> None:
    """What a sink makes for itself is nobody else's."""
    with pytest.raises(ProjectionError, match="take another one"):
        RelationalView(notes_projection(), notes_table(name))


async def test_the_name_is_taken_in_the_database_then_nothing_of_it_is_touched(
    store: EventStore,
) -> None:
    """A user's own table or database view, and another view's, stay as they are."""
    prefix = f"{store.outbox.schema}." if store.outbox.schema else ""
    await store.outbox.change([Statement(f"CREATE TABLE {prefix}mine AS SELECT 1 AS n")])
    await store.outbox.change([Statement(f"CREATE VIEW {prefix}ours AS SELECT 2 AS n")])
    await add(store, "s", "k", "a")
    await feed(store, RelationalView(notes_projection("one"), notes_table("same"))).run_once()
    for taken, what in (("mine", "a table"), ("ours", "a database view"), ("same", "a database")):
        view = RelationalView(notes_projection("two"), notes_table(taken))
        with pytest.raises(ProjectionError, match=f"has {what}"):
            await feed(store, view).run_once()
    assert await store.outbox.query(f"SELECT n FROM {prefix}mine") == [(1,)]
    assert await store.outbox.query(f"SELECT n FROM {prefix}ours") == [(2,)]
    assert await store.outbox.query(f"SELECT id FROM {prefix}same") == [("k",)]


async def test_a_key_has_several_columns_then_rows_are_told_apart_and_go(
    store: EventStore,
) -> None:
    """Both columns are the key, in order."""
    view = things().bind(store)
    for stream in ("a", "b"):
        await store.append(stream, [NewEvent("thing.told", {"n": n}) for n in range(2)])
    await store.append("a", NewEvent("thing.gone", {"n": 1}))
    await feed(store, view).run_once()
    assert sorted(await rows_of(view)) == [("a", 0), ("b", 0), ("b", 1)]
    found = await view.rows([("a", 0), ("a", 1), ("b", 1)])
    assert sorted(found) == [("a", 0), ("b", 1)]
    for odd in ("a", ("a",), ("a", 1, 2)):
        with pytest.raises(ProjectionError, match="2 parts"):
            await view.get(odd)


async def test_two_views_are_joined_then_a_query_sees_this_tenants_rows(store: EventStore) -> None:
    """The serving generations of both, and nobody else's rows."""
    notes, counts = notes_view(), counts_view()
    acme = store.tenant("acme")
    for n in range(3):
        await add(store, f"s{n}", f"s{n}", "x" * n)
        await add(acme, f"s{n}", f"s{n}", "other")
    await feed(store, notes, counts, all_tenants=True).run_once()
    mine = notes.bind(store)
    found = await mine.query(
        sa.select(notes.table.c.text, counts.table.c.sum)
        .join_from(notes.table, counts.table, notes.table.c.id == counts.table.c.stream)
        .order_by(notes.table.c.id),
        counts,
    )
    assert found == [{"text": "x" * n, "sum": n} for n in range(3)]
    with pytest.raises(ProjectionError, match="SELECT"):
        await mine.query(sa.delete(notes.table))
    with pytest.raises(ProjectionError, match="bind"):
        await notes.get("s0")


async def test_one_writes_sql_then_a_database_view_shows_what_serves(store: EventStore) -> None:
    """Under the declared name, whatever the generation is, with the rows of all tenants."""
    notes = notes_view().bind(store)
    await add(store, "s", "k", "a")
    async with feed(store, notes) as relay:
        await relay.caught_up()
        await relay.rebuild("notes")
    name = f"{store.outbox.schema}.notes" if store.outbox.schema else "notes"
    found = await store.outbox.query(f"SELECT id, text FROM {name}")
    assert [tuple(row) for row in found] == [("k", "a")]


async def test_a_column_is_added_with_a_version_then_old_and_new_are_shown(
    store: EventStore,
) -> None:
    """While the new generation is built, the database view says NULL for what the old one lacks."""
    old = notes_view().bind(store)
    await add(store, "s", "k", "a")
    await feed(store, old).run_once()
    table = notes_table()
    table.append_column(sa.Column("more", sa.Text))
    new = RelationalView(notes_projection(version=2), table).bind(store)
    await feed(store, new).run_once()
    assert (await new.get("k")).value == {"id": "k", "text": "a", "n": 1, "more": None}
    name = f"{store.outbox.schema}.notes" if store.outbox.schema else "notes"
    assert len(await store.outbox.query(f"SELECT more FROM {name}")) == 1
    assert set(await rows_of(new)) == set(await notes_in(store))


async def test_keys_of_two_partitions_write_one_row_then_the_second_is_parked(
    store: EventStore,
) -> None:
    """A row belongs to one key: two workers would overwrite each other."""
    notes = notes_view(partitions=2, attempts=1).bind(store)
    await add(store, "s0", "shared", "a")
    await feed(store, notes).run_once()
    for n in range(1, 8):
        await add(store, f"s{n}", "shared", "b")
        await feed(store, notes).run_once()
    assert await letters_of(notes) != []


@pytest.mark.parametrize(
    "table",
    [
        "notes",
        sa.Table("events", sa.MetaData(), sa.Column("id", sa.Text, primary_key=True)),
        sa.Table("No", sa.MetaData(), sa.Column("id", sa.Text, primary_key=True)),
        sa.Table("a", sa.MetaData(), sa.Column("id", sa.Text)),
        sa.Table("a", sa.MetaData(), sa.Column("_id", sa.Text, primary_key=True)),
        sa.Table("a", sa.MetaData(schema="x"), sa.Column("id", sa.Text, primary_key=True)),
        sa.Table(
            "a",
            sa.MetaData(),
            sa.Column("id", sa.Text, primary_key=True),
            sa.Column("n", sa.Integer, sa.Computed("1")),
        ),
    ],
    ids=["no table", "the store's", "capitals", "no key", "underscore", "schema", "computed"],
)
def test_a_table_cannot_be_a_view_then_it_is_refused(table: Any) -> None:
    """What cannot be filled from the log is told when it is declared."""
    with pytest.raises(ProjectionError):
        RelationalView(notes_projection(), table)


@pytest.mark.parametrize(
    "options",
    [
        {"partitions": 0},
        {"partitions": 257},
        {"attempts": 0},
        {"fresh_seconds": 0},
        {"when_late": "never"},
        {"on_error": "skip"},
    ],
    ids=str,
)
def test_an_option_is_none_then_it_is_refused(options: dict[str, Any]) -> None:
    """Closed sets and bounds are checked when a view is declared."""
    with pytest.raises(ProjectionError):
        notes_view(**options)
