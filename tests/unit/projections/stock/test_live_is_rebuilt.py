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

SAID = st.sampled_from(["a", "b", 1])
FOCUSED = {
    "tool.requested": {"tool_name": SAID, "tool_call_arguments": SAID},
    "tool.completed": {"tool_call_result": SAID},
    "tool.failed": {"message": SAID, "error_type": SAID},
    "memory.remembered": {"content": SAID, "attributes": st.just({"user": "eve", "type": "fact"})},
    "memory.corrected": {"content": SAID, "reason": SAID},
    "memory.forgotten": {},
}
"""Types of which each changes what the others of its kind left."""


@st.composite
def lives(draw: st.DrawFn) -> list[NewEvent]:
    """One call and one memory, told of again and again."""
    events = []
    for kind in draw(st.lists(st.sampled_from(sorted(FOCUSED)), min_size=4, max_size=25)):
        data = draw(st.fixed_dictionaries({}, optional=FOCUSED[kind]))
        tags = draw(st.sampled_from([(), ("user:ben",)]))
        events.append(NewEvent(kind, {"tool_call_id": "1", "memory_id": "1", **data}, tags=tags))
    return events


parts = st.lists(
    st.tuples(st.sampled_from(["s", "t"]), histories() | lives(), st.integers(1, 40)),
    min_size=1,
    max_size=4,
)


async def check(url: str, history: Sequence[Part]) -> None:
    """Feeds each part once it is appended, builds every view anew in one go, and compares."""
    # Vectors take a third of the time, and are the same in memory as in a file.
    in_file = url.startswith("sqlite")
    views = list(stock_views(with_vectors=in_file, embedder="hashing").values())
    async with EventStore.open(url) as store:
        for stream, events, page_events in history:
            await store.append(stream, events, actor="ann")
            await Relay(store, views, page_events=page_events).run_once()
            await hold_against_the_oracle(views, store)
        live = {view.name: await rows_of(view, store) for view in views}
        for view in views:
            await generations.begin(view, store.outbox)
        await Relay(store, views).run_once()
        await hold_against_the_oracle(views, store)
        for view in views:
            _, generation = await serving(view.bind(store))
            assert generation.generation == 2
            rebuilt = await rows_of(view, store)
            assert [(row.key, row.value, row.position) for row in rebuilt] == [
                (row.key, row.value, row.position) for row in live[view.name]
            ], view.name


async def hold_against_the_oracle(views: Sequence[View], store: EventStore) -> None:
    """Each table has the rows that the oracle computes from the log."""
    log = [plain(event) async for event in store.read_all()]
    for view in views:
        if view.name in VIEWS:
            keys, wanted = VIEWS[view.name].keys, VIEWS[view.name].rows(log)
            seen: list[Any] = [row.value for row in await rows_of(view, store)]
            assert row_differences(keys, wanted, seen, decoded=True) == [], view.name


async def rows_of(view: View, store: EventStore) -> list[Row]:
    """All rows of the generation that serves."""
    build, _ = await serving(view.bind(store))
    return [row async for page in view.sink.scan(build) for row in page]


@settings(max_examples=25)
@given(history=parts)
async def test_any_history_is_fed_live_then_rows_are_those_of_a_rebuild(
    history: Sequence[Part],
) -> None:
    """Whatever the events, and in whatever pages they came, a view that followed them and one that
    is built from the start have the same rows, which are those of the oracle."""
    await check("memory://", history)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=parts)
async def test_any_history_is_fed_live_into_a_file_then_rows_are_those_of_a_rebuild(
    history: Sequence[Part], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same in SQLite as it is used."""
    folder: Path = tmp_path_factory.mktemp("log")
    await check(f"sqlite:///{folder}/log.db", history)


async def test_one_memory_and_one_call_live_through_everything_then_each_row_is_the_oracles() -> (
    None
):
    """After each event of a life with every turn that the vocabulary knows."""
    eve = {"attributes": {"user": "eve"}}
    told: list[tuple[str, dict[str, Any]]] = [
        ("memory.remembered", {"content": "a", **eve}),
        ("memory.remembered", {"content": "b"}),
        ("memory.corrected", {"content": "c", "reason": "wrong"}),
        ("memory.forgotten", {}),
        ("memory.corrected", {"content": "d"}),
        ("memory.remembered", {"content": "e"}),
        ("tool.failed", {"message": "early"}),
        ("tool.requested", {"tool_name": "f"}),
        ("tool.requested", {}),
        ("tool.failed", {"error_type": "late"}),
        ("tool.failed", {}),
        ("tool.completed", {"tool_call_result": [1]}),
        ("message.added", {"role": "user", "content": "hi"}),
    ]
    views = list(stock_views(embedder="hashing").values())
    async with EventStore.open("memory://") as store:
        for kind, data in told:
            event = NewEvent(kind, {"memory_id": "1", "tool_call_id": "1", **data})
            await store.append("s", event, actor="ann")
            await Relay(store, views).run_once()
            await hold_against_the_oracle(views, store)
