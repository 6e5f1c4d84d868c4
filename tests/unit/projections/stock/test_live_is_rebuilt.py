"""Stock views over random histories: fed live in pages of any size, built anew, held against the
oracle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore import EventStore, NewEvent
from projections import Relay
from projections.asking import serving
from projections.relay import generations
from projections.sinks import Row
from projections.stock import stock_views
from projections.view import View
from tests.acceptance.oracle.gathering import VIEWS
from tests.acceptance.oracle.test_views import histories
from tests.acceptance.oracle.viewing import plain, row_differences

Part = tuple[str, Sequence[NewEvent], int]
"""A stream, what is appended to it, and the size of the pages in which it is then fed."""

parts = st.lists(
    st.tuples(st.sampled_from(["s", "t"]), histories(), st.integers(1, 40)), min_size=1, max_size=4
)


async def check(url: str, history: Sequence[Part]) -> None:
    """Feeds each part once it is appended, builds every view anew in one go, and compares."""
    views = list(stock_views().values())
    async with EventStore.open(url) as store:
        for stream, events, page_events in history:
            await store.append(stream, events)
            await Relay(store, views, page_events=page_events).run_once()
        live = {view.name: await rows_of(view, store) for view in views}
        for view in views:
            await generations.begin(view, store.outbox)
        await Relay(store, views).run_once()
        log = [plain(event) async for event in store.read_all()]
        for view in views:
            _, generation = await serving(view.bind(store))
            assert generation.generation == 2
            rebuilt = await rows_of(view, store)
            assert [(row.key, row.value, row.position) for row in rebuilt] == [
                (row.key, row.value, row.position) for row in live[view.name]
            ], view.name
            if view.name in VIEWS:
                keys, wanted = VIEWS[view.name].keys, VIEWS[view.name].rows(log)
                seen: list[Any] = [row.value for row in rebuilt]
                assert row_differences(keys, wanted, seen, decoded=True) == [], view.name


async def rows_of(view: View, store: EventStore) -> list[Row]:
    """All rows of the generation that serves."""
    build, _ = await serving(view.bind(store))
    return [row async for page in view.sink.scan(build) for row in page]


@settings(max_examples=40)
@given(history=parts)
async def test_any_history_is_fed_live_then_rows_are_those_of_a_rebuild(
    history: Sequence[Part],
) -> None:
    """Whatever the events, and in whatever pages they came, a view that followed them and one that
    is built from the start have the same rows, which are those of the oracle."""
    await check("memory://", history)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=parts)
async def test_any_history_is_fed_live_into_a_file_then_rows_are_those_of_a_rebuild(
    history: Sequence[Part], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same in SQLite as it is used."""
    folder: Path = tmp_path_factory.mktemp("log")
    await check(f"sqlite:///{folder}/log.db", history)
