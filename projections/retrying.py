"""Attempts with exponential back-off and jitter, by `tenacity`.

Nothing is logged here, and nobody's hooks are called: a library that announces each attempt would
do so in every program that runs a relay. What fails is told once, by whoever tries again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tenacity

Which = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


def attempts(
    on: Which,
    *,
    attempts_max: int | None = None,
    timeout_seconds: float | None = None,
    wait_initial: float = 0.1,
    wait_max: float = 5.0,
    wait_jitter: float = 1.0,
    wait_asked: Callable[[BaseException], float | None] | None = None,
) -> tenacity.AsyncRetrying:
    """``async for attempt in attempts(...): with attempt: ...``, until the block succeeds.

    A failure that is `on` (classes, or what says so of it) is tried again, at most so often and
    for so long (None: for ever), after a wait that doubles from `wait_initial` up to `wait_max`
    seconds, and up to `wait_jitter` more within that; `wait_asked` may say another wait for a
    failure. The last failure is raised as it is. If cancelled, no further attempt is made.
    """
    retry: Any
    if isinstance(on, (type, tuple)):
        retry = tenacity.retry_if_exception_type(on)
    else:
        retry = tenacity.retry_if_exception(on)
    stops: list[Any] = []
    if attempts_max is not None:
        stops.append(tenacity.stop_after_attempt(attempts_max))
    if timeout_seconds is not None:
        stops.append(tenacity.stop_after_delay(timeout_seconds))
    back_off = tenacity.wait_exponential(wait_initial) + tenacity.wait_random(0, wait_jitter)

    def wait(state: tenacity.RetryCallState) -> float:
        failure = None if state.outcome is None else state.outcome.exception()
        asked = None if wait_asked is None or failure is None else wait_asked(failure)
        return min(back_off(state), wait_max) if asked is None else asked

    return tenacity.AsyncRetrying(
        retry=retry,
        stop=tenacity.stop_any(*stops) if stops else tenacity.stop_never,
        wait=wait,
        reraise=True,
    )
