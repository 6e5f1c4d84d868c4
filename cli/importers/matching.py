"""Which record of a stream each record of its source is, when the source is read again.

Records are numbered as they stand in the source: in a file of lines by line, so that a broken or
an empty line leaves a gap in the numbers that stand. When such a line is removed, repaired or
comes in later, the lines behind it get other numbers, and are the same records all the same. So
records are matched in their order, by what they hold; a number only tells a record that has
changed from one that lies in a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from .moving import At

STANDS: Final = "stands"
CHANGED: Final = "changed"
LATE: Final = "late"
NEW: Final = "new"


class Match(msgspec.Struct, frozen=True, gc=False):
    """What became of a record: it `STANDS`, it has `CHANGED`, it was not readable when those
    behind it were imported (`LATE`), or it is `NEW`. `number` is the one in the store."""

    what: str
    number: int


class Matching:
    """Matches one source's records, handed in one after the other, with those that stand."""

    def __init__(self, standing: Mapping[At, bytes]) -> None:
        numbers = sorted(at for at in standing if isinstance(at, int))
        self._standing = [(number, standing[number]) for number in numbers]
        self._next = 0
        self._behind = self._shift = 0
        self._unread = 0
        self._held: list[int] = []
        self._doubted: tuple[int, int, bytes] | None = None

    @property
    def missing(self) -> int | None:
        """The first number that stands and that the source had no record for; None without."""
        return self._standing[self._next][0] if self._next < len(self._standing) else None

    def skip(self) -> None:
        """The next record cannot be read. It may stand, or may have come in between."""
        self._unread += 1

    def take(self, number: int, digest: bytes) -> list[Match]:
        """What became of the next record, and before that of those that were held back: of a
        record behind a gap that does not match, only what follows tells whether it has changed
        or was repaired into more lines than were broken."""
        standing = self._standing
        if self._doubted is not None and (match := self._second_of_twins(number, digest)):
            return [match]
        if not self._held and self.missing is not None and standing[self._next][1] != digest:
            self._pass_unread(number + self._shift)
        self._unread = 0
        if self._next == len(standing):
            return [*self.end(), Match(NEW, self._new(number))]
        expected, stands = standing[self._next]
        if stands == digest:
            late = [Match(LATE, one + self._shift) for one in self._held]
            self._held = []
            if number + self._shift < expected:
                self._doubted = number + self._shift, expected, digest
            self._step(number)
            return [*late, Match(STANDS, expected)]
        if self._held:
            return self._hold_or_judge(number, digest)
        if number + self._shift < expected:
            return [Match(LATE, number + self._shift)]
        if expected - self._behind > 1:
            self._held.append(number)
            return []
        self._step(number)
        return [Match(CHANGED, expected)]

    def end(self) -> list[Match]:
        """What became of the records held back, when no more come."""
        held, self._held = self._held, []
        found = []
        for number in held:
            found.append(Match(CHANGED, self._standing[self._next][0]))
            self._step(number)
        self._pass_unread(None)
        return found

    def _second_of_twins(self, number: int, digest: bytes) -> Match | None:
        """The last record was taken for the one behind a gap, which it equals. If this one does
        too, and has that one's number, then it was a repaired one that happens to be equal."""
        assert self._doubted is not None
        (late, expected, twin), self._doubted = self._doubted, None
        if digest != twin or number + self._shift != expected + (expected - late):
            return None
        if self._next < len(self._standing) and self._standing[self._next][1] == digest:
            return None
        self._shift -= expected - late
        return Match(LATE, late)

    def _hold_or_judge(self, number: int, digest: bytes) -> list[Match]:
        """Goes on holding, unless this record is the one behind as many that have changed."""
        place = self._next + len(self._held)
        if place < len(self._standing) and self._standing[place][1] != digest:
            self._held.append(number)
            return []
        return [*self.end(), *self.take(number, digest)]

    def _pass_unread(self, number: int | None) -> None:
        """Takes what could not be read for the records that stand in its place."""
        while self._unread and self._next < len(self._standing):
            at = self._standing[self._next][0]
            if number is not None and at >= number:
                break
            self._behind = at
            self._next += 1
            self._unread -= 1

    def _step(self, number: int) -> None:
        self._behind = self._standing[self._next][0]
        self._shift = self._behind - number
        self._next += 1

    def _new(self, number: int) -> int:
        """A number behind all that stand, in step with the source's."""
        self._behind = max(number + self._shift, self._behind + 1)
        return self._behind
