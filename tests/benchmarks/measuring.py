"""What a measurement is: samples taken in turns, their median and spread, and a bar they meet.

Two sides of a comparison are always sampled one after the other, several times, and compared pair
by pair: what else happens on the machine then weighs on both.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from statistics import median

import msgspec


class Series(msgspec.Struct, frozen=True):
    """The samples of one figure, in the order they were taken."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure that is reported."""
        return median(self.values)

    def over(self, other: Series) -> Series:
        """Pair by pair, this divided by the other."""
        return Series(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))


class Bar(msgspec.Struct, frozen=True):
    """What a figure must reach: at least `limit`, or with `at_most` not more than it."""

    limit: float
    unit: str
    at_most: bool = False
    of: str = ""

    def reached(self, series: Series) -> bool:
        """Whether the median meets the bar."""
        if self.at_most:
            return series.median <= self.limit
        return series.median >= self.limit


class Line(msgspec.Struct, frozen=True):
    """One line of the report: a figure, what it is held against, and the bar on `judged`.

    `judged` is what the bar speaks of (most often ours / raw); without a bar it is for reading.
    """

    work: str
    ours: Series
    unit: str
    raw: Series | None = None
    raw_name: str = ""
    judged: Series | None = None
    judged_unit: str = "x"
    bar: Bar | None = None

    @property
    def verdict(self) -> str:
        """reached or missed, computed; empty where nothing was asked."""
        if self.bar is None or self.judged is None:
            return ""
        return "reached" if self.bar.reached(self.judged) else "missed"


class Section(msgspec.Struct, frozen=True):
    """One row of the benchmark: its lines, and in words how they were measured."""

    name: str
    lines: list[Line]
    notes: list[str] = []
    not_run: str = ""


class Timing(msgspec.Struct):
    """Wall clock and processor time of a timed part, over all threads of this process."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def rate(self, count: int) -> float:
        """Units a second."""
        return count / self.seconds

    def cpu_us(self, count: int) -> float:
        """Microseconds of processor time for each unit."""
        return self.cpu_seconds * 1e6 / count


@contextmanager
def timing() -> Iterator[Timing]:
    """Times the block; garbage of earlier samples is collected before."""
    gc.collect()
    result = Timing()
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        yield result
    finally:
        result.seconds = time.perf_counter() - wall
        result.cpu_seconds = time.process_time() - cpu


Side = Callable[[], Awaitable[Timing]]


async def in_turns(rounds: int, sides: dict[str, Side]) -> dict[str, list[Timing]]:
    """Samples every side once, then again, `rounds` times: raw, ours, raw, ours, ..."""
    taken: dict[str, list[Timing]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            os.sync()  # what the last sample left to be written is not this one's to wait for
            taken[name].append(await side())
    return taken


def rates(timings: list[Timing], count: int) -> Series:
    """Units a second, sample by sample."""
    return Series(tuple(one.rate(count) for one in timings))


def cpu_us(timings: list[Timing], count: int) -> Series:
    """Microseconds of processor time for each unit, sample by sample."""
    return Series(tuple(one.cpu_us(count) for one in timings))


def seconds(timings: list[Timing]) -> Series:
    """The times themselves."""
    return Series(tuple(one.seconds for one in timings))


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]
