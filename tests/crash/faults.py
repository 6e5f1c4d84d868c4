"""What a fault of this suite is, what it is run with, and what it says afterwards."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .grounds import Ground

SMALL = 0.1
"""The share of a quick run of `make crash`; `make test` asks for less."""

VIOLATIONS_TOLD_MAX = 5
"""How many violations of a line are told in words; all are counted."""


@dataclass
class Outcome:
    """What a fault found: how often it tried, and each way in which the promise was broken."""

    trials: int = 0
    violations: list[str] = field(default_factory=list)
    note: str = ""
    """What a reader of the table must know beside it, such as what could not be tried here."""
    broke: bool = False
    """The trial itself broke: red, but no proof that its oracle sees anything."""

    def held(self, holds: object, otherwise: str) -> None:
        """Counts a trial, and a violation unless the promise holds."""
        self.trials += 1
        if not holds:
            self.violations.append(otherwise)

    def add(self, trials: int, violations: list[str]) -> None:
        """Counts what another checker has tried and found."""
        self.trials += trials
        self.violations += violations


@dataclass
class Run:
    """One run of one fault on one engine. `scale` is the share of the full number of trials."""

    ground: Ground
    seed: int
    scale: float
    defect: str | None = None
    """A defect that is seeded into the processes of this run, to see the oracle turn red."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    @property
    def is_small(self) -> bool:
        """Whether this is one of the few trials of `make test`, in which what takes seconds to be
        set up (a second server, a network) is left to `make crash`, quick or not."""
        return self.scale < SMALL

    def times(self, full: int) -> int:
        """How many of `full` trials this run makes; at least one."""
        return max(1, round(full * self.scale))


@dataclass(frozen=True)
class Fault:
    """A promise with the fault that might break it."""

    name: str
    promise: str
    run: Callable[[Run], Awaitable[Outcome]]
    defects: dict[str, tuple[str, ...]]
    """For each engine on which the fault is tried, the defects that must turn it red."""
    prove_scale: float = 0.1
    """The share of trials with which a defect must be found."""
    alone: bool = False
    """On PostgreSQL it needs a server of its own, because it kills it."""
