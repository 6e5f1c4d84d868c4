"""Clocks for tests: time stands still, or moves by a fixed step, and never by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

DEFAULT_START = datetime(2026, 1, 1, tzinfo=UTC)
"""Where clocks of tests begin when no moment is given."""


class FixedClock:
    """Gives the same moment until it is told another: ``EventStore.open(url, clock=clock)``.

    `now` is an aware datetime and may be set, also to an earlier one.
    """

    def __init__(self, now: datetime = DEFAULT_START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        """Moves the clock by `seconds` (negative: back) and returns the new moment."""
        self.now += timedelta(seconds=seconds)
        return self.now


class SteppingClock(FixedClock):
    """Moves on by `step_seconds` each time it is read, after having answered."""

    def __init__(self, now: datetime = DEFAULT_START, step_seconds: float = 1.0) -> None:
        super().__init__(now)
        self.step_seconds = step_seconds

    def __call__(self) -> datetime:
        now = self.now
        self.advance(self.step_seconds)
        return now
