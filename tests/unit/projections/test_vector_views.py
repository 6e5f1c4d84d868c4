"""Vector views in memory: bad arguments, how rankings are brought together, random histories."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventstore import EventStore, NewEvent, RecordedEvent
from projections import Delete, Projection, ProjectionError, Relay, Upsert, VectorView
from projections.asking import serving
from projections.embedding import HashingEmbedder
from projections.recall.found import Filters
from projections.recall.rows import METADATA_BYTES_MAX, TEXT_BYTES_MAX
from projections.recall.searching import RESULTS_MAX, fused, serving_of
from projections.relay.generations import begin
from projections.sinks import Change

said = Projection("said", key=lambda event: event.data["id"])


@said.on("said")
def _said(event: RecordedEvent) -> Upsert:
    return Upsert(event.data["id"], {"text": event.data["text"], "user": event.data["user"]})


@said.on("unsaid")
def _unsaid(event: RecordedEvent) -> Delete:
    return Delete(event.data["id"])


def declared(**options: Any) -> VectorView:
    """A view that needs no model."""
    return VectorView(said, embedder="hashing", **options)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"k": 0}, "k is an int from 1"),
        ({"k": RESULTS_MAX + 1}, "k is an int from 1"),
        ({"k": True}, "k is an int"),
        ({"query": [1.0, 2.0]}, "a vector of 256"),
        ({"query": [float("nan")] * 256}, "finite"),
        ({"query": None}, "a text or a vector"),
        ({"query": ["a"] * 256}, "a text or a vector"),
        ({"user": 5}, "user is a text"),
        ({"type": ["fact"]}, "type is a text"),
        ({"since": datetime(2024, 1, 1)}, "since is an aware datetime"),
        ({"until": "2024"}, "until is an aware datetime"),
        ({"at_least": -1}, "at_least is a position"),
        ({"at_least": "5"}, "at_least is a position"),
    ],
)
async def test_an_argument_is_wrong_then_a_search_refuses_it(
    arguments: dict[str, Any], told: str
) -> None:
    """With the name of the argument, before anything is asked."""
    async with EventStore.open("memory://") as store:
        view = declared()
        await Relay(store, [view]).run_once()
        with pytest.raises(ProjectionError, match=told):
            await view.bind(store).search(**{"query": "x", **arguments})


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a text", "a dict with a text"),
        ({"user": "ann"}, "a dict with a text"),
        ({"text": "x", "user": 5}, "user is a text"),
        ({"text": "x", "type": b"x"}, "type is a text"),
        ({"text": "x", "time": datetime(2024, 1, 1)}, "time is an aware"),
        ({"text": "x", "time": 5}, "time is an aware"),
        ({"text": "x", "odd": float("inf")}, "value"),
        ({"text": "secret \ud800"}, "lone surrogate"),
        ({"text": "x" * (TEXT_BYTES_MAX + 1)}, "bytes"),
        ({"text": "x", "odd": "x" * METADATA_BYTES_MAX}, "bytes"),
    ],
)
async def test_a_row_is_wrong_then_it_is_refused_and_its_text_is_not_told(
    value: Any, told: str
) -> None:
    """With the view and the key."""
    async with EventStore.open("memory://") as store:
        view = declared()
        await Relay(store, [view]).run_once()
        build, _ = await serving(view.bind(store))
        with pytest.raises(ProjectionError, match=told) as refused:
            await view.sink.write(build, [Change("the key", value, 1, 0)])
    assert "the key" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("key", ["", "x" * 1_025, "a\0b", "\ud800"])
async def test_a_key_is_wrong_then_it_is_refused_and_asking_for_it_finds_nothing(key: str) -> None:
    """What no database takes as a key."""
    async with EventStore.open("memory://") as store:
        view = declared()
        await Relay(store, [view]).run_once()
        build, _ = await serving(view.bind(store))
        with pytest.raises(ProjectionError):
            await view.sink.write(build, [Change(key, {"text": "x"}, 1, 0)])
        assert await view.bind(store).rows([key]) == {}


def test_the_embedder_is_none_then_the_declaration_is_refused() -> None:
    """An embedder embeds."""
    wrong: Any = "another"
    with pytest.raises(ProjectionError, match="embedder"):
        VectorView(said, embedder=wrong)


def test_nothing_is_said_then_the_embedded_model_is_used() -> None:
    """wordllama, which the extra brings."""
    assert VectorView(said).embedder.name.startswith("wordllama")
    assert isinstance(declared().embedder, HashingEmbedder)


def test_rankings_are_fused_then_what_stands_high_in_both_comes_first() -> None:
    """One that is first in all has a score of 1."""
    assert fused([[1, 2, 3], [1, 3]])[0] == (1, 1.0)
    assert [label for label, _ in fused([[1, 2, 3], [4, 3]])] == [3, 1, 4, 2]
    assert fused([[], []]) == []
    assert fused([[7], []])[0] == (7, 0.5)


_WORDS = ["zanzibar", "montezuma", "okapi", "quinoa", "xylophone"]
_STEPS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.one_of(st.none(), st.lists(st.sampled_from(_WORDS), min_size=1, max_size=3)),
        st.sampled_from(["ann", "bob"]),
        st.booleans(),
    ),
    max_size=10,
)


@given(steps=_STEPS)
@example(  # as many rows as before, of other words
    steps=[
        (1, ["zanzibar"], "ann", False),
        (2, ["montezuma"], "ann", False),
        (0, ["zanzibar"], "ann", True),
        (0, ["montezuma"], "ann", False),
    ]
)
@settings(max_examples=8)
def test_any_history_happens_then_live_and_rebuilt_views_find_what_a_dict_has(
    steps: list[tuple[int, list[str] | None, str, bool]],
) -> None:
    """Rows, vectors and words of both generations, whenever the relay ran."""
    asyncio.run(_happens(steps))


async def _happens(steps: list[tuple[int, list[str] | None, str, bool]]) -> None:
    model: dict[int, tuple[str, str]] = {}
    view = declared()
    async with EventStore.open("memory://") as store:
        bound = view.bind(store)
        relay = Relay(store, [view])
        await relay.run_once()
        for id_, words, user, is_fed in steps:
            if words is None:
                model.pop(id_, None)
                await store.append("s", NewEvent("unsaid", {"id": id_}))
            else:
                model[id_] = (" ".join(words), user)
                data = {"id": id_, "text": " ".join(words), "user": user}
                await store.append("s", NewEvent("said", data))
            if is_fed:
                await relay.run_once()
                await _check(bound, model)
        await relay.run_once()
        await _check(bound, model)
        await begin(view, store.outbox)
        await relay.run_once()
        assert (await serving(bound))[0].generation == 2
        await _check(bound, model)
        await view.close()


async def _check(view: VectorView, model: dict[int, tuple[str, str]]) -> None:
    for user in (None, "ann", "bob"):
        wanted = {id_: text for id_, (text, of) in model.items() if user in (None, of)}
        found = await view.search("anything", 100, user=user)
        assert {each.key: each.text for each in found} == wanted
    build, _ = await serving(view)
    sink: Any = view.sink
    where = (await serving_of(sink, build)).place
    for word in _WORDS:
        labels = await sink.place(build).words(build, where, word, 100, Filters())
        having = [id_ for id_, (text, _) in model.items() if word in text]
        # A word that stands in half of the rows says nothing.
        assert len(labels) == (len(having) if len(having) < len(model) / 2 else 0)
