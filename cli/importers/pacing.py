"""What the interpreter is asked for while sessions are imported: fewer collections of garbage,
and shorter turns of its threads."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ALLOCATIONS: Final = 100_000
"""Containers made between two collections, in place of Python's 700. Records are trees, which go
away by their reference counts; walking those of the batch at hand over and over took a sixth of
an import's time. A batch holds some tens of thousands, so memory stays what it is."""

SWITCH_SECONDS: Final = 0.0005
"""How long a thread may make another wait, in place of Python's 5 ms. The store's thread asks for
its turn some fifty times a batch, and with 5 ms for each it is not done when the next batch is
(measured: an import waited 10% of its time for it, then 2%)."""

_runs = 0
_before = gc.get_threshold(), sys.getswitchinterval()


@contextmanager
def at_import_pace() -> Iterator[None]:
    """These settings hold until the last of the runs that asked for them has ended. They concern
    the whole process, which is the import's own."""
    global _runs, _before
    if _runs == 0:
        thresholds, seconds = _before = gc.get_threshold(), sys.getswitchinterval()
        if thresholds[0]:  # 0: it is off, by somebody's wish
            gc.set_threshold(max(ALLOCATIONS, thresholds[0]), *thresholds[1:])
        sys.setswitchinterval(min(SWITCH_SECONDS, seconds))
    _runs += 1
    try:
        yield
    finally:
        _runs -= 1
        if _runs == 0:
            gc.set_threshold(*_before[0])
            sys.setswitchinterval(_before[1])
