"""The embedded vector index: exact for few rows, a graph for many, kept on disk with its position.

Importing this package imports neither numpy nor usearch; a name loads them when it is first asked
for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..errors import IndexRefused

if TYPE_CHECKING:
    from .files import Kept, load, save
    from .index import Hit, VectorIndex
    from .opening import Batch, Opened, open_index, take

__all__ = [
    "Batch",
    "Hit",
    "IndexRefused",
    "Kept",
    "Opened",
    "VectorIndex",
    "load",
    "open_index",
    "save",
    "take",
]

_WITH_NUMPY = {
    "Batch": "opening",
    "Hit": "index",
    "Kept": "files",
    "Opened": "opening",
    "VectorIndex": "index",
    "load": "files",
    "open_index": "opening",
    "save": "files",
    "take": "opening",
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_NUMPY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f".{_WITH_NUMPY[name]}", __name__)
    except ModuleNotFoundError as missing:
        if missing.name != "numpy":
            raise
        from ..embedding.extras import missing_extra

        raise missing_extra("numpy", "vector") from missing
    return getattr(module, name)
