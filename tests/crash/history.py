"""The checker of histories: what many processes were told, held against the log that stands.

An operation is one append by one caller: when it began, and when it ended with which answer, both
in the machine's monotonic nanoseconds. One without an answer may stand whole or not at all. What
stands must stand once, together, byte for byte and in an order that no clock contradicts: what
was acknowledged before another began comes before it. (The order is that of linearizability for
an append-only object; Herlihy and Wing, ACM TOPLAS 1990.)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from eventstore import RecordedEvent
from eventstore.testing import HistoryBroken
from eventstore.testing.history import check_dense


def content(operation: str, n: int) -> dict[str, object]:
    """The data of an operation's event number `n`, from 0: known to whoever reads it later."""
    filler = "".join(chr(0x20 + (ord(c) * 31 + n * 7 + i) % 0x5F) for i, c in enumerate(operation))
    return {"operation": operation, "n": n, "filler": filler * (1 + n % 3)}


def content_bytes(operation: str, n: int) -> bytes:
    """The same, as it must stand: canonical JSON, made here without the store's encoder."""
    return json.dumps(
        content(operation, n), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()


@dataclass
class Operation:
    """One append and its answer."""

    name: str
    stream: str
    count: int
    key: str | None
    begun_ns: int
    ended_ns: int | None = None
    """When the answer came; None: none came, or it said that the outcome is unknown."""
    version: int = 0
    position: int = 0
    """Of the last event, as acknowledged."""
    refused: str | None = None
    """The class of the error that said: not written."""

    @property
    def acknowledged(self) -> bool:
        """Whether the caller was told that it stands."""
        return self.ended_ns is not None and self.refused is None


class Operations:
    """What processes have told, by the name of the operation."""

    def __init__(self) -> None:
        self.by_name: dict[str, Operation] = {}
        self.acknowledged: list[Operation] = []
        """Those that were acknowledged, in the order in which it was told."""

    def take(self, record: list[object]) -> None:
        """Takes in one record of a worker: begun, ended, or failed (see `worker.py`)."""
        kind, name, ns, *rest = record
        assert isinstance(name, str)
        assert isinstance(ns, int)
        if kind == "begun":
            stream, count, key = rest
            self.by_name[name] = Operation(name, stream, count, key, ns)  # type: ignore[arg-type]
            return
        operation = self.by_name[name]
        if kind == "ended":
            operation.ended_ns = ns
            operation.version, operation.position = rest  # type: ignore[assignment]
            self.acknowledged.append(operation)
        else:
            error, written = rest
            if written == "no":
                operation.ended_ns = ns
                operation.refused = str(error)

    def broken(
        self,
        log: Iterable[RecordedEvent],
        foreign: bool = False,
        refusals: tuple[str, ...] = (),
    ) -> list[str]:
        """Every promise that does not hold in this log, in words; empty when all hold. `foreign`
        says that others have written to the log as well, who told nothing; `refusals` are the
        errors that the operations have asked for."""
        events = list(log)
        told: list[str] = []
        try:
            check_dense(events)
        except HistoryBroken as exc:
            told.append(str(exc))
        standing: dict[str, list[RecordedEvent]] = {}
        for event in events:
            data = event.data
            name = data.get("operation") if isinstance(data, dict) else None
            if name in self.by_name:
                standing.setdefault(name, []).append(event)
            elif not foreign:
                told.append(f"position {event.position} is of no operation")
        for operation in self.by_name.values():
            told += _misplaced(operation, standing.get(operation.name, []))
            if operation.refused is not None and operation.refused not in refusals:
                told.append(f"{operation.name}: refused with {operation.refused}")
        return told + _out_of_order(self.by_name.values(), standing)


def _misplaced(operation: Operation, events: list[RecordedEvent]) -> list[str]:
    """What is wrong with the events of one operation."""
    name = operation.name
    if not events:
        if operation.acknowledged and operation.count:
            return [f"{name}: acknowledged at {operation.position}, and not in the log"]
        return []
    if operation.refused is not None:
        return [f"{name}: refused with {operation.refused}, and in the log"]
    if len(events) != operation.count:
        return [f"{name}: {len(events)} events stand of {operation.count}"]
    first = events[0]
    wrong = []
    for n, event in enumerate(events):
        if (event.stream, event.version, event.position) != (
            operation.stream,
            first.version + n,
            first.position + n,
        ):
            wrong.append(f"{name}: its events do not stand together")
            break
        if event.payload != content_bytes(name, n):
            wrong.append(f"{name}: event {n} does not have the bytes that were sent")
    last = (events[-1].version, events[-1].position)
    if operation.acknowledged and last != (operation.version, operation.position):
        wrong.append(f"{name}: acknowledged at {operation.version, operation.position}, is {last}")
    return wrong


def _out_of_order(
    operations: Iterable[Operation], standing: dict[str, list[RecordedEvent]]
) -> list[str]:
    """Operations that stand before one that was acknowledged before they began."""
    here = [operation for operation in operations if operation.name in standing]
    by_end = sorted(
        (operation for operation in here if operation.acknowledged),
        key=lambda operation: operation.ended_ns or 0,
    )
    told, done, position = [], 0, 0
    for operation in sorted(here, key=lambda operation: operation.begun_ns):
        while done < len(by_end) and (by_end[done].ended_ns or 0) < operation.begun_ns:
            position = max(position, standing[by_end[done].name][-1].position)
            done += 1
        first = standing[operation.name][0].position
        if first <= position:
            told.append(f"{operation.name}: at {first}, though {position} was told before it began")
    return told
