"""What the relay asks of a sink: the place where a view's rows are.

Sinks in the store's own database answer with statements, which the relay runs in one transaction
with the checkpoint: each event counts exactly once. Other sinks write before they answer, with the
position of each change, so that an older one never overwrites a newer, and a page that is sent
twice does no harm.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import msgspec

from eventstore.outbox import Outbox, Statement

from .projection import Key


class Build(msgspec.Struct, frozen=True):
    """One generation of one tenant's view. `incarnation` stands in the sink as long as it was not
    emptied."""

    outbox: Outbox
    view: str
    tenant_id: int
    generation: int
    incarnation: str


class Change(msgspec.Struct, frozen=True, gc=False):
    """The last state of a row in a page: `value` None deletes it. `position` and `recorded_us`
    are those of the event that made it; `partition` owns the row."""

    key: Key
    value: Any
    position: int
    recorded_us: int
    partition: int = 0


class Written(msgspec.Struct, frozen=True):
    """What a sink did, or will have done when the statements are run."""

    statements: Sequence[Statement] = ()
    writes: int = 0
    bytes: int = 0
    embedded: int = 0
    embeddings_saved: int = 0


class Row(msgspec.Struct, frozen=True):
    """A row as it stands in a sink, with the position of the event that made it."""

    key: Key
    value: Any
    position: int


class Sink(Protocol):
    """Where the rows of one view are.

    It may have three methods more. ``async check(build)`` raises `SinkEmptied` where it has lost
    what was written to it: it is asked when a worker begins, and about every second while it has
    nothing to do. ``shown(build, key, value)`` says what `find` will give for a projection's
    value, once it is written. ``shape()`` is a text of what its place is made for, such as a
    table's columns: rows of another shape want another generation.
    """

    async def create(self, build: Build) -> Sequence[Statement]:
        """Makes the place for a generation, as often as it is called. What it answers is run once
        with the bookkeeping of the new generation."""

    async def write(self, build: Build, changes: Sequence[Change]) -> Written:
        """Takes the changes of a page, each key once. Raises `RowRefused` or anything else for
        rows that it will not take, `SinkUnavailable` when it does not answer, `SinkEmptied` when
        its marker is missing."""

    async def find(self, build: Build, keys: Sequence[Key]) -> list[Row]:
        """The rows of these keys, in no order; absent ones are left out. Raises
        `SinkUnavailable`, and `SinkEmptied`."""

    def scan(self, build: Build) -> AsyncIterator[list[Row]]:
        """All rows of the tenant in pages, ordered by `key_text`, for comparing."""

    async def drop(self, build: Build) -> Sequence[Statement]:
        """Takes a generation's rows of this tenant away; what it answers is run with the
        bookkeeping."""

    async def close(self) -> None:
        """Frees connections of its own."""
