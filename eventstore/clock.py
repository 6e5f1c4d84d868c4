"""Time for the store: always handed in, never a source of order.

A clock is a callable without arguments that gives an aware datetime or whole microseconds since
1970. The log makes `recorded_at` out of it: never smaller than the one before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from .points import to_microseconds

Clock = Callable[[], "datetime | int"]


def system_clock() -> int:
    """Microseconds since 1970 from the system's clock."""
    return time.time_ns() // 1_000


def as_microseconds(clock: Clock) -> Callable[[], int]:
    """`clock` as a callable that gives microseconds, whichever of the two forms it has."""
    if clock is system_clock:
        return system_clock

    def read() -> int:
        moment = clock()
        return moment if isinstance(moment, int) else to_microseconds(moment, "clock")

    return read
