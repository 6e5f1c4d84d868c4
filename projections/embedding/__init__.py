"""Texts to vectors: what an embedder is, the embedders there are, and the cache before them.

Importing this package imports no numpy and no model; a name that needs them loads them when it is
first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..errors import EmbeddingFailed, ExtraMissing
from .extras import missing_extra
from .port import Embedder, EmbeddingCache, content_hash

if TYPE_CHECKING:
    from .cached import CachedEmbedder
    from .endpoint import HttpEmbedder
    from .hashing import HashingEmbedder
    from .local import SentenceTransformersEmbedder, WordLlamaEmbedder

__all__ = [
    "CachedEmbedder",
    "Embedder",
    "EmbeddingCache",
    "EmbeddingFailed",
    "ExtraMissing",
    "HashingEmbedder",
    "HttpEmbedder",
    "SentenceTransformersEmbedder",
    "WordLlamaEmbedder",
    "content_hash",
]

_WITH_NUMPY = {
    "CachedEmbedder": "cached",
    "HashingEmbedder": "hashing",
    "HttpEmbedder": "endpoint",
    "SentenceTransformersEmbedder": "local",
    "WordLlamaEmbedder": "local",
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_NUMPY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{_WITH_NUMPY[name]}", __name__)
    except ModuleNotFoundError as missing:
        if missing.name != "numpy":
            raise
        raise missing_extra("numpy", "vector") from missing
    return getattr(module, name)
