"""An embedder without a model: hashed words and pieces of words.

It finds texts that share words or parts of them, not texts that mean the same. It needs nothing but
numpy, gives the same vectors on every machine, and so serves where no model is installed, and in
tests. The method is feature hashing with signs: Weinberger, Dasgupta, Langford, Smola and
Attenberg, "Feature Hashing for Large Scale Multitask Learning", 2009.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .port import readable
from .units import unit_rows

if TYPE_CHECKING:
    from .port import Vectors

_WORD = re.compile(r"\w+")

_GRAM_CHARS = 4
"""Pieces of four letters: shorter ones are shared by unrelated words, longer ones miss endings."""

_GRAM_WEIGHT = 0.5
"""A word of eight letters has seven pieces; their squares add up to about twice the word's own, so
a word with another ending is near and an equal word is nearer."""

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: multiplying by it spreads a checksum's bits upwards, where the
place and the sign are taken from (Knuth, The Art of Computer Programming, volume 3, 6.4)."""


class HashingEmbedder:
    """Vectors from hashed words and pieces of words; deterministic, no model, no network.

    `dimensions` (8 to 4096) is how many places words are spread over; with few of them unrelated
    words meet.
    """

    name = "hashing"
    batch_max = 256
    """A batch of texts of 1 kB takes about 0.1 s of one core."""

    def __init__(self, dimensions: int = 256) -> None:
        if not 8 <= dimensions <= 4096:
            raise ValueError(f"dimensions is {dimensions}; it must be 8 to 4096")
        self.dimensions = dimensions
        self.version = f"1-{dimensions}"

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """The texts' vectors, as `Embedder.embed` says; cancelling loses only this computation."""
        taken = readable(texts, self.batch_max)
        return await asyncio.to_thread(self._vectors, taken)

    def _vectors(self, texts: list[str]) -> Vectors:
        rows = np.zeros((len(texts), self.dimensions), dtype=np.float64)
        for row, text in zip(rows, texts, strict=True):
            features = list(_features(text))
            if not features:
                continue
            hashes = np.array([checksum for checksum, _ in features], dtype=np.uint64)
            weights = np.array([weight for _, weight in features])
            spread = hashes * _SPREAD
            places = ((spread >> np.uint64(32)) % np.uint64(self.dimensions)).astype(np.int64)
            signs = np.where(spread >> np.uint64(63), 1.0, -1.0)
            row += np.bincount(places, weights=signs * weights, minlength=self.dimensions)
        return unit_rows(rows, count=len(texts), dimensions=self.dimensions, name=self.name)


def _features(text: str) -> Iterator[tuple[int, float]]:
    """A checksum and a weight for each word and for each piece of one."""
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        encoded = f"<{word}>".encode()
        yield zlib.crc32(encoded), 1.0
        for start in range(len(word) + 2 - _GRAM_CHARS + 1):
            piece = f"<{word}>"[start : start + _GRAM_CHARS]
            yield zlib.crc32(piece.encode(), 1), _GRAM_WEIGHT
