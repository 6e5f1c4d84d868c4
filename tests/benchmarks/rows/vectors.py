"""Semantic recall: a vector view of many texts, searched through `view.search`.

The texts are those of MemoryBank cut into sentences and put together anew, with a topic of its own
each, so that they have the structure that text has; their vectors are real ones, of the embedded
default model.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from eventstore import EventStore, NewEvent
from projections import Projection, Relay, Upsert, VectorView
from projections.vectors import VectorIndex

K = 10
"""Results of a search."""

_APPENDED = 5_000

_memories = Projection("recalled")


@_memories.on("memory.noted")
def noted(event: Any) -> Upsert:
    """A row for each event."""
    return Upsert(event.id, event.data)


class VectorTimes(msgspec.Struct):
    """What was measured; times of one search in milliseconds, the first one's in all."""

    rows: int
    filled_seconds: float
    indexed_seconds: float
    by_vector_p50_ms: float
    by_vector_p99_ms: float
    by_text_p50_ms: float
    hybrid_p50_ms: float
    by_user_p50_ms: float
    recall: float
    first_query_ms: float


def view() -> VectorView:
    """The view that is searched, with the embedded default model."""
    return VectorView(_memories)


def texts(source: Path, count: int, *, pieces: int = 3, seed: int = 1) -> list[str]:
    """Texts of some sentences of the source, and the number of one of 5,000 topics."""
    bank = json.loads(source.read_text(encoding="utf-8"))
    turns = [turn for user in bank.values() for day in user["history"].values() for turn in day]
    said = [str(part) for turn in turns for part in (turn.get("query"), turn.get("response"))]
    sentences = sorted({piece.strip() for text in said for piece in text.split(". ") if piece})
    chance = random.Random(seed)
    return [
        f"{'. '.join(chance.sample(sentences, pieces))} topic{chance.randrange(5_000)}"
        for _ in range(count)
    ]


async def fill(url: str, written: Sequence[str]) -> tuple[float, float]:
    """Appends the texts, feeds the view, and keeps its index on disk; how many seconds the feeding
    and the indexing took."""
    async with EventStore.open(url) as store:
        for start in range(0, len(written), _APPENDED):
            part = written[start : start + _APPENDED]
            await store.append(
                f"notes/{start}",
                [
                    NewEvent("memory.noted", {"text": text, "user": f"user{(start + n) % 50}"})
                    for n, text in enumerate(part)
                ],
            )
        fed = view()
        begun = time.perf_counter()
        await Relay(store, [fed]).run_once()
        filled = time.perf_counter() - begun
        begun = time.perf_counter()
        bound = fed.bind(store)
        await bound.search("warm")
        await fed.settle()
        await fed.close()
        return filled, time.perf_counter() - begun


async def search_times(url: str, questions: Sequence[str]) -> dict[str, float]:
    """p50 and p99 of searches by vector, by text, hybrid and of one user; recall against exact."""
    fed = view()
    async with EventStore.open(url) as store:
        bound = fed.bind(store)
        vectors = await fed.embedder.embed(list(questions))
        await bound.search(vectors[0], K)
        took: dict[str, list[float]] = {}
        found: list[set[Any]] = []

        async def timed(name: str, *args: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            answer = await bound.search(*args, **options)
            took.setdefault(name, []).append((time.perf_counter() - begun) * 1_000)
            return answer

        for vector in vectors:
            found.append({each.key for each in await timed("vector", vector, K)})
        for text in questions:
            await timed("text", text, K, hybrid=False)
            await timed("hybrid", text, K)
        for number, vector in enumerate(vectors):
            await timed("user", vector, K, user=f"user{number % 50}")
        truth = await _truth(store, bound, vectors)
    await fed.close()
    met = sum(len(one & other) for one, other in zip(found, truth, strict=True))
    times = {f"{name} p50": _at(values, 0.5) for name, values in took.items()}
    return {
        **times,
        "vector p99": _at(took["vector"], 0.99),
        "recall": met / (K * len(truth)),
    }


async def _truth(store: EventStore, bound: VectorView, vectors: Any) -> list[set[Any]]:
    """The keys that comparing every row of the table finds."""
    rows = await store.outbox.query(
        f"SELECT key, vector FROM recall_{bound.name}_1 WHERE text IS NOT NULL"
    )
    exact = VectorIndex(vectors.shape[1], exact_rows_max=len(rows))
    matrix = np.frombuffer(b"".join([row[1] for row in rows]), dtype="<f4")
    exact.put(range(len(rows)), matrix.reshape(len(rows), -1), fold=False)
    return [{rows[hit.label][0] for hit in exact.search(vector, K)} for vector in vectors]


def _at(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


_FIRST = """
import asyncio, sys, time
from eventstore import EventStore
from tests.benchmarks.rows.vectors import K, view
async def main():
    fed = view()
    vector = (await fed.embedder.embed(["warm"]))[0]
    async with EventStore.open(sys.argv[1]) as store:
        bound = fed.bind(store)
        begun = time.perf_counter()
        found = await bound.search(vector, K)
        print((time.perf_counter() - begun) * 1_000, len(found))
        await fed.close()
asyncio.run(main())
"""


async def first_query_ms(url: str) -> float:
    """Milliseconds of the first search of a fresh process: opening the kept index is in it,
    importing Python's packages and loading the model is not."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _FIRST, url, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the process that searches once failed")
    took, found = said.split()
    if int(found) != K:
        raise RuntimeError("the first search found too little")
    return float(took)


async def measure(folder: Path, source: Path, rows: int = 100_000, asked: int = 200) -> VectorTimes:
    """All of it, in a folder that is the caller's to remove; `source` is MemoryBank's file."""
    url = f"sqlite:///{folder / 'recall.db'}"
    written = texts(source, rows)
    filled, indexed = await fill(url, written)
    questions = texts(source, asked, pieces=1, seed=2)
    first = sorted([await first_query_ms(url) for _ in range(3)])[1]
    times = await search_times(url, questions)
    return VectorTimes(
        rows,
        filled,
        indexed,
        times["vector p50"],
        times["vector p99"],
        times["text p50"],
        times["hybrid p50"],
        times["user p50"],
        times["recall"],
        first,
    )
