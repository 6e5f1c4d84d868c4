"""Whose trouble it is that a text has no vector: the model's is waited for, a text's is parked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from eventstore import EventStore
from projections import ProjectionError, Relay, SinkUnavailable
from projections.asking import serving
from projections.embedding import EmbeddingFailed, ExtraMissing
from projections.relay import letters
from projections.status import status
from tests.waiting import until

from .conftest import CountingEmbedder, Recall

PATIENCE_SECONDS = 60.0

PIZZA = "ann likes pizza with olives"

TROUBLES: dict[str, Callable[[], Exception]] = {
    "refuses the key": lambda: EmbeddingFailed("the endpoint answered 401", retryable=False),
    "is away": lambda: EmbeddingFailed("the endpoint answered 503", retryable=True),
    "is not installed": lambda: ExtraMissing("wordllama is not installed", name="wordllama"),
    "has no files": lambda: FileNotFoundError("tokenizer.json"),
    "breaks": lambda: RuntimeError("secret text"),
}


class Troubled(CountingEmbedder):
    """Fails at everything while there is `trouble`, and at texts with `poison` always."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble: Exception | None = None
        self.poison = "poison"
        self.failed = asyncio.Event()

    async def embed(self, texts: Sequence[str]) -> Any:
        """See `Embedder`."""
        if self.trouble is not None:
            self.failed.set()
            raise self.trouble
        if any(self.poison in text for text in texts):
            raise EmbeddingFailed("the endpoint answered 400", retryable=False)
        return await super().embed(texts)


async def _letters(recall: Recall) -> list[str]:
    build, _ = await serving(recall.view)
    return [each.key for each in await letters.load(build)]


async def _waiting(recall: Recall) -> str:
    """Why the view waits, once its status says that it does."""
    told: list[str] = []

    async def waits() -> bool:
        [found] = await status(recall.store, [recall.view])
        told.append(found.last_error or "")
        return found.feeding == "waiting"

    await until(waits)
    return told[-1]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.relay.delivering._BACK_OFF_SECONDS_MAX", 0.01)


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_the_embedder_has_trouble_of_its_own_then_nothing_is_parked_and_it_is_told(
    store: EventStore, trouble: Callable[[], Exception]
) -> None:
    """The view waits with the reason shown, and goes on by itself once that is over."""
    embedder = Troubled()
    recall = Recall(store, embedder)
    embedder.trouble = trouble()
    for n in range(5):
        await recall.keep(str(n), f"{PIZZA} {n}")
    async with asyncio.timeout(PATIENCE_SECONDS), Relay(store, [recall.declared]) as relay:
        await embedder.failed.wait()
        said = await _waiting(recall)
        told = trouble()
        named = str(told) if isinstance(told, ProjectionError) else type(told).__name__
        assert named in said
        assert "secret" not in said
        assert await _letters(recall) == []
        with pytest.raises(SinkUnavailable) as refused:
            await recall.view.search(PIZZA)
        assert "secret" not in str(refused.value)
        embedder.trouble = None
        await relay.caught_up()
        assert await _letters(recall) == []
    assert sorted(await recall.keys(PIZZA)) == ["0", "1", "2", "3", "4"]
    await recall.declared.close()


async def test_the_model_refuses_one_text_then_its_key_alone_is_parked(store: EventStore) -> None:
    """A model that takes other texts is not at fault."""
    recall = Recall(store, Troubled(), attempts=1)
    for n in range(4):
        await recall.keep(f"n{n}", f"{PIZZA} {n}" if n != 2 else "poison")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await recall.feed()
    assert await _letters(recall) == ["n2"]
    assert sorted(await recall.keys(PIZZA)) == ["n0", "n1", "n3"]
    with pytest.raises(ProjectionError, match="answered 400") as refused:
        await recall.view.search("poison")
    assert not isinstance(refused.value, SinkUnavailable)
    await recall.declared.close()


async def test_the_model_gives_vectors_of_another_length_then_it_is_waited_for(
    store: EventStore,
) -> None:
    """Whatever the text is."""

    class Short(Troubled):
        async def embed(self, texts: Sequence[str]) -> Any:
            rows = await super().embed(texts)
            self.failed.set()
            return rows[:, :3] if self.trouble is None and self.short else rows

        short = True

    embedder = Short()
    recall = Recall(store, embedder)
    await recall.keep("a", PIZZA)
    async with asyncio.timeout(PATIENCE_SECONDS), Relay(store, [recall.declared]) as relay:
        await embedder.failed.wait()
        assert "shape" in await _waiting(recall)
        assert await _letters(recall) == []
        embedder.short = False
        await relay.caught_up()
    assert await recall.keys(PIZZA) == ["a"]
    await recall.declared.close()
