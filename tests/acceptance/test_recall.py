"""Semantic recall of MemoryBank's memories: 566 turns of 15 users, asked with its own questions."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from eventstore import EventStore
from projections import Relay, VectorView
from projections.stock.memory_index import memory_index
from reducers.agent import vocabulary

from .oracle.sources import RECORDED

QUESTIONS = RECORDED / "memorybank" / "probing_questions_en.jsonl"

from .oracle.conftest import Imported, imported  # noqa: E402, F401 - the fixture is the oracle's


@pytest_asyncio.fixture
async def bank(
    imported: Imported,  # noqa: F811 - a fixture
    tmp_path: Path,
) -> AsyncIterator[tuple[EventStore, VectorView]]:
    """A copy of the imported store, and the stock view on it, built."""
    source = Path(imported("memorybank").url.removeprefix("sqlite:///"))
    shutil.copy(source, tmp_path / "bank.db")
    async with EventStore.open(f"sqlite:///{tmp_path / 'bank.db'}") as store:
        view = memory_index()
        await Relay(store, [view]).run_once()
        yield store, view.bind(store)
        await view.close()


def questions() -> list[tuple[str, str]]:
    """(user, question) of the source."""
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    return [
        (user, question)
        for line in lines
        if line.strip()
        for user, asked in json.loads(line).items()
        for question in asked
    ]


async def test_the_bank_is_imported_then_every_turn_is_a_memory_of_its_user(
    bank: tuple[EventStore, VectorView],
) -> None:
    """566 memories of 15 users, dated by day."""
    _, view = bank
    found = await view.search("what did we talk about?", 1_000, hybrid=False)
    assert len(found) == 566
    assert len({each.value["user"] for each in found}) == 15
    assert {each.value["type"] for each in found} == {"episodic"}
    assert {each.value["time"].year for each in found} == {2023}


async def test_a_user_is_asked_for_then_only_this_users_memories_answer(
    bank: tuple[EventStore, VectorView],
) -> None:
    """All of the source's questions, hybrid and by vector."""
    _, view = bank
    asked = questions()
    assert len(asked) > 50
    for user, question in asked:
        for hybrid in (True, False):
            found = await view.search(question, 10, user=user.strip(), hybrid=hybrid)
            assert found
            assert {each.value["user"] for each in found} == {user.strip()}


@pytest.mark.parametrize(
    ("user", "question", "answer"),
    [
        ("Emily", "I mentioned that I had been to a park. What did I see there?", "squirrel"),
        ("Emily", "What science fiction movie did I recommend?", "The Wandering Earth"),
    ],
)
async def test_a_question_is_asked_then_a_memory_that_holds_the_answer_is_among_ten(
    bank: tuple[EventStore, VectorView], user: str, question: str, answer: str
) -> None:
    """Where the answer is a word of the source."""
    _, view = bank
    found = await view.search(question, 10, user=user)
    assert any(answer in each.text for each in found)


async def test_a_memory_is_corrected_or_forgotten_then_recall_follows(
    bank: tuple[EventStore, VectorView],
) -> None:
    """By the next search."""
    store, view = bank
    first, second = (await view.search("cherry blossom and a squirrel", 2, user="Emily"))[:2]
    stream, memory_id = first.key  # type: ignore[misc, str-unpack]  # a tuple of two
    corrected = vocabulary.memory_corrected(memory_id=memory_id, content="It was a red fox.")
    await store.append(stream, corrected)
    stream, memory_id = second.key  # type: ignore[misc, str-unpack]
    await store.append(stream, vocabulary.memory_forgotten(memory_id=memory_id))
    await Relay(store, [view]).run_once()
    found = await view.search("cherry blossom and a squirrel", 1_000, user="Emily")
    texts = {each.key: each.text for each in found}
    assert texts[first.key] == "It was a red fox."
    assert second.key not in texts
    assert first.text not in texts.values()
