"""Whether `reducers` and `projections` are ours: their names are plain, and others use them too.

A user's own `reducers.py` earlier on the path would hide our room, and fail somewhere far away.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

_ROOMS = ("reducers", "projections")


def warn_of_strangers(beside: Path) -> None:
    """Warns once for each room that resolves to somebody else's module, naming its file.

    `beside` is the folder in which our rooms lie. Nothing is imported.
    """
    for room in _ROOMS:
        found = _origin(room)
        if found is not None and found != beside / room / "__init__.py":
            warnings.warn(
                f"'import {room}' finds {found}, which is not agent-eventstore's; rename that"
                " file or move it behind this package on sys.path",
                RuntimeWarning,
                stacklevel=3,
            )


def _origin(room: str) -> Path | None:
    """The file that `import room` would run, or has run; None where there is none."""
    loaded = sys.modules.get(room)
    origin = getattr(loaded, "__file__", None) if loaded is not None else None
    if origin is None:
        try:
            spec = importlib.util.find_spec(room)
        except (ImportError, ValueError):  # a half-made module of that name
            return None
        origin = None if spec is None else spec.origin
    return None if origin is None else Path(origin).resolve()
