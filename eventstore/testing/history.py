"""A checker of what was written and read by many at once, against what the log promises."""

from __future__ import annotations

from collections.abc import Iterable

from ..events import AppendResult, RecordedEvent


class HistoryBroken(AssertionError):
    """A promise of the log does not hold in a history; the message says which, and where."""


class History:
    """Collects what appends were answered, then holds readings of the log against it.

    Usable from any number of tasks of one thread. Answers of a retry (`duplicate`) may be added
    as well: they must name the same events as the first answer.
    """

    def __init__(self) -> None:
        self._acknowledged: dict[str, RecordedEvent] = {}

    def acknowledged(self, result: AppendResult) -> None:
        """Notes the events of an append that was answered. Raises `HistoryBroken` when an id was
        answered before for another place."""
        for event in result.events:
            first = self._acknowledged.setdefault(event.id, event)
            if (first.position, first.stream, first.version) != (
                event.position,
                event.stream,
                event.version,
            ):
                raise HistoryBroken(f"event {event.id!r} was answered for two places")

    def check_log(self, events: Iterable[RecordedEvent]) -> None:
        """Holds a reading of the whole log against every promise. Raises `HistoryBroken`.

        Positions are 1..n, versions 1..n in each stream, `recorded_at` never decreases, each id
        stands once, and everything that was acknowledged stands where its answer said.
        """
        log = list(events)
        check_dense(log)
        stands = {event.id: event for event in log}
        if len(stands) < len(log):
            raise HistoryBroken("an event id stands twice in the log")
        for event_id, answered in self._acknowledged.items():
            if stands.get(event_id) != answered:
                raise HistoryBroken(f"acknowledged event {event_id!r} is not in the log as told")

    def check_reader(self, seen: Iterable[RecordedEvent], after: int = 0) -> None:
        """Holds what a subscription gave against the promise: every position behind `after`, in
        order, once. Raises `HistoryBroken`."""
        expected = after + 1
        for event in seen:
            if event.position != expected:
                raise HistoryBroken(f"reader saw position {event.position}, not {expected}")
            expected += 1


def check_dense(log: Iterable[RecordedEvent]) -> None:
    """Positions 1..n, versions 1..n in each stream, recorded times that never decrease.

    Raises `HistoryBroken`.
    """
    versions: dict[str, int] = {}
    recorded_us = None
    for position, event in enumerate(log, start=1):
        if event.position != position:
            raise HistoryBroken(f"position {event.position} stands where {position} is due")
        version = versions.get(event.stream, 0) + 1
        if event.version != version:
            raise HistoryBroken(
                f"stream {event.stream!r}: version {event.version} stands where {version} is due"
            )
        versions[event.stream] = version
        if recorded_us is not None and event.recorded_us < recorded_us:
            raise HistoryBroken(f"position {position} was recorded before the one in front of it")
        recorded_us = event.recorded_us
