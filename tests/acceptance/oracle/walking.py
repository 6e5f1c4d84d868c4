"""Holds a stream's state at every version against the course that the source gives.

The first event of a record names it (`source_record.at`: its number from 1, `head` before the
first, `tail` behind the last; import-mapping.md). What stands before record 1 is the head.
Checked:

- The records come in the order of the source, each exactly once, none is missing.
- Before the first event, and at the last event of the head, of each record and of the tail, the
  state is exactly what the source says it is at that point.
- At an event inside a record each part of the state (each message, each call, what is spent, what
  is shared, the end) is what it was before the record or what it is after it, never a third
  thing, and a part that has reached what it is after the record stays so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .stating import FIELDS, Course, Said, Stated, differences, unnamed_as


class OutOfOrder(Exception):
    """A stream's records are not those of its source, in its order."""


Point = tuple[Stated, Stated, bool]
"""The state before and after the record that a version belongs to, and whether it ends there."""


def points(course: Course, marks: Sequence[object]) -> list[Point]:
    """Where each version of a stream stands in the course. `marks` are what its events have in
    `source_record.at`, None where there is nothing. Raises `OutOfOrder`."""
    steps = _steps(course, marks)
    return [
        (*states, n + 1 == len(steps) or steps[n + 1][0] != at)
        for n, (at, *states) in enumerate(steps)
    ]


def _steps(course: Course, marks: Sequence[object]) -> list[tuple[object, Stated, Stated]]:
    at: object = "head"
    before, after = Stated(), course.head
    steps: list[tuple[object, Stated, Stated]] = []
    number = 0
    for mark in marks:
        if mark not in (None, "head"):
            if mark == "tail":
                if number != len(course.records):
                    raise OutOfOrder(f"the end comes after record {number}")
                before, after = after, course.tail
            else:
                number += 1
                if mark != number or number > len(course.records):
                    raise OutOfOrder(f"record {mark} stands where record {number} must")
                before, after = after, course.records[number - 1]
            at = mark
        steps.append((at, before, after))
    if number != len(course.records):
        raise OutOfOrder(f"of {len(course.records)} records {number} are there")
    if after != course.tail:
        raise OutOfOrder("the end is not there")
    return steps


def problems(course: Course, marks: Sequence[object], seen: Iterable[Stated]) -> Iterator[str]:
    """What is not as the source says, with its version. `seen` are the states of version 0 and of
    each version behind it."""
    try:
        places = points(course, marks)
    except OutOfOrder as wrong:
        yield str(wrong)
        return
    states = iter(seen)
    yield from (f"version 0: {one}" for one in differences(Stated(), next(states)))
    reached: tuple[int, ...] = ()
    begins = True
    for version, ((before, after, ends), state) in enumerate(zip(places, states, strict=True), 1):
        if ends:
            yield from (f"version {version}: {one}" for one in differences(after, state))
        else:
            now, wrong = inside(before, after, state)
            if not begins and any(a > b for a, b in zip(reached, now, strict=True)):
                wrong.append("what the record had brought is gone again")
            yield from (f"version {version}, inside its record: {one}" for one in wrong)
            reached = now
        begins = ends


def inside(before: Stated, after: Stated, seen: Stated) -> tuple[tuple[int, ...], list[str]]:
    """How much of each part has been reached inside a record, and what is neither old nor new."""
    wrong: list[str] = []
    said = [_bare(one) for one in seen.messages]
    if not len(before.messages) <= len(said) <= len(after.messages):
        wrong.append(f"{len(said)} messages")
    elif said != [_bare(one) for one in after.messages[: len(said)]]:
        wrong.append("messages that the source does not have here")
    calls = unnamed_as(after.calls, seen.calls)
    new = 0
    if not len(before.calls) <= len(calls) <= len(after.calls):
        wrong.append(f"{len(calls)} calls")
    else:
        for n, call in enumerate(calls):
            old = before.calls[n] if n < len(before.calls) else None
            new += call == after.calls[n] != old
            if call not in (old, after.calls[n]):
                wrong.append(f"call {n + 1} is neither what it was nor what it will be: {call!r}")
    reached = [len(said), len(calls), new]
    for field in FIELDS:
        was, will, now = (getattr(one, field) for one in (before, after, seen))
        if now not in (was, will):
            wrong.append(f"{field} is {now!r}, neither {was!r} nor {will!r}")
        reached.append(was != will == now)
    return tuple(reached), wrong


def _bare(said: Said) -> Said:
    """A message without its calls: inside a record they may not have a number yet."""
    return said._replace(asks=(), answers=())


def marks_of(events: Sequence[Any]) -> list[object]:
    """Which record each event begins, None where it begins none."""
    return [event.data.get("source_record", {}).get("at") for event in events]
