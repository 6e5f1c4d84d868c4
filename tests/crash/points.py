"""Failpoints: named places in an engine where the process kills itself at the n-th passage.

They are put there from outside, by wrapping the engine's own functions in the one process that is
to die: the engine has no switch for it.
"""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Callable
from typing import Any

from eventstore.engines.postgres.writer import Writer as PostgresWriter
from eventstore.engines.sqlite.ledger import SqliteLedger
from eventstore.engines.sqlite.writer import Writer

POINTS: dict[str, dict[str, tuple[type, str, bool]]] = {
    "sqlite": {
        "before insert": (SqliteLedger, "flush", False),
        "after insert": (SqliteLedger, "flush", True),
        "before commit": (Writer, "_commit", False),
        "after commit": (Writer, "_commit", True),
        "before answer": (Writer, "_deliver", False),
    },
    # What happens within a transaction of PostgreSQL happens in the server: see `gates.py`.
    "postgres": {
        "before sending": (PostgresWriter, "_transact", False),
        "after commit": (PostgresWriter, "_transact", True),
        "before answer": (PostgresWriter, "_deliver", False),
    },
}
"""For each engine and name: the class, its function, and whether the place is behind it."""


def arm(engine: str, name: str, hit: int) -> None:
    """Makes this process kill itself when it passes that place for the `hit`-th time."""
    owner, function, behind = POINTS[engine][name]
    original: Callable[..., Any] = getattr(owner, function)
    passed = 0

    def passing() -> None:
        nonlocal passed
        passed += 1
        if passed == hit:
            os.kill(os.getpid(), signal.SIGKILL)

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        if not behind:
            passing()
        result = await original(*args, **kwargs)
        if behind:
            passing()
        return result

    def watched(*args: Any, **kwargs: Any) -> Any:
        if not behind:
            passing()
        result = original(*args, **kwargs)
        if behind:
            passing()
        return result

    setattr(owner, function, awaited if inspect.iscoroutinefunction(original) else watched)
