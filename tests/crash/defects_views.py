"""What can be wrong with a relay (see `defects.py`)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from eventstore import Lease
from eventstore.engines.postgres import views as postgres_views
from eventstore.engines.sqlite import statements as sqlite_statements
from eventstore.engines.sqlite import views as sqlite_views
from projections.asking import checkpoint_name
from projections.errors import SinkUnavailable
from projections.relay import delivering, generations, worker
from projections.relay.delivering import Delivery
from projections.relay.pages import Applied, Applier
from projections.relay.worker import Worker
from projections.retrying import attempts
from projections.sinks import Build

from .defects import NOBODY, defect


@defect("postgres", "moves the checkpoint before the sink")
@defect("sqlite", "moves the checkpoint before the sink")
def _moves_the_checkpoint_first() -> None:
    write = Delivery.write

    async def move_first(
        self: Delivery, applied: Applied, to: int, more: Sequence[Any] = (), **options: Any
    ) -> None:
        if applied.changes:
            await self.move(to)
        await write(self, applied, to, more, **options)

    Delivery.write = move_first  # type: ignore[method-assign]


@defect("postgres", "does not hold a parked key")
@defect("sqlite", "does not hold a parked key")
def _does_not_hold_a_parked_key() -> None:
    add = Applier.add

    def hold_nothing(self: Applier, done: Applied, events: Any, unpark: bool = False) -> None:
        self.parked = {}
        add(self, done, events, unpark)

    Applier.add = hold_nothing  # type: ignore[method-assign]


@defect("postgres", "leaves partitions of a dead relay alone")
@defect("sqlite", "leaves partitions of a dead relay alone")
def _leaves_partitions_alone() -> None:
    acquire = Worker._acquire

    async def leave_alone(self: Worker) -> Lease:
        name = checkpoint_name(self.view.name)
        holder = await self._store.checkpoints.held_by(name, partition=self.partition)
        if holder is not None and holder != NOBODY:
            await asyncio.Event().wait()
        return await acquire(self)

    Worker._acquire = leave_alone  # type: ignore[method-assign]


@defect("postgres", "ends where the log does not answer")
def _ends_where_the_log_does_not_answer() -> None:
    worker.PASSING = ()  # type: ignore[assignment]


@defect("postgres", "asks a sink once")
@defect("sqlite", "asks a sink once")
def _asks_a_sink_once() -> None:
    def once() -> Any:
        return attempts(SinkUnavailable, attempts_max=1)

    delivering.until_it_answers = worker.until_it_answers = once


@defect("postgres", "lets a generation serve before it is built")
@defect("sqlite", "lets a generation serve before it is built")
def _serves_before_it_is_built() -> None:
    async def anywhere(build: Build) -> tuple[int, int]:
        return sys.maxsize, 0

    generations.reached = anywhere
    generations._furthest = lambda progress, build: sa.literal(0)


@defect("sqlite", "does not compare the fencing token")
def _sqlite_ignores_the_token() -> None:
    text = sqlite_statements.MOVE_CHECKPOINT
    told = text.replace("fencing_token = ? AND holder IS ?", "? IS NOT NULL AND ? IS NOT NULL")
    assert told != text
    sqlite_statements.MOVE_CHECKPOINT = told
    assert sqlite_views.sql is sqlite_statements


@defect("postgres", "does not compare the fencing token")
def _postgres_ignores_the_token() -> None:
    change = postgres_views.change

    async def lenient(connection: Any, move_checkpoint: str, *rest: Any) -> None:
        told = move_checkpoint.replace("fencing_token = $7", "$7::bigint IS NOT NULL").replace(
            "holder IS NOT DISTINCT FROM $8::text", "$8::text IS NOT NULL"
        )
        assert told.count("IS NOT NULL") == 2
        await change(connection, told, *rest)

    postgres_views.change = lenient  # type: ignore[assignment]
