"""The garbage collector while sessions are imported."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ALLOCATIONS: Final = 100_000
"""Containers made between two collections, in place of Python's 700. Records are trees, which go
away by their reference counts; walking those of the batch at hand over and over took a sixth of
an import's time. A batch holds some tens of thousands, so memory stays what it is."""

_runs = 0
_before = gc.get_threshold()


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Collections are rare until the last of the runs that asked for it has ended. It concerns
    the whole process, which is the import's own."""
    global _runs, _before
    if _runs == 0:
        _before = gc.get_threshold()
        if _before[0]:  # 0: it is off, by somebody's wish
            gc.set_threshold(max(ALLOCATIONS, _before[0]), *_before[1:])
    _runs += 1
    try:
        yield
    finally:
        _runs -= 1
        if _runs == 0:
            gc.set_threshold(*_before)
