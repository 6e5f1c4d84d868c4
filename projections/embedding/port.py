"""What an embedder is, what keeps its answers, and what may go wrong with either.

An embedder turns texts into vectors. Who calls it, when, and where vectors are kept is not its
business; `cached.py` stands between it and a place that keeps. Nothing here imports numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
    """Shape (texts, dimensions), a row for each text in their order."""

CONTENT_HASH_BYTES = 16
"""128 bits: among a billion texts the odds that two share a hash are about one in 10^21."""

TEXT_CHARS_MAX = 32_768
"""What the embedders of this package read of a text. The vector of a longer one is that of its
beginning: a mean over ten pages says little about any of them, models cut off earlier still, and a
payload of the size that the log allows would hold a core for minutes (500 kB took 8 s)."""


class Embedder(Protocol):
    """Turns texts into vectors of length one, so that a dot product is the cosine.

    `name` and `version` say which model it is: two embedders that share both give the same vector
    for the same text, and a change of either makes every kept vector worthless. `dimensions` is the
    length of a vector, `batch_max` how many texts a call may hold.
    """

    @property
    def name(self) -> str:
        """The model, for people and for keys."""
        ...

    @property
    def version(self) -> str:
        """What changes when the same text would get another vector."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of a vector."""
        ...

    @property
    def batch_max(self) -> int:
        """How many texts one call may hold."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """The texts' vectors: float32, shape (texts, dimensions), in the order of the texts.

        Every row has length one, but for a text in which the model finds nothing (an empty one):
        its row is zero, and no search ranks it above anything. Raises ValueError for more than
        `batch_max` texts, `EmbeddingFailed` otherwise. Cancelling leaves nothing half done; a
        computation that has begun in a thread ends there and is thrown away.
        """
        ...


class EmbeddingCache(Protocol):
    """Keeps vectors by the hash of their text, for one model.

    `identity` is the `(name, version)` of the embedder whose vectors it keeps; a place that keeps
    those of several gives a cache for each.
    """

    @property
    def identity(self) -> tuple[str, str]:
        """The name and version of the embedder whose vectors are kept here."""
        ...

    async def find(self, hashes: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Those of the hashes that are kept, with their vectors as little-endian float32 bytes.

        Cancelling changes nothing.
        """
        ...

    async def keep(self, vectors: Mapping[bytes, bytes]) -> None:
        """Keeps vectors by hash; one that is kept already may be written again, it is the same.

        Cancelled, some, all or none are kept; what is missing is computed again.
        """
        ...


def content_hash(text: str) -> bytes:
    """16 bytes that stand for a text in an embedding cache.

    Texts that differ in anything, be it a space or a Unicode form, have different hashes.
    """
    # `surrogatepass`: a text that came from somewhere else than the log may hold a lone surrogate.
    encoded = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(encoded, digest_size=CONTENT_HASH_BYTES).digest()


def readable(texts: Sequence[str], batch_max: int) -> list[str]:
    """The texts as a model can take them: not too many, not too long, no lone surrogate.

    Raises ValueError for more than `batch_max` of them, or for a string in the place of a list.
    """
    if isinstance(texts, str):
        raise ValueError("embed() takes a list of texts, not one text")
    if len(texts) > batch_max:
        raise ValueError(f"{len(texts)} texts in one call; at most {batch_max} are allowed")
    return [_encodable(text[:TEXT_CHARS_MAX]) for text in texts]


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
