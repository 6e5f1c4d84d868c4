"""Vectors as rows of float32 with length one, and as the bytes that are kept of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EmbeddingFailed

if TYPE_CHECKING:
    from .port import Vectors

_STORED = np.dtype("<f4")
"""Little-endian on every machine, so that kept vectors move between them."""


def unit_rows(rows: Any, *, count: int, dimensions: int, name: str) -> Vectors:
    """The rows as float32, each scaled to length one; a row of zeros stays.

    Raises `EmbeddingFailed`, naming the model, when there are not `count` rows of `dimensions`
    finite numbers each.
    """
    vectors = np.array(rows, dtype=np.float32, ndmin=2)
    if count == 0:
        return np.zeros((0, dimensions), dtype=np.float32)
    if vectors.shape != (count, dimensions):
        raise EmbeddingFailed(
            f"{name} gave vectors of shape {vectors.shape}; expected {(count, dimensions)}",
            retryable=False,
        )
    if not np.isfinite(vectors).all():
        raise EmbeddingFailed(f"{name} gave numbers that are not finite", retryable=False)
    # The length in float64: the square of a large float32 would overflow.
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    lengths[lengths == 0] = 1.0
    units: Vectors = (vectors / lengths).astype(np.float32)
    return units


def to_bytes(vector: Vectors) -> bytes:
    """One vector as it is kept: little-endian float32, four bytes a dimension."""
    return vector.astype(_STORED, copy=False).tobytes()


def from_bytes(kept: bytes, dimensions: int) -> Vectors | None:
    """The vector that was kept; None when these bytes are not one of this length, or not finite."""
    if len(kept) != dimensions * _STORED.itemsize:
        return None
    vector = np.frombuffer(kept, dtype=_STORED).astype(np.float32)
    return vector if np.isfinite(vector).all() else None
