"""Waiting in tests: for a condition, with a deadline, never for a stretch of time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable

PATIENCE_SECONDS = 30.0
"""How long a test waits for what must come soon, so that a hang fails and is not endless."""

_LOOK_SECONDS = 0.002


async def until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Returns when `condition`, which may be a coroutine function, holds; it is asked again and
    again. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return
            await asyncio.sleep(_LOOK_SECONDS)
