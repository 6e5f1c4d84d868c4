"""A log in its plainest form: what every engine is held against, written for clearness alone."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from ...events import Append, NewEvent
from ...points import Expected
from ...query import Query


class Row(NamedTuple):
    """An event as the model knows it. `id` is None where the store made it."""

    stream: str
    type: str
    data: str
    tags: tuple[str, ...]
    id: str | None


Places = list[list[int]]
"""For each append of a call the positions of its events."""


class Model:
    """The log in its plainest form: one list, and what was answered under each key."""

    def __init__(self) -> None:
        self.log: list[Row] = []
        self.keys: dict[tuple[str, str], tuple[list[Any], Places]] = {}
        self.snapshots: dict[tuple[str, str], dict[int, bytes]] = {}

    def of_stream(self, stream: str) -> list[int]:
        """The positions of a stream's events."""
        return [at for at, row in enumerate(self.log, start=1) if row.stream == stream]

    def matching(self, queries: list[Query], after: int = 0) -> list[int]:
        """The positions of events behind `after` that match any of the queries."""
        return [
            at
            for at, row in enumerate(self.log, start=1)
            if at > after
            and any(
                (not q.types or row.type in q.types) and set(q.tags) <= set(row.tags)
                for q in queries
            )
        ]

    def predict(self, appends: list[Append], scope: str, key: str | None) -> tuple[str, Any]:
        """What the call comes to: (word, what it carries)."""
        parts = [[_row(append.stream, event) for event in append.events] for append in appends]
        given = [row.id for rows in parts for row in rows if row.id is not None]
        if len(set(given)) < len(given):
            return "invalid", None
        content = [(append.stream, rows) for append, rows in zip(appends, parts, strict=True)]
        if key is not None and (scope, key) in self.keys:
            first, places = self.keys[scope, key]
            return ("first" if first == content else "mismatch"), places
        stands = {row.id: at for at, row in enumerate(self.log, start=1) if row.id is not None}
        if any(event_id in stands for event_id in given):
            word, places = self._known(parts, stands)
            if word == "first" and key is not None:
                self.keys[scope, key] = (content, places)
            return word, places
        for index, append in enumerate(appends):
            at = self.of_stream(append.stream)
            missed = _missed(append.expected, at)
            if missed is not None:
                return "conflict", (index, len(at), missed)
            if append.condition is not None:
                found = self.matching(_list(append.condition.query), append.condition.after)
                if found:
                    return "condition", (index, len(at), found)
        places = []
        for rows in parts:
            places.append(list(range(len(self.log) + 1, len(self.log) + 1 + len(rows))))
            self.log.extend(rows)
        if key is not None and any(parts):
            self.keys[scope, key] = (content, places)
        return "written", places

    def _known(self, parts: list[list[Row]], stands: dict[Any, int]) -> tuple[str, Any]:
        places: Places = []
        for rows in parts:
            at = [stands.get(row.id, 0) for row in rows]
            if any(not p or self.log[p - 1] != row for p, row in zip(at, rows, strict=True)):
                return "invalid", None
            in_stream = self.of_stream(rows[0].stream) if rows else []
            versions = [in_stream.index(p) for p in at]
            if versions != list(range(versions[0], versions[0] + len(at))) if at else False:
                return "invalid", None
            places.append(at)
        return "first", places


def _row(stream: str, event: NewEvent) -> Row:
    return Row(stream, event.type, json.dumps(event.data), tuple(event.tags), event.id)


def _list(query: Any) -> list[Query]:
    return [query] if isinstance(query, Query) else list(query)


def _missed(expected: Expected | int, at: list[int]) -> list[int] | None:
    """None where the expectation holds, else the positions that were missed."""
    if expected is Expected.ANY:
        return None
    if expected is Expected.STREAM_EXISTS:
        return None if at else []
    version = 0 if expected is Expected.NO_STREAM else expected
    assert isinstance(version, int)
    return None if version == len(at) else at[version:]
