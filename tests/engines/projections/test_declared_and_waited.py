"""Columns with defaults, and waiting for a view whose sink is away."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from eventstore import EventStore
from projections import ProjectionError, RelationalView
from projections.view import View

from .stage import Outside, add, feed, notes_projection


@pytest.mark.parametrize(
    "options",
    [
        {"default": 0},
        {"server_default": "0"},
        {"onupdate": 1},
        {"server_onupdate": sa.FetchedValue()},
    ],
    ids=["default", "server_default", "onupdate", "server_onupdate"],
)
def test_a_column_has_a_default_then_the_table_is_refused(options: dict[str, Any]) -> None:
    """It would be left out in silence: a row is what the projection says, and nothing else."""
    table = sa.Table(
        "defaulted",
        sa.MetaData(),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("n", sa.Integer, **options),
    )
    with pytest.raises(ProjectionError, match="'n' has a default"):
        RelationalView(notes_projection("defaulted"), table)


async def test_a_sink_is_away_then_waiting_for_it_ends_in_time_and_feeding_goes_on(
    store: EventStore,
) -> None:
    """As long as the caller allows."""
    sink = Outside()
    view = View(notes_projection("away"), sink)
    async with feed(store, view) as relay:
        await relay.caught_up(timeout_seconds=30)
        sink.down = True
        await add(store, "s", "k", "a")
        with pytest.raises(TimeoutError):
            await relay.caught_up(timeout_seconds=0.05)
        sink.down = False
        await relay.caught_up(timeout_seconds=30)
    assert sink.values() == {"k": {"text": "a", "n": 1}}
