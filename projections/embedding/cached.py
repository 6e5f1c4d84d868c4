"""Computes a vector once for each distinct text, and finds it again across rebuilds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import EmbeddingFailed
from .port import Embedder, EmbeddingCache, content_hash
from .units import from_bytes, to_bytes

if TYPE_CHECKING:
    from .port import Vectors


class CachedEmbedder:
    """An embedder in front of a cache: `embed` asks the cache and computes only what is missing.

    It takes as many texts as you like and hands them on in batches of the embedder's `batch_max`.
    `computed` counts texts that the model was given, `saved` those that needed no computing: kept
    before, or equal to another one of the same call. Two calls at the same time may compute the
    same text twice; both keep the same bytes.
    """

    batch_max = 10_000
    """As many texts as an append may hold events. Each waits in memory with its vector."""

    def __init__(self, embedder: Embedder, cache: EmbeddingCache) -> None:
        identity = (embedder.name, embedder.version)
        if cache.identity != identity:
            raise ValueError(f"the cache is of {cache.identity}, the embedder is {identity}")
        self.embedder = embedder
        self.name = embedder.name
        self.version = embedder.version
        self.dimensions = embedder.dimensions
        self.computed = 0
        self.saved = 0
        self._cache = cache

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """The texts' vectors, as `Embedder.embed` says.

        Each batch is kept before the next is computed, so a failure or a cancellation loses one
        batch at most. A kept vector of the wrong length is computed anew.
        """
        if len(texts) > self.batch_max:
            raise ValueError(f"{len(texts)} texts in one call; at most {self.batch_max} allowed")
        hashes = [content_hash(text) for text in texts]
        distinct = dict(zip(hashes, texts, strict=True))
        known: dict[bytes, Vectors] = {}
        if distinct:
            for hash_, kept in (await self._cache.find(list(distinct))).items():
                vector = from_bytes(kept, self.dimensions)
                if vector is not None:
                    known[hash_] = vector
        missing = [hash_ for hash_ in distinct if hash_ not in known]
        self.saved += len(texts) - len(missing)
        size = self.embedder.batch_max
        for batch in (missing[start : start + size] for start in range(0, len(missing), size)):
            vectors = await self.embedder.embed([distinct[hash_] for hash_ in batch])
            if vectors.shape != (len(batch), self.dimensions):  # one number would become many
                raise EmbeddingFailed(
                    f"{self.name} gave vectors of shape {vectors.shape}; expected"
                    f" {(len(batch), self.dimensions)}",
                    retryable=False,
                )
            self.computed += len(batch)
            computed = dict(zip(batch, vectors, strict=True))
            await self._cache.keep({hash_: to_bytes(row) for hash_, row in computed.items()})
            known.update(computed)
        rows = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, hash_ in zip(rows, hashes, strict=True):
            row[:] = known[hash_]
        return rows
