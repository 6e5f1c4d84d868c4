"""The checker of histories: a sound history passes, and each way to break one is seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eventstore import EventStore, NewEvent, RecordedEvent
from tests.crash.history import Operations, content, content_bytes

Break = Callable[[Operations, list[RecordedEvent]], None]


async def _history() -> tuple[Operations, list[RecordedEvent]]:
    """Three operations one after the other, the last one without an answer."""
    operations = Operations()
    async with EventStore.open("memory://") as store:
        for at, (name, count) in enumerate((("a", 2), ("b", 1), ("c", 3))):
            operations.take(["begun", name, 10 * at, "s", count, None])
            notes = [NewEvent("note.added", content(name, n)) for n in range(count)]
            result = await store.append("s", notes)
            if name != "c":
                operations.take(["ended", name, 10 * at + 5, result.version, result.position])
        return operations, await store.read_all().list()


async def test_a_history_is_sound_then_nothing_is_told() -> None:
    """What was acknowledged stands, and what had no answer may."""
    operations, log = await _history()
    assert operations.broken(log) == []
    assert operations.broken(log[:3]) == []
    for event in log:
        assert event.payload == content_bytes(event["operation"], event["n"])


def _lose(operations: Operations, log: list[RecordedEvent]) -> None:
    del log[2:]


def _tear(operations: Operations, log: list[RecordedEvent]) -> None:
    del log[4:]


def _leave_a_hole(operations: Operations, log: list[RecordedEvent]) -> None:
    del log[1]


def _move(operations: Operations, log: list[RecordedEvent]) -> None:
    operations.by_name["b"].position = 7


def _reorder(operations: Operations, log: list[RecordedEvent]) -> None:
    operations.by_name["b"].ended_ns = 25
    operations.by_name["b"].begun_ns = 24
    operations.by_name["a"].begun_ns = 30
    operations.by_name["a"].ended_ns = 31


def _refuse(operations: Operations, log: list[RecordedEvent]) -> None:
    operations.take(["failed", "c", 40, "Conflict", "no"])


def _invent(operations: Operations, log: list[RecordedEvent]) -> None:
    del operations.by_name["c"]


def _change(operations: Operations, log: list[RecordedEvent]) -> None:
    operations.by_name["b"].name = "d"
    operations.by_name["d"] = operations.by_name.pop("b")


@pytest.mark.parametrize(
    "break_it", [_lose, _tear, _leave_a_hole, _move, _reorder, _refuse, _invent, _change]
)
async def test_a_history_is_broken_then_it_is_told(break_it: Break) -> None:
    """Lost, torn, holed, moved, out of order, refused but there, of nobody, of another."""
    operations, log = await _history()
    break_it(operations, log)
    assert operations.broken(log) != []
