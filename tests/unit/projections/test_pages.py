"""Pages: what many events come to is what they come to one by one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import EventStore, NewEvent, RecordedEvent
from projections import Delete, Projection, Upsert
from projections.projection import Key
from projections.relay.pages import Applied, Applier, Poison, partition_of, reason_of
from projections.sinks import Build
from reducers import Reducer

STREAMS = ("s0", "s1", "s2")

histories = st.lists(
    st.tuples(st.sampled_from(STREAMS), st.sampled_from(["put", "gone", "bad"]), st.integers(0, 3)),
    max_size=25,
)
cuts = st.lists(st.integers(1, 6), max_size=25)


def _map() -> Projection:
    def made(event: RecordedEvent) -> Any:
        n = event.data["n"]
        if event.type == "put":
            return [Upsert((event.stream, n), {"at": event.position}), Delete((event.stream, 9))]
        if event.type == "gone":
            return Delete((event.stream, n))
        raise ValueError("secret")

    return Projection("pages", map=made)


def _fold() -> Projection:
    reducer: Reducer[Any] = Reducer("pages", initial=0)
    reducer.on("put")(lambda state, event: state + event.data["n"])
    reducer.on("gone")(lambda state, event: 0)

    @reducer.on("bad")
    def bad(state: Any, event: RecordedEvent) -> Any:
        raise ValueError("secret")

    return Projection("pages", fold=reducer, row=lambda key, n: {"n": n} if n else None)


def _put(rows: dict[Key, Any], applied: Applied) -> None:
    for key, change in applied.changes.items():
        assert change.key == key
        if change.value is None:
            rows.pop(key, None)
        else:
            rows[key] = change.value


async def _run(
    projection: Projection, build: Build, events: list[RecordedEvent], sizes: list[int]
) -> tuple[dict[Key, Any], list[tuple[str, int]]]:
    """Rows and letters when events come in pages of these sizes (then one by one)."""
    applier = Applier(projection, build, 0, 1)
    rows: dict[Key, Any] = {}
    parked: list[tuple[str, int]] = []
    left, sizes = list(events), list(sizes)
    while left:
        size = sizes.pop() if sizes else 1
        page, left = left[:size], left[size:]
        while page:
            await applier.prepare(page)
            try:
                applied, page = await applier.apply(page), []
            except Poison as poison:
                applier.undo(poison.so_far)
                applied = await applier.apply(page[: poison.index])
                event = page[poison.index]
                parked.append((poison.key, event.position))
                page = page[poison.index + 1 :]
                _put(rows, applied)
                parked += [(each.key, each.position) for each in applied.letters]
                applier.park(event.stream, event.position)
                continue
            _put(rows, applied)
            parked += [(each.key, each.position) for each in applied.letters]
    return rows, sorted(parked)


@pytest.mark.parametrize("projection", [_map(), _fold()], ids=["map", "fold"])
@given(history=histories, sizes=cuts)
def test_events_come_in_pages_then_rows_and_letters_are_as_one_by_one(
    projection: Projection, history: list[tuple[str, str, int]], sizes: list[int]
) -> None:
    """Coalescing leaves the last state of each row, whatever the pages are."""

    async def both() -> None:
        async with EventStore.open("memory://") as store:
            for stream, type_, n in history:
                await store.append(stream, NewEvent(type_, {"n": n}))
            events = await store.read_all().list()
            build = Build(store.outbox, "pages", await store.outbox.tenant_id(), 1, "x")
            one_by_one = await _run(projection, build, events, [])
            assert await _run(projection, build, events, sizes) == one_by_one

    asyncio.run(both())


@given(st.text(max_size=20), st.integers(1, 256))
def test_a_key_has_a_partition_then_it_is_one_of_them(key: str, partitions: int) -> None:
    """Every key is some partition's, always the same one."""
    found = partition_of(key, partitions)
    assert 0 <= found < partitions
    assert found == partition_of(key, partitions)


def test_an_error_holds_a_payload_then_the_reason_does_not() -> None:
    """Class and place are kept; the text of a stranger's error may hold anything."""
    try:
        raise KeyError("secret")
    except KeyError as exc:
        said = reason_of(exc)
    assert "KeyError" in said
    assert "secret" not in said
