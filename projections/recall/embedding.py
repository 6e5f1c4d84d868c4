"""Asks an embedder, and tells its own trouble from a text that it does not take.

A text that the model refuses by itself may wait in the dead letters. A key that was rotated, a
package that is missing, a model that gives vectors of another length would send every memory
there, though no memory is at fault: those are waited for, as a sink that does not answer is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eventstore import EventStoreError

from ..errors import EmbeddingFailed, ExtraMissing, ProjectionError, SinkUnavailable

if TYPE_CHECKING:
    from ..embedding import Embedder
    from ..embedding.port import Vectors

_PROBE = "probe"
"""A text that no model refuses: where it does, the trouble is the model's."""


async def vectors_of(
    view: str, embedder: Embedder, texts: Sequence[str], model: Embedder | None = None
) -> Vectors:
    """The texts' vectors. `model` is what is asked in the end, where a cache stands before it.

    Raises `SinkUnavailable` for trouble that is the embedder's, `ProjectionError` for texts that
    it refuses though it takes others, and what a cache raises. If cancelled, what was computed
    before stays in the cache.
    """
    try:
        return await embedder.embed(texts)
    except Exception as failed:
        if isinstance(failed, EventStoreError) and not _is_embedders(failed):
            raise  # the store's own, of a cache
        said = f"view {view!r}: {_told(embedder, failed)}"
        trouble = failed if _is_never_the_texts(failed) else await _trouble(model or embedder)
        if trouble is None:
            raise ProjectionError(said) from failed
        raise SinkUnavailable(said) from failed


def _is_embedders(failed: Exception) -> bool:
    return isinstance(failed, (EmbeddingFailed, ExtraMissing))


def _is_never_the_texts(failed: Exception) -> bool:
    if isinstance(failed, EmbeddingFailed):
        return failed.retryable
    return isinstance(failed, ImportError)


async def _trouble(embedder: Embedder) -> Exception | None:
    """What the embedder fails at with a text that is not to blame; None where it takes it."""
    try:
        rows = await embedder.embed([_PROBE])
    except Exception as failed:
        return failed
    if rows.shape != (1, embedder.dimensions):
        return ValueError("vectors of another shape")
    return None


def _told(embedder: Embedder, failed: Exception) -> str:
    """What is said of a failure: texts of foreign errors may quote what was embedded."""
    if _is_embedders(failed):
        return str(failed)
    return f"{embedder.name} failed ({type(failed).__name__})"
