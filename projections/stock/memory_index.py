"""The view `memory_index`: what is remembered, found again by what it means, with whose it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reducers import combine
from reducers.agent import memory as reducer

from ..projection import Projection
from ..recall import VectorView
from .memories import life, memory_key
from .memories import row as memory_row

if TYPE_CHECKING:
    from ..embedding import Embedder


def row(key: tuple[str, str], state: Any) -> dict[str, Any] | None:
    """The memory as it stands in the view `memories`, as far as a search is about it; `time` is
    when its content was given. None once it is forgotten."""
    found = memory_row(key, state)
    if found is None:
        return None
    return {
        "text": found["text"],
        "user": found["user"],
        "type": found["type"],
        "time": found["changed_at"],
        "stream": key[0],
        "memory_id": key[1],
        "attributes": found["attributes"],
        "corrections": found["corrections"],
        "source_event_id": found["source_event_id"],
    }


projection = Projection(
    "memory_index", key=memory_key, fold=combine("memory_life", memory=reducer, life=life), row=row
)


def memory_index(
    embedder: Embedder | Literal["hashing"] | None = None,
    *,
    index_folder: Path | str | None = None,
) -> VectorView:
    """The view, with its vectors in the store's own database; see `VectorView` for the arguments.
    Raises `ExtraMissing` without the extra ``[vector]``."""
    return VectorView(projection, embedder=embedder, index_folder=index_folder)
