"""What every vector view promises, on every engine."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from eventstore import EventStore, NewEvent
from projections import KeyParked, Relay, SinkUnavailable, VectorView, ViewNotBuilt, ViewStale
from projections.catalog import generations
from projections.embedding import EmbeddingFailed
from projections.relay.generations import begin, drop
from tests.waiting import PATIENCE_SECONDS

from .conftest import CountingEmbedder, Recall, memories

PIZZA = "pizza with cheese is my favourite food"
PARIS = "the museum in Paris was closed on Monday"


async def test_texts_are_kept_then_the_nearest_come_first_with_what_was_said_of_them(
    recall: Recall,
) -> None:
    """Key, text, the whole value and the position of the event."""
    await recall.keep("a", PARIS, 3, user="ann", type="fact", mood={"good": [1, 2.5, None]})
    position = await recall.keep("b", PIZZA)
    await recall.feed()
    found = await recall.view.search("which museum did I visit in Paris?")
    first = found[0]
    assert (first.key, first.text, first.position) == ("a", PARIS, 1)
    assert first.value == {
        "text": PARIS,
        "user": "ann",
        "type": "fact",
        "time": datetime(2024, 1, 3, tzinfo=UTC),
        "mood": {"good": [1, 2.5, None]},
    }
    assert (found.position, found.stale, len(found)) == (position, False, 2)
    assert found.recorded_at is not None
    assert (await recall.view.get("a")).value == first.value
    assert 0.2 < (await recall.view.search(PIZZA, 1, hybrid=False))[0].score <= 1.0001


async def test_a_vector_is_asked_for_then_it_finds_what_its_text_finds(recall: Recall) -> None:
    """Of any length; words are not looked for then."""
    await recall.keep("a", PARIS)
    await recall.keep("b", PIZZA)
    await recall.feed()
    vector = (await recall.embedder.embed([PIZZA]))[0]
    by_text = await recall.view.search(PIZZA, hybrid=False)
    assert [each.key for each in by_text] == ["b", "a"]
    for asked in (vector, (vector * 7).tolist()):
        found = await recall.view.search(asked)
        assert [each.key for each in found] == ["b", "a"]
        assert found[0].score == pytest.approx(by_text[0].score, abs=1e-4)


async def test_a_memory_is_corrected_then_it_is_found_by_its_new_words_alone(
    recall: Recall,
) -> None:
    """And its old text is nowhere any more, neither as vector nor as words."""
    await recall.keep("a", "the cat is called Zanzibar", user="ann")
    for n in range(4):
        await recall.keep(n, f"{PIZZA} {n}")
    await recall.feed()
    assert (await recall.keys("Zanzibar"))[0] == "a"
    await recall.keep("a", "the dog is called Montezuma")
    await recall.feed()
    found = await recall.view.search("Montezuma")
    assert (found[0].key, found[0].text) == ("a", "the dog is called Montezuma")
    assert found[0].value["user"] is None
    assert "Zanzibar" not in repr(await recall.view.search("Zanzibar", 100))
    assert not await recall.keys("Zanzibar", user="ann")


async def test_a_memory_is_forgotten_then_no_search_finds_it(recall: Recall) -> None:
    """And what is said again later is found again, as a new row."""
    for n in range(3):
        await recall.keep(n, f"{PIZZA} {n}")
    await recall.keep("a", "the cat is called Zanzibar")
    await recall.feed()
    assert len(await recall.keys("Zanzibar", 100)) == 4
    await recall.forget("a")
    await recall.forget("never there")
    await recall.feed()
    for hybrid in (True, False):
        assert "a" not in await recall.keys("the cat is called Zanzibar", 100, hybrid=hybrid)
    assert await recall.view.rows(["a", 1]) == {1: (await recall.view.get(1)).value}
    await recall.keep("a", "the cat is called Zanzibar again")
    await recall.feed()
    assert (await recall.keys("Zanzibar"))[0] == "a"


async def test_filters_are_given_then_only_what_passes_all_of_them_is_found(
    recall: Recall,
) -> None:
    """Never another user's; a row without a time is at no time."""
    for day in range(1, 9):
        user, type_ = ("ann", "bob")[day % 2], ("fact", "story")[day // 5]
        await recall.keep(day, f"{PIZZA} on day {day}", day, user=user, type=type_)
    await recall.keep("timeless", PIZZA, user="ann")
    await recall.feed()

    async def found(**wanted: Any) -> set[Any]:
        both = [set(await recall.keys(PIZZA, 100, hybrid=each, **wanted)) for each in (True, False)]
        assert both[0] == both[1]
        return both[0]

    third, seventh = datetime(2024, 1, 3, tzinfo=UTC), datetime(2024, 1, 7, tzinfo=UTC)
    assert await found(user="ann") == {2, 4, 6, 8, "timeless"}
    assert await found(user="bob", type="story") == {5, 7}
    assert await found(since=third, until=seventh) == {3, 4, 5, 6}
    assert await found(user="ann", type="fact", since=third) == {4}
    assert await found(user="carl") == set()
    assert await found(user="ann' OR 'a' = 'a") == set()


async def test_two_tenants_keep_memories_then_each_finds_its_own(recall: Recall) -> None:
    """Also with equal keys, texts and words."""
    other = Recall(recall.store.tenant("acme"), recall.embedder)
    other.declared = recall.declared
    other.view = recall.declared.bind(other.store)
    await recall.keep("a", "Zanzibar is mine")
    await other.keep("a", "Zanzibar is theirs")
    await other.keep("b", PIZZA)
    await recall.feed()
    await other.feed()
    assert [each.text for each in await recall.view.search("Zanzibar")] == ["Zanzibar is mine"]
    assert (await other.view.search("Zanzibar"))[0].text == "Zanzibar is theirs"
    await other.forget("a")
    await other.feed()
    assert await recall.keys("Zanzibar") == ["a"]
    assert await other.keys("Zanzibar") == ["b"]


async def test_nothing_is_kept_then_nothing_is_found(recall: Recall) -> None:
    """An empty view answers at once."""
    found = await recall.view.search("anything", user="ann")
    assert (list(found), found.position, found.recorded_at) == ([], 0, None)


async def test_more_is_asked_for_than_there_is_then_all_of_it_is_found(recall: Recall) -> None:
    """Also texts that the model finds nothing in, and a question without words."""
    for n, text in enumerate([PIZZA, PARIS, "x", "one\0two"]):
        await recall.keep(n, text)
    await recall.feed()
    assert len(await recall.keys(PIZZA, 1_000)) == 4
    for question in ("", "?!", "'\"() OR *", "a AND", "x" * 5_000):
        assert len(await recall.keys(question, 4)) <= 4


@pytest.mark.parametrize("key", ["text", 5, ["s/1", "m"], ["s", 7]])
async def test_a_key_is_of_any_kind_then_it_is_found_as_it_was_given(
    recall: Recall, key: Any
) -> None:
    """Texts, numbers and tuples of both."""
    await recall.keep(key, PIZZA)
    await recall.feed()
    wanted = tuple(key) if isinstance(key, list) else key
    assert await recall.keys(PIZZA) == [wanted]
    assert (await recall.view.get(wanted)).value["text"] == PIZZA
    assert list(await recall.scanned(1)) == [wanted]


async def test_a_position_is_waited_for_then_the_answer_has_it(recall: Recall) -> None:
    """One finds what one has just said; in time or not at all."""
    position = await recall.keep("a", PIZZA)
    with pytest.raises(ViewStale):
        await recall.view.search(PIZZA, at_least=position, timeout_seconds=0.01)
    async with Relay(recall.store, [recall.declared]):
        position = await recall.keep("b", PARIS)
        found = await recall.view.search(PARIS, at_least=position)
        assert (found[0].key, found.position) == ("b", position)


async def test_a_memory_cannot_be_kept_then_its_key_is_parked_and_waiting_for_it_says_so(
    store: EventStore,
) -> None:
    """A text that is none; the others are found."""
    recall = Recall(store, CountingEmbedder(), attempts=1)
    await recall.keep("a", PIZZA)
    wrong = await store.append("all", NewEvent("memory.kept", {"id": "b", "text": 5}))
    await recall.feed()
    assert await recall.keys(PIZZA) == ["a"]
    with pytest.raises(KeyParked):
        await recall.view.search(PIZZA, at_least=wrong.position)


@pytest.mark.parametrize("late", ["warn", "raise"])
async def test_the_view_is_late_then_a_search_says_so(
    store: EventStore, late: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As the view was declared."""
    recall = Recall(store, CountingEmbedder(), fresh_seconds=1e-9, when_late=late)
    await recall.keep("a", PIZZA)
    await recall.feed()
    assert not (await recall.view.search(PIZZA)).stale
    await recall.keep("b", PARIS)
    if late == "raise":
        with pytest.raises(ViewStale):
            await recall.view.search(PIZZA)
    else:
        assert (await recall.view.search(PIZZA)).stale
        assert "behind" in caplog.text


# --- embedding


async def test_the_view_is_rebuilt_then_it_is_the_same_and_no_text_is_embedded_again(
    recall: Recall,
) -> None:
    """Live equals rebuilt; a text is embedded once, however often it is said."""
    for n in range(30):
        await recall.keep(n, f"{PIZZA} {n % 20}", user="ann")
        if n % 10 == 9:
            await recall.feed()
    for n in range(5):
        await recall.keep(n, PARIS, n + 1)
    await recall.feed()
    assert len(recall.embedder.given) == len(set(recall.embedder.given)) == 21
    assert await recall.embedded(1) == (21, 14)
    live = await recall.view.search(PIZZA, 100)
    given = list(recall.embedder.given)
    await begin(recall.declared, recall.store.outbox)
    await recall.feed()
    assert recall.embedder.given == given
    assert (await recall.embedded(2))[0] == 0
    assert await recall.scanned(1) == await recall.scanned(2)
    again = await recall.view.search(PIZZA, 100)
    assert {each.key: each.value for each in again} == {each.key: each.value for each in live}
    assert len(again) == 30


async def test_a_text_is_said_nowhere_any_more_then_its_kept_vector_goes(
    recall: Recall,
) -> None:
    """With the last row that has it, and not before."""
    await recall.keep("a", PIZZA)
    await recall.keep("b", PIZZA)
    await recall.keep("c", PARIS)
    await recall.feed()
    assert await recall.kept_vectors() == 2
    await recall.forget("a")
    await recall.feed()
    assert await recall.kept_vectors() == 2
    await recall.keep("b", "something else")
    await recall.feed()
    assert await recall.kept_vectors() == 2
    await recall.forget("b")
    await recall.forget("c")
    await recall.feed()
    assert await recall.kept_vectors() == 0


async def test_the_models_version_changes_then_a_new_generation_has_its_vectors(
    recall: Recall,
) -> None:
    """Its vectors are never compared with the old one's: until it is built, it refuses."""
    for n in range(3):
        await recall.keep(n, f"{PIZZA} {n}")
    await recall.feed()
    newer = Recall(recall.store, CountingEmbedder(version="2", dimensions=32))
    with pytest.raises(ViewNotBuilt, match="counting@1"):
        await newer.view.search(PIZZA)
    await newer.feed()
    assert len(await newer.keys(PIZZA)) == 3
    assert [text for text in newer.embedder.given if text != PIZZA] == recall.embedder.given
    with pytest.raises(ViewNotBuilt, match="counting@2"):
        await recall.view.search(PIZZA)
    assert await recall.kept_vectors() == 6
    outbox = recall.store.outbox
    tenant = await outbox.tenant_id()
    old = (await generations(outbox, tenant, newer.declared.name))[0]
    await drop(newer.declared, old.build(outbox, newer.declared.name, tenant))
    assert await recall.kept_vectors() == 3
    assert len(await newer.keys(PIZZA)) == 3
    await newer.declared.close()


async def test_another_process_has_replaced_the_model_then_this_one_does_not_replace_it_back(
    recall: Recall, caplog: pytest.LogCaptureFixture
) -> None:
    """Two relays with two models would build for ever."""
    await recall.keep("a", PIZZA)
    await recall.feed()
    newer = Recall(recall.store, CountingEmbedder(version="2"))
    await newer.feed()
    with pytest.raises(Exception, match="counting@2 has replaced counting@1"):
        await recall.feed()
    assert await newer.keys(PIZZA) == ["a"]


async def test_the_model_does_not_answer_then_the_view_waits_and_goes_on(
    recall: Recall,
) -> None:
    """Nothing is parked for it, and what it gave before it failed is kept."""
    recall.embedder.failures = [EmbeddingFailed("the model is away", retryable=True)] * 2
    async with asyncio.timeout(PATIENCE_SECONDS):
        await recall.keep("a", PIZZA)
        await recall.feed()
    assert await recall.keys(PIZZA) == ["a"]
    recall.embedder.failures = [EmbeddingFailed("the model is away", retryable=True)]
    with pytest.raises(SinkUnavailable, match="the model is away"):
        await recall.view.search(PIZZA)


async def test_a_view_has_several_partitions_then_all_of_their_rows_are_found(
    store: EventStore,
) -> None:
    """Each worker writes its own keys."""
    recall = Recall(store, CountingEmbedder(), partitions=3)
    for n in range(12):
        await recall.keep(n, f"{PIZZA} {n}")
    await recall.feed()
    assert sorted(await recall.keys(PIZZA, 100)) == list(range(12))


async def test_a_generation_is_dropped_then_its_rows_words_and_table_are_gone(
    recall: Recall,
) -> None:
    """And what the other one has stays."""
    for n in range(3):
        await recall.keep(n, f"{PIZZA} {n}")
    await recall.feed()
    view: VectorView = recall.declared
    await begin(view, recall.store.outbox)
    await recall.feed()
    outbox = recall.store.outbox
    tenant = await outbox.tenant_id()
    old = (await generations(outbox, tenant, view.name))[0]
    await drop(view, old.build(outbox, view.name, tenant))
    if outbox.dialect == "sqlite":
        names = await outbox.query("SELECT name FROM sqlite_master WHERE name LIKE '%_found_1%'")
    else:
        names = await outbox.query("SELECT 1 FROM pg_tables WHERE tablename LIKE '%_found_1'")
    assert names == []
    assert len(await recall.keys(PIZZA)) == 3
    assert await recall.kept_vectors() == 3


def test_two_views_have_two_models_then_their_fingerprints_differ() -> None:
    """A generation says which model its vectors are of."""
    one = VectorView(memories(), embedder=CountingEmbedder())
    two = VectorView(memories(), embedder=CountingEmbedder(version="2"))
    assert one.fingerprint() != two.fingerprint()
    assert one.fits(1, one.fingerprint())
    assert not one.fits(1, two.fingerprint())
    assert not one.fits(2, one.fingerprint())
